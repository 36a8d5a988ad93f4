from __future__ import annotations

import itertools
from typing import Any

import pytest
import tensorly
import torch
from tensorly.tt_matrix import tt_matrix_to_matrix

from slt_bench.baselines.tensor_train import TensorTrain
from slt_bench.layers import (
    LINEAR_GAIN,
    Unsupported,
    count_parameters,
    dense_weight,
    multiply_adds,
)

CASES: list[tuple[int, int, dict[str, Any]]] = [
    (64, 64, {}),
    (37, 101, {}),
    (101, 37, {"rank": 3}),
    (64, 64, {"cores": 2, "rank": 5}),
    (60, 24, {"cores": 4, "rank": 2}),
    (24, 60, {"in_modes": [4, 3, 2], "out_modes": [3, 4, 5], "rank": 6}),
    (23, 55, {"in_modes": (4, 3, 2), "out_modes": (3, 4, 5), "rank": 6}),
    (1, 7, {"rank": 1}),
    (7, 1, {"rank": 1}),
]


def tensorly_matrix(layer: TensorTrain) -> torch.Tensor:
    """The matrix that tensorly makes of the same cores, cropped."""
    with tensorly.backend_context("numpy"):
        matrix = tt_matrix_to_matrix([core.detach().numpy() for core in layer.cores])
    return torch.from_numpy(matrix)[: layer.out_features, : layer.in_features]


@pytest.mark.parametrize(("n", "m", "settings"), CASES)
def test_agrees_with_tensorly(n: int, m: int, settings: dict[str, Any]) -> None:
    layer = TensorTrain(n, m, **settings).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    weight = tensorly_matrix(layer)
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias, rtol=0, atol=1e-12)
    torch.testing.assert_close(dense_weight(layer), weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "m", "settings"), CASES)
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 1.0])
def test_gain(n: int, m: int, settings: dict[str, Any], gain: float) -> None:
    norm = dense_weight(TensorTrain(n, m, gain=gain, **settings)).norm().item()
    assert norm / m**0.5 == pytest.approx(gain, rel=1e-4)


def test_published_start_is_glorot() -> None:
    torch.manual_seed(0)
    norms = [dense_weight(TensorTrain(64, 64, gain=None)).square().mean() for _ in range(200)]
    assert torch.stack(norms).mean().item() * 64 == pytest.approx(1, rel=0.1)


def test_counts_of_named_configurations() -> None:
    modes = [8, 4, 8, 4]
    layer = TensorTrain(1024, 1024, False, rank=5, in_modes=modes, out_modes=modes)
    assert count_parameters(layer) == 5 * 64 + 25 * 16 + 25 * 64 + 5 * 16
    layer = TensorTrain(512, 512, rank=4)
    assert layer.in_modes == layer.out_modes == (8, 8, 8)
    assert count_parameters(layer) == 4 * 64 + 16 * 64 + 4 * 64 + 512
    # x times the last two cores, merged: 512 * 4 * 64; then the first: 8 * 4 * 512
    assert multiply_adds(layer) == 512 * 4 * 64 + 8 * 4 * 512


@pytest.mark.parametrize("n", [1, 2, 3, 7, 58, 101, 500, 512, 800, 1009, 1024])
@pytest.mark.parametrize("cores", [2, 3, 4])
def test_chosen_modes_are_near_equal_and_pad_little(n: int, cores: int) -> None:
    layer = TensorTrain(n, n, rank=1, cores=cores)
    assert len(layer.in_modes) == cores
    assert layer.out_modes == layer.in_modes[::-1]
    assert max(layer.in_modes) <= 2 * min(layer.in_modes)
    padded = int(torch.tensor(layer.in_modes).prod())
    assert n <= padded <= 1.15 * n + 2


def test_parameter_count_grows_with_the_rank_up_to_the_full_one() -> None:
    sizes = (20, 12)
    counts = []
    rank = 1
    while TensorTrain.supports(*sizes, rank=rank) is None:
        counts.append(count_parameters(TensorTrain(*sizes, rank=rank)))
        rank += 1
    assert counts == sorted(set(counts))
    assert counts[-1] > 20 * 12  # at full rank it holds any matrix


@pytest.mark.parametrize(("n", "m"), [(12, 20), (7, 11)])
@pytest.mark.parametrize("cores", [2, 3])
def test_from_dense_falls_with_the_rank_and_is_exact_at_the_full_one(
    n: int, m: int, cores: int
) -> None:
    weight, bias = torch.randn(m, n, dtype=torch.float64), torch.randn(m, dtype=torch.float64)
    before = tensorly.get_backend()
    errors = [weight.norm().item()]
    rank = 1
    while TensorTrain.supports(n, m, rank=rank, cores=cores) is None:
        layer = TensorTrain.from_dense(weight, bias, rank=rank, cores=cores)
        errors.append((dense_weight(layer) - weight).norm().item())
        rank += 1
    assert all(b < a for a, b in itertools.pairwise(errors) if a > 1e-10)
    assert errors[-1] < 1e-12
    assert torch.equal(layer.bias, bias)
    assert tensorly.get_backend() == before
    assert TensorTrain.from_dense(weight, None, rank=1).bias is None


def test_from_dense_recovers_a_tensor_train() -> None:
    source = TensorTrain(60, 24, rank=3).double()
    again = TensorTrain.from_dense(dense_weight(source).detach(), None, rank=3)
    torch.testing.assert_close(dense_weight(again), dense_weight(source), rtol=0, atol=1e-12)


def test_refuses_in_words() -> None:
    assert TensorTrain.supports(64, 64, rank=16) is None
    assert "exceeds the full rank 16" in (TensorTrain.supports(64, 64, rank=17) or "")
    modes = {"in_modes": [8, 4], "out_modes": [8, 8]}
    assert TensorTrain.supports(64, 64, **modes) == (  # type: ignore[arg-type]
        "in_modes [8, 4] hold fewer than in_features 64"
    )
    with pytest.raises(Unsupported, match="hold fewer than in_features"):
        TensorTrain(64, 64, in_modes=[8, 4], out_modes=[8, 8])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be a whole number"),
        ({"cores": 1}, "cores must be at least 2"),
        ({"in_modes": [8, 8]}, "both in_modes and out_modes"),
        ({"in_modes": [8, 8], "out_modes": [64]}, "equal length"),
        ({"in_modes": [8, 0], "out_modes": [8, 8]}, "mode must be a whole number"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorTrain(64, 64, **settings)


def test_refuses_an_input_of_another_width() -> None:
    with pytest.raises(ValueError, match="in_features = 8"):
        TensorTrain(8, 8)(torch.ones(2, 16))
