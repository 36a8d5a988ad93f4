"""Wavelet: diagonals, a permutation and a learned wavelet transform with its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import (
    check_dropout,
    check_input,
    check_whole,
    draw_dropout,
    permutations,
    refuse,
    start_at_gain,
)
from slt_bench.baselines._wavelet_kernel import wavelet_kernel
from slt_bench.baselines._wavelet_loss import wavelet_loss
from slt_bench.baselines._wavelet_transform import analysis, coefficient_lengths, synthesis
from slt_bench.kernels import Kernel, apply
from slt_bench.layers import LINEAR_GAIN

_FILTERS = ("dec_lo", "dec_hi", "rec_lo", "rec_hi")
_H = 0.5**0.5
_HAAR6 = [
    [0.0, 0.0, _H, _H, 0.0, 0.0],
    [0.0, 0.0, -_H, _H, 0.0, 0.0],
    [0.0, 0.0, _H, _H, 0.0, 0.0],
    [0.0, 0.0, _H, -_H, 0.0, 0.0],
]


class Wavelet(nn.Module):
    """y = D W⁻¹ G Π W B x + c, with a learned wavelet transform W of ``scales`` levels.

    D, G, B are learned diagonals and Π is a fixed random permutation of the coefficients. W is
    built from the filters dec_lo, dec_hi and W⁻¹ from rec_lo, rec_hi: four free vectors of L taps,
    held near a wavelet by ``penalty()``. W⁻¹ W = 1 for a valid wavelet; under zero padding there
    are more coefficients than features, and W W⁻¹ is not 1.
    Source: Wolter, Lin, Yao 2020, "Neural network compression via learnable wavelet transforms"
    (arXiv 2004.09569), equations 5 to 7, and its published code.

    Rectangular maps (section 3.3): ceil(out / in) squares of side in_features, with the same
    filters and their own diagonals and permutations, concatenated and cropped. ``blocks``: such
    layers summed, again with the same filters. Weights: 2 n and one a coefficient for each square,
    those that cropping leaves without effect included, and 4 L for the filters.

    * ``init``: ``haar6`` (Haar padded to 6 taps), ``random`` (four vectors of 6 taps, uniform on
      ±1) or any discrete wavelet of PyWavelets. ``learn_filters=False`` holds them fixed.
    * ``dropout``: in training each entry of D, G and B is zeroed with this probability and the
      others grow by 1 / (1 - dropout): one mask a call, shared by the batch.
    * ``mode``: padding at the ends, ``zero`` as in the paper or ``periodization``, both as in
      PyWavelets.
    * ``loss``: ``pr_ac``, perfect reconstruction plus alias cancellation; ``pr_twice``, the
      reconstruction term twice, as the code had it until April 2020 in the recurrent experiments.
    * ``slicing``: ``cumulative``, every coefficient used once; ``legacy``, the published code's
      offsets: from the third slice on it reads coefficients a second time and the last ones
      never, so part of G gets no gradient (156 of 545 entries at n = 512 with 8 scales).

    Shapes: x (..., in_features), y (..., out_features), c (out_features,), filters (4, L),
    D and B (squares, n), G (squares, coefficients). The diagonals start equal, the bias at zero.
    ``gain``: output over input root mean square at the start for white-noise input, without
    dropout; ``None`` starts the diagonals at 1 (gain about 1 with haar6, 2 to 40 with random
    filters). Raises ``Unsupported`` where the layer has no fewer weights than a dense one,
    ``ValueError`` for numbers below 1, an unknown name, a dropout outside [0, 1), a gain that is
    not positive or an input of another width.
    """

    grid: ClassVar[dict[str, list[int]]] = {"blocks": [1, 2, 4]}
    size_setting = "blocks"
    permutation: Tensor
    legacy_order: Tensor
    filters: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str = "haar6",
        scales: int = 8,
        blocks: int = 1,
        dropout: float = 0.0,
        learn_filters: bool = True,
        mode: Literal["zero", "periodization"] = "zero",
        slicing: Literal["cumulative", "legacy"] = "cumulative",
        loss: Literal["pr_ac", "pr_twice"] = "pr_ac",
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__()
        check_dropout(dropout)
        _check_name("slicing", slicing, ("cumulative", "legacy"))
        _check_name("loss", loss, ("pr_ac", "pr_twice"))
        refuse(
            self.supports(
                in_features,
                out_features,
                init=init,
                scales=scales,
                blocks=blocks,
                learn_filters=learn_filters,
                mode=mode,
            )
        )
        self.in_features, self.out_features = in_features, out_features
        self.init, self.scales, self.blocks, self.dropout = init, scales, blocks, dropout
        self.mode, self.slicing, self.loss = mode, slicing, loss
        filters = 2 * torch.rand(4, 6) - 1 if init == "random" else torch.tensor(_filter_bank(init))
        if learn_filters:
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters)
        self.lengths = coefficient_lengths(in_features, filters.shape[-1], scales, mode)
        coefficients = sum(self.lengths) + self.lengths[-1]
        squares = blocks * -(-out_features // in_features)
        self.d = nn.Parameter(torch.ones(squares, in_features))
        self.g = nn.Parameter(torch.ones(squares, coefficients))
        self.b = nn.Parameter(torch.ones(squares, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.register_buffer("permutation", permutations(squares, coefficients))
        self.register_buffer("legacy_order", _legacy_order(self.lengths), persistent=False)
        start_at_gain(self, [self.d, self.g, self.b], gain)

    @classmethod
    def supports(
        cls,
        in_features: int,
        out_features: int,
        *,
        init: str = "haar6",
        scales: int = 8,
        blocks: int = 1,
        learn_filters: bool = True,
        mode: str = "zero",
        **_: object,
    ) -> str | None:
        """Why these sizes are refused, or None."""
        check_whole(
            in_features=in_features, out_features=out_features, scales=scales, blocks=blocks
        )
        _check_name("mode", mode, ("zero", "periodization"))
        taps = 6 if init == "random" else len(_filter_bank(init)[0])
        lengths = coefficient_lengths(in_features, taps, scales, mode)
        squares = blocks * -(-out_features // in_features)
        weights = squares * (2 * in_features + sum(lengths) + lengths[-1])
        weights += 4 * taps * learn_filters
        if weights >= in_features * out_features:
            return (
                f"{weights} weights for {out_features} x {in_features}, no fewer than the "
                f"{in_features * out_features} of a dense map"
            )
        return None

    @property
    def stochastic(self) -> bool:
        """True while ``forward`` draws dropout masks."""
        return self.training and self.dropout > 0

    def _apply_map(self, x: Tensor) -> Tensor:
        """The map without bias, (batch, in_features) -> (batch, out_features)."""
        d, g, b = (F.dropout(v, self.dropout, self.training) for v in (self.d, self.g, self.b))
        c = analysis(x.unsqueeze(1) * b, self.filters[:2], self.scales, self.mode)
        c = c.flatten(1).index_select(1, self.permutation).reshape(-1, *g.shape) * g
        if self.slicing == "legacy":
            c = c.index_select(-1, self.legacy_order)
        y = synthesis(c, self.filters[2:], self.lengths, self.in_features, self.mode) * d
        width = d.numel() // self.blocks
        return y.reshape(-1, self.blocks, width).sum(1)[:, : self.out_features]

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        check_input(x, self.in_features)
        if (fast := apply(self.kernel, x, self.bias)) is not None:
            return fast
        y = self._apply_map(x.reshape(-1, self.in_features))
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def kernel(self) -> Kernel | None:
        """The map in compiled code, or None with ``mode="periodization"``, which has none."""
        if self.mode != "zero":
            return None
        return wavelet_kernel(
            sizes=(self.in_features, self.out_features, self.blocks),
            lengths=self.lengths,
            parameters=(self.filters, self.d, self.g, self.b),
            permutation=self.permutation,
            order=self.legacy_order if self.slicing == "legacy" else None,
            draw=self._draw_masks if self.stochastic else None,
        )

    def _draw_masks(self, factors: Tensor) -> None:
        """Draw those of D, G and B as ``_apply_map`` does; the filters, in front, keep theirs."""
        draw_dropout(factors[self.filters.numel() :], (self.d, self.g, self.b), self.dropout)

    def dense_weight(self) -> Tensor:
        """The matrix, shape (out_features, in_features), by pushing the unit vectors through."""
        like = self.b
        return self._apply_map(torch.eye(self.in_features, dtype=like.dtype, device=like.device)).T

    def residuals(self) -> tuple[Tensor, Tensor]:
        """Perfect reconstruction and alias cancellation, two scalars; both 0 for a wavelet.

        With h the analysis and f the synthesis filters, convolved in full (equation 5):
        sum_k [(h0 * f0)_k + (h1 * f1)_k - 2 (k = L - 1)]^2. Alias cancellation as the code and
        figure 3 have it, with m_k = (-1)^(L - 1 - k): sum_k (f0_k - m_k h1_k)^2 +
        (f1_k + m_k h0_k)^2. (For even L, equation 6 as printed has both signs the other way
        round, and is 8 for Haar.)
        """
        dec, rec = self.filters[:2], self.filters[2:]
        taps = dec.shape[-1]
        shifts = F.pad(dec, (taps - 1, taps - 1)).unfold(-1, taps, 1)
        product = (shifts * rec.flip(-1).unsqueeze(1)).sum((0, 2))
        target = torch.zeros_like(product)
        target[taps - 1] = 2
        sign = torch.ones_like(dec[0])
        sign[taps % 2 :: 2] = -1
        alias = torch.stack([rec[0] - sign * dec[1], rec[1] + sign * dec[0]])
        return (product - target).square().sum(), alias.square().sum()

    def penalty(self) -> Tensor:
        """The loss term that keeps the filters a wavelet, a scalar, to be added with weight 1."""
        weights = (1, 1) if self.loss == "pr_ac" else (2, 0)
        return wavelet_loss(self.filters, *weights)

    def summary(self) -> dict[str, Any]:
        """The filters and the two residuals (figures 2 and 3 of the paper), plain JSON."""
        with torch.no_grad():
            reconstruction, alias = self.residuals()
        return {
            "filters": dict(zip(_FILTERS, self.filters.tolist(), strict=True)),
            "perfect_reconstruction": reconstruction.item(),
            "alias_cancellation": alias.item(),
        }

    def multiply_adds(self) -> int:
        """4 L a coefficient pair and scale, and one an entry of D, G and B."""
        taps = self.filters.shape[-1]
        transforms = len(self.g) * 4 * taps * sum(self.lengths)
        return transforms + self.d.numel() + self.g.numel() + self.b.numel()

    def extra_repr(self) -> str:
        sizes = f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
        names = f"init={self.init}, scales={self.scales}, blocks={self.blocks}, mode={self.mode}"
        return f"{sizes}, {names}, slicing={self.slicing}, loss={self.loss}, dropout={self.dropout}"


def _check_name(setting: str, name: str, allowed: Sequence[str]) -> None:
    if name not in allowed:
        raise ValueError(f"{setting} must be {' or '.join(allowed)}, not {name!r}")


def _filter_bank(init: str) -> list[list[float]]:
    """dec_lo, dec_hi, rec_lo, rec_hi of a named wavelet."""
    if init == "haar6":
        return _HAAR6
    import pywt

    if init not in pywt.wavelist(kind="discrete"):
        raise ValueError(
            f"init must be haar6, random or a discrete wavelet of PyWavelets, not {init!r}"
        )
    return [list(taps) for taps in pywt.Wavelet(init).filter_bank]


def _legacy_order(lengths: Sequence[int]) -> Tensor:
    """Which coefficients the published code reads for [hi_1, ..., hi_S, lo_S].

    Its slice s starts at the length of slice s - 1, not at the end of it.
    """
    sizes = [*lengths, lengths[-1]]
    starts = [0, *sizes[:-1]]
    return torch.cat(
        [torch.arange(size) + start for start, size in zip(starts, sizes, strict=True)]
    )
