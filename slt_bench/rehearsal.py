"""Before a trial runs: its kernels built, its strategies measured, and how long it will take.

Everything here is a function of the trial's shape (its model, its batches), not of its seed, and
leaves nothing behind but the kernels and what was measured of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import nn

from slt_bench.kernels import Kernel, available
from slt_bench.layers import summaries
from slt_bench.provenance import provenance
from slt_bench.recurrent import GRU, only_picking
from slt_bench.runner import Built, build
from slt_bench.task import Batch, Split, Streams, Task
from slt_bench.training import State, clock, evaluate_on, place, update
from slt_bench.trial import Trial

#: Timed updates, and timed batches of an evaluation, at least; one of each warms up before them.
_LEAST = 2
#: Linux: nanoseconds that the main thread ran, and those that it waited for a processor.
_SCHEDULED = Path("/proc/self/schedstat")


def prepare(
    trials: Sequence[Trial],
    data: Path | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Build the kernels and measure the strategies that trials of one task and options need.

    What is built and measured already costs nothing again. ``tell`` hears which trial it is about.
    Returns the keys of the trials that are ready: not those that ``stop`` leaves out, nor those
    whose model cannot be built, which they will say themselves.
    """
    ready = []
    samples: tuple[list[Batch], list[Batch]] | None = None
    for trial in trials:
        if stop():
            break
        tell(trial)
        try:
            built = build(trial, data)
            _build_kernels(built.model)
            if any(isinstance(module, GRU) for module in built.model.modules()):
                samples = samples or _samples(built.task)
                _pick(built, *samples)
        except Exception:
            continue
        ready.append(trial.key)
    return ready


def _build_kernels(model: nn.Module) -> None:
    dtype = next(model.parameters()).dtype
    for module in model.modules():
        offer = getattr(module, "kernel", None)
        if callable(offer) and isinstance(kernel := offer(), Kernel):
            available(kernel, dtype)


def _samples(task: Task) -> tuple[list[Batch], list[Batch]]:
    """One batch of each size that training and evaluation will meet.

    Training: the first one, the last one before an evaluation (an epoch's, perhaps short), and
    the last one of all.
    """
    numbers = {0, task.evaluate_every - 1, task.updates - 1}
    training = (task.batch(n, Streams(0)) for n in sorted(numbers) if n < task.updates)
    splits: set[Split] = {task.curve_split, "test"}
    evaluation = (batch for split in sorted(splits) for batch in task.evaluation_batches(split))
    return _distinct(training), _distinct(evaluation)


def _distinct(batches: Iterable[Batch]) -> list[Batch]:
    found: dict[tuple[torch.Size, ...], Batch] = {}
    for batch in batches:
        found.setdefault(tuple(tensor.shape for tensor in batch), batch)
    return list(found.values())


def _pick(built: Built, training: Sequence[Batch], evaluation: Sequence[Batch]) -> None:
    like = next(built.model.parameters())
    with torch.random.fork_rng(devices=[]), only_picking():
        built.model.train()
        for batch in training:
            built.task.loss(built.model, *place(batch, like))
        evaluate_on(built.task, built.model, evaluation)


@dataclass(frozen=True)
class Rehearsal:
    """What the parts of a trial take, in seconds.

    Attributes:
        start: until the first batch is there: process, code, model, data.
        first: the first update.
        update: any other one, with its batch.
        updates: how many there are.
        evaluation: one point of the curve.
        evaluations: how many there are.
        end: the evaluation on the test split, where the curve is not taken on it, and the record.
        waited: the share of the time in which it waited for the processor, which other processes
            held. It is in none of the seconds.
    """

    start: float
    first: float
    update: float
    updates: int
    evaluation: float
    evaluations: int
    end: float
    waited: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole trial, with a processor to itself."""
        training = self.first + (self.updates - 1) * self.update
        return self.start + training + self.evaluations * self.evaluation + self.end


def rehearse(
    trial: Trial,
    device: str = "cpu",
    data: Path | None = None,
    seconds: float = 1.0,
    asked: float | None = None,
) -> Rehearsal:
    """Time a few updates and a part of an evaluation, for about ``seconds`` after the start.

    Updates that take longer are timed all the same: a few are needed. ``asked`` is when the
    process was asked for, by ``time.monotonic()``.

    Raises:
        Diverged: the loss of an update is not finite.
        DataUnavailable: the data is not here.
    """
    begun, waited = time.monotonic(), _waited()
    before = _clock()
    built = build(trial, data)
    task, model = built.task, built.model.to(device)
    optimizer = task.optimizer(p for p in model.parameters() if p.requires_grad)
    streams, state = Streams(trial.seed), State()
    task.batch(0, streams)
    start = _clock() - before + (0.0 if asked is None else begun - asked)
    taken: list[float] = []
    while state.update < task.updates and (len(taken) <= _LEAST or sum(taken) < 0.6 * seconds):
        before = _clock()
        update(task, model, optimizer, streams, state)
        taken.append(_clock() - before)
    row = _row_seconds(task, model, 0.4 * seconds)
    evaluation = _split_seconds(task, task.curve_split, row)
    before = _clock()
    summaries(model)
    evaluation += _clock() - before
    end = 0.0 if task.curve_split == "test" else _split_seconds(task, "test", row)
    before = _clock()
    provenance(trial, torch.device(device))
    return Rehearsal(
        start=start,
        first=taken[0],
        update=statistics.median(taken[1:] or taken),
        updates=task.updates,
        evaluation=evaluation,
        evaluations=1 + ceil(task.updates / task.evaluate_every),
        end=end + _clock() - before,
        waited=(_waited() - waited) / (time.monotonic() - begun),
    )


def _clock() -> float:
    """Seconds, but for those of building and measuring, and of waiting for the processor."""
    return clock() - _waited()


def _waited() -> float:
    """Seconds for which this thread could have run while other processes did; 0 where unknown."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _row_seconds(task: Task, model: nn.Module, seconds: float) -> float:
    """Seconds that the model takes for one row of an evaluation, from batches of about a time."""
    taken: list[float] = []
    rows: list[int] = []
    for batch in task.evaluation_batches(task.curve_split):
        before = _clock()
        evaluate_on(task, model, [batch])
        taken.append(_clock() - before)
        rows.append(len(batch[0]))
        if len(taken) > _LEAST and sum(taken) >= seconds:
            break
    return sum(taken[1:] or taken) / sum(rows[1:] or rows)


def _split_seconds(task: Task, split: Split, row: float) -> float:
    """Seconds of one evaluation: of its batches, which are all made here, and of the model."""
    before = _clock()
    rows = sum(len(batch[0]) for batch in task.evaluation_batches(split))
    return _clock() - before + rows * row
