"""GPU: kernel time with a cold second-level cache, and the state of the card.

The card's settings are left alone: clocks, temperature, power and throttle reasons are read from
``nvidia-smi`` and recorded as found.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from typing import Any

import torch

from slt_bench.timing.statistics import spread

#: A clock that moved by more than this share between two readings is noise.
CLOCK_DRIFT = 0.03
_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_REASONS = "clocks_throttle_reasons.active"
#: Bits of the throttle reasons that are no throttling: idle (1), application clocks (2), display.
_HARMLESS = 0x1 | 0x2 | 0x100


def kernel_time(call: Callable[[], Any]) -> dict[str, Any]:
    """Median seconds of the kernels of one call, the second-level cache flushed before each.

    One call is captured in a CUDA graph and replayed by ``triton.testing.do_bench``, which flushes
    the cache outside its events. Where capture fails the eager call is timed (``how``: "eager");
    without triton the cache stays warm ("warm cache").
    """
    run, how = _captured(call)
    try:
        from triton.testing import do_bench
    except ImportError:
        from torch.utils.benchmark import Timer

        measurement = Timer("run()", globals={"run": run}).blocked_autorange(min_run_time=0.5)
        seconds, how = list(measurement.times), f"{how}, warm cache"
    else:
        seconds = [ms / 1000 for ms in do_bench(run, warmup=25, rep=500, return_mode="all")]
    return {
        "median": statistics.median(seconds),
        "spread": spread(seconds),
        "how": how,
        "samples": [float(f"{value:.5g}") for value in seconds],
    }


def _captured(call: Callable[[], Any]) -> tuple[Callable[[], Any], str]:
    try:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        torch.cuda.synchronize()
    except RuntimeError:
        torch.cuda.synchronize()
        return call, "eager"
    return graph.replay, "graph"


# State of the card ---------------------------------------------------------------------------


def state() -> dict[str, Any] | None:
    """Clocks (MHz), temperature, power and throttle reasons; None where nvidia-smi is missing."""
    text = _query(f"--query-gpu={','.join((*_FIELDS, _REASONS))}")
    return None if text is None else parse_state(text)


def parse_state(text: str) -> dict[str, Any]:
    """The first card's line of nvidia-smi as numbers; what it does not know is None."""
    words = [word.strip() for word in text.splitlines()[0].split(",")]
    found: dict[str, Any] = {name: _number(w) for name, w in zip(_FIELDS, words, strict=False)}
    try:
        found["throttled"] = bool(int(words[-1], 16) & ~_HARMLESS)
    except ValueError:
        found["throttled"] = None
    return found


def other_processes() -> int | None:
    """How many processes compute on the card; None where nvidia-smi does not say."""
    text = _query("--query-compute-apps=pid")
    return None if text is None else len(text.split())


def reasons(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """Why two readings of the card's state make what lies between them noisy."""
    if before is None or after is None:
        return []
    found = []
    if before["throttled"] or after["throttled"]:
        found.append("the GPU was throttled")
    clocks = before["clocks.sm"], after["clocks.sm"]
    if None not in clocks and abs(clocks[1] / clocks[0] - 1) > CLOCK_DRIFT:
        found.append(f"the GPU's clock drifted from {clocks[0]:g} to {clocks[1]:g} MHz")
    return found


def _query(what: str) -> str | None:
    command = ["nvidia-smi", what, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
