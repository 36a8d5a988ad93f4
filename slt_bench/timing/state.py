"""What a session is to measure, and what it has: on the disk after every round."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from slt_bench import kernels
from slt_bench.registry import folder, source_digest
from slt_bench.store import Store, write_atomically
from slt_bench.timing.cell import Cell
from slt_bench.timing.sampling import Protocol
from slt_bench.trial import key_of

#: Of the state's file: one of another schema is not gone on from.
_SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """How a session measures.

    Attributes:
        rounds: rounds of fresh processes.
        patience: seconds to wait for a quiet machine before each round.
        allow_noisy: publish noisy rows too, with their mark.
        stop_after: stop once so many rounds are complete.
    """

    rounds: int = 10
    patience: float = 60.0
    allow_noisy: bool = False
    protocol: Protocol = field(default_factory=Protocol)
    stop_after: int | None = None


@dataclass
class Taken:
    """What one cell has given: its facts, a document a round, and how it failed, if it did."""

    facts: dict[str, Any]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: dict[str, Any] | None = None


@dataclass
class State:
    """A session up to its last complete round; plain values throughout.

    Attributes:
        complete: rounds that are complete.
        finished: when the last of them was, in UTC; empty before the first.
        seconds: what each round took.
        taken: by the key of the cell.
        machines: what :func:`slt_bench.timing.jobs.machine` found, by :attr:`Cell.machine`.
        before: what others used before each round (None: not known).
        during: the same during each round, by the key of the group.
        cards: the state of the GPU before and after each round; empty where none is used.
    """

    complete: int = 0
    finished: str = ""
    seconds: list[float] = field(default_factory=list)
    taken: dict[str, Taken] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: list[float | None] = field(default_factory=list)
    during: dict[str, list[float | None]] = field(default_factory=dict)
    cards: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        taken = {key: Taken(**one) for key, one in document["taken"].items()}
        return cls(**{**document, "taken": taken})

    def add(
        self,
        found: dict[str, dict[str, Any]],
        before: float | None,
        during: dict[str, float | None],
    ) -> None:
        """Take in a round: what each cell gave, and what others used."""
        for key, one in found.items():
            if one["status"] == "done":
                self.taken[key].rounds.append({k: v for k, v in one.items() if k != "status"})
            else:
                self.taken[key].failure = one
        self.before.append(before)
        for group, share in during.items():
            self.during.setdefault(group, []).append(share)


@dataclass(frozen=True)
class StateFile:
    """Where a session's state is kept: named by everything that its times depend on."""

    path: Path

    @classmethod
    def of(cls, store: Store, cells: Sequence[Cell], plan: Plan, match: str | None) -> Self:
        """The same cells, plan, code, torch and hardware (in the cells' keys) have one file."""
        baselines = {cell.baseline: cell.load_baseline() for cell in cells}
        identity = {
            "schema": _SCHEMA,
            "cells": sorted(cell.key for cell in cells),
            "rounds": plan.rounds,
            "protocol": asdict(plan.protocol),
            "match": match,
            "source": {name: source_digest(found) for name, found in baselines.items()},
            "kernels": {**kernels.kernel_facts(), "sources": _kernel_digest()},
            "torch": torch.__version__,
        }
        return cls(store.checkpoints / f"{key_of(identity)}.time.json")

    def read(self) -> State | None:
        """The state that is kept, or None: there is none, or it is damaged."""
        try:
            return State.from_document(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, state: State) -> None:
        write_atomically(self.path, json.dumps(asdict(state), allow_nan=False))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _kernel_digest() -> str:
    """sha256 of the kernels' code, which a baseline's source digest leaves out."""
    files = [
        *sorted(folder("baselines").glob("*_kernel.*")),
        *sorted(Path(kernels.__file__).parent.glob("*.[ch]")),
    ]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
