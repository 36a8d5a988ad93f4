"""Control: the input passed on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import check_input, check_whole, pointwise_kernel
from slt_bench.kernels import Kernel


class Identity(nn.Module):
    """y = x + c, with x cropped or padded with zeros to ``out_features``.

    A control: what a model reaches when this map only passes its input on. Its gain is always 1
    (where outputs are padded, 1 for those that have an input), hence no ``gain`` setting. The
    bias starts at zero.

    Shapes: x (..., in_features), y (..., out_features), c (out_features,). Raises ``ValueError``
    for sizes below 1 or an input of another width.
    """

    control = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        check_whole(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        check_input(x, self.in_features)
        y = F.pad(x, (0, self.out_features - self.in_features))  # a negative pad crops
        return y if self.bias is None else y + self.bias

    def kernel(self) -> Kernel:
        """The map in compiled code, for use inside a sequence."""
        return pointwise_kernel("identity", self.in_features, self.out_features, ())

    def multiply_adds(self) -> int:
        """None are needed."""
        return 0

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
