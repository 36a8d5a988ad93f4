"""Fastfood: diagonals, a permutation and two Hadamard transforms."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import (
    check_dropout,
    check_input,
    check_whole,
    draw_dropout,
    permutations,
    start_at_gain,
)
from slt_bench.kernels import Kernel, apply
from slt_bench.layers import LINEAR_GAIN

_KERNEL = Path(__file__).with_name("_fastfood_kernel.c")


class Fastfood(nn.Module):
    """y = S H G Π H B x + c on n features, n the next power of two.

    S, G, B are learned diagonals, Π a fixed random permutation and H the orthonormal Hadamard
    transform of size n. Source: Le, Sarlos, Smola 2013, "Fastfood: approximating kernel
    expansions in loglinear time"; with learned diagonals: Yang et al. 2015, "Deep fried convnets"
    (arXiv 1412.7149), and the comparison of Wolter, Lin, Yao 2020 (arXiv 2004.09569).

    The input is padded with zeros to n; where ``out_features`` exceeds n, ceil(out / n) such
    squares with their own diagonals and permutations are stacked, and the output is cropped.
    ``blocks``: such layers summed. Weights: 3 n a square, those that padding and cropping leave
    without effect included. ``dropout``: in training each entry of S, G and B is zeroed with this
    probability, one mask a call.

    H is a Kronecker product of two Hadamard matrices of about sqrt(n): two small products, and no
    n x n array.

    Shapes: x (..., in_features), y (..., out_features), c (out_features,), S, G, B (squares, n).
    The diagonals start equal, the bias at zero. ``gain``: output over input root mean square at
    the start for white-noise input; ``None`` starts the diagonals at 1 (gain 1 where n =
    in_features). Raises ``ValueError`` for numbers below 1, a dropout outside [0, 1), a gain that
    is not positive or an input of another width.
    """

    grid: ClassVar[dict[str, list[int]]] = {"blocks": [1, 2, 4]}
    size_setting = "blocks"
    permutation: Tensor
    left: Tensor
    right: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        blocks: int = 1,
        dropout: float = 0.0,
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__()
        check_whole(in_features=in_features, out_features=out_features, blocks=blocks)
        check_dropout(dropout)
        self.in_features, self.out_features = in_features, out_features
        self.blocks, self.dropout = blocks, dropout
        log_n = (in_features - 1).bit_length()
        n = 2**log_n
        squares = blocks * -(-out_features // n)
        self.s = nn.Parameter(torch.ones(squares, n))
        self.g = nn.Parameter(torch.ones(squares, n))
        self.b = nn.Parameter(torch.ones(squares, n))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.register_buffer("permutation", permutations(squares, n))
        self.register_buffer("left", _hadamard(log_n // 2), persistent=False)
        self.register_buffer("right", _hadamard(log_n - log_n // 2), persistent=False)
        start_at_gain(self, [self.s, self.g, self.b], gain)

    @property
    def stochastic(self) -> bool:
        """True while ``forward`` draws dropout masks."""
        return self.training and self.dropout > 0

    def _transform(self, x: Tensor) -> Tensor:
        """The Hadamard transform, times sqrt(n), of x (batch, squares, n)."""
        y = x.reshape(*x.shape[:-1], len(self.left), len(self.right))
        return (self.left @ (y @ self.right)).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        check_input(x, self.in_features)
        if (fast := apply(self.kernel, x, self.bias)) is not None:
            return fast
        s, g, b = (F.dropout(v, self.dropout, self.training) for v in (self.s, self.g, self.b))
        squares, n = g.shape
        lead = x.shape[:-1]
        x = F.pad(x, (0, n - self.in_features)).reshape(-1, 1, n)
        y = self._transform(x * b).flatten(1).index_select(1, self.permutation)
        y = self._transform(y.reshape(-1, squares, n) * (g / n)) * s  # 1/n: both transforms'
        y = y.reshape(-1, self.blocks, squares // self.blocks * n).sum(1)
        y = y[:, : self.out_features].reshape(*lead, self.out_features)
        return y if self.bias is None else y + self.bias

    def kernel(self) -> Kernel:
        """The map in compiled code."""
        squares, n = self.g.shape
        return Kernel(
            source=_KERNEL,
            forward="fastfood_forward",
            backward="fastfood_backward",
            in_features=self.in_features,
            out_features=self.out_features,
            parameters=(self.s, self.g, self.b),
            constants=(self.permutation,),
            sizes=(self.in_features, self.out_features, squares, self.blocks, n),
            scratch=3 * n + 3 * squares * n,
            draw=self._draw_masks if self.stochastic else None,
        )

    def _draw_masks(self, factors: Tensor) -> None:
        """Draw those of S, G and B as ``forward`` does."""
        draw_dropout(factors, (self.s, self.g, self.b), self.dropout)

    def multiply_adds(self) -> int:
        """2 n log2 n + 3 n a square, as by the fast transform."""
        squares, n = self.g.shape
        return squares * n * (2 * (n.bit_length() - 1) + 3)

    def extra_repr(self) -> str:
        sizes = f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
        return f"{sizes}, blocks={self.blocks}, dropout={self.dropout}"


def _hadamard(log_n: int) -> Tensor:
    """Sylvester's Hadamard matrix of size 2**log_n, entries ±1."""
    matrix = torch.ones(1, 1)
    for _ in range(log_n):
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix
