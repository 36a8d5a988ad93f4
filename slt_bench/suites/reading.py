"""Reading a suite's file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slt_bench import registry
from slt_bench.errors import UsageError, unknown
from slt_bench.suites import fields
from slt_bench.suites.rows import Row
from slt_bench.suites.suite import Suite


def suite_names() -> list[str]:
    """The suites of ``reports/suites/``."""
    return sorted(path.stem for path in registry.folder("reports/suites").glob("*.toml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """A suite by its name, or by the path of a file that ends in ``.toml``.

    Raises:
        UsageError: no such suite, or a field of the file is wrong; names the file and the field.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml":
        if str(name_or_path) not in suite_names():
            raise unknown("suite", str(name_or_path), suite_names())
        path = registry.folder("reports/suites") / f"{name_or_path}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the suite {path}: {error.strerror}") from None
    except ValueError as error:  # TOML or UTF-8
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    return _suite(table, path)


def _suite(table: dict[str, Any], path: Path) -> Suite:
    fields.check(table, fields.SUITE, ("title", "budget", "seeds", "floor", "row"), str(path))
    rows = tuple(_row(row, table, path) for row in table["row"])
    ids = [row.id for row in rows]
    if repeated := next((i for i in ids if ids.count(i) > 1), None):
        raise UsageError(f"{path}: two rows have the id {repeated!r}: rename one")
    seeds = table["seeds"]
    return Suite(
        name=path.stem,
        title=table["title"],
        source=table.get("source", ""),
        note=_one_line(table.get("note", "")),
        budget=table["budget"],
        seeds=tuple(range(seeds) if isinstance(seeds, int) else seeds),
        floor=table["floor"],
        margins=table.get("margins", {}),
        classes=table.get("classes", {}),
        rows=rows,
    )


def _row(table: dict[str, Any], suite: Mapping[str, Any], path: Path) -> Row:
    where = f"{path}: row {table.get('id', '?')!r}"
    fields.check(table, fields.ROW, ("id", "label", "baselines"), where)
    tasks = table.get("tasks", suite.get("tasks"))
    if tasks is None:
        raise UsageError(f"{where}: field 'tasks' is missing, here and at the head of the file")
    slots = table.get("slots")
    reason = table.get("not_comparable")
    return Row(
        id=table["id"],
        label=table["label"],
        tasks=tuple(tasks),
        baselines=tuple(table["baselines"]),
        floor=suite["floor"],
        slots=None if slots is None else tuple(slots),
        settings=dict(table.get("settings", {})),
        options=dict(table.get("options", {})),
        published_options=dict(table.get("published_options", {})),
        published=table.get("published", {}),
        known=_one_line(table.get("known", "")),
        not_comparable=None if reason is None else _one_line(reason),
        where=where,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
