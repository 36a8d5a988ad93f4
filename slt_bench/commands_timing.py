"""What the verbs ``time`` and ``compare`` do: they take plain values, return plain documents."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, get_args

import torch

from slt_bench import matching, registry
from slt_bench.commands import Document, check_device
from slt_bench.errors import UsageError, unknown
from slt_bench.layers import Unsupported
from slt_bench.reporting import latency
from slt_bench.reporting.rendering import write_report
from slt_bench.running import Busy
from slt_bench.store import Record, Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import MODES, Cell, Mode, row_label, shape_label
from slt_bench.timing.hardware import hardware_name, physical_cores
from slt_bench.timing.noise import Noisy
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.session import DETERMINED, Plan, Row, measure
from slt_bench.trial import DTYPES

#: The default grid has at most so many cells: it ends within half an hour.
MOST_CELLS = 60
CHANGES = get_args(statistics.ChangeName)
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
    names = list(request.baselines) or [
        name
        for name in registry.entries("baselines")
        if not registry.is_control(registry.load_baseline(name))
    ]
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
    n, m = shape
    maps = [(n, m, True)] if mode != "sequence" else [(n, m, False)] * 3
    where = f"match: {name} {shape_label(shape)} {mode}"
    try:
        with torch.device("meta"):  # only sizes count
            match = matching.match_parameters(registry.load_baseline(name), maps, target)
    except Unsupported as error:
        return {}, f"{where}: kept as it is: {error}"
    picked = "no size setting" if match.setting is None else f"{match.setting}={match.value}"
    defaults = registry.settings_of(registry.load_baseline(name))
    settings = {k: v for k, v in match.settings.items() if v != defaults.get(k)}
    note = f"{picked}, {match.count:,} weights for {match.target:,} ({match.deviation:+.1%})"
    return settings, f"{where}: {note}"


# Measuring -------------------------------------------------------------------------------------


def describe(cells: Sequence[Cell]) -> Document:
    """What ``--dry-run`` says: the cells, in the order of the tables."""
    rows = [{"key": c.key, "label": c.label, **c.identity, "status": "planned"} for c in cells]
    return {"rows": rows, "files": [], "refused": None, "exit_code": 0}


def time_cells(
    cells: Sequence[Cell],
    store: Store,
    *,
    rounds: int = 10,
    patience: float | None = None,
    allow_noisy: bool = False,
    match: str | None = None,
    protocol: Protocol | None = None,
) -> Document:
    """Measure, publish, write the latency pages, and say how every cell stands.

    Exit codes: 0; 1 a cell failed for a reason that may go away; 3 nothing, or not all, may be
    published.
    """
    plan = Plan(rounds, patience or 0.0, allow_noisy, protocol or Protocol())
    try:
        rows = measure(cells, store, plan, _say, match=match)
    except (Noisy, Busy) as error:
        hint = "try again on a quiet machine"
        if isinstance(error, Noisy):
            hint += ", wait longer (--wait 10m)"
        return {"rows": [], "files": [], "refused": f"refused: {error}; {hint}", "exit_code": 3}
    files = []
    for name, device in latency.PAGES.items():
        if any(row.published and row.cell.device == device for row in rows):
            files += write_report(latency.latency_page(store, name), store.reports)
    statuses = {row.record["status"] for row in rows}
    noisy = [row for row in rows if row.noisy and not row.published]
    code = 1 if statuses - {"done", *DETERMINED} else 0
    refused = None
    if noisy:
        code = 3
        refused = (
            f"refused: {len(noisy)} of {len(rows)} rows are noisy and were not published; "
            "--allow-noisy publishes them with their mark"
        )
    return {
        "rows": [_standing(row) for row in rows],
        "files": [str(file) for file in files],
        "refused": refused,
        "exit_code": code,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _standing(row: Row) -> dict[str, Any]:
    record = row.record
    found = {
        "key": row.cell.key,
        "label": row.cell.label,
        **row.cell.group,
        "baseline": row.cell.baseline,
        "settings": dict(row.cell.settings),
        "status": record["status"],
        "published": row.published,
        "noisy": list(row.noisy),
        "message": record.get("error", ""),
    }
    if record["status"] == "done":
        rounds = record["timing"]["rounds"]
        medians = [r["measures"]["call"]["median"] for r in rounds]
        found |= asdict(statistics.times(medians))
        if "dense" in rounds[0]:
            found["ratio"] = statistics.ratio(medians, [r["dense"]["call"] for r in rounds]).mean
    return found


def time_lines(document: Document) -> Iterator[str]:
    """A document of :func:`time_cells` for people."""
    for row in document["rows"]:
        start = f"{row['key'][:8]}  {row['label']}"
        if row["status"] == "planned":
            yield start
            continue
        if row["status"] != "done":
            yield f"{start}: {row['status']}: {row['message']}"
            continue
        ratio = f", {row['ratio']:.3g} times dense" if "ratio" in row else ""
        mark = f"  noisy: {'; '.join(row['noisy'])}" if row["noisy"] else ""
        yield f"{start}: {latency.duration(row['median'])}{ratio}{mark}"
    for file in document["files"]:
        yield f"written: {file}"
    if document["refused"]:
        yield document["refused"]


# Comparing -------------------------------------------------------------------------------------


def compare(before: Store, after: Store, *, fail_if: Sequence[str] = ()) -> Document:
    """Every cell that two stores share, by its ratios to dense: better, worse, same, ambiguous.

    Exit code 1 where a row has one of the changes ``fail_if``.

    Raises:
        UsageError: the stores have no timed cell in common, or there is no such change.
    """
    for name in fail_if:
        if name not in CHANGES:
            raise unknown("change", name, CHANGES)
    old, new = _ratios(before), _ratios(after)
    shared = [key for key in old if key in new]
    if not shared:
        raise UsageError(
            f"no timed cell is in both {before.reports} and {after.reports}: run the same "
            "'slt-bench time' with --results for each"
        )
    found = statistics.changes([(old[key][1], new[key][1]) for key in shared])
    rows = []
    for key, change in zip(shared, found, strict=True):
        record, measure_name = old[key][0], key[1]
        trial = record["trial"]
        label = f"{row_label(trial)} {shape_label(trial['shape'])} batch {trial['batch']}"
        rows.append(
            {
                "key": key[0],
                "label": f"{label} {trial['mode']}",
                "measure": measure_name,
                "change": change.name,
                **{k: v for k, v in asdict(change).items() if k != "name"},
            }
        )
    alone = len(old.keys() ^ new.keys())
    code = int(any(row["change"] in fail_if for row in rows))
    return {"rows": rows, "alone": alone, "exit_code": code}


def _ratios(store: Store) -> dict[tuple[str, str], tuple[Record, list[float]]]:
    """{(key, measure): (record, ratio to dense of each round)}."""
    found = {}
    for record in store.records("time"):
        rounds = record["timing"]["rounds"]
        if "dense" in rounds[0]:
            for name in rounds[0]["measures"]:
                ratios = [r["measures"][name]["median"] / r["dense"][name] for r in rounds]
                found[record["key"], name] = (record, ratios)
    return found


def compare_lines(document: Document) -> Iterator[str]:
    for row in document["rows"]:
        bounds = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        kind = "" if row["measure"] == "call" else f" ({row['measure']})"
        yield f"{row['change']:<9}  {row['ratio']:.3f}{bounds}  {row['label']}{kind}"
    names = [row["change"] for row in document["rows"]]
    total = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    only = f"; {document['alone']} in one of the stores alone" if document["alone"] else ""
    yield f"{len(names)} rows: {total}{only}"
