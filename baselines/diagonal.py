"""Control: one weight a feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import (
    check_input,
    check_whole,
    layer_for,
    pointwise_kernel,
    start_at_gain,
)
from slt_bench.kernels import Kernel
from slt_bench.layers import LINEAR_GAIN


class Diagonal(nn.Module):
    """y_i = d_i x_i + c_i for i < min(in_features, out_features), and y_i = c_i beyond.

    A control: the next step up from the identity, features scaled but never mixed.

    Shapes: x (..., in_features), y (..., out_features), d (min(in_features, out_features),),
    c (out_features,). The weights d start equal, the bias c at zero. ``gain``: output over input
    root mean square at the start for white-noise input; ``None`` starts at d = 1. Raises
    ``ValueError`` for sizes below 1, a gain that is not positive or an input of another width.
    """

    control = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__()
        check_whole(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.diagonal = nn.Parameter(torch.ones(min(in_features, out_features)))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        start_at_gain(self, [self.diagonal], gain)

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: object) -> Diagonal:
        """The closest diagonal in the Frobenius norm: the diagonal of ``weight``."""
        layer = layer_for(cls, weight, bias, settings)
        with torch.no_grad():
            layer.diagonal.copy_(weight.diagonal())
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        check_input(x, self.in_features)
        y = x[..., : self.out_features] * self.diagonal
        y = F.pad(y, (0, self.out_features - y.shape[-1]))
        return y if self.bias is None else y + self.bias

    def kernel(self) -> Kernel:
        """The map in compiled code, for use inside a sequence."""
        return pointwise_kernel("diagonal", self.in_features, self.out_features, (self.diagonal,))

    def multiply_adds(self) -> int:
        """min(in_features, out_features)."""
        return self.diagonal.numel()

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
