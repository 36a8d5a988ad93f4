"""Finding the files of a data set, fetching those that are missing, and verifying all of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from textwrap import shorten

from slt_bench.datasets.catalogue import DataFile, Dataset, describe

_TIMEOUT = (5.0, 20.0)  # seconds to connect, seconds without a byte


class DataUnavailable(RuntimeError):
    """A data set's files are not on this machine and could not be fetched."""


class WrongHash(DataUnavailable):
    """A file has a data set's file name, but not its bytes."""


def fetch(name: str, folder: str | os.PathLike[str] | None = None) -> None:
    """Make sure that a data set is here, and verify it: what to call once before many trials.

    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    contents_of(describe(name), folder)


def contents_of(data: Dataset, folder: str | os.PathLike[str] | None) -> list[bytes]:
    """The verified bytes of each file, in the order of ``data.files``."""
    if data.shipped:
        package = resources.files("slt_bench.data")
        return [
            _verified(data, file, (package / file.name).read_bytes(), f"package data {file.name}")
            for file in data.files
        ]
    places = _places(data, folder)
    found: dict[DataFile, Path] = {}
    for file in data.files:
        paths = [place / file.name for place in places]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found[file] = path
    missing = [file for file in data.files if file not in found]
    if missing:
        found |= _download(data, missing, places)
    return [_verified(data, file, found[file].read_bytes(), found[file]) for file in data.files]


def _places(data: Dataset, folder: str | os.PathLike[str] | None) -> list[Path]:
    roots = [Path(root).expanduser() for root in (folder, os.environ.get("SLT_BENCH_DATA")) if root]
    inside = [place for root in roots for place in (root / data.subfolder, root)]
    return [*inside, _cache() / data.subfolder]


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("slt_bench"))


def _verified(data: Dataset, file: DataFile, contents: bytes, where: object) -> bytes:
    digest = hashlib.sha256(contents).hexdigest()
    if digest == file.sha256:
        return contents
    unix = contents.replace(b"\r\n", b"\n")
    crlf = hashlib.sha256(unix).hexdigest() == file.sha256
    cause = (
        "its line ends are CRLF, they must be LF: convert it" if crlf else "replace or remove it"
    )
    raise WrongHash(
        f"data set {data.name!r}: {where} is not the expected file and is not used; {cause} "
        f"(expected {file.size:,} bytes, sha256 {file.sha256}; "
        f"found {len(contents):,} bytes, sha256 {digest})"
    )


def _download(
    data: Dataset, missing: Sequence[DataFile], places: Sequence[Path]
) -> dict[DataFile, Path]:
    """Fetch files into the cache, each from the first mirror that has the right bytes."""
    if os.environ.get("SLT_BENCH_OFFLINE", "") not in ("", "0"):
        reasons = dict.fromkeys(data.mirrors, "not tried, since SLT_BENCH_OFFLINE is set")
        raise _unavailable(data, missing, places, reasons)
    import pooch

    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
    fetched: dict[DataFile, Path] = {}
    for file in missing:
        failures: dict[str, str] = {}
        for mirror in data.mirrors:
            try:
                path = pooch.retrieve(
                    mirror + file.name,
                    known_hash=f"sha256:{file.sha256}",
                    fname=file.name,
                    path=_cache() / data.subfolder,
                    downloader=downloader,
                )
            except (OSError, ValueError) as error:  # no connection, no such file; a wrong hash
                reason = shorten(f"{type(error).__name__}: {error}", 80, placeholder=" ..")
                failures[mirror] = f"failed on {file.name} ({reason})"
            else:
                fetched[file] = Path(path)
                break
        else:
            # The other files would only wait for the same time-outs.
            left = [file for file in missing if file not in fetched]
            raise _unavailable(data, left, places, failures)
    return fetched


def _unavailable(
    data: Dataset,
    missing: Sequence[DataFile],
    places: Sequence[Path],
    reasons: Mapping[str, str],
) -> DataUnavailable:
    lines = [
        f"data set {data.name!r} is not on this machine and was not downloaded: {len(missing)} of "
        f"its {len(data.files)} files are missing; put them into DIR/{data.subfolder}/ and set "
        "SLT_BENCH_DATA=DIR",
        "missing:",
        *(f"  {file.name}  {file.size:,} bytes  sha256 {file.sha256}" for file in missing),
        "looked in:",
        *(f"  {place}{'' if place.is_dir() else '  (no such folder)'}" for place in places),
        "mirrors (add the file's name):",
        *(f"  {mirror}  {reason}" for mirror, reason in reasons.items()),
    ]
    return DataUnavailable("\n".join(lines))
