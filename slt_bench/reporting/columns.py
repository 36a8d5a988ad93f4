"""The columns of tables: how the numbers of a summary's lines are printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from slt_bench.reporting.published import Line, duration

KEY_LENGTH = 8  # characters of a key that are printed: `slt-bench show` finds the record by them
NONE = "—"


@dataclass(frozen=True)
class Column:
    """A column as it is printed: ``text(line)``, made from ``fields`` of a summary's line.

    ``wide``: its texts may be long, and are broken into lines where a page is narrow.
    """

    header: str
    fields: tuple[str, ...]
    text: Callable[[Line], str]
    align: Literal["left", "right"] = "right"
    wide: bool = False


def number(value: Any, digits: int = 2, sign: str = "") -> str:
    return NONE if value is None else f"{value:{sign},.{digits}f}"


def count(value: Any) -> str:
    return NONE if value is None else f"{value:,}"


def loss(value: Any) -> str:
    return NONE if value is None else f"{value:.3g}"


def percent(value: Any) -> str:
    return NONE if value is None else f"{value:.1f} %"


def interval(value: Any, low: Any, high: Any, digits: int, sign: str = "") -> str:
    if value is None:
        return NONE
    bounds = "" if low is None else f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
    return f"{value:{sign}.{digits}f}{bounds}"


def digits(line: Line) -> int:
    """Decimals of the metric: two of a percentage, else three."""
    return 2 if line["unit"] in ("%", None) else 3


def metric_name(name: str | None, unit: str | None) -> str:
    """``accuracy (%)`` or ``bits per character``; empty where no record names a metric."""
    words = (name or "").replace("_", " ")
    return f"{words} ({unit})" if unit and unit not in words else words


def task_metric(line: Line) -> str:
    """``mnist: error (%)``."""
    return ": ".join(filter(None, (line["task"], metric_name(line["metric"], line["unit"]))))


def compared_by(line: Line) -> str:
    kind = "final" if line["settled_iqm"] is None else "settled"
    return f"{kind} {metric_name(line['metric'], line['unit'])}" if line["metric"] else NONE


def mean_sd(line: Line) -> str:
    """``0.82 ± 0.04``; how the trials ended where none finished."""
    if line["mean"] is None:
        return str(line["unfinished"])
    sd = "" if line["sd"] is None else f" ± {line['sd']:.{digits(line)}f}"
    return number(line["mean"], digits(line)) + sd


def seeds_done(line: Line) -> str:
    """``3``; ``2/3, 1 diverged`` where seeds have no value."""
    if line["n"] == line["asked"]:
        return str(line["n"])
    return f"{line['n']}/{line['asked']}" + (f", {line['unfinished']}" if line["n"] else "")


def solved(line: Line) -> str:
    return NONE if line["solved"] is None else f"{line['solved']}/{line['n']}"


def keys(line: Line) -> str:
    short = (key[:KEY_LENGTH] + "*" * (key in line["stale"]) for key in line["keys"])
    return " ".join(short) or NONE


def recovered(line: Line) -> str:
    """The ratio with its interval, or the reason in words why there is none."""
    value, reason = line["recovered"], line["recovered_reason"]
    text = interval(value, line["recovered_low"], line["recovered_high"], 2)
    return text if not reason else reason if value is None else f"{text} ({reason})"


def published_number(value: float | None) -> str:
    """With the digits that were printed."""
    return NONE if value is None else f"{value:g}" if abs(value) < 1e-2 else str(value)


def published_difference(line: Line) -> str:
    """None where the published number measures something else; the CSV has it all the same."""
    comparable = line["standing"] != "not comparable"
    return number(line["published_difference"] if comparable else None, digits(line), "+")


def published_weights(line: Line) -> str:
    """``36K (36,030)``: as printed, and the exact count of the network that was run."""
    printed, exact = line["printed_parameters"], line["published_parameter_count"]
    if printed is None or exact is None:
        return printed or count(exact)
    return f"{printed} ({exact:,})"


def text_column(header: str, name: str, *, wide: bool = False) -> Column:
    """A field that is text, or nothing."""
    return Column(header, (name,), lambda line: str(line[name] or NONE), "left", wide)


def value_column(header: str, name: str, text: Callable[[Any], str]) -> Column:
    """One field as ``text`` prints it."""
    return Column(header, (name,), lambda line: text(line[name]))


def interval_column(header: str, name: str, digits: int = 2) -> Column:
    """``1.50 [1.40, 1.61]`` of the fields name, name_low and name_high."""
    fields = (name, f"{name}_low", f"{name}_high")

    def text(line: Line) -> str:
        value, low, high = (line[field] for field in fields)
        return interval(value, low, high, digits)

    return Column(header, fields, text)


def _metric(header: str, *fields: str, sign: str = "") -> Column:
    """A value in the metric's unit, and its interval where two more fields are given."""

    def text(line: Line) -> str:
        value, low, high = (line[name] for name in (*fields, *fields, *fields)[:3])
        if len(fields) == 1:
            return number(value, digits(line), sign)
        return interval(value, low, high, digits(line), sign)

    return Column(header, fields, text)


def _seed_values(line: Line, values: list[float | str]) -> str:
    """``0.72, diverged, 0.81``; ``0.72; 4 not run`` where several at the end are missing alike."""
    texts = [v if isinstance(v, str) else number(v, digits(line)) for v in values]
    missing = line["asked"] - line["n"]
    end = set(values[-missing:])
    if missing < 2 or len(end) > 1 or not isinstance(values[-1], str):
        return ", ".join(texts)
    return f"{', '.join(texts[:-missing])}; {missing} {texts[-1]}"


def _by_seed(header: str, name: str) -> Column:
    def text(line: Line) -> str:
        if not line["n"]:
            return NONE
        return _seed_values(line, list(line[name].values()))

    return Column(header, (name,), text, "left", wide=True)


ROW = text_column("row", "label")
BASELINE = text_column("baseline", "baseline")
#: What a row is, beside its label.
IDENTITY = (
    text_column("task", "task"),
    BASELINE,
    text_column("slots", "slots"),
    text_column("settings", "settings", wide=True),
    text_column("data set", "dataset"),
    text_column("budget", "budget"),
)
KEYS = Column("keys", ("keys", "stale"), keys, "left")
N = Column("n", ("n", "asked", "unfinished"), seeds_done)
LOSS = value_column("loss", "loss_mean", loss)
MEAN_SD = Column("mean ± sd", ("mean", "sd", "unfinished"), mean_sd)

ACCURACY = (MEAN_SD, _by_seed("by seed", "by_seed"), LOSS, N)
#: The same for tasks that a trial either solves or does not.
BIMODAL_ACCURACY = (
    Column("solved", ("solved", "n"), solved),
    _metric("settled (IQM)", "settled_iqm"),
    _by_seed("settled by seed", "settled_by_seed"),
    Column("final mean ± sd", ("mean", "sd", "unfinished"), mean_sd),
    LOSS,
    N,
)
COMPARED_BY = Column("by", ("metric", "unit"), compared_by, "left")
AGAINST_DENSE = (
    _metric("better than dense by", "difference", "difference_low", "difference_high", sign="+"),
)
AGAINST_FLOOR = (
    _metric("gap dense - floor", "gap", "gap_low", "gap_high", sign="+"),
    Column(
        "recovered",
        ("recovered", "recovered_low", "recovered_high", "recovered_reason", "recovered_method"),
        recovered,
    ),
)
PUBLISHED = (
    value_column("published", "published", published_number),
    MEAN_SD,
    N,
    Column("difference", ("published_difference", "standing"), published_difference),
    text_column("verdict", "verdict"),
    text_column("why", "cause", wide=True),
    value_column("published loss", "published_loss", published_number),
    LOSS,
    Column(
        "published weights",
        ("printed_parameters", "published_parameter_count"),
        published_weights,
    ),
    value_column("weights", "parameter_count", count),
)
PARAMETERS = (
    value_column("weights", "parameter_count", count),
    value_column("saved", "reduction", percent),
    value_column("slot weights", "slot_parameter_count", count),
    value_column("dense slots", "dense_slot_parameter_count", count),
    value_column("saved in slots", "slot_reduction", percent),
    value_column("multiply-adds", "multiply_adds", count),
    value_column("dense multiply-adds", "dense_multiply_adds", count),
)
STRATEGY = text_column("strategy", "strategy")
MACHINE = text_column("machine", "machine", wide=True)
LATENCY = (
    value_column("step (ms)", "step_ms", number),
    Column(
        "10 to 90 % (ms)",
        ("step_ms_p10", "step_ms_p90"),
        lambda line: f"{number(line['step_ms_p10'])} to {number(line['step_ms_p90'])}",
    ),
    value_column("times dense", "step_ratio", number),
    value_column("training", "training_seconds", lambda s: NONE if s is None else duration(s)),
    STRATEGY,
    MACHINE,
)
#: What moves into the caption where all rows have it in common.
COMMON = (*IDENTITY, STRATEGY, MACHINE)
