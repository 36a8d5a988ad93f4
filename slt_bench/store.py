"""Records on disk: one JSON file a trial, published atomically, read back as a DataFrame.

``<reports>/results/<kind>/<task>/<baseline>/<key>.json`` holds what a finished trial produced (kind
``time`` has a mode in place of a task; ``speed`` has a group and an instruction set);
``<key>.failed.json`` beside it says why one failed, is never read as a result, and goes away with
success. Checkpoints and final weights live in ``<reports>/checkpoints``, outside git.
No database: this survives ``kill -9``, concurrent writers and network file systems.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slt_bench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]
#: Of records and of a trial's identity.
SCHEMA = 1
#: The parts of an identity that name the two folders of its records, by kind.
_FOLDERS = {
    "train": ("task", "baseline"),
    "time": ("mode", "baseline"),
    "speed": ("group", "instruction_set"),
}


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
        kind = identity["kind"]
        folders = (_slug(identity[part]) for part in _FOLDERS[kind])
        return self.results.joinpath(kind, *folders, name)

    def checkpoint(self, key: str) -> Path:
        return self.checkpoints / f"{key}.pt"

    def weights(self, key: str) -> Path:
        return self.checkpoints / f"{key}.safetensors"

    def make_checkpoints(self) -> None:
        """Make the folder of the checkpoints, and keep it out of git."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        ignore = self.checkpoints / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

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

    def check_writable(self) -> None:
        """Raises UsageError where no record could be written: better now than after training."""
        try:
            write_atomically(self.results / ".writable", "")
            (self.results / ".writable").unlink()
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.results}: {error.strerror}; give another --results folder"
            ) from None

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
        if not re.fullmatch("[0-9a-f]{4,}", prefix):
            raise UsageError(f"{prefix!r} is no key: give at least 4 of its hexadecimal digits")
        found: dict[str, Path] = {}
        for path in sorted(self.results.glob(f"*/*/*/{prefix}*.json")):
            # KEY.json sorts behind KEY.failed.json: a finished record stands before a failure.
            found[path.name.partition(".")[0]] = path
        if len(found) != 1:
            what = f"no record's key starts with {prefix!r} in {self.results}"
            if found:
                hits = ", ".join(key[:12] for key in sorted(found)[:4])
                what = f"{len(found)} records match {prefix!r}: {hits}"
            raise UsageError(f"{what}; tables and 'slt-bench list trials' print the keys")
        record = _read(next(iter(found.values())))
        if record is None:
            raise UsageError(f"the record of {prefix!r} is damaged: run its trial again")
        return record


def _slug(text: str) -> str:
    """As the name of a folder; names of tasks and baselines stay what they are."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")


#: What every record has, and what a finished one has beside.
_HEAD = {"schema", "key", "kind", "trial", "status"}
_BODY = {
    "train": {"metrics", "timing", "parameter_count", "curves", "facts", "provenance"},
    "time": {"timing", "parameter_count", "facts", "provenance"},
    "speed": {"timing", "facts", "provenance"},
}


def _read(path: Path) -> Record | None:
    """The record of a file, or None: there is none, or (with a warning) it is damaged."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        record, reason = None, str(error)
    else:
        reason = damage(record)
    if reason:
        warnings.warn(f"left out {path}: {reason}; delete it and run its trial again", stacklevel=2)
        return None
    found: Record = record
    return found


def damage(record: Any) -> str:
    """Why this is no record that tables could read, or nothing."""
    if not isinstance(record, dict) or _HEAD - set(record):
        return "it has no head"
    if record["schema"] != SCHEMA:
        return f"its schema is {record['schema']}, not {SCHEMA}"
    lacking = _BODY.get(str(record["kind"]), set()) - set(record)
    if record["status"] == "done" and lacking:
        return f"it lacks {', '.join(sorted(lacking))}"
    return ""


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
