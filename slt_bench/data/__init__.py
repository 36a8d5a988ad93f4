"""The data sets that may be shipped, as package data; read them through ``slt_bench.datasets``.

``mnist-5k.npz``
    The first 500 images of each class of the MNIST training set, in MNIST's order. The first 400
    of each class are for training (4,000), the last 100 for testing (1,000). Both parts cycle
    through the classes 0, 1, .., 9, 0, 1, .., so that no class stands in a block.
``kjv.txt.xz``
    The King James Bible, one verse a line: 4,137,449 ASCII characters, 63 symbols.

``NOTICE.md`` states origin, licence and conversion of each, and of the data sets not shipped here.
"""
