"""GPU: kernel time with a cold second-level cache, and the state of the card.

The card's settings are left alone: clocks, temperature, power and throttle reasons are read from
``nvidia-smi`` and recorded as found. A clock means something only while the card works: an idle
card lowers it. So the readings that are compared are taken between two calls of what is timed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.benchmark import Timer

from slt_bench.timing.statistics import spread

#: A clock that moved by more than this share between two readings is noise.
CLOCK_DRIFT = 0.03
#: Of the kernel time: at least so many samples over at least so many seconds, up to the cap.
SAMPLES, SECONDS, CAP = 30, 0.5, 10.0
#: Samples of the kernel time that a record keeps, evenly spaced over the measurement.
KEPT_SAMPLES = 200

_FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
#: As drivers call them from 535 on, and before.
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_IDLE = 0x1
#: Bits of the reasons that are no throttling: idle, application clocks, display clocks.
_HARMLESS = _IDLE | 0x2 | 0x100
_PATIENCE = 10.0  # seconds that nvidia-smi may take

Call = Callable[[], Any]


def kernel_time(call: Call) -> dict[str, Any]:
    """Median seconds of the kernels of one call, the second-level cache flushed before each.

    One call is captured in a CUDA graph and replayed by ``triton.testing.do_bench``, which flushes
    the cache outside its events. Where capture fails the eager call is timed (``how``: "eager");
    where triton cannot be used the cache stays warm ("warm cache"). ``card``: the state of the card
    before and after, while it works; None where ``nvidia-smi`` does not answer.
    """
    run, how = _captured(call)
    before = state(meanwhile=run)
    seconds, cache = _seconds(run)
    after = state(meanwhile=run)
    return {
        "median": statistics.median(seconds),
        "spread": spread(seconds),
        "how": how + cache,
        "count": len(seconds),
        "samples": [float(f"{value:.5g}") for value in _thinned(seconds)],
        "card": None if before is None or after is None else [before, after],
    }


def _captured(call: Call) -> tuple[Call, str]:
    """A function that replays ``call`` as a CUDA graph; ``call`` itself where that fails.

    The call is warmed up on the stream that it is captured on, as CUDA asks for: what is allocated
    or tuned once must not happen during capture. Gradients that the call allocates belong to the
    graph's memory and are written anew by each replay.
    """
    current = torch.cuda.current_stream()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    try:
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        current.wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream):
            call()
        graph.replay()
        torch.cuda.synchronize()
    except RuntimeError:
        torch.cuda.set_stream(current)  # a capture that fails to end leaves its stream in place
        torch.cuda.synchronize()
        return call, "eager"
    return graph.replay, "graph"


def _seconds(run: Call) -> tuple[list[float], str]:
    """Seconds of each call, and a remark where the cache stayed warm."""
    try:
        from triton.testing import do_bench

        length = 1000 * min(CAP, max(SECONDS, SAMPLES * _once(run)))
        samples = do_bench(run, warmup=25, rep=length, return_mode="all")
        return [milliseconds / 1000 for milliseconds in samples], ""
    except Exception:  # no triton, or no C compiler for what it builds when it is first used
        timer = Timer("run()", globals={"run": run})
        return list(timer.blocked_autorange(min_run_time=SECONDS).times), ", warm cache"


def _once(run: Call) -> float:
    """Seconds of one call, launch included."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _thinned(values: Sequence[float]) -> Sequence[float]:
    return values[:: -(-len(values) // KEPT_SAMPLES)]


# State of the card ---------------------------------------------------------------------------


def state(meanwhile: Call | None = None) -> dict[str, Any] | None:
    """Clocks (MHz), temperature, power and throttle reasons; None where nvidia-smi is missing.

    ``meanwhile`` is called again and again until the answer is there, so that the card works.
    """
    for reasons_field in _REASONS:
        fields = ",".join((*_FIELDS, reasons_field, "uuid"))
        text = _query(f"--query-gpu={fields}", meanwhile)
        if text is not None:
            return parse_state(text, _uuid())
    return None


def parse_state(text: str, uuid: str | None = None) -> dict[str, Any] | None:
    """The line of this card (the only one, or that of ``uuid``) as numbers; None: not known."""
    lines = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line]
    own = [words for words in lines if len(lines) == 1 or (uuid and words[-1].endswith(uuid))]
    if len(own) != 1 or len(own[0]) != len(_FIELDS) + 2:
        return None
    *words, bits, _ = own[0]
    found: dict[str, Any] = {name: _number(w) for name, w in zip(_FIELDS, words, strict=True)}
    try:
        mask = int(bits, 16)
    except ValueError:
        return {**found, "throttled": None, "idle": None}
    return {**found, "throttled": bool(mask & ~_HARMLESS), "idle": bool(mask & _IDLE)}


def other_processes() -> int | None:
    """How many other processes compute on the card; None where nvidia-smi does not say."""
    text = _query("--query-compute-apps=pid,gpu_uuid")
    if text is None:
        return None
    uuid = _uuid()
    apps = [line.partition(",") for line in text.splitlines() if line.strip()]
    here = [pid for pid, _, card in apps if uuid is None or card.strip().endswith(uuid)]
    return sum(pid.strip() != str(os.getpid()) for pid in here)


def reasons(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    """Why two readings of the card's state make what lies between them noisy.

    The clock of an idle card says nothing.
    """
    if before is None or after is None:
        return []
    found = []
    if before["throttled"] or after["throttled"]:
        found.append("the GPU was throttled")
    clocks = before["clocks.sm"], after["clocks.sm"]
    idle = before["idle"] or after["idle"]
    if None not in clocks and not idle and abs(clocks[1] / clocks[0] - 1) > CLOCK_DRIFT:
        found.append(f"the GPU's clock drifted from {clocks[0]:g} to {clocks[1]:g} MHz")
    return found


def reasons_of(rounds: Sequence[dict[str, Any]]) -> list[str]:
    """The same for the readings that the rounds of one row hold, each reason once."""
    cards = [one["measures"].get("kernel", {}).get("card") for one in rounds]
    return list(dict.fromkeys(reason for card in cards if card for reason in reasons(*card)))


def _uuid() -> str | None:
    """Of the card that torch computes on, as the end of nvidia-smi's ``GPU-...``."""
    if not torch.cuda.is_available():
        return None
    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    return None if uuid is None else str(uuid)


def _query(what: str, meanwhile: Call | None = None) -> str | None:
    """What nvidia-smi prints; None where there is none, or where it has no answer."""
    command = ["nvidia-smi", what, "--format=csv,noheader,nounits"]
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if meanwhile is None:
            time.sleep(0.005)
        else:
            meanwhile()
            torch.cuda.synchronize()
    process.kill()
    text = process.communicate()[0]
    return text if process.returncode == 0 else None


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
