"""The floor: what a perfect implementation would still cost on this machine.

The fewest bytes that must move (each input read once, each output written once) over the measured
copy bandwidth, and the fewest multiply-adds over the measured matrix-product rate, whichever takes
longer. Structured layers rarely come near it: the table shows how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import log
from typing import Any, Self

import torch
from torch import Tensor

from slt_bench.layers import multiply_adds
from slt_bench.recurrent import GRU
from slt_bench.timing.cell import Cell
from slt_bench.timing.functions import Measured
from slt_bench.timing.sampling import Protocol, sample, warm_up

#: Bytes moved (read and written) by the copies that are measured: from the first cache to memory.
COPY_BYTES = (2**15, 2**18, 2**21, 2**24, 2**27)
#: Side of the square matrix product that is measured.
PRODUCT_SIZE = 1024


@dataclass(frozen=True)
class Rates:
    """``copies``: {bytes moved: bytes a second}; ``products``: multiply-adds a second."""

    copies: dict[int, float]
    products: float

    @property
    def document(self) -> dict[str, Any]:
        """JSON-able."""
        copies = {str(size): rate for size, rate in self.copies.items()}
        return {"copies": copies, "products": self.products}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        copies = {int(size): rate for size, rate in document["copies"].items()}
        return cls(copies, document["products"])

    def floor(self, work: Work) -> float:
        """Seconds; the bandwidth is that of the measured copy nearest in size, caches included."""
        nearest = min(self.copies, key=lambda size: abs(log(size) - log(max(1, work.moved_bytes))))
        moving = work.moved_bytes / self.copies[nearest]
        return max(moving, (work.multiply_adds or 0) / self.products)


@dataclass(frozen=True)
class Work:
    """The fewest bytes and multiply-adds of one call; None where the layer does not say."""

    moved_bytes: int
    multiply_adds: int | None


def measure_rates(device: str, threads: int, dtype: str, protocol: Protocol) -> Rates:
    """The copy bandwidth and the matrix-product rate of a device."""
    kind: torch.dtype = getattr(torch, dtype)
    copies = {}
    for size in COPY_BYTES:
        source = torch.randn(size // (2 * kind.itemsize), device=device).to(kind)
        target = torch.empty_like(source)
        copies[size] = size / _seconds(lambda t=target, s=source: t.copy_(s), threads, protocol)
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device).to(kind) for _ in range(2))
    out = torch.empty_like(a)
    product = _seconds(lambda: torch.mm(a, b, out=out), threads, protocol)
    return Rates(copies, PRODUCT_SIZE**3 / product)


def _seconds(call: Any, threads: int, protocol: Protocol) -> float:
    with torch.inference_mode():
        warm_up(call, protocol)
        return sample(call, threads, protocol).median


def work(cell: Cell, measured: Measured) -> Work:
    """The fewest bytes and multiply-adds of a call.

    Forward: input and weights read, output written. Training: the same with the gradient of the
    output read and those of input and weights written, and three products in place of one.
    Sequence: input read, weights and the optimiser's state read and written; the products of every
    step, three times.
    """
    layer = measured.layer
    weights = sum(map(_bytes, chain(layer.parameters(), layer.buffers())))
    if cell.mode == "sequence":
        steps = cell.steps or 1
        per_step = [multiply_adds(layer.get_submodule(name)) for name in GRU.slots]
        known = None if None in per_step else sum(n or 0 for n in per_step)
        products = None if known is None else 3 * steps * cell.batch * known
        return Work(_bytes(measured.inputs[0]) + 4 * weights, products)
    per_vector = multiply_adds(layer)
    vectors = cell.batch * sum(cell.shape) * measured.inputs[0].element_size()
    factor = 1 if cell.mode == "forward" else 2
    products = None
    if per_vector is not None:
        products = (1 if cell.mode == "forward" else 3) * cell.batch * per_vector
    return Work(factor * (vectors + weights), products)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
