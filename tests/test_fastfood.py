from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from largest_tensor import LargestTensor
from scipy.linalg import hadamard

from slt_bench.baselines.fastfood import Fastfood
from slt_bench.layers import (
    LINEAR_GAIN,
    count_parameters,
    dense_weight,
    multiply_adds,
    stochastic,
)

SIZES = [(64, 64), (37, 101), (101, 37), (1, 5), (5, 1), (2, 2), (50, 300), (128, 128)]


def explicit_matrix(layer: Fastfood) -> np.ndarray:
    """S H G P H B from dense factors in numpy, summed over blocks, stacked and cropped."""
    s, g, b = (v.detach().numpy() for v in (layer.s, layer.g, layer.b))
    squares, n = g.shape
    h = hadamard(n) / np.sqrt(n)
    p = np.zeros((squares * n, squares * n))
    p[np.arange(squares * n), layer.permutation.numpy()] = 1
    matrices = []
    for k in range(squares):
        own = p[k * n : (k + 1) * n, k * n : (k + 1) * n]
        matrices.append(np.diag(s[k]) @ h @ np.diag(g[k]) @ own @ h @ np.diag(b[k]))
    stack = squares // layer.blocks
    blocks = [np.concatenate(matrices[i : i + stack]) for i in range(0, squares, stack)]
    return np.sum(blocks, 0)[: layer.out_features, : layer.in_features]


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("blocks", [1, 3])
def test_agrees_with_the_formula(n: int, m: int, blocks: int) -> None:
    layer = Fastfood(n, m, blocks=blocks).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    weight = torch.from_numpy(explicit_matrix(layer))
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias, rtol=0, atol=1e-12)
    torch.testing.assert_close(dense_weight(layer), weight, rtol=0, atol=1e-12)


def test_every_square_has_its_own_permutation() -> None:
    parts = Fastfood(64, 128, blocks=2).permutation.view(4, 64) % 64
    assert len({tuple(p.tolist()) for p in parts}) == 4
    assert all(torch.equal(p.sort().values, torch.arange(64)) for p in parts)


def test_counts() -> None:
    assert count_parameters(Fastfood(512, 512, bias=False)) == 3 * 512
    assert count_parameters(Fastfood(800, 1024, bias=False)) == 3 * 1024  # LeNet-5, table 1
    assert count_parameters(Fastfood(800, 500)) == 3 * 1024 + 500
    assert count_parameters(Fastfood(64, 200, bias=False, blocks=2)) == 3 * 64 * 4 * 2
    assert multiply_adds(Fastfood(512, 512)) == 2 * 512 * 9 + 3 * 512


def test_published_start_is_orthogonal() -> None:
    weight = dense_weight(Fastfood(64, 64, gain=None).double())
    torch.testing.assert_close(weight @ weight.T, torch.eye(64, dtype=torch.float64))


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 1.0])
def test_gain(n: int, m: int, blocks: int, gain: float) -> None:
    norm = dense_weight(Fastfood(n, m, blocks=blocks, gain=gain)).norm().item()
    assert norm / m**0.5 == pytest.approx(gain, rel=1e-4)


def test_the_three_diagonals_move_apart() -> None:
    torch.manual_seed(0)
    layer = Fastfood(16, 16)
    pointers = {v.data_ptr() for v in (layer.s, layer.g, layer.b)}
    assert len(pointers) == 3
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.randn(4, 16)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(layer.s, layer.g)
    assert not torch.equal(layer.g, layer.b)


def test_holds_no_square_array() -> None:
    n = 1024
    with LargestTensor() as largest:
        layer = Fastfood(n, n)
    assert largest.numel <= 256 * n  # the chunk of unit vectors that measures the gain
    x = torch.randn(1, n, requires_grad=True)
    with LargestTensor() as largest:
        layer(x).sum().backward()
    assert largest.numel <= 2 * n
    assert all(t.numel() <= n for t in (*layer.parameters(), *layer.buffers()))


def test_dropout_draws_one_mask_a_call() -> None:
    torch.manual_seed(0)
    layer = Fastfood(64, 64, dropout=0.5)
    x = torch.randn(1, 64).expand(3, 64)
    assert stochastic(layer)
    y = layer(x)
    torch.testing.assert_close(y[0].expand(3, 64), y)
    assert not torch.equal(layer(x), y)
    layer.eval()
    assert not stochastic(layer)
    assert torch.equal(layer(x), layer(x))
    assert not stochastic(Fastfood(64, 64))


def test_a_checkpoint_restores_the_permutation() -> None:
    layer, other = Fastfood(37, 50), Fastfood(37, 50)
    x = torch.randn(4, 37)
    assert not torch.equal(layer(x), other(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), other(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "blocks must be a whole number"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"gain": 0.0}, "gain must be a positive number"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fastfood(8, 8, **settings)


def test_refuses_an_input_of_another_width() -> None:
    with pytest.raises(ValueError, match="in_features = 8"):
        Fastfood(8, 8)(torch.ones(2, 16))
