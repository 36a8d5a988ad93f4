"""The wavelet loss of four filters with its gradient by hand.

It is a sum over 24 numbers: as separate operations with a recorded backward it would cost more
than a small layer itself. Here the gradient is formed together with the value.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def wavelet_loss(filters: Tensor, reconstruction: int, alias: int) -> Tensor:
    """The two residuals of filters (4, L) in a weighted sum, a scalar; differentiable once.

    ``reconstruction`` and ``alias`` are the weights; the residuals are those that
    ``Wavelet.residuals`` computes by the equations.
    """
    loss: Tensor = _WaveletLoss.apply(filters, reconstruction, alias)  # type: ignore[no-untyped-call]
    return loss


class _WaveletLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, filters: Tensor, reconstruction: int, alias: int) -> Tensor:
        taps = filters.shape[1]
        signs, target = _constants(taps, filters.dtype, filters.device)
        # Rows of dec^T rec, each one place further on: the sums of columns are the convolutions.
        outer = F.pad(filters[:2].T @ filters[2:], (0, taps)).flatten()
        product = outer[: target.numel() * taps].view(taps, -1).sum(0) - target
        # In the signs of its four rows: half the gradient of alias cancellation, which is half
        # the sum of their squares (each square stands there twice).
        mismatch = torch.addcmul(filters, signs, filters.flip(0))
        if ctx.needs_input_grad[0]:
            # hankel[i, j] = product[i + j]; each filter meets its partner.
            hankel, partner = product.unfold(0, taps, 1), filters.roll(2, 0)
            gradient = torch.addmm(
                mismatch, partner, hankel, beta=2 * alias, alpha=2 * reconstruction
            )
            ctx.save_for_backward(gradient)
        squares = mismatch.flatten()
        return reconstruction * product.dot(product) + alias / 2 * squares.dot(squares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


@cache
def _constants(taps: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """(4, L): m, -m, -m, m with m_k = (-1)^(L - 1 - k); and (2 L - 1,): 2 in the middle."""
    m = torch.ones(taps, dtype=dtype, device=device)
    m[taps % 2 :: 2] = -1
    target = torch.zeros(2 * taps - 1, dtype=dtype, device=device)
    target[taps - 1] = 2
    return torch.stack([m, -m, -m, m]), target
