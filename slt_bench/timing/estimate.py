"""How long a session takes, from its cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slt_bench.timing.cell import Cell
from slt_bench.timing.check import matrix_entries
from slt_bench.timing.sampling import Protocol

#: Seconds of a process beside its samples: starting it, building the layer, warming up, the check.
START = 0.3
#: The same for each million entries of a dense matrix that the output is checked against,
PER_ENTRIES = 0.08
#: and for each million numbers that a call reads and writes.
PER_NUMBERS = 0.1
#: The kernel time of a GPU, with its capture.
KERNEL = 1.2


@dataclass(frozen=True)
class Length:
    """Seconds of a session, about.

    ``least``: all samples agree as soon as they may; ``most``: none do before the cap.
    """

    least: float
    most: float


def expected(cells: Sequence[Cell], rounds: int, protocol: Protocol) -> Length:
    """What the facts and all rounds take. The facts take about as long as the checks of a round.

    Single calls that take longer than the cap, as of a long sequence, are not foreseen.
    """
    beside = (rounds + 1) * (sum(map(_beside, cells)) + protocol.window)
    count = rounds * len(cells)
    least = min(protocol.seconds, protocol.cap)
    return Length(beside + count * least, beside + count * protocol.cap)


def _beside(cell: Cell) -> float:
    numbers = cell.batch * (cell.steps or 1) * sum(cell.shape) / 1e6
    kernel = KERNEL if cell.device != "cpu" else 0.0
    return START + PER_ENTRIES * matrix_entries(cell) / 1e6 + PER_NUMBERS * numbers + kernel
