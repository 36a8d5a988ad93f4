"""What the recurrent tasks share: options, slots, and a GRU whose maps come from the factory.

Source: Wolter, Lin, Yao 2020, arXiv 2004.09569, equations 9 to 12. Its GRUs train with RMSprop at
0.001 (torch's defaults otherwise) and no schedule, which is the default of a task here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slt_bench.recurrent import GRU
from slt_bench.task import (
    Batch,
    LinearFactory,
    Metric,
    Options,
    Split,
    Streams,
    Task,
    fixed_generator,
)
from slt_bench.tasks._options import at_least, positive

#: The maps from state to state, from input to state, and from state to output.
GRU_SLOTS = GRU.slots
SLOTS = (*GRU_SLOTS, "output")
DEFAULT_SLOTS = ("reset", "state")
SLOT_GROUPS = {"all": ("reset", "update", "state")}

#: Sequences in one batch of an evaluation on generated data.
EVALUATION_BATCH = 250
#: Updates between two points of the curve at full length, and the points a shorter run keeps.
EVALUATE_EVERY, POINTS = 1_000, 12


@dataclass(frozen=True, kw_only=True)
class RecurrentOptions(Options):
    """Options that every recurrent task has.

    Attributes:
        hidden_size: width of the state.
        update_gate_bias: every bias of the update gate at the start; None: torch's default draw.
        clip_norm: largest norm of the gradient over all weights; None: no clipping.
        evaluate_every: updates between two points of the curve; None: the task's own rule.
    """

    hidden_size: int
    update_gate_bias: float | None = None
    clip_norm: float | None = None
    evaluate_every: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, hidden_size=self.hidden_size, evaluate_every=self.evaluate_every)
        positive(clip_norm=self.clip_norm)
        bias = self.update_gate_bias
        if bias is not None and not isfinite(bias):
            raise ValueError(f"update_gate_bias={bias}: give a finite number")


def make_gru(
    linear: LinearFactory,
    input_size: int,
    hidden_size: int,
    update_gate_bias: float | None = None,
) -> GRU:
    """A GRU whose six maps come from ``linear``, in the slots GRU_SLOTS.

    Raises:
        ValueError: ``update_gate_bias`` is set, but what fills ``input_update`` has no bias tensor.
    """

    def input_update(in_features: int, out_features: int, bias: bool) -> nn.Module:
        layer = linear("input_update", in_features, out_features, bias)
        if update_gate_bias is not None:
            if not isinstance(own := getattr(layer, "bias", None), Tensor):
                raise ValueError(
                    f"update_gate_bias={update_gate_bias:g} needs a map with a 'bias' tensor in "
                    f"the slot 'input_update', and {type(layer).__name__} has none: leave that "
                    "slot dense or the option unset"
                )
            with torch.no_grad():
                own.fill_(update_gate_bias)
        return layer

    maps = {slot: partial(linear, slot) for slot in GRU_SLOTS} | {"input_update": input_update}
    return GRU(input_size, hidden_size, maps=maps)


class RecurrentNetwork(nn.Module):
    """GRU and output map: (batch, time, input_size) -> (batch, output_size), at the last step.

    With ``every_step`` the output map is applied to all states: (batch, time, output_size).
    """

    def __init__(self, gru: GRU, output: nn.Module, every_step: bool = False) -> None:
        super().__init__()
        self.gru = gru
        self.output = output
        self.every_step = every_step

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.gru(x)
        y: Tensor = self.output(states if self.every_step else last)
        return y


class RecurrentTask(Task):
    """Base class of a task that trains a GRU: its slots, its clipping, its network."""

    slots: ClassVar[tuple[str, ...]] = SLOTS
    floor: ClassVar[str] = "zero"
    default_slots: ClassVar[tuple[str, ...]] = DEFAULT_SLOTS
    slot_groups = SLOT_GROUPS
    options: RecurrentOptions

    def __init__(self, options: Any, folder: Path | None = None) -> None:
        super().__init__(options, folder)
        self.clip_norm = options.clip_norm

    def network(
        self, linear: LinearFactory, input_size: int, output_size: int, every_step: bool = False
    ) -> RecurrentNetwork:
        """The GRU of the task's ``hidden_size`` and its output map, all maps from ``linear``."""
        hidden = self.options.hidden_size
        gru = make_gru(linear, input_size, hidden, self.options.update_gate_bias)
        return RecurrentNetwork(gru, linear("output", hidden, output_size), every_step)


@dataclass(frozen=True, kw_only=True)
class GeneratedOptions(RecurrentOptions):
    """Options of a task whose sequences are drawn, each training batch fresh.

    Attributes:
        time_steps: T, the length that the task is about; at least ``minimum_steps``.
        updates: length of training in batches.
        validation_size: sequences of the validation draw, which the curve is taken on.
        test_size: sequences of the test draw.
    """

    minimum_steps: ClassVar[int] = 1
    dataset: str = "generated"
    learning_rate: float = 1e-3
    batch_size: int = 50
    hidden_size: int = 512
    time_steps: int = 150
    updates: int = 12_000
    validation_size: int = 2_000
    test_size: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset != "generated":
            raise ValueError(
                f"no data set {self.dataset!r}: this task draws its data ('generated')"
            )
        at_least(self.minimum_steps, time_steps=self.time_steps)
        at_least(
            1,
            updates=self.updates,
            validation_size=self.validation_size,
            test_size=self.test_size,
        )


class GeneratedTask(RecurrentTask):
    """Base class of a task on drawn sequences; a subclass adds ``draw`` to what a task needs.

    Validation and test draws depend on the task, T and their size, never on a trial's seed. The
    curve has a point every 1,000 updates, or at least twelve points where training is shorter.
    """

    metric = Metric("accuracy", "%", higher_is_better=True)
    solved_at: ClassVar[float | None] = 95.0
    options: GeneratedOptions

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """``count`` sequences and their targets, on the CPU."""
        raise NotImplementedError

    @property
    def updates(self) -> int:
        return self.options.updates

    @property
    def evaluate_every(self) -> int:
        asked = self.options.evaluate_every
        return asked or max(1, min(EVALUATE_EVERY, self.updates // POINTS))

    def batch(self, update: int, streams: Streams) -> Batch:
        return self.draw(self.options.batch_size, streams.generator("data", update))

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        size = self.options.test_size if split == "test" else self.options.validation_size
        generator = fixed_generator(self.name, split, self.options.time_steps)
        for start in range(0, size, EVALUATION_BATCH):
            yield self.draw(min(EVALUATION_BATCH, size - start), generator)
