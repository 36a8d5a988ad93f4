"""A cell: one row of a latency table, with its identity and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from slt_bench import registry
from slt_bench.store import SCHEMA
from slt_bench.trial import key_of

Mode = Literal["forward", "training", "sequence"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, eq=False)
class Cell:
    """What is timed: everything that the time depends on, and nothing else.

    Attributes:
        settings: what differs from the baseline's defaults.
        shape: (in_features, out_features).
        batch: vectors a call; in mode ``sequence`` sequences a call.
        device: ``cpu`` or ``cuda``; ``hardware`` is the name of the processor or of the GPU.
        steps: time steps of mode ``sequence``; None in the other modes.
        compiled: through ``torch.compile``.
        copy: the second copy of dense, measured as if it were a rival.
        baseline_source: where the class is found when it is not built in; no part of the identity.
    """

    baseline: str
    settings: Mapping[str, Any]
    shape: tuple[int, int]
    batch: int
    mode: Mode
    device: str = "cpu"
    hardware: str = ""
    threads: int = 1
    dtype: str = "float32"
    steps: int | None = None
    compiled: bool = False
    copy: bool = False
    baseline_source: str = ""

    @property
    def group(self) -> dict[str, Any]:
        """What a cell shares with the dense layer it is held against."""
        shared: dict[str, Any] = {
            "mode": self.mode,
            "shape": list(self.shape),
            "batch": self.batch,
            "device": self.device,
            "hardware": self.hardware,
            "threads": self.threads,
            "dtype": self.dtype,
        }
        if self.steps is not None:
            shared["steps"] = self.steps
        if self.compiled:
            shared["compiled"] = True
        return shared

    @property
    def identity(self) -> dict[str, Any]:
        """What the key is a digest of; also what a record keeps."""
        own = {
            "schema": SCHEMA,
            "kind": "time",
            "baseline": self.baseline,
            "settings": dict(self.settings),
        }
        return {**own, **self.group, **({"copy": True} if self.copy else {})}

    @cached_property
    def key(self) -> str:
        return key_of(self.identity)

    @cached_property
    def group_key(self) -> str:
        return key_of(self.group)

    @property
    def machine(self) -> str:
        """What the rates of the machine depend on, in words."""
        return f"{self.device}, threads {self.threads}, {self.dtype}"

    @property
    def is_dense(self) -> bool:
        """The layer that every ratio is taken to."""
        return self.baseline == "dense" and not self.settings and not self.copy

    @property
    def label(self) -> str:
        """One line for people."""
        return (
            f"{row_label(self.identity)} {shape_label(self.shape)} batch {self.batch} {self.mode}"
        )

    def load_baseline(self) -> type[Any]:
        return registry.load_baseline(self.baseline_source or self.baseline)


def slot_maps(shape: tuple[int, int], mode: Mode) -> list[tuple[int, int, bool]]:
    """(in_features, out_features, bias) of each map that a baseline fills in a cell: the layer, or
    in mode ``sequence`` the GRU's three recurrent maps."""
    return [(*shape, False)] * 3 if mode == "sequence" else [(*shape, True)]


def row_label(identity: Mapping[str, Any]) -> str:
    """The layer of a cell: its baseline and what differs from the defaults."""
    settings = " ".join(f"{name}={value}" for name, value in identity["settings"].items())
    copy = "(copy)" if identity.get("copy") else ""
    return " ".join(filter(None, (identity["baseline"], settings, copy)))


def shape_label(shape: tuple[int, int] | list[int]) -> str:
    """``1024`` for a square, ``1024x4096`` (in x out) for any other."""
    n, m = shape
    return str(n) if n == m else f"{n}x{m}"
