"""Records on disk: one JSON file a trial, published atomically, read back as a DataFrame.

``<reports>/results/<kind>/<task>/<baseline>/<key>.json`` holds what a finished trial produced;
``<key>.failed.json`` beside it says why one failed, is never read as a result, and goes away with
success. Checkpoints and final weights live in ``<reports>/checkpoints``, outside git.
No database: this survives ``kill -9``, concurrent writers and network file systems.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_bench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]


def find_reports(given: str | os.PathLike[str] | None = None) -> Path:
    """The reports folder: the argument, ``SLT_BENCH_RESULTS``, a ``reports/`` folder with suites
    or results at or above the working directory, else ``./slt-bench-reports``."""
    chosen = given or os.environ.get("SLT_BENCH_RESULTS")
    if chosen:
        return Path(chosen).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        reports = folder / "reports"
        if (reports / "suites").is_dir() or (reports / "results").is_dir():
            return reports
    return here / "slt-bench-reports"


class Store:
    """The records under one reports folder."""

    def __init__(self, reports: str | os.PathLike[str]) -> None:
        self.reports = Path(reports)
        self.results = self.reports / "results"
        self.checkpoints = self.reports / "checkpoints"
        if self.results.is_file() or self.reports.is_file():
            raise UsageError(f"{self.reports} is a file: give a folder for the results")

    def path(self, identity: Mapping[str, Any], key: str, *, failed: bool = False) -> Path:
        name = f"{key}.failed.json" if failed else f"{key}.json"
        folder = self.results.joinpath(identity["kind"], identity["task"], identity["baseline"])
        return folder / name

    def checkpoint(self, key: str) -> Path:
        return self.checkpoints / f"{key}.pt"

    def weights(self, key: str) -> Path:
        return self.checkpoints / f"{key}.safetensors"

    def publish(self, record: Record) -> Path:
        """Write a finished record, whole or not at all; a failure of the same key goes away."""
        path = self.path(record["trial"], record["key"])
        write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        self.path(record["trial"], record["key"], failed=True).unlink(missing_ok=True)
        return path

    def publish_failure(self, record: Record) -> Path:
        path = self.path(record["trial"], record["key"], failed=True)
        write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        return path

    def read(self, identity: Mapping[str, Any], key: str) -> Record | None:
        """The finished record of a trial, or None."""
        return _read(self.path(identity, key))

    def read_failure(self, identity: Mapping[str, Any], key: str) -> Record | None:
        return _read(self.path(identity, key, failed=True))

    def records(self, kind: str = "*") -> Iterator[Record]:
        """Every finished record, in a fixed order."""
        yield from self._scan(kind, failed=False)

    def failures(self, kind: str = "*") -> Iterator[Record]:
        yield from self._scan(kind, failed=True)

    def _scan(self, kind: str, *, failed: bool) -> Iterator[Record]:
        for path in sorted(self.results.glob(f"{kind}/*/*/*.json")):
            if path.name.endswith(".failed.json") == failed and (record := _read(path)):
                yield record

    def find(self, prefix: str) -> Record:
        """The one record, finished or failed, whose key starts with ``prefix``.

        Raises:
            UsageError: none, or several, do.
        """
        paths = sorted(self.results.glob(f"*/*/*/{prefix}*.json"))
        if len(paths) != 1:
            hits = ", ".join(p.name.partition(".")[0][:12] for p in paths[:4])
            what = (
                f"{len(paths)} records match {prefix!r}: {hits}"
                if paths
                else (f"no record's key starts with {prefix!r} in {self.results}")
            )
            raise UsageError(f"{what}; tables and 'slt-bench list trials' print the keys")
        record = _read(paths[0])
        assert record is not None
        return record


def _read(path: Path) -> Record | None:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"{path} is not a record ({error}): delete it and run again") from None
    return record


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file in the same folder, flush it to the disk, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_records(folder: str | os.PathLike[str] | None = None, kind: str = "train") -> pd.DataFrame:
    """Every finished record as a row; nested fields as dotted columns (``metrics.final.loss``).

    ``folder``: a reports folder (default: the one that ``slt-bench`` would use from here). Lists
    and mappings whose names are data (curves, summary, settings, options, slots) stay objects.
    """
    import pandas as pd

    store = Store(find_reports(folder))
    rows = []
    for record in store.records(kind):
        row: dict[str, Any] = {}
        _flatten(record, "", row)
        rows.append(row)
    return pd.DataFrame(rows)


_WHOLE = (
    "curves",
    "summary",
    "trial.settings",
    "trial.options",
    "trial.slots",
    "facts.slots",
    "facts.settings",
    "facts.options",
)


def _flatten(value: Any, name: str, row: dict[str, Any]) -> None:
    if isinstance(value, dict) and name not in _WHOLE:
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else key, row)
    else:
        row[name.removeprefix("trial.")] = value
