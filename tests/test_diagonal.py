from __future__ import annotations

import pytest
import torch

from slt_bench.baselines.diagonal import Diagonal
from slt_bench.layers import LINEAR_GAIN, count_parameters, dense_weight, multiply_adds

SIZES = [(5, 5), (5, 3), (3, 5), (1, 7), (7, 1)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_scales_each_feature(n: int, m: int) -> None:
    layer = Diagonal(n, m)
    torch.nn.init.normal_(layer.diagonal)
    torch.nn.init.normal_(layer.bias)
    weight = torch.zeros(m, n)
    weight.diagonal().copy_(layer.diagonal.detach())
    x = torch.randn(2, 4, n)
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias)
    torch.testing.assert_close(dense_weight(layer), weight)
    assert count_parameters(layer) == min(n, m) + m
    assert multiply_adds(layer) == min(n, m)


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 2.0])
def test_gain(n: int, m: int, gain: float) -> None:
    norm = dense_weight(Diagonal(n, m, gain=gain)).norm().item()
    assert norm / m**0.5 == pytest.approx(gain, rel=1e-5)


def test_published_start_is_one() -> None:
    assert torch.equal(Diagonal(5, 3, gain=None).diagonal, torch.ones(3))


def test_from_dense_is_the_closest_diagonal() -> None:
    weight, bias = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    layer = Diagonal.from_dense(weight, bias)
    assert torch.equal(layer.diagonal, weight.diagonal())
    assert torch.equal(layer.bias, bias)
    assert Diagonal.from_dense(weight, None).bias is None


def test_errors() -> None:
    with pytest.raises(ValueError, match="gain must be a positive number"):
        Diagonal(5, 3, gain=-1.0)
    with pytest.raises(ValueError, match="in_features = 5"):
        Diagonal(5, 3)(torch.ones(2, 4))
    assert Diagonal.control
