"""Which of several ways is quickest on this machine, measured once and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from slt_bench.kernels._build import cache_folder, features
from slt_bench.kernels._clock import preparing

_REPEATS = 3
_log = logging.getLogger(__name__)
_known: dict[Path, dict[str, dict[str, float]]] = {}


def quickest(case: str, ways: Mapping[str, Callable[[], Any]]) -> tuple[str, Mapping[str, float]]:
    """The name of the way that takes the least processor time, and the seconds of each.

    With several threads it is the time that has passed. ``case`` says in words what is measured.
    What was found is kept in a file (``measured_file``): the next process takes the same way. Each
    way is run once to warm up and then three times, in turns with the others; the shortest time
    counts. Torch's generator is left as it was.
    """
    threads = torch.get_num_threads()
    case = f"{' '.join(case.split())}, {threads} threads: {', '.join(ways)}"
    seconds = measured().get(case)
    if seconds is None:
        with preparing(), torch.random.fork_rng(devices=[]):
            seconds = _measure(case, ways, time.process_time if threads == 1 else time.perf_counter)
    return min(seconds, key=seconds.__getitem__), seconds


def _measure(
    case: str, ways: Mapping[str, Callable[[], Any]], clock: Callable[[], float]
) -> dict[str, float]:
    title = shorten(case, 60, placeholder=" ...")
    _log.debug("measuring %s", title)
    seconds = dict.fromkeys(ways, float("inf"))
    for repeat in range(_REPEATS + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if repeat:
                seconds[name] = min(seconds[name], clock() - start)
    found = ", ".join(f"{name} {1000 * value:.3g} ms" for name, value in seconds.items())
    _log.info("measured %s: %s", title, found)
    _remember(case, seconds)
    return seconds


def measured_file() -> Path:
    """What was measured on a processor of this kind, as JSON: {case: {way: seconds}}."""
    digest = hashlib.sha256(f"{features()} {torch.__version__}".encode()).hexdigest()
    return cache_folder() / f"measured-{digest[:20]}.json"


def measured() -> dict[str, dict[str, float]]:
    """The content of ``measured_file``, read once."""
    path = measured_file()
    if path not in _known:
        try:
            _known[path] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            _known[path] = {}
    return _known[path]


def _remember(case: str, seconds: dict[str, float]) -> None:
    path = measured_file()
    known = measured()
    with contextlib.suppress(OSError, ValueError):  # what other processes measured meanwhile stands
        known |= json.loads(path.read_text(encoding="utf-8"))
    known[case] = seconds
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        _log.info("cannot keep what was measured: %s", error)
