"""The one training loop: penalty, clipping, curve, checkpoint, divergence, progress."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slt_bench.kernels import preparation_seconds
from slt_bench.layers import penalty, summaries
from slt_bench.task import Batch, Split, Streams, Task

#: Seconds between checkpoints of a running trial.
CHECKPOINT_SECONDS = 30.0


class Diverged(Exception):
    """The training loss is no longer finite."""


class Stopped(Exception):
    """Training was asked to stop; a checkpoint holds what was done."""


@dataclass
class State:
    """Everything that training adds to the model and the optimiser; part of a checkpoint."""

    update: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    training_curve: list[dict[str, float]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    evaluation_seconds: float = 0.0
    #: Of the whole loop: batches, updates, evaluations and checkpoints.
    seconds: float = 0.0
    # Sums since the last point of the curve.
    loss_sum: float = 0.0
    penalty_sum: float = 0.0
    summed: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """Where a running trial keeps its state, and how often.

    ``source`` names the code that trains (its digests). A checkpoint of other code, or one that
    cannot be read, is thrown away: nothing is half trained by a formula that is no more.
    """

    path: Path
    every_seconds: float = CHECKPOINT_SECONDS
    source: str = ""

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
        content = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "state": vars(state),
            "threads": torch.get_num_threads(),
            "picks": picks(model),
            "source": self.source,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
        """Restore the model and the optimiser; a new State where there is no checkpoint."""
        if not self.path.exists():
            return State()
        if (content := self._content()) is None:
            self.path.unlink()
            return State()
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        # Sums round differently with another number of threads, or by another strategy.
        torch.set_num_threads(content["threads"])
        for name, found in content.get("picks", {}).items():
            recurrent: Any = model.get_submodule(name)
            recurrent.keep(found)
        return State(**content["state"])

    def updates(self) -> int:
        """How many updates it holds: 0 where there is none, or none that can be gone on from."""
        content = self._content() if self.path.exists() else None
        return 0 if content is None else int(content["state"]["update"])

    def _content(self) -> dict[str, Any] | None:
        """What the file holds; None where it is damaged or of other code."""
        try:
            content: Any = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged file makes torch raise
            return None
        return content if content.get("source") == self.source else None


def strategies(model: nn.Module) -> dict[str, str]:
    """``{module name: strategy}`` of recurrent modules that have run: how they were executed."""
    found = ((name, getattr(m, "last_strategy", None)) for name, m in model.named_modules())
    return {name: strategy for name, strategy in found if strategy}


def picks(model: nn.Module) -> dict[str, dict[str, Any]]:
    """``{module name: picks}`` of recurrent modules that choose their strategy: how they chose."""
    found = ((name, getattr(m, "picks", None)) for name, m in model.named_modules())
    return {name: chosen for name, chosen in found if isinstance(chosen, dict) and chosen}


def clock() -> float:
    """Seconds, but for those in which kernels were built and strategies measured."""
    return time.perf_counter() - preparation_seconds()


def place(batch: Batch, like: Tensor) -> Batch:
    """The batch on the device of ``like``, its floating-point tensors in its dtype."""
    return tuple(t.to(like.device, like.dtype if t.is_floating_point() else t.dtype) for t in batch)


def evaluate(task: Task, model: nn.Module, split: Split) -> dict[str, float]:
    """Mean of each measured value over all items of a split, in evaluation mode."""
    return evaluate_on(task, model, task.evaluation_batches(split))


def evaluate_on(task: Task, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Mean of each measured value over all items of some batches, in evaluation mode."""
    like = next(model.parameters())
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    was_training = model.training
    model.eval()
    try:
        # Batches are made outside inference mode: data that a task reads now, it trains on later.
        for batch in batches:
            with torch.inference_mode():
                measured = task.measure(model, *place(batch, like))
            for name, values in measured.items():
                sums[name] = sums.get(name, 0.0) + values.double().sum().item()
                counts[name] = counts.get(name, 0) + values.numel()
    finally:
        model.train(was_training)
    return {name: sums[name] / counts[name] for name in sums}


def train(
    task: Task,
    model: nn.Module,
    streams: Streams,
    *,
    checkpoint: Checkpoint | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> State:
    """Train ``model`` in place for ``task.updates`` updates, from the checkpoint if there is one.

    A batch, the dropout masks and the learning rate of an update are functions of the seed, the
    update and the curve: the state needs no generator, and a resumed run ends in the same weights.

    Raises:
        Diverged: the loss of an update, or a point of the curve, is not finite.
        Stopped: ``stop()`` became true; the checkpoint holds the state.
    """
    optimizer = task.optimizer(p for p in model.parameters() if p.requires_grad)
    state = checkpoint.load(model, optimizer) if checkpoint else State()
    earlier, start = state.seconds, clock()

    def save() -> None:
        state.seconds = earlier + clock() - start
        if checkpoint:
            checkpoint.save(model, optimizer, state)

    if state.update == 0 and not state.curve:
        _add_point(task, model, state)
    saved = time.monotonic()
    while state.update < task.updates:
        if stop():
            save()
            raise Stopped
        value = update(task, model, optimizer, streams, state)
        progress(state.update, task.updates, value)
        if state.update % task.evaluate_every == 0 or state.update == task.updates:
            _add_point(task, model, state)
        if checkpoint and time.monotonic() - saved > checkpoint.every_seconds:
            save()
            saved = time.monotonic()
    state.seconds = earlier + clock() - start
    return state


def update(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    streams: Streams,
    state: State,
) -> float:
    """One optimiser step; returns the loss with its penalties."""
    like = next(model.parameters())
    rate = task.learning_rate(state.update, state.curve)
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = place(task.batch(state.update, streams), like)
    torch.manual_seed(streams.seed("dropout", state.update))
    model.train()
    start = clock()
    optimizer.zero_grad(set_to_none=True)
    loss = task.loss(model, *batch)
    extra = penalty(model)
    total = loss if extra is None else loss + task.options.penalty_weight * extra
    total.backward()
    if task.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), task.clip_norm)
    optimizer.step()
    value = float(total.detach())
    state.step_seconds.append(clock() - start)
    if not math.isfinite(value):
        raise Diverged(f"the loss is {value} at update {state.update + 1} of {task.updates}")
    state.update += 1
    state.loss_sum += float(loss.detach())
    state.penalty_sum += 0.0 if extra is None else float(extra.detach())
    state.summed += 1
    return value


def _add_point(task: Task, model: nn.Module, state: State) -> None:
    """Evaluate on the curve's split and note what the layers say of themselves."""
    start = clock()
    point = evaluate(task, model, task.curve_split)
    if not all(map(math.isfinite, point.values())):
        raise Diverged(f"the {task.curve_split} loss is not finite at update {state.update}")
    state.curve.append({"update": state.update, **point})
    if layers := summaries(model):
        state.summary.append({"update": state.update, "layers": layers})
    if state.summed:
        means = {"update": state.update, "loss": state.loss_sum / state.summed}
        if state.penalty_sum:
            means["penalty"] = state.penalty_sum / state.summed
        state.training_curve.append(means)
    state.loss_sum = state.penalty_sum = 0.0
    state.summed = 0
    state.evaluation_seconds += clock() - start
