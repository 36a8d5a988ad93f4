"""The dense layer that every structure is measured against."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from slt_bench.baselines._common import layer_for
from slt_bench.layers import LINEAR_GAIN


class Dense(nn.Linear):
    """y = W x + c: ``torch.nn.Linear``, with a choice of starting weights.

    Shapes: x (..., in_features), y (..., out_features), W (out_features, in_features).

    ``weight_init``: ``"linear"`` starts exactly as ``nn.Linear`` (weights and bias uniform on
    ±1/sqrt(in_features), the same draws); ``"orthogonal"`` has orthonormal rows or columns
    (Saxe, McClelland, Ganguli 2014, arXiv 1312.6120), with ``nn.Linear``'s bias.
    ``gain``: output over input root mean square at the start for white-noise input (the mean over
    draws for ``"linear"``). ``None`` keeps the start as published: 1/sqrt 3 for ``"linear"``,
    unit singular values for ``"orthogonal"``.

    Raises ``ValueError`` for an unknown ``weight_init`` or a gain that is not positive.
    """

    exact_at_full_size = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Literal["linear", "orthogonal"] = "linear",
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        if weight_init not in ("linear", "orthogonal"):
            raise ValueError(f"weight_init must be linear or orthogonal, not {weight_init!r}")
        if gain is not None and not gain > 0:
            raise ValueError(f"gain must be a positive number or None, not {gain!r}")
        published_gain = LINEAR_GAIN
        if weight_init == "orthogonal":
            nn.init.orthogonal_(self.weight)
            published_gain = (min(in_features, out_features) / out_features) ** 0.5
        if gain is not None and gain != published_gain:
            with torch.no_grad():
                self.weight.mul_(gain / published_gain)

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: object) -> Dense:
        """The layer with these weights."""
        layer = layer_for(cls, weight, bias, settings)
        with torch.no_grad():
            layer.weight.copy_(weight)
        return layer

    def dense_weight(self) -> Tensor:
        """The weight itself."""
        return self.weight

    def multiply_adds(self) -> int:
        """in_features * out_features."""
        return self.in_features * self.out_features
