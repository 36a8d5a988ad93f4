"""Two bounds that a declared count of multiply-adds must lie between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

#: Singular values below this part of the largest are rounding errors of float32.
_RANK_TOLERANCE = 1e-4


class _Arithmetic(TorchDispatchMode):
    """Counts the multiply-adds of products, and one for each element that any other operation has.

    ``total`` is infinite once an operation runs whose cost these rules do not know.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=result) / 2
        elif func.namespace != "aten" or any(part in str(packet) for part in ("fft", "linalg")):
            self.total = math.inf
        elif not func.is_view:
            leaves = tree_leaves((args, kwargs, result))
            self.total += max((t.numel() for t in leaves if isinstance(t, Tensor)), default=0)
        return result


def executed_multiply_adds(layer: nn.Module, x: Tensor) -> float:
    """At most what ``forward`` spends on one more vector; infinite where that cannot be known.

    What is spent once a call, such as building a matrix, does not count. x: (batch, in_features).
    """

    def total(x: Tensor) -> float:
        with _Arithmetic() as arithmetic:
            layer(x)
        return float(arithmetic.total)

    once, twice = total(x), total(torch.cat([x, x]))
    return math.inf if math.isinf(twice) else (twice - once) / len(x)


def has_more_freedom(
    matrix: Tensor, parameters: Sequence[Tensor], count: int, limit: int = 256
) -> bool:
    """Whether ``matrix``, a function of the parameters, varies in more than ``count`` directions.

    An algorithm of c multiply-adds has at most c coefficients, so that its matrices form a family
    of at most c dimensions. The dimension is the rank of the matrix's derivative, which is taken
    in ``count + 1`` random directions; from ``limit`` on nothing is claimed.
    """
    weights = sum(p.numel() for p in parameters)
    if count >= min(matrix.numel(), weights, limit) or not matrix.requires_grad:
        return False
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(count + 1):
        direction = torch.randn(matrix.shape, generator=generator).to(matrix.dtype)
        found = torch.autograd.grad(
            (direction * matrix).sum(), parameters, allow_unused=True, retain_graph=True
        )
        pairs = zip(found, parameters, strict=True)
        rows.append(torch.cat([(0 * p if g is None else g).flatten().double() for g, p in pairs]))
    rank = torch.linalg.matrix_rank(torch.stack(rows).detach(), rtol=_RANK_TOLERANCE)
    return int(rank) > count
