"""``python -m slt_bench``: the same as ``slt-bench``."""

from slt_bench.cli import main

if __name__ == "__main__":
    main()
