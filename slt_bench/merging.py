"""Records from elsewhere, taken into a store: from a folder, an archive or pytest-benchmark.

Nothing finished is lost: a record stays unless its replacement is asked for, and a failure never
takes the place of a finished one. A source is not trusted: where a record goes follows from its
identity alone, and its key must be the digest of that identity.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from slt_bench.errors import UsageError
from slt_bench.store import Record, Store, damage
from slt_bench.trial import Trial, key_of

#: Bytes of the largest file that is read; records have a few hundred thousand at most.
LARGEST = 2**26

What = Literal["added", "replaced", "already there", "kept", "refused"]

_RECORD_NAME = re.compile(r"(.*/)?[0-9a-f]{64}(\.failed)?\.json")
_PLAIN_NAME = re.compile(r"\w[\w.+-]*")
#: What a damaged, encrypted or unknown archive makes the readers raise.
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, LZMAError),
    *(zipfile.BadZipFile, tarfile.TarError),
)


@dataclass(frozen=True)
class Found:
    """What a source holds at one place: a record, or None and the problem with it."""

    where: str
    record: Record | None
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a record: ``label`` is its kind, task or mode, and baseline."""

    what: What
    where: str
    key: str = ""
    label: str = ""
    message: str = ""


class _Unusable(ValueError):
    """The reason why something is no record, in words."""


# Reading ---------------------------------------------------------------------------------------


def records_in(source: Path) -> Iterator[Found]:
    """Every record of a folder (searched through), a zip or tar archive, or a JSON file.

    A file of pytest-benchmark has a record at ``benchmarks[*].extra_info.record``. Other JSON
    files are passed over, unless they are named like a record.
    """
    try:
        for where, open_file in _files(source):
            yield from _records(where, open_file)
    except _UNREADABLE as error:
        yield Found(source.name, None, f"it cannot be read further: {error}")


#: The name of a JSON file in a source, and what opens it.
File = tuple[str, Callable[[], IO[bytes] | None]]


def _files(source: Path) -> Iterator[File]:
    if source.is_dir():
        for path in sorted(source.rglob("*.json")):
            if path.is_file():
                yield str(path.relative_to(source)), partial(_open, path)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".json"):
                    yield entry.filename, partial(archive.open, entry)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as tape:
            for member in tape:
                if member.isreg() and member.name.endswith(".json"):
                    yield member.name, partial(tape.extractfile, member)
    else:
        yield source.name, partial(_open, source)


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _records(where: str, open_file: Callable[[], IO[bytes] | None]) -> Iterator[Found]:
    try:
        document = _parsed(open_file)
    except _Unusable as error:
        yield Found(where, None, str(error))
        return
    match document:
        case {"benchmarks": [*benchmarks]}:
            for number, benchmark in enumerate(benchmarks):
                match benchmark:
                    case {"extra_info": {"record": record}}:
                        yield _checked(f"{where} benchmarks[{number}]", record)
        case {"key": _, "trial": _}:
            yield _checked(where, document)
        case _ if _RECORD_NAME.fullmatch(where):
            yield Found(where, None, "it is no record")


def _parsed(open_file: Callable[[], IO[bytes] | None]) -> Any:
    try:
        file = open_file()
        assert file is not None  # a tar archive has none for what is no file
        with file:
            content = file.read(LARGEST + 1)
    except _UNREADABLE as error:
        raise _Unusable(f"it cannot be read: {error}") from None
    if len(content) > LARGEST:
        raise _Unusable(f"it has more than {LARGEST:,} bytes")
    try:
        return json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"it is damaged: {error}") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _checked(where: str, record: Any) -> Found:
    try:
        _check(record)
    except _Unusable as error:
        return Found(where, None, str(error))
    return Found(where, record)


def _check(record: Any) -> None:
    """Raises _Unusable where a record is not whole, or its key is not that of its identity."""
    if reason := damage(record):
        raise _Unusable(reason)
    identity = record["trial"]
    if not isinstance(identity, dict) or identity.get("kind") != record["kind"]:
        raise _Unusable("its identity is of another kind")
    try:
        digest = key_of(identity)
        if record["kind"] == "train":
            Trial.from_identity(identity)
    except (KeyError, TypeError):
        raise _Unusable("its identity is not one of this version") from None
    if record["key"] != digest:
        raise _Unusable("its key is not the digest of its identity")
    if record["status"] != "done" and not isinstance(record.get("error"), str):
        raise _Unusable("it is a failure that does not say why")


# Merging ---------------------------------------------------------------------------------------


def merge(store: Store, sources: Sequence[Path], *, replace: bool = False) -> Iterator[Outcome]:
    """Take the records of all sources into the store, and say of each what became of it.

    ``replace``: a different record under the same key takes the place of ours; a failure only
    that of a failure.

    Raises:
        UsageError: there is no such source, or the store cannot be written to.
    """
    for source in sources:
        if not source.exists():
            raise UsageError(f"there is no {source}: give a folder, an archive or a JSON file")
    store.check_writable()
    for source in sources:
        for found in records_in(source):
            where = f"{source}: {found.where}"
            if found.record is None:
                yield Outcome("refused", where, message=found.problem)
                continue
            try:
                label = " ".join(_place(store, found.record))
            except _Unusable as error:
                yield Outcome("refused", where, message=str(error))
                continue
            what, message = _take(store, found.record, replace)
            yield Outcome(what, where, found.record["key"], label, message)


def _place(store: Store, record: Record) -> tuple[str, ...]:
    """Kind, task or mode, and baseline: the folders that a record stands in."""
    try:
        path = store.path(record["trial"], record["key"])
        folders = path.parent.relative_to(store.results).parts
    except (KeyError, TypeError, ValueError):
        folders = ()
    if len(folders) != 3 or not all(map(_PLAIN_NAME.fullmatch, folders)):
        raise _Unusable("its identity names no kind, task and baseline")
    return folders


def _take(store: Store, theirs: Record, replace: bool) -> tuple[What, str]:
    identity, key = theirs["trial"], theirs["key"]
    finished = theirs["status"] == "done"
    ours = store.read(identity, key)
    if ours is not None and not finished:
        return "kept", "it is finished here, and a failure there"
    if not finished:
        ours = store.read_failure(identity, key)
    if theirs == ours:
        return "already there", ""
    if ours is not None and not replace:
        return "kept", "another record of the same key is here: --replace takes theirs"
    (store.publish if finished else store.publish_failure)(theirs)
    return "added" if ours is None else "replaced", ""
