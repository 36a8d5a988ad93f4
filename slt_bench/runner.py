"""Run one trial in this process: seed, build, train, evaluate, publish."""

from __future__ import annotations

import gc
import os
import statistics
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_model
from torch import nn

from slt_bench import evidence
from slt_bench.layers import Unsupported, count_parameters, multiply_adds
from slt_bench.provenance import provenance, source_digests
from slt_bench.registry import is_control, settings_of
from slt_bench.store import SCHEMA, Record, Store, find_reports
from slt_bench.task import FilledSlot, Streams, Task, fill_slots, slot_maker
from slt_bench.training import (
    CHECKPOINT_SECONDS,
    Checkpoint,
    Diverged,
    State,
    Stopped,
    clock,
    evaluate,
    picks,
    strategies,
    train,
)
from slt_bench.trial import Trial, canonical_json

Status = Literal[
    "done", "stopped", "diverged", "unsupported", "out of memory", "error", "crashed", "timeout"
]
#: Failures that the trial itself determines: run again only when its source has changed.
DETERMINED = ("diverged", "unsupported")


@dataclass(frozen=True)
class Ending:
    """How a trial ended; ``message`` is one line, empty where there is nothing to say."""

    status: Status
    message: str = ""


@dataclass(frozen=True)
class Built:
    """A trial's model with what stands in its slots."""

    task: Task
    model: nn.Module
    slots: dict[str, FilledSlot] = field(default_factory=dict)

    @property
    def parameter_count(self) -> int:
        return count_parameters(self.model)

    @property
    def slot_parameter_count(self) -> int:
        return sum(count_parameters(s.layer) for s in self.slots.values())

    @property
    def dense_slot_parameter_count(self) -> int:
        return sum(s.out_features * (s.in_features + s.bias) for s in self.slots.values())


def build(trial: Trial, data: Path | None = None) -> Built:
    """Build a trial's model on the CPU, seeded; reads no data.

    Raises:
        Unsupported: the baseline cannot have the sizes of a slot.
    """
    task = trial.load_task(data)
    slots: dict[str, FilledSlot] = {}
    make = slot_maker(trial.load_baseline(), trial.settings)
    model = fill_slots(task, Streams(trial.seed), trial.slots, make, slots)
    return Built(task, model.to(getattr(torch, trial.dtype)), slots)


def run(
    trial: Trial,
    results: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    data: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Record:
    """Run a trial in this process, or return the record it already has.

    ``results``: a reports folder (default: the one that ``slt-bench`` would use from here).
    ``data``: the folder in which data sets are sought first.

    Raises:
        RuntimeError: the trial failed; the message says how, and the failure is recorded.
    """
    store = Store(find_reports(results))
    if force or store.read(trial.identity, trial.key) is None:
        folder = None if data is None else Path(data)
        result = attempt(trial, store, device=device, data=folder)
        if result.status != "done":
            raise RuntimeError(f"{trial.label}: {result.status}: {result.message}")
    record = store.read(trial.identity, trial.key)
    assert record is not None
    return record


def attempt(
    trial: Trial,
    store: Store,
    *,
    device: str = "cpu",
    data: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> Ending:
    """Train a trial, publish its record or its failure, and say how it ended. Never raises.

    A checkpoint of the same trial and the same code is gone on from.
    """
    path = store.checkpoint(trial.key)
    try:
        store.make_checkpoints()
        start = clock()
        checkpoint = checkpoint_of(trial, store, checkpoint_seconds)
        built = build(trial, data)
        model = built.model.to(device)
        ready = clock()
        with _exact():
            state = train(
                built.task,
                model,
                Streams(trial.seed),
                checkpoint=checkpoint,
                stop=stop,
                progress=progress,
            )
            trained = clock()
            record = _record(trial, built, state, torch.device(device))
        record["timing"]["seconds"] = state.seconds + clock() - trained + ready - start
        save_model(model, str(store.weights(trial.key)))
        store.publish(record)
        path.unlink(missing_ok=True)
        return Ending("done")
    except Stopped:
        return Ending("stopped")
    except Diverged as error:
        path.unlink(missing_ok=True)
        return fail(trial, store, "diverged", str(error))
    except Unsupported as error:
        return fail(trial, store, "unsupported", str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        gc.collect()
        return fail(trial, store, "out of memory", one_line(error))
    except Exception as error:
        if "DefaultCPUAllocator" in str(error):  # how torch reports it on the CPU
            return fail(trial, store, "out of memory", one_line(error))
        trace = traceback.format_exc().splitlines()
        return fail(trial, store, "error", one_line(error), trace=trace)


def checkpoint_of(
    trial: Trial, store: Store, every_seconds: float = CHECKPOINT_SECONDS
) -> Checkpoint:
    """Where a trial keeps its state while it runs, by today's code."""
    source = canonical_json(source_digests(trial))
    return Checkpoint(store.checkpoint(trial.key), every_seconds, source)


@contextmanager
def _exact() -> Iterator[None]:
    """Convolutions on a GPU in float32 as on a CPU, not in TF32, and the same in each run."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


def fail(trial: Trial, store: Store, status: Status, message: str, **more: Any) -> Ending:
    """Publish a failure; ``more`` goes into its record. Where it cannot be written, say so."""
    head = {"schema": SCHEMA, "key": trial.key, "kind": "train", "trial": trial.identity}
    facts = {"source": source_digests(trial)}
    failure = {**head, "status": status, "error": message, "provenance": facts, **more}
    try:
        store.publish_failure(failure)
    except OSError as error:
        message = f"{message} (not recorded: {error.strerror})"
    return Ending(status, message)


def one_line(error: BaseException) -> str:
    """The error's type and the first line of what it says."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _record(trial: Trial, built: Built, state: State, device: torch.device) -> Record:
    return {
        "schema": SCHEMA,
        "key": trial.key,
        "kind": "train",
        "trial": trial.identity,
        "status": "done",
        "metrics": _metrics(built, state),
        "timing": _timing(state),
        "parameter_count": built.parameter_count,
        "curves": {built.task.curve_split: state.curve, "training": state.training_curve},
        "summary": state.summary,
        "facts": _facts(trial, built),
        "provenance": provenance(
            trial,
            device,
            next(iter(strategies(built.model).values()), None),
            picks(built.model),
        ),
    }


def _metrics(built: Built, state: State) -> dict[str, Any]:
    """What the seed determines: the test result after the last update, and what the curve says."""
    task, curve = built.task, state.curve
    if task.curve_split == "test":
        final = {name: value for name, value in curve[-1].items() if name != "update"}
    else:
        final = evaluate(task, built.model, "test")
    metrics: dict[str, Any] = {"final": final, "updates": state.update}
    if task.solved_at is not None:
        points = [(int(p["update"]), p[task.metric.name]) for p in curve if p["update"] > 0]
        metrics["settled"] = evidence.settled(points)
        metrics["solved"] = evidence.solved(points, task.solved_at)
        metrics["updates_to_solve"] = evidence.updates_to_solve(points, task.solved_at)
    return metrics


def _timing(state: State) -> dict[str, Any]:
    milliseconds = [1000 * s for s in state.step_seconds]
    tenths = statistics.quantiles(milliseconds, n=10, method="inclusive")
    return {
        "step_ms": {
            "median": statistics.median(milliseconds),
            "p10": tenths[0],
            "p90": tenths[-1],
            "n": len(milliseconds),
        },
        "training_seconds": sum(state.step_seconds),
        "evaluation_seconds": state.evaluation_seconds,
    }


def _facts(trial: Trial, built: Built) -> dict[str, Any]:
    """What tables need beside the trial: from records alone, no code has to be imported."""
    baseline = trial.load_baseline()
    settings = {**settings_of(baseline), **trial.settings}
    return {
        "metric": asdict(built.task.metric),
        "trivial": built.task.trivial(),
        "control": is_control(baseline),
        "floor": built.task.floor,
        "slots": {
            name: {
                "in_features": slot.in_features,
                "out_features": slot.out_features,
                "parameter_count": count_parameters(slot.layer),
                "multiply_adds": multiply_adds(slot.layer),
            }
            for name, slot in built.slots.items()
        },
        "slot_parameter_count": built.slot_parameter_count,
        "dense_slot_parameter_count": built.dense_slot_parameter_count,
        "dense_parameter_count": built.parameter_count
        - built.slot_parameter_count
        + built.dense_slot_parameter_count,
        "settings": settings,
        "options": asdict(built.task.options),
    }
