"""Tensor train: the weight matrix as a train of small cores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache, reduce
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.baselines._common import (
    check_input,
    check_whole,
    layer_for,
    refuse,
    start_at_gain,
)
from slt_bench.layers import LINEAR_GAIN


class TensorTrain(nn.Module):
    """y = W x + c, with W a matrix in tensor-train format (TT-matrix).

    W[o, i] = C_1[:, o_1, i_1, :] C_2[:, o_2, i_2, :] ... C_d[:, o_d, i_d, :],
    where o = (o_1, ..., o_d) and i = (i_1, ..., i_d) are the output and input index written in
    mixed radix, and C_k has shape (r_{k-1}, out_modes[k], in_modes[k], r_k) with r_0 = r_d = 1.
    Source: Oseledets 2011, "Tensor-train decomposition"; Novikov et al. 2015, "Tensorizing neural
    networks" (arXiv 1509.06569).

    ``rank``: every bond r_k, cut to what that bond can carry. ``cores``: their number d; the
    modes are then chosen near the d-th root, and sizes that have no such factors are padded with
    zeros and cropped. ``in_modes``, ``out_modes``: choose them instead, e.g. ``[8, 4, 8, 4]``;
    products above the sizes pad and crop too.

    Shapes: x (..., in_features), y (..., out_features), c (out_features,). The bias starts at
    zero. ``gain``: output over input root mean square at the start for white-noise input;
    ``None`` starts the cores normal, with the variance for which an entry of W has Glorot's
    2 / (in + out) (gain 1 where the sizes are equal, without padding).
    Raises ``Unsupported`` for a rank above the full one or modes that hold fewer than the
    features, ``ValueError`` for numbers below 1, fewer than 2 cores, modes given for one side
    only or of unequal number, a gain that is not positive, or an input of another width.
    """

    grid: ClassVar[dict[str, list[int]]] = {"rank": [2, 4, 8]}
    size_setting = "rank"
    exact_at_full_size = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 4,
        cores: int = 3,
        in_modes: Sequence[int] | None = None,
        out_modes: Sequence[int] | None = None,
        gain: float | None = LINEAR_GAIN,
    ) -> None:
        super().__init__()
        refuse(
            self.supports(
                in_features,
                out_features,
                rank=rank,
                cores=cores,
                in_modes=in_modes,
                out_modes=out_modes,
            )
        )
        self.in_features, self.out_features, self.rank = in_features, out_features, rank
        self.in_modes, self.out_modes = _modes(
            in_features, out_features, cores, in_modes, out_modes
        )
        sizes = [o * i for o, i in zip(self.out_modes, self.in_modes, strict=True)]
        bonds = [1, *(min(rank, full) for full in _full_bonds(sizes)), 1]
        entry_variance = 2 / (prod(self.in_modes) + prod(self.out_modes))
        deviation = (entry_variance / prod(bonds)) ** (0.5 / len(sizes))
        shapes = zip(bonds, self.out_modes, self.in_modes, bonds[1:], strict=False)
        self.cores = nn.ParameterList(torch.randn(shape) * deviation for shape in shapes)
        self._split = _cheapest_split(self.out_modes, self.in_modes, bonds)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        start_at_gain(self, self.cores, gain)

    @classmethod
    def supports(
        cls,
        in_features: int,
        out_features: int,
        *,
        rank: int = 4,
        cores: int = 3,
        in_modes: Sequence[int] | None = None,
        out_modes: Sequence[int] | None = None,
        **_: object,
    ) -> str | None:
        """Why these sizes are refused, or None."""
        check_whole(in_features=in_features, out_features=out_features, rank=rank, cores=cores)
        ins, outs = _modes(in_features, out_features, cores, in_modes, out_modes)
        for name, modes, features in (("in", ins, in_features), ("out", outs, out_features)):
            if prod(modes) < features:
                return f"{name}_modes {list(modes)} hold fewer than {name}_features {features}"
        full = max(_full_bonds([o * i for o, i in zip(outs, ins, strict=True)]))
        if rank > full:
            return f"rank {rank} exceeds the full rank {full} of modes {outs} x {ins}"
        return None

    @classmethod
    def from_dense(cls, weight: Tensor, bias: Tensor | None, **settings: object) -> TensorTrain:
        """A layer near a dense one, by TT-SVD: its error is at most sqrt(d - 1) times the least."""
        import tensorly
        from tensorly.decomposition import tensor_train_matrix

        layer = layer_for(cls, weight, bias, settings)
        pad_in = prod(layer.in_modes) - layer.in_features
        pad_out = prod(layer.out_modes) - layer.out_features
        dense = F.pad(weight.detach().cpu().double(), (0, pad_in, 0, pad_out))
        dense = dense.reshape(*layer.out_modes, *layer.in_modes)
        bonds = [*(core.shape[0] for core in layer.cores), 1]
        with tensorly.backend_context("numpy"), torch.no_grad():
            factors = tensor_train_matrix(dense.numpy(), rank=bonds).factors
            for core, factor in zip(layer.cores, factors, strict=True):
                core.copy_(torch.from_numpy(factor))
        return layer

    def _groups(self) -> tuple[Tensor, Tensor]:
        """The cores merged into two, shapes (1, O_1, I_1, r) and (r, O_2, I_2, 1)."""
        cores = list(self.cores)
        return reduce(_merge, cores[: self._split]), reduce(_merge, cores[self._split :])

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features), by two matrix products."""
        check_input(x, self.in_features)
        left, right = self._groups()
        _, out_left, in_left, rank = left.shape
        _, out_right, in_right, _ = right.shape
        lead = x.shape[:-1]
        x = F.pad(x, (0, in_left * in_right - self.in_features)).reshape(-1, in_left, in_right)
        x = x @ right.reshape(rank * out_right, in_right).T
        x = x.reshape(-1, in_left * rank, out_right)
        y = left.reshape(out_left, in_left * rank) @ x
        y = y.flatten(1)[:, : self.out_features].reshape(*lead, self.out_features)
        return y if self.bias is None else y + self.bias

    def dense_weight(self) -> Tensor:
        """W, shape (out_features, in_features)."""
        whole = _merge(*self._groups())[0, :, :, 0]
        return whole[: self.out_features, : self.in_features]

    def multiply_adds(self) -> int:
        """Of the two products; merging the cores, once a call, is not counted."""
        bonds = [core.shape[0] for core in self.cores]
        return _cost(self.out_modes, self.in_modes, bonds, self._split)

    def extra_repr(self) -> str:
        sizes = f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
        modes = f"in_modes={list(self.in_modes)}, out_modes={list(self.out_modes)}"
        return f"{sizes}, rank={self.rank}, {modes}"


def _merge(a: Tensor, b: Tensor) -> Tensor:
    """Cores (p, o, i, r) and (r, o', i', q) as one core (p, o o', i i', q)."""
    both: Tensor = torch.tensordot(a, b, 1).permute(0, 1, 3, 2, 4, 5)
    return both.flatten(3, 4).flatten(1, 2)


def _full_bonds(sizes: Sequence[int]) -> list[int]:
    """The rank at which each inner bond is exact, for cores with out * in = ``sizes``."""
    return [min(prod(sizes[:k]), prod(sizes[k:])) for k in range(1, len(sizes))]


def _cost(outs: Sequence[int], ins: Sequence[int], bonds: Sequence[int], split: int) -> int:
    """Multiply-adds for one vector with the cores merged before and after ``split``."""
    first = prod(ins) * bonds[split] * prod(outs[split:])
    return first + prod(ins[:split]) * bonds[split] * prod(outs)


def _cheapest_split(outs: Sequence[int], ins: Sequence[int], bonds: Sequence[int]) -> int:
    return min(range(1, len(ins)), key=lambda split: _cost(outs, ins, bonds, split))


def _modes(
    in_features: int,
    out_features: int,
    cores: int,
    in_modes: Sequence[int] | None,
    out_modes: Sequence[int] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Input and output modes: those given, or chosen ones, which pair large with small."""
    if (in_modes is None) != (out_modes is None):
        raise ValueError("give both in_modes and out_modes, or neither")
    if in_modes is None or out_modes is None:
        if cores < 2:
            raise ValueError(f"cores must be at least 2, not {cores}")
        return _factors(in_features, cores), _factors(out_features, cores)[::-1]
    if len(in_modes) != len(out_modes) or len(in_modes) < 2:
        raise ValueError(
            "in_modes and out_modes must have equal length, at least 2, "
            f"not {list(in_modes)} and {list(out_modes)}"
        )
    for mode in (*in_modes, *out_modes):
        check_whole(mode=mode)
    return tuple(in_modes), tuple(out_modes)


@cache
def _factors(size: int, count: int) -> tuple[int, ...]:
    """``count`` ascending numbers, none above twice another, with the least product >= ``size``."""
    for product in itertools.count(size):
        for low in range(int(product ** (1 / count) + 1e-9), 0, -1):
            if found := _split_up(product, count, low, 2 * low):
                return found
    raise AssertionError("unreachable: some power of a number is large enough")


def _split_up(product: int, count: int, low: int, high: int) -> tuple[int, ...] | None:
    """``count`` ascending factors of ``product`` between ``low`` and ``high``, or None."""
    if count == 1:
        return (product,) if low <= product <= high else None
    for factor in range(low, int(product ** (1 / count) + 1e-9) + 1):
        if product % factor == 0 and (
            rest := _split_up(product // factor, count - 1, factor, high)
        ):
            return (factor, *rest)
    return None
