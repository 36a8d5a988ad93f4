"""Low rank: two thin factors."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import check_whole, layer_for, refuse, start_at_gain
from slt_bench.kernels import Kernel
from slt_bench.layers import LINEAR_GAIN

_KERNEL = Path(__file__).with_name("_low_rank_kernel.c")


class LowRank(nn.Module):
    """y = U (V x) + c, with U (out_features, rank) and V (rank, in_features).

    Source: Sainath et al. 2013, "Low-rank matrix factorization for deep neural network training
    with high-dimensional output targets". Weights: rank * (in_features + out_features).

    Shapes: x (..., in_features), y (..., out_features), c (out_features,). The bias starts at
    zero. ``gain``: output over input root mean square at the start for white-noise input;
    ``None`` starts U and V each as the weight of an ``nn.Linear``, whose product has gain 1/3.
    Raises ``Unsupported`` for a rank above min(in_features, out_features), ``ValueError`` for
    sizes or a rank below 1 or a gain that is not positive.
    """

    grid: ClassVar[dict[str, list[int]]] = {"rank": [8, 16, 32]}
    size_setting = "rank"
    exact_at_full_size = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 8,
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__()
        refuse(self.supports(in_features, out_features, rank=rank))
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.u = nn.Parameter(torch.empty(out_features, rank).uniform_(-1, 1) / rank**0.5)
        self.v = nn.Parameter(torch.empty(rank, in_features).uniform_(-1, 1) / in_features**0.5)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        start_at_gain(self, [self.u, self.v], gain)

    @classmethod
    def supports(
        cls, in_features: int, out_features: int, *, rank: int = 8, **_: object
    ) -> str | None:
        """Why these sizes are refused, or None."""
        check_whole(in_features=in_features, out_features=out_features, rank=rank)
        if rank > (full := min(in_features, out_features)):
            return f"rank {rank} exceeds the full rank {full} of {out_features} x {in_features}"
        return None

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: object) -> LowRank:
        """The closest layer in the Frobenius norm: the truncated singular value decomposition."""
        layer = layer_for(cls, weight, bias, settings)
        with torch.no_grad():
            precise = weight.to(torch.promote_types(weight.dtype, torch.float32))
            u, s, vh = torch.linalg.svd(precise, full_matrices=False)
            root = s[: layer.rank].sqrt()
            layer.u.copy_(u[:, : layer.rank] * root)
            layer.v.copy_(vh[: layer.rank] * root[:, None])
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return F.linear(F.linear(x, self.v), self.u, self.bias)

    def dense_weight(self) -> Tensor:
        """U V, shape (out_features, in_features)."""
        return self.u @ self.v

    def kernel(self) -> Kernel | None:
        """The map in compiled code, for sequences; None where one dense product is quicker."""
        if 6 * self.rank > min(self.in_features, self.out_features):
            return None
        return Kernel(
            source=_KERNEL,
            forward="low_rank_forward",
            backward="low_rank_backward",
            in_features=self.in_features,
            out_features=self.out_features,
            parameters=(self.u, self.v),
            constants=(),
            sizes=(self.in_features, self.out_features, self.rank),
            scratch=2 * self.rank,
        )

    def multiply_adds(self) -> int:
        """rank * (in_features + out_features)."""
        return self.rank * (self.in_features + self.out_features)

    def extra_repr(self) -> str:
        sizes = f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
        return f"{sizes}, rank={self.rank}"
