from __future__ import annotations

import pytest
import torch
from torch import nn

from slt_bench.baselines.dense import Dense
from slt_bench.layers import LINEAR_GAIN, count_parameters, dense_weight, multiply_adds

SIZES = [(64, 64), (37, 101), (101, 37), (1, 5), (5, 1)]


@pytest.mark.parametrize("gain", [LINEAR_GAIN, None])
def test_starts_exactly_as_linear(gain: float | None) -> None:
    torch.manual_seed(3)
    ours = Dense(37, 21, gain=gain)
    torch.manual_seed(3)
    theirs = nn.Linear(37, 21)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    x = torch.randn(2, 3, 37)
    assert torch.equal(ours(x), theirs(x))


def test_counts() -> None:
    assert count_parameters(Dense(800, 500)) == 400_500
    assert count_parameters(Dense(800, 500, bias=False)) == 400_000
    assert multiply_adds(Dense(800, 500)) == 400_000


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_orthogonal_has_unit_singular_values(n: int, m: int) -> None:
    values = torch.linalg.svdvals(Dense(n, m, weight_init="orthogonal", gain=None).weight)
    torch.testing.assert_close(values, torch.ones(min(n, m)))


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 1.0])
def test_gain_of_orthogonal_weights(n: int, m: int, gain: float) -> None:
    layer = Dense(n, m, weight_init="orthogonal", gain=gain)
    assert layer.weight.norm().item() / m**0.5 == pytest.approx(gain, rel=1e-5)


def test_gain_of_linear_weights() -> None:
    torch.manual_seed(0)
    assert Dense(512, 512, gain=1.0).weight.norm().item() / 512**0.5 == pytest.approx(1, rel=0.02)


def test_from_dense_is_exact() -> None:
    weight, bias = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    layer = Dense.from_dense(weight, bias)
    assert torch.equal(dense_weight(layer), weight)
    assert torch.equal(layer.bias, bias)
    assert Dense.from_dense(weight, None).bias is None


def test_errors() -> None:
    with pytest.raises(ValueError, match="weight_init must be linear or orthogonal"):
        Dense(3, 3, weight_init="ones")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gain must be a positive number"):
        Dense(3, 3, gain=0.0)
