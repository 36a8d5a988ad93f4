"""The baselines: one linear layer a file, found by name (``low_rank.py`` holds ``LowRank``).

A file whose name starts with an underscore is a helper, not a baseline. ``slt_bench.layers`` says
what a baseline must and may have.
"""
