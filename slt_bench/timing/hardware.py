"""Facts of this machine that a time depends on, as found: caches, turbo, threads of a core."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from slt_bench.provenance import available_cores, machine

_CPU = Path("/sys/devices/system/cpu")


@cache
def hardware_facts() -> dict[str, Any]:
    """What is not known is None."""
    boost, no_turbo = _read(_CPU / "cpufreq/boost"), _read(_CPU / "intel_pstate/no_turbo")
    return {
        "physical_cores": physical_cores(),
        "caches": _caches(),
        "turbo": _switch(boost) if no_turbo is None else not _switch(no_turbo),
        "smt": _switch(_read(_CPU / "smt/active")),
    }


def hardware_name(device: str) -> str:
    """The processor, or the GPU, that a time belongs to."""
    if device == "cpu":
        return str(machine()["processor"])
    import torch

    return str(torch.cuda.get_device_name())


def physical_cores() -> int:
    """Cores that this process may use, threads of one core counted once."""
    if not hasattr(os, "sched_getaffinity"):
        return available_cores()
    siblings = {
        _read(_CPU / f"cpu{i}/topology/thread_siblings_list") or str(i)
        for i in os.sched_getaffinity(0)
    }
    return len(siblings)


def _caches() -> dict[str, str] | None:
    """``{"L1 data": "32K", ...}`` of the first core."""
    found = {}
    for index in sorted(_CPU.glob("cpu0/cache/index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if level and size:
            found[f"L{level}" + (f" {kind.lower()}" if kind and kind != "Unified" else "")] = size
    return found or None


def _switch(text: str | None) -> bool | None:
    return None if text is None else text == "1"


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
