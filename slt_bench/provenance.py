"""Where a number comes from: versions, processor, load, commit, source digests. No host names."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import slt_bench
from slt_bench.kernels import kernel_facts
from slt_bench.registry import source_digest
from slt_bench.trial import Trial

_INSTRUCTION_SETS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
)
_PACKAGES = ("torch", "numpy", "scipy", "tensorly", "PyWavelets")


def provenance(
    trial: Trial,
    device: torch.device,
    strategy: str | None = None,
    picks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Facts about this run of a trial, JSON-able.

    ``strategy``: what ran; ``picks``: how it was chosen, by recurrent module and case, with the
    milliseconds of each strategy where they were measured.
    """
    return {
        **environment(device),
        "source": source_digests(trial),
        "strategy": strategy,
        "picks": dict(picks or {}),
        "kernels": kernel_facts(),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, machine and load; ``finished`` is the time in UTC."""
    return {
        "finished": utc_now(),
        "version": slt_bench.__version__,
        **commit(),
        "python": platform.python_version(),
        **{name.lower(): package_version(name) for name in _PACKAGES},
        **machine(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "device": device.type,
        "gpu": gpu(device),
    }


def utc_now() -> str:
    """``2026-01-31T23:59:59Z``."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def package_version(name: str) -> str | None:
    """None where the package is not installed: not every trial needs every one."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def source_digests(trial: Trial) -> dict[str, str]:
    """Digests of the syntax trees behind a trial's baseline and task."""
    return {
        "baseline": source_digest(trial.load_baseline()),
        "task": source_digest(type(trial.load_task())),
    }


@cache
def commit() -> dict[str, Any]:
    """Commit of the checkout and whether its code differs from it; None outside a checkout.

    Where a tree was copied without its ``.git``, ``SLT_BENCH_COMMIT`` names the commit.
    """
    root = Path(slt_bench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return {"commit": os.environ.get("SLT_BENCH_COMMIT") or None, "dirty": None}
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
        code = [*git, "status", "--porcelain", "--", "slt_bench", "baselines", "tasks"]
        changed = subprocess.run(code, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None}
    found = head.stdout.strip() if head.returncode == 0 else None
    return {"commit": found, "dirty": bool(changed.stdout.strip()) if found else None}


@cache
def machine() -> dict[str, Any]:
    """The processor and the memory of this machine."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "model name":
                model = value
            elif name == "flags":
                flags = set(value.split())
                break
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    pages = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = all(name in getattr(os, "sysconf_names", {}) for name in pages)
    memory = os.sysconf(pages[0]) * os.sysconf(pages[1]) / 2**30 if known else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": model,
        "instruction_sets": [name for name in _INSTRUCTION_SETS if name in flags],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": available_cores(),
        "memory_gib": None if memory is None else round(memory, 1),
        "governor": governor.read_text().strip() if governor.exists() else None,
    }


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu(device: torch.device) -> dict[str, Any] | None:
    if device.type != "cuda":
        return None
    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "capability": f"{facts.major}.{facts.minor}",
        "cuda": torch.version.cuda,
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
    }
