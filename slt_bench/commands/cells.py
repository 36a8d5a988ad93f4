"""Which cells a command line asks to be timed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from slt_bench import matching, registry
from slt_bench.commands.values import check_device
from slt_bench.errors import UsageError, unknown
from slt_bench.layers import Unsupported
from slt_bench.timing.cell import MODES, Cell, Mode, shape_label, slot_maps
from slt_bench.timing.hardware import hardware_name, physical_cores
from slt_bench.trial import DTYPES

#: The default grid has at most so many cells: ten rounds of them end within half an hour, even
#: where every process goes on up to its cap.
MOST_CELLS = 45
_BATCH = 64
_STEPS = 150
#: Grids from large to small; the first that has at most MOST_CELLS cells is the default.
_GRIDS: tuple[tuple[tuple[int, ...], tuple[Mode, ...]], ...] = (
    ((256, 1024, 4096, 8192, 65536), ("forward",)),
    ((256, 2048, 8192, 65536), ("forward",)),
    ((256, 4096, 65536), ("forward",)),
)


@dataclass(frozen=True)
class TimeRequest:
    """The cells that a command line asks for; empty lists stand for the defaults."""

    baselines: Sequence[str] = ()
    shapes: Sequence[str] = ()
    batches: Sequence[str] = ()
    modes: Sequence[str] = ()
    devices: Sequence[str] = ()
    dtypes: Sequence[str] = ()
    threads: Sequence[str] = ()
    steps: int = _STEPS
    match: str | None = None
    compiled: bool = False


def expand(request: TimeRequest) -> tuple[list[Cell], list[str]]:
    """The cells of a request, dense and its copy in every group; notes on what was solved for.

    Raises:
        UsageError: a name or a value that does not exist.
    """
    names = _baselines(request)
    shapes, modes = _grid(request, len(names) + 2)
    batches = [_whole("--batch", word) for word in request.batches] or [_BATCH]
    threads = dict.fromkeys(_threads(word) for word in request.threads or ["1"])
    devices = {name: hardware_name(check_device(name)) for name in request.devices or ["cpu"]}
    dtypes = list(request.dtypes) or ["float32"]
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
    target = None if request.match is None else matching.parse_target(request.match)
    cells: dict[str, Cell] = {}
    notes: list[str] = []
    sized: dict[tuple[Mode, tuple[int, int]], list[tuple[str, dict[str, Any], bool]]] = {}
    for mode, shape in product(modes, shapes):
        rows: list[tuple[str, dict[str, Any], bool]] = [("dense", {}, False), ("dense", {}, True)]
        for name in names:
            settings, note = _settings(name, shape, mode, target)
            rows.append((name, settings, False))
            notes += [note] if note else []
        sized[mode, shape] = rows
    for (mode, shape), batch, device, count, dtype in product(
        sized, batches, devices, threads, dtypes
    ):
        for name, settings, copy in sized[mode, shape]:
            entry = registry.resolve("baselines", name)
            cell = Cell(
                baseline=entry.name,
                settings=settings,
                shape=shape,
                batch=batch,
                mode=mode,
                device=device,
                hardware=devices[device],
                threads=count,
                dtype=dtype,
                steps=request.steps if mode == "sequence" else None,
                compiled=request.compiled,
                copy=copy,
                baseline_source="" if entry.builtin else entry.source,
            )
            cells.setdefault(cell.key, cell)
    return list(cells.values()), notes


def _baselines(request: TimeRequest) -> list[str]:
    """Without dense, which is always there."""
    names = list(request.baselines) or registry.without_controls()
    for name in names:
        registry.load_baseline(name)
    return [name for name in dict.fromkeys(names) if name != "dense"]


def _grid(request: TimeRequest, rows: int) -> tuple[list[tuple[int, int]], list[Mode]]:
    for mode in request.modes:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
    asked: list[Mode] = [mode for mode in MODES if mode in request.modes]
    fitting = (g for g in _GRIDS if rows * len(g[0]) * len(asked or g[1]) <= MOST_CELLS)
    sizes, modes = next(fitting, _GRIDS[-1])
    shapes = [_shape(word) for word in request.shapes] or [(n, n) for n in sizes]
    return list(dict.fromkeys(shapes)), asked or list(modes)


def _shape(word: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", word)
    if not found:
        raise UsageError(f"--shapes {word!r}: give a size (1024) or IN x OUT features (1024x4096)")
    return int(found[1]), int(found[2] or found[1])


def _whole(option: str, word: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", word):
        raise UsageError(f"{option} {word!r}: give whole numbers from 1, e.g. 1,64")
    return int(word)


def _threads(word: str) -> int:
    if word == "all":
        return physical_cores()
    count = _whole("--threads", word)
    if count > physical_cores():
        raise UsageError(f"--threads {word}: this machine has {physical_cores()} physical cores")
    return count


def _settings(
    name: str, shape: tuple[int, int], mode: Mode, target: int | float | None
) -> tuple[dict[str, Any], str | None]:
    """What the size solver picked, and a line that says so."""
    if target is None:
        return {}, None
    where = f"match: {name} {shape_label(shape)} {mode}"
    try:
        with torch.device("meta"):  # only sizes count
            match = matching.match_parameters(
                registry.load_baseline(name), slot_maps(shape, mode), target
            )
    except Unsupported as error:
        return {}, f"{where}: kept as it is: {error}"
    picked = "no size setting" if match.setting is None else f"{match.setting}={match.value}"
    settings = registry.changed_settings(registry.load_baseline(name), match.settings)
    note = f"{picked}, {match.count:,} weights for {match.target:,} ({match.deviation:+.1%})"
    return settings, f"{where}: {note}"
