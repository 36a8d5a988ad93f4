"""What a task is: data, a model with named slots, a training protocol and metrics.

A task never knows a baseline. Its model is built by :meth:`Task.build`, which receives the factory
``linear(slot, in_features, out_features, bias)``; the harness decides what fills each slot. Every
random number comes from a named stream of the trial's seed, so that two baselines at one seed see
the same batches and start from the same weights outside their slots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported

Split = Literal["validation", "test"]
Batch = tuple[Tensor, ...]

#: The budgets every task has values for, shortest first.
BUDGETS = ("smoke", "quick", "screen", "third", "paper")


class LinearFactory(Protocol):
    """Builds the linear map of a slot, shape (..., in_features) -> (..., out_features)."""

    def __call__(
        self, slot: str, in_features: int, out_features: int, bias: bool = True
    ) -> nn.Module: ...


def stream_seed(*purpose: object) -> int:
    """A 63-bit seed: the sha256 digest of what the random numbers are for."""
    text = json.dumps([str(part) for part in purpose])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Streams:
    """The named random streams of one trial: ``streams.generator("data", 7)``.

    A stream depends on the trial's seed and its purpose alone, never on what was drawn elsewhere.
    That makes trials paired, and a resumed trial the same as one that was never stopped.
    """

    def __init__(self, seed: int) -> None:
        self.root = seed

    def seed(self, *purpose: object) -> int:
        return stream_seed(self.root, *purpose)

    def generator(self, *purpose: object) -> torch.Generator:
        """A CPU generator at the start of the stream for ``purpose``."""
        return torch.Generator().manual_seed(self.seed(*purpose))


def fixed_generator(*purpose: object) -> torch.Generator:
    """A CPU generator that depends on the purpose alone: validation and test draws of a task."""
    return torch.Generator().manual_seed(stream_seed("fixed", *purpose))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that every task has; a task's own frozen dataclass adds to them.

    Attributes:
        dataset: what is trained on; its name is in the trial's key, the record and the table.
        learning_rate: of the optimiser at the start; None where a task has one for each model.
        batch_size: examples a training update.
        penalty_weight: factor of the sum of all penalties in the loss (1 in the paper).
    """

    dataset: str
    learning_rate: float | None
    batch_size: int
    penalty_weight: float = 1.0

    def __post_init__(self) -> None:
        """Subclasses check their own fields too. Raises ValueError: what is wrong and allowed."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: give a whole number from 1")
        rate = self.learning_rate
        if rate is not None and not (isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate={rate}: give a number above 0")
        if not (isfinite(self.penalty_weight) and self.penalty_weight >= 0):
            raise ValueError(f"penalty_weight={self.penalty_weight}: give a number from 0")


@dataclass(frozen=True)
class Metric:
    """The number a table shows for a task: its name, its unit and its direction."""

    name: str
    unit: str
    higher_is_better: bool


class Task:
    """Base class of a task. One file of ``tasks/`` each; the class is the stem in CamelCase.

    A subclass sets the class attributes, and defines :attr:`updates`, :meth:`build`,
    :meth:`batch`, :meth:`evaluation_batches`, :meth:`measure` and :meth:`trivial`.
    """

    #: Raise it when results stop being comparable with older records.
    version: ClassVar[int] = 1
    #: Linear maps of the model that a baseline may fill, and those it fills by default.
    slots: ClassVar[tuple[str, ...]]
    default_slots: ClassVar[tuple[str, ...]]
    #: The control that means "this map removed".
    floor: ClassVar[str]
    metric: ClassVar[Metric]
    #: Which split the curve over training is taken on.
    curve_split: Split = "validation"
    #: Tasks with bimodal outcomes: the level of the metric from which a trial counts as solved.
    solved_at: ClassVar[float | None] = None
    #: Names that ``--slots`` may use for several slots at once.
    slot_groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: One set of options for each budget in BUDGETS.
    budgets: ClassVar[Mapping[str, Options]]
    #: Largest norm of the gradient over all weights; None: no clipping.
    clip_norm: float | None = None

    def __init__(self, options: Any, folder: Path | None = None) -> None:
        """``options``: one of :attr:`budgets`, perhaps changed. ``folder``: where data is sought
        first. Nothing is read before the first batch, so that a model can be built and counted
        without data."""
        self.options = options
        self.folder = folder

    @property
    def updates(self) -> int:
        """Length of training in optimiser steps."""
        raise NotImplementedError

    @property
    def evaluate_every(self) -> int:
        """Updates between two points of the curve."""
        raise NotImplementedError

    def build(self, linear: LinearFactory) -> nn.Module:
        """The model; each map in :attr:`slots` comes from ``linear(slot, in, out, bias)``.

        Reads no data. Weights outside the slots draw from torch's default generator, in order of
        construction: the harness seeds it, and the slots leave it untouched.
        """
        raise NotImplementedError

    def batch(self, update: int, streams: Streams) -> Batch:
        """Training batch number ``update`` (from 0) as CPU tensors: a function of its arguments."""
        raise NotImplementedError

    def evaluation_batches(self, split: Split) -> Iterable[Batch]:
        """All of a split, in a fixed order and drawing that depend on the task alone."""
        raise NotImplementedError

    def measure(self, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
        """Values a scored item (one-dimensional): ``loss`` and the metric; the harness averages."""
        raise NotImplementedError

    def trivial(self) -> dict[str, float]:
        """``loss`` and the metric of the best predictor that ignores its input."""
        raise NotImplementedError

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """The scalar training loss, without penalties."""
        return self.measure(model, *batch)["loss"].mean()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser, at ``options.learning_rate``. Default: RMSprop as in the paper's GRUs."""
        return torch.optim.RMSprop(parameters, lr=self.options.learning_rate)

    def learning_rate(self, update: int, curve: Sequence[Mapping[str, float]]) -> float:
        """The rate for this update: a function of its number and of the curve so far."""
        return float(self.options.learning_rate)

    @property
    def name(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class FilledSlot:
    """The layer that :func:`fill_slots` put into a slot, and the sizes the model asked for."""

    in_features: int
    out_features: int
    bias: bool
    layer: nn.Module


def fill_slots(
    task: Task,
    streams: Streams,
    filled: Collection[str],
    make: Callable[[int, int, bool], nn.Module],
    found: dict[str, FilledSlot] | None = None,
) -> nn.Module:
    """Build a task's model with ``make(in_features, out_features, bias)`` in the filled slots.

    Every slot, filled or dense, draws its weights from a stream of its own, and what stands
    outside the slots from another: neither depends on which baseline stands where. ``found``, if
    given, receives what was filled, by slot.

    Raises:
        Unsupported: the baseline cannot have the sizes of a slot.
        UsageError: the model of these options has no such slot.
    """
    built = {} if found is None else found

    def linear(slot: str, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        if slot not in task.slots:
            raise ValueError(f"task {task.name} does not declare slot {slot!r}: {task.slots}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(streams.seed("weights", slot))
            if slot not in filled:
                return nn.Linear(in_features, out_features, bias)
            layer = make(in_features, out_features, bias)
            built[slot] = FilledSlot(in_features, out_features, bias, layer)
            return layer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.seed("weights"))
        model = task.build(linear)
    if missing := set(filled) - set(built):
        raise UsageError(
            f"the model of task {task.name} with these options has no slot {sorted(missing)[0]!r}: "
            "leave it out of --slots"
        )
    return model


def slot_maker(
    baseline: type[nn.Module], settings: Mapping[str, Any]
) -> Callable[[int, int, bool], nn.Module]:
    """``make(in_features, out_features, bias)`` for :func:`fill_slots`.

    It raises Unsupported with the baseline's own reason, or with its constructor's error.
    """

    def make(in_features: int, out_features: int, bias: bool) -> nn.Module:
        supports = getattr(baseline, "supports", None)
        reason = supports(in_features, out_features, **settings) if supports else None
        if reason:
            raise Unsupported(f"{in_features} -> {out_features}: {reason}")
        layer = baseline(in_features, out_features, bias=bias, **settings)
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not hasattr(layer, name):  # what pushes the identity through has to know
                setattr(layer, name, size)
        return layer

    return make
