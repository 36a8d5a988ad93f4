"""The latency page of a device, from records of kind ``time`` alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from slt_bench.reporting import columns
from slt_bench.reporting.columns import KEYS, NONE, ROW, Column, value_column
from slt_bench.reporting.latency_figures import latency_figures
from slt_bench.reporting.outcomes import store_outcomes
from slt_bench.reporting.pages import Page, counted, software
from slt_bench.reporting.published import Line
from slt_bench.reporting.tables import Table, frame_of
from slt_bench.store import Record, Store
from slt_bench.timing import statistics
from slt_bench.timing.cell import row_label, shape_label

#: Page name -> device.
PAGES = {"latency_cpu": "cpu", "latency_cuda": "cuda"}

#: What makes the records of one process, and those of kind ``speed``.
BENCHMARKS = (
    "python -m pytest tests/benchmarks --benchmark-only --benchmark-json=FILE; slt-bench merge FILE"
)
NOTE = (
    "Times are of one call, in fresh processes. Lowest and median: over rounds, of the medians of "
    "the processes. Ratio: to dense in the same round, geometric mean and 95 % interval. Faster or "
    f"slower: from {statistics.ROUNDS_FOR_VERDICT} rounds on, where the ratio is beyond "
    f"{statistics.MARGIN:g} and its test, by Holm over the rows, excludes 1. Over floor: the "
    "median over the time that the fewest bytes and multiply-adds of the call would take at the "
    "measured copy bandwidth and matrix-product rate. Peak memory: weights, inputs and what a call "
    "allocates. Multiply-adds: of one call, as the layer declares."
)
ONE_PROCESS_NOTE = (
    "One process: a single round, all layers in one process that nobody guards against noise; the "
    f"ratio is to dense of the same run, and there is no verdict ({BENCHMARKS})."
)
GROWTH_NOTE = (
    "The exponent k of time = c n^k, fitted to the medians of the square shapes, with the 95 % "
    "interval of the slope; beside it the exponent of the declared multiply-adds over the same "
    "sizes. Small sizes are held up by the cost of a call, so k is below its limit."
)
MEASURES = {"call": "eager call", "kernel": "kernel, cold cache"}


def latency_page(store: Store, name: str) -> Page:
    """The tables of a device: one for each mode, dtype, count of threads and processor."""
    device = PAGES[name]
    records = [
        record
        for found in (store.failures("time"), store.records("time"))
        for record in found
        if record["trial"]["device"] == device
    ]
    records.sort(key=_order)
    tables: list[Table] = []
    everything: list[Line] = []
    for _, group in groupby(records, key=_table_key):
        same = list(group)
        lines = [line for record in same for line in record_lines(record)]
        judge(lines)
        tables.append(_latency(same, lines))
        everything += lines
        if growth := growth_lines(lines):
            tables.append(_growth_table(same, growth))
    frames = [table.frame for table in tables if table.name.startswith("latency")]
    finished = [record for record in records if record["status"] == "done"]
    provenance = ["No time has been measured yet: run slt-bench time."]
    if finished:
        names = [software(record) for record in finished]
        provenance = [f"Software: {counted(names)}.", f"Written by: slt-bench report {name}"]
    return Page(
        name=name,
        title=f"Latency on {'the CPU' if device == 'cpu' else 'the GPU'}",
        text=(),
        tables=tuple(tables),
        provenance=tuple(provenance),
        summary=pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        outcomes=(),
        figures=lambda: latency_figures(everything, lambda: store_outcomes(store)),
    )


def _table_key(record: Record) -> tuple[Any, ...]:
    trial = record["trial"]
    names = ("hardware", "mode", "dtype", "threads")
    extra = (trial.get("compiled", False), trial.get("steps") or 0)
    return (*(trial[name] for name in names), *extra)


def _order(record: Record) -> tuple[Any, ...]:
    """Tables together; in one by size and batch, dense and its copy before their rivals."""
    trial = record["trial"]
    rival = 0 if trial["baseline"] == "dense" and not trial["settings"] else 1
    label = row_label(trial), trial.get("protocol", "")
    inner = (trial["shape"], trial["batch"], rival, label, record["key"])
    return (*_table_key(record), *inner)


# Lines -----------------------------------------------------------------------------------------


def record_lines(record: Record) -> list[Line]:
    """A line for each measure of a record, or one that says why there is none."""
    trial = record["trial"]
    protocol = trial.get("protocol")
    head: Line = {
        "label": row_label(trial),
        "trial": trial,
        "n_in": trial["shape"][0],
        "n_out": trial["shape"][1],
        "batch": trial["batch"],
        "keys": [record["key"]],
        "stale": [],
    }
    if record["status"] != "done":
        return [{**head, "verdict": record["status"], "message": record["error"]}]
    rounds, facts = record["timing"]["rounds"], record["facts"]
    shared = {
        "noisy": "; ".join(record["timing"]["noisy"]),
        "setup_ms": record["timing"]["setup_ms"],
        "peak_bytes": facts["peak_bytes"],
        "multiply_adds": facts["call_multiply_adds"],
        "parameter_count": record["parameter_count"],
        "match": facts["match"],
        "rounds": len(rounds),
        "protocol": protocol,
    }
    lines = []
    for name in rounds[0]["measures"]:
        medians = [r["measures"][name]["median"] for r in rounds]
        times = statistics.times(medians)
        how = rounds[0]["measures"][name].get("how", "")
        line: Line = {
            **head,
            **shared,
            "measure": _measure(name, how, protocol),
            "lowest": times.lowest,
            "median": times.median,
            "highest": times.highest,
            "over_floor": times.median / facts["floor_seconds"],
        }
        if "dense" in rounds[0]:
            found = statistics.ratio(medians, [r["dense"][name] for r in rounds])
            line |= {
                "ratio": found.mean,
                "ratio_low": found.low,
                "ratio_high": found.high,
                "p_value": found.p_value,
                "ratio_spread": found.spread,
            }
        lines.append(line)
    return lines


def _measure(name: str, how: str, protocol: str | None) -> str:
    if protocol is not None:
        return f"one process ({protocol})"
    return MEASURES[name] + (" (eager)" if "eager" in how else "")


def judge(lines: Sequence[Line]) -> None:
    """Add the verdicts, corrected over all lines of a table; another protocol has none."""
    rivals = [line for line in lines if "ratio" in line and line["protocol"] is None]
    ratios = [
        statistics.Ratio(
            line["ratio"], line["ratio_low"], line["ratio_high"], line["p_value"],
            line["ratio_spread"], line["rounds"],
        )
        for line in rivals
    ]  # fmt: skip
    for line, verdict in zip(rivals, statistics.verdicts(ratios), strict=True):
        line["verdict"] = verdict


def growth_lines(lines: Sequence[Line]) -> list[Line]:
    """How the time of each layer grows with n, where three square sizes or more were timed."""
    series: dict[tuple[str, int, str], list[Line]] = {}
    for line in lines:
        if "median" in line and line["n_in"] == line["n_out"]:
            of = (line["label"], line["batch"], line["measure"])
            series.setdefault(of, []).append(line)
    found = []
    for (label, batch, measure), points in series.items():
        sizes = [line["n_in"] for line in points]
        fit = statistics.exponent(sizes, [line["median"] for line in points])
        if fit is None or fit.low is None:
            continue
        counts = [line["multiply_adds"] for line in points]
        theory = statistics.exponent(sizes, counts) if all(counts) else None
        found.append(
            {
                "label": label,
                "batch": batch,
                "measure": measure,
                "sizes": " ".join(map(str, sizes)),
                "exponent": fit.value,
                "exponent_low": fit.low,
                "exponent_high": fit.high,
                "theory": None if theory is None else theory.value,
                "keys": [key for line in points for key in line["keys"]],
                "stale": [],
            }
        )
    return found


# Columns ---------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Three digits with a unit: ``12.3 us``."""
    if seconds is None:
        return NONE
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            break
    return f"{_digits(seconds / size)} {unit}"


def memory(count: float | None) -> str:
    if count is None:
        return NONE
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size or unit == "KiB":
            break
    return f"{_digits(count / size)} {unit}"


def _digits(value: float) -> str:
    """Three digits or more: 1.23, 12.3, 1234."""
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"


def _factor(value: float) -> str:
    """As _digits, with three digits below 1 too: 0.00776."""
    return _digits(value) if value >= 1 else f"{value:#.3g}"


def ratio_text(line: Line) -> str:
    """``0.0842 [0.0813, 0.0871]``: time over dense, with its interval."""
    if line["ratio"] is None:
        return NONE
    low, high = line["ratio_low"], line["ratio_high"]
    bounds = "" if low is None else f" [{_factor(low)}, {_factor(high)}]"
    return _factor(line["ratio"]) + bounds


def _verdict(line: Line) -> str:
    return (line["verdict"] or NONE) + (" (noisy)" if line["noisy"] else "")


def _shape(line: Line) -> str:
    return shape_label((line["n_in"], line["n_out"]))


def _range(line: Line) -> str:
    return f"{duration(line['lowest'])} to {duration(line['highest'])}"


def _batches(value: int) -> str:
    return str(value)


SHAPE = Column("shape", ("n_in", "n_out"), _shape)
BATCH = value_column("batch", "batch", _batches)
MEASURE = Column("measure", ("measure",), lambda line: line["measure"] or NONE, "left")
LATENCY = (
    value_column("lowest", "lowest", duration),
    value_column("median", "median", duration),
    value_column("highest", "highest", duration),
    Column("ratio to dense", ("ratio", "ratio_low", "ratio_high", "p_value"), ratio_text),
    Column("verdict", ("verdict", "noisy"), _verdict, "left"),
    value_column("over floor", "over_floor", lambda v: NONE if v is None else _digits(v)),
    value_column("peak memory", "peak_bytes", memory),
    value_column("multiply-adds", "multiply_adds", columns.count),
    value_column("weights", "parameter_count", columns.count),
    value_column("rounds", "rounds", columns.count),
    KEYS,
)
GROWTH = (
    BATCH,
    MEASURE,
    Column("sizes", ("sizes",), lambda line: str(line["sizes"]), "left", wide=True),
    Column(
        "exponent of time",
        ("exponent", "exponent_low", "exponent_high"),
        lambda line: columns.interval(
            line["exponent"], line["exponent_low"], line["exponent_high"], 2
        ),
    ),
    value_column("of multiply-adds", "theory", columns.number),
)


# Tables ----------------------------------------------------------------------------------------


def _latency(records: Sequence[Record], lines: Sequence[Line]) -> Table:
    names = [
        "label",
        *dict.fromkeys(f for c in (SHAPE, BATCH, MEASURE, *LATENCY) for f in c.fields),
    ]
    names += ["setup_ms", "ratio_spread", "message"]
    kinds = {line["measure"] for line in lines if "measure" in line}
    one_process = any(line.get("protocol") for line in lines)
    middle = (MEASURE,) if len(kinds) > 1 or one_process else ()
    note = f"{NOTE} {ONE_PROCESS_NOTE}" if one_process else NOTE
    notes = [
        f"{line['label']} {_shape(line)} batch {line['batch']}: {line[name]}"
        for name in ("message", "noisy")
        for line in lines
        if line.get(name)
    ]
    return Table(
        name=f"latency_{_name(records)}",
        title=_title(records),
        caption=f"{_where(_full(records) or records)} {note} To measure: {command(records)}",
        frame=frame_of(lines, names),
        columns=(ROW, SHAPE, BATCH, *middle, *LATENCY),
        notes=tuple(dict.fromkeys(notes)),
    )


def _growth_table(records: Sequence[Record], lines: Sequence[Line]) -> Table:
    kinds = {line["measure"] for line in lines}
    chosen = tuple(c for c in GROWTH if c is not MEASURE or len(kinds) > 1)
    return Table(
        name=f"growth_{_name(records)}",
        title=f"Growth with size, {_title(records)}",
        caption=f"{_where(records)} {GROWTH_NOTE}",
        frame=frame_of(lines, _fields(*GROWTH, KEYS)),
        columns=(ROW, *chosen),
    )


def _fields(*chosen: Column) -> list[str]:
    return list(dict.fromkeys(field for column in (ROW, *chosen) for field in column.fields))


def _name(records: Sequence[Record]) -> str:
    return "_".join(str(part) for part in _table_key(records[0]) if part)


def _title(records: Sequence[Record]) -> str:
    trial = records[0]["trial"]
    threads = "1 thread" if trial["threads"] == 1 else f"{trial['threads']} threads"
    steps = f"{trial['steps']} steps" if "steps" in trial else ""
    compiled = "compiled" if trial.get("compiled") else ""
    device = "" if trial["device"] == "cpu" else trial["hardware"]
    parts = (trial["mode"], steps, trial["dtype"], threads, compiled, device)
    return ", ".join(part for part in parts if part)


def _where(records: Sequence[Record]) -> str:
    """Device, clocks, versions, threads and rounds, as the records have them."""
    trial = records[0]["trial"]
    done = [record for record in records if record["status"] == "done"]
    if not done:
        return f"{trial['hardware']}. Nothing could be timed."
    facts = done[0]["provenance"]
    parts = [trial["hardware"]]
    if sets := facts["instruction_sets"]:
        parts.append(", ".join(sets))
    if trial["device"] == "cpu":
        parts.append(f"{facts['physical_cores']} physical cores")
        parts.append(f"governor {facts['governor'] or 'unknown'}")
        parts.append(f"turbo {_switch(facts['turbo'])}, SMT {_switch(facts['smt'])}")
    elif clock := facts["gpu"].get("clocks.sm"):
        parts.append(f"{clock:g} MHz")
    rounds = sorted({len(record["timing"]["rounds"]) for record in done})
    parts.append(f"torch {facts['torch']}")
    parts += _kernels(done)
    parts.append(f"threads {trial['threads']}")
    parts.append(f"rounds {', '.join(map(str, rounds))}")
    if caps := " or ".join(f"{cap:g}" for cap in sorted(set(map(_cap, _full(done))))):
        parts.append(f"samples of up to {caps} s a process")
    return f"{'; '.join(parts)}."


def _kernels(records: Sequence[Record]) -> list[str]:
    """By what the compiled kernels were built, or that there were none."""
    known = [k for r in records if isinstance(k := r["provenance"].get("kernels"), dict)]
    return list(
        dict.fromkeys(
            f"kernels for {k['instruction_set']} by {k['compiler']}"
            if k["enabled"] and k["compiler"]
            else "no kernels (SLT_BENCH_KERNELS=0, or no C compiler)"
            for k in known
        )
    )


def _switch(value: bool | None) -> str:
    return "unknown" if value is None else "on" if value else "off"


def _full(records: Sequence[Record]) -> list[Record]:
    """Those by the full protocol."""
    return [record for record in records if "protocol" not in record["trial"]]


def command(records: Sequence[Record]) -> str:
    """The command lines that measure these rows, or those by the full protocol among them.

    One for each budget that layers were sized to.
    """
    records = _full(records)
    if not records:
        return BENCHMARKS
    budgets = dict.fromkeys(_match(r) for r in records if not _is_dense(r)) or {None: None}
    return "; ".join(
        _command([r for r in records if _is_dense(r) or _match(r) == budget], budget)
        for budget in budgets
    )


def _cap(record: Record) -> float:
    """Records that do not say are of before it was chosen: 10 s."""
    return float(record["timing"].get("sampling", {"cap": 10.0})["cap"])


def _is_dense(record: Record) -> bool:
    return bool(record["trial"]["baseline"] == "dense")


def _match(record: Record) -> str | None:
    found: str | None = record.get("facts", {}).get("match")
    return found


def _command(records: Sequence[Record], budget: str | None) -> str:
    rivals = [r for r in records if not _is_dense(r)]
    records = rivals or records
    trials = [record["trial"] for record in records]
    first = trials[0]

    def listed(values: Iterable[Any]) -> str:
        return ",".join(dict.fromkeys(map(str, values)))

    names = [r.get("facts", {}).get("reference") or r["trial"]["baseline"] for r in rivals]
    words = ["slt-bench time", f"-b {listed(names) or 'dense'}"]
    words.append(f"--shapes {listed(shape_label(t['shape']) for t in trials)}")
    words.append(f"--batch {listed(t['batch'] for t in trials)} --mode {first['mode']}")
    if first["device"] != "cpu":
        words.append(f"--device {first['device']}")
    if first["dtype"] != "float32":
        words.append(f"--dtype {first['dtype']}")
    words.append(f"--threads {first['threads']}")
    if "steps" in first:
        words.append(f"--steps {first['steps']}")
    if first.get("compiled"):
        words.append("--compile")
    if budget:
        words.append(f"--match-parameters {budget}")
    done = [record for record in records if record["status"] == "done"]
    if done:
        words.append(f"--rounds {max(len(record['timing']['rounds']) for record in done)}")
        words.append(f"--cap {max(map(_cap, done)):g}s")
    if any(record["timing"]["noisy"] for record in done):
        words.append("--allow-noisy")
    return " ".join(words)
