"""Control: the map removed."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from slt_bench.baselines._common import check_input, check_whole, pointwise_kernel
from slt_bench.kernels import Kernel


class Zero(nn.Module):
    """y = c: the input contributes nothing, only the bias (zero at the start) is left.

    A control: what a model reaches without this map. It has no scale, hence no ``gain``.

    Shapes: x (..., in_features), y (..., out_features), c (out_features,). Raises ``ValueError``
    for sizes below 1 or an input of another width.
    """

    control = True
    exempt: ClassVar[dict[str, str]] = {"output_scale": "removes its input by design"}

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        check_whole(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        check_input(x, self.in_features)
        y = x.new_zeros(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def kernel(self) -> Kernel:
        """The map in compiled code, for use inside a sequence."""
        return pointwise_kernel("zero", self.in_features, self.out_features, ())

    def multiply_adds(self) -> int:
        """None are needed."""
        return 0

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
