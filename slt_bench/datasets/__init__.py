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

from slt_bench.datasets.catalogue import DATASETS, DataFile, Dataset, describe, names
from slt_bench.datasets.finding import DataUnavailable, WrongHash, fetch
from slt_bench.datasets.reading import ImageData, TextData, load_images, load_text

__all__ = [
    "DATASETS",
    "DataFile",
    "DataUnavailable",
    "Dataset",
    "ImageData",
    "TextData",
    "WrongHash",
    "describe",
    "fetch",
    "load_images",
    "load_text",
    "names",
]
