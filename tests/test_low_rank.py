from __future__ import annotations

import pytest
import torch

from slt_bench.baselines.low_rank import LowRank
from slt_bench.layers import (
    LINEAR_GAIN,
    Unsupported,
    count_parameters,
    dense_weight,
    multiply_adds,
)

SIZES = [(64, 64), (37, 101), (101, 37), (13, 512)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_is_the_product_of_two_factors(n: int, m: int) -> None:
    layer = LowRank(n, m, rank=5).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    expected = torch.einsum("or,ri,...i->...o", layer.u, layer.v, x) + layer.bias
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(dense_weight(layer), layer.u @ layer.v)
    assert torch.linalg.matrix_rank(dense_weight(layer)) == 5


def test_counts() -> None:
    layer = LowRank(800, 500, rank=16)
    assert count_parameters(layer) == 16 * 1300 + 500
    assert multiply_adds(layer) == 16 * 1300
    assert count_parameters(LowRank(800, 500, bias=False, rank=16)) == 16 * 1300


@pytest.mark.parametrize(("n", "m"), [*SIZES, (1, 1), (7, 1)])
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 1.0])
def test_gain(n: int, m: int, gain: float) -> None:
    norm = dense_weight(LowRank(n, m, rank=min(n, m, 4), gain=gain)).norm().item()
    assert norm / m**0.5 == pytest.approx(gain, rel=1e-4)


def test_published_start_is_two_linear_layers() -> None:
    torch.manual_seed(0)
    layer = LowRank(512, 512, rank=64, gain=None)
    assert layer.u.abs().max() <= 64**-0.5
    assert layer.v.abs().max() <= 512**-0.5
    assert dense_weight(layer).norm().item() / 512**0.5 == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize(("n", "m"), [(12, 9), (9, 12)])
def test_from_dense_reaches_the_least_error(n: int, m: int) -> None:
    weight, bias = torch.randn(m, n, dtype=torch.float64), torch.randn(m, dtype=torch.float64)
    values = torch.linalg.svdvals(weight)
    for rank in (1, 4, 9):
        layer = LowRank.from_dense(weight, bias, rank=rank)
        error = (dense_weight(layer) - weight).norm()
        torch.testing.assert_close(error, values[rank:].norm(), rtol=1e-12, atol=1e-12)
        assert torch.equal(layer.bias, bias)
    assert LowRank.from_dense(weight, None, rank=2).bias is None


def test_refuses_a_rank_above_the_full_one() -> None:
    assert LowRank.supports(5, 9, rank=5) is None
    assert LowRank.supports(5, 9, rank=6) == "rank 6 exceeds the full rank 5 of 9 x 5"
    with pytest.raises(Unsupported, match="exceeds the full rank"):
        LowRank(5, 9, rank=6)


def test_errors() -> None:
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1, not 0"):
        LowRank(5, 9, rank=0)
    with pytest.raises(ValueError, match="gain must be a positive number"):
        LowRank(5, 9, rank=2, gain=-1.0)
