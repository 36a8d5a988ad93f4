from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from largest_tensor import LargestTensor

from slt_bench.baselines._wavelet_transform import analysis, coefficient_lengths, synthesis
from slt_bench.baselines.wavelet import Wavelet
from slt_bench.layers import (
    LINEAR_GAIN,
    Unsupported,
    count_parameters,
    dense_weight,
    multiply_adds,
    stochastic,
)

BANKS = ("haar6", "random", "db6", "bior4.4", "db20")
MODES = ("zero", "periodization")


@pytest.fixture(autouse=True)
def _quiet_pywt() -> Any:
    """PyWavelets warns about boundary effects at the depths that the paper uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Level value", category=UserWarning)
        yield


def bank(name: str) -> torch.Tensor:
    """Filters (4, L) in float64."""
    return Wavelet(64, 64, init=name, scales=1).filters.detach().double()


def pywt_wavelet(filters: torch.Tensor) -> pywt.Wavelet:
    return pywt.Wavelet("test", filter_bank=filters.tolist())


def pywt_analysis(x: np.ndarray, filters: torch.Tensor, scales: int, mode: str) -> np.ndarray:
    """[hi_1, ..., hi_S, lo_S] by PyWavelets."""
    coefficients = pywt.wavedec(x, pywt_wavelet(filters), mode=mode, level=scales)
    return np.concatenate([*coefficients[:0:-1], coefficients[0]], -1)


def pywt_synthesis(slices: list[np.ndarray], filters: torch.Tensor, mode: str) -> np.ndarray:
    """The signal from [hi_1, ..., hi_S, lo_S] by PyWavelets."""
    return pywt.waverec(slices[::-1], pywt_wavelet(filters), mode=mode)


def cumulative_slices(c: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    return np.split(c, np.cumsum(lengths), -1)


def legacy_slices(c: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """The published code's: a slice starts at the length of the one before, not at its end."""
    slices, start = [], 0
    for length in [*lengths, lengths[-1]]:
        slices.append(c[..., start : start + length])
        start = length
    return slices


def oracle(layer: Wavelet, x: np.ndarray) -> np.ndarray:
    """D W^-1 G P W B x for every square by PyWavelets, concatenated, cropped, summed, plus bias."""
    d, g, b = (v.detach().numpy() for v in (layer.d, layer.g, layer.b))
    filters, mode = layer.filters.detach(), layer.mode
    lengths = [len(h) for h in pywt_lengths(layer)]
    cut = legacy_slices if layer.slicing == "legacy" else cumulative_slices
    squares, coefficients = g.shape
    outputs = []
    for k in range(squares):
        c = pywt_analysis(x * b[k], filters, layer.scales, mode)
        own = layer.permutation[k * coefficients : (k + 1) * coefficients] - k * coefficients
        y = pywt_synthesis(cut(c[..., own.numpy()] * g[k], lengths), filters, mode)
        outputs.append(y[..., : layer.in_features] * d[k])
    stack = squares // layer.blocks
    blocks = [np.concatenate(outputs[i : i + stack], -1) for i in range(0, squares, stack)]
    return np.sum(blocks, 0)[..., : layer.out_features] + layer.bias.detach().numpy()


def pywt_lengths(layer: Wavelet) -> list[np.ndarray]:
    wavelet = pywt_wavelet(layer.filters.detach())
    signal = np.zeros(layer.in_features)
    return pywt.wavedec(signal, wavelet, mode=layer.mode, level=layer.scales)[:0:-1]


# The transform


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BANKS)
@pytest.mark.parametrize("n", [1, 2, 7, 58, 64, 97, 512])
@pytest.mark.parametrize("scales", [1, 3, 8])
def test_transform_agrees_with_pywavelets(name: str, n: int, scales: int, mode: str) -> None:
    filters = bank(name)
    x = torch.randn(2, n, dtype=torch.float64)
    c = analysis(x, filters[:2], scales, mode)
    expected = pywt_analysis(x.numpy(), filters, scales, mode)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(c.numpy() / scale, expected / scale, rtol=0, atol=1e-12)

    lengths = coefficient_lengths(n, filters.shape[1], scales, mode)
    c = torch.randn_like(c)
    y = synthesis(c, filters[2:], lengths, n, mode)
    expected = pywt_synthesis(cumulative_slices(c.numpy(), lengths), filters, mode)[:, :n]
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(y.numpy() / scale, expected / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("row", range(4))
def test_the_comparison_sees_one_changed_tap(row: int) -> None:
    filters = bank("haar6")
    changed = filters.clone()
    changed[row, 2] += 1e-9
    x = torch.randn(2, 64, dtype=torch.float64)
    lengths = coefficient_lengths(64, 6, 4, "zero")
    c = analysis(x, changed[:2], 4, "zero")
    expected = pywt_analysis(x.numpy(), filters, 4, "zero")
    y = synthesis(torch.from_numpy(expected), changed[2:], lengths, 64, "zero").numpy()
    assert max(np.abs(c.numpy() - expected).max(), np.abs(y - x.numpy()).max()) > 1e-10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BANKS)
@pytest.mark.parametrize("n", [7, 59, 128])
def test_synthesis_after_analysis_is_the_identity_for_a_wavelet(
    name: str, n: int, mode: str
) -> None:
    filters = bank(name)
    x = torch.randn(3, n, dtype=torch.float64)
    lengths = coefficient_lengths(n, filters.shape[1], 4, mode)
    again = synthesis(analysis(x, filters[:2], 4, mode), filters[2:], lengths, n, mode)
    error = (again - x).abs().max()
    assert error > 1e-2 if name == "random" else error < 1e-6  # float32 taps


def test_analysis_after_synthesis_is_the_identity_only_without_extra_coefficients() -> None:
    filters = bank("haar6")
    for mode, is_identity in (("zero", False), ("periodization", True)):
        lengths = coefficient_lengths(64, 6, 4, mode)
        c = torch.randn(3, sum(lengths) + lengths[-1], dtype=torch.float64)
        assert (c.shape[1] == 64) is is_identity
        again = analysis(synthesis(c, filters[2:], lengths, 64, mode), filters[:2], 4, mode)
        error = (again - c).abs().max()
        assert error < 1e-6 if is_identity else error > 1e-2


# The layer


@pytest.mark.parametrize("slicing", ["cumulative", "legacy"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("n", "m", "settings"),
    [
        (64, 64, {}),
        (59, 59, {"init": "random"}),
        (58, 58, {"init": "db6"}),
        (64, 64, {"init": "random", "scales": 1}),
        (48, 150, {"init": "random", "scales": 3}),
        (150, 48, {"init": "random", "scales": 3}),
        (61, 80, {"init": "random", "blocks": 2}),
    ],
)
def test_layer_agrees_with_pywavelets(
    n: int, m: int, settings: dict[str, Any], mode: Any, slicing: Any
) -> None:
    layer = Wavelet(n, m, mode=mode, slicing=slicing, **settings).double()
    for parameter in (layer.d, layer.g, layer.b, layer.bias):
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    y, expected = layer(x).detach().numpy(), oracle(layer, x.numpy())
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(y / scale, expected / scale, rtol=0, atol=1e-12)
    torch.testing.assert_close(x @ dense_weight(layer).T + layer.bias, layer(x))


def test_legacy_slices_matter_from_two_scales_on() -> None:
    x = torch.randn(2, 64)
    for scales, same in ((1, True), (2, False)):
        layer = Wavelet(64, 64, scales=scales)
        legacy = Wavelet(64, 64, scales=scales, slicing="legacy")
        legacy.load_state_dict(layer.state_dict())
        with torch.no_grad():
            assert torch.allclose(layer(x), legacy(x), atol=1e-6) is same


@pytest.mark.parametrize(
    ("n", "init", "scales", "dead", "coefficients"),
    [
        (512, "random", 8, 156, 545),
        (512, "random", 4, 140, 529),
        (800, "random", 6, 221, 826),
        (1024, "random", 6, 276, 1049),
        (58, "db6", 8, 85, 141),
    ],
)
def test_dead_coefficients(n: int, init: str, scales: int, dead: int, coefficients: int) -> None:
    torch.manual_seed(0)
    for slicing, expected in (("cumulative", 0), ("legacy", dead)):
        layer = Wavelet(n, n, init=init, scales=scales, slicing=slicing).double()  # type: ignore[arg-type]
        layer(torch.randn(4, n, dtype=torch.float64)).square().sum().backward()
        assert layer.g.grad is not None
        assert layer.g.numel() == coefficients
        assert (layer.g.grad == 0).sum() == expected


@pytest.mark.parametrize(
    ("n", "init", "scales", "lengths", "weights"),
    [
        (512, "haar6", 8, [258, 131, 68, 36, 20, 12, 8, 6], 1593),
        (512, "haar6", 6, [258, 131, 68, 36, 20, 12], 1585),
        (512, "haar6", 4, [258, 131, 68, 36], 1577),
        (512, "db6", 8, [261, 136, 73, 42, 26, 18, 14, 12], 1666),
        (800, "haar6", 6, [402, 203, 104, 54, 29, 17], 2450),
        (1024, "haar6", 6, [514, 259, 132, 68, 36, 20], 3121),
        (64, "random", 4, [34, 19, 12, 8], 233),
        (64, "haar6", 8, [34, 19, 12, 8, 6, 5, 5, 5], 251),
        (58, "db6", 8, [34, 22, 16, 13, 12, 11, 11, 11], 305),
    ],
)
def test_lengths_and_counts(
    n: int, init: str, scales: int, lengths: list[int], weights: int
) -> None:
    layer = Wavelet(n, n, bias=False, init=init, scales=scales)
    assert layer.lengths == lengths
    assert count_parameters(layer) == weights
    assert count_parameters(Wavelet(n, n, init=init, scales=scales)) == weights + n


def test_counts_of_other_shapes() -> None:
    square = 2 * 64 + 99
    assert count_parameters(Wavelet(64, 64, False, blocks=3)) == 3 * square + 24
    assert count_parameters(Wavelet(64, 150, False)) == 3 * square + 24
    assert count_parameters(Wavelet(64, 10, False)) == square + 24
    assert count_parameters(Wavelet(64, 64, False, learn_filters=False)) == square
    assert count_parameters(Wavelet(64, 64, False, scales=4, mode="periodization")) == 3 * 64 + 24
    assert multiply_adds(Wavelet(512, 512)) == 4 * 6 * 539 + 2 * 512 + 545
    assert multiply_adds(Wavelet(58, 58, init="db6")) == 4 * 12 * 130 + 2 * 58 + 141


@pytest.mark.parametrize(
    ("n", "m", "settings"),
    [
        (64, 64, {}),
        (101, 37, {}),
        (37, 101, {"scales": 2}),
        (512, 10, {}),
        (97, 97, {"init": "random", "blocks": 3, "slicing": "legacy"}),
        (96, 96, {"init": "random", "mode": "periodization"}),
        (64, 64, {"init": "random", "dropout": 0.5}),
    ],
)
@pytest.mark.parametrize("gain", [LINEAR_GAIN, 1.0])
def test_gain(n: int, m: int, settings: dict[str, Any], gain: float) -> None:
    layer = Wavelet(n, m, gain=gain, **settings).eval()
    assert dense_weight(layer).norm().item() / m**0.5 == pytest.approx(gain, rel=1e-4)


def test_published_start_has_unit_diagonals() -> None:
    layer = Wavelet(512, 512, gain=None)
    assert all((v == 1).all() for v in (layer.d, layer.g, layer.b))
    values = torch.linalg.svdvals(dense_weight(layer.double()))
    assert values.max().item() == pytest.approx(1, abs=1e-5)
    assert values[-1] < 1e-6  # boundary coefficients are zero: rank deficient at the start


# The filters and their penalty


@pytest.mark.parametrize("loss", ["pr_ac", "pr_twice"])
@pytest.mark.parametrize("taps", [1, 2, 3, 6, 9])
def test_penalty_and_its_gradient_are_those_of_the_residuals(taps: int, loss: str) -> None:
    layer = Wavelet(64, 64, scales=1, loss=loss).double()
    layer.filters = torch.nn.Parameter(torch.randn(4, taps, dtype=torch.float64))
    reconstruction, alias = layer.residuals()
    expected = reconstruction + (alias if loss == "pr_ac" else reconstruction)
    (gradient,) = torch.autograd.grad(3 * expected, layer.filters)
    (ours,) = torch.autograd.grad(3 * layer.penalty(), layer.filters)
    torch.testing.assert_close(layer.penalty(), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours, gradient, rtol=1e-11, atol=1e-11)
    with torch.inference_mode():
        torch.testing.assert_close(layer.penalty(), expected.detach(), rtol=1e-12, atol=1e-12)


def test_penalty_is_zero_for_wavelets() -> None:
    for name in ("haar6", "db6"):
        assert Wavelet(64, 64, init=name).double().penalty().item() < 1e-12
    reconstruction, alias = Wavelet(800, 800, init="haar6", scales=6).residuals()
    assert alias.item() == 0
    assert reconstruction.item() == pytest.approx(1.42e-14, rel=0.01)  # figure 2, first point


def test_alias_cancellation_has_the_sign_of_the_code_not_of_equation_6() -> None:
    for name in ("haar6", "db6"):
        h0, h1, f0, f1 = bank(name).numpy()
        sign = (-1.0) ** np.arange(len(h0))
        printed = ((f0 - sign * h1) ** 2 + (f1 + sign * h0) ** 2).sum()
        assert printed == pytest.approx(8)
        coded = ((f0 + sign * h1) ** 2 + (f1 - sign * h0) ** 2).sum()
        layer = Wavelet(64, 64, init=name).double()
        assert layer.residuals()[1].item() == pytest.approx(coded, abs=1e-12)


@pytest.mark.parametrize("loss", ["pr_ac", "pr_twice"])
def test_penalty_of_any_filters(loss: Any) -> None:
    layer = Wavelet(64, 64, init="random", loss=loss).double()
    h0, h1, f0, f1 = layer.filters.detach().numpy()
    product = np.convolve(h0, f0) + np.convolve(h1, f1)
    product[5] -= 2
    sign = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    alias = ((f0 - sign * h1) ** 2).sum() + ((f1 + sign * h0) ** 2).sum()
    reconstruction = (product**2).sum()
    expected = reconstruction + (alias if loss == "pr_ac" else reconstruction)
    assert layer.penalty().item() == pytest.approx(expected, rel=1e-12)
    layer.penalty().backward()
    assert layer.filters.grad is not None
    assert (layer.filters.grad != 0).all()
    assert layer.g.grad is None


def test_random_filters() -> None:
    torch.manual_seed(0)
    filters = torch.stack([Wavelet(64, 64, init="random").filters.detach() for _ in range(300)])
    assert filters.shape[1:] == (4, 6)
    assert filters.abs().max() <= 1
    assert filters.mean().abs() < 0.03
    assert filters.square().mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_named_filters_and_fixed_filters() -> None:
    layer = Wavelet(64, 64, init="bior4.4", learn_filters=False).double()
    expected = torch.tensor(pywt.Wavelet("bior4.4").filter_bank, dtype=torch.float64)
    torch.testing.assert_close(layer.filters, expected, rtol=0, atol=1e-7)
    assert "filters" not in dict(layer.named_parameters())
    assert "filters" in layer.state_dict()
    assert not layer.penalty().requires_grad
    layer(torch.randn(2, 64, dtype=torch.float64)).sum().backward()


def test_summary_is_plain_json() -> None:
    layer = Wavelet(64, 64, init="random")
    summary = json.loads(json.dumps(layer.summary()))
    assert list(summary["filters"]) == ["dec_lo", "dec_hi", "rec_lo", "rec_hi"]
    torch.testing.assert_close(torch.tensor(list(summary["filters"].values())), layer.filters.data)
    assert summary["perfect_reconstruction"] == layer.residuals()[0].item()
    assert summary["alias_cancellation"] == layer.residuals()[1].item()


# Dropout, size, settings


def test_dropout_is_one_mask_a_call_on_each_diagonal() -> None:
    layer = Wavelet(64, 64, init="random", dropout=0.5)
    x = torch.randn(5, 64)
    masked = Wavelet(64, 64).eval()
    masked.load_state_dict(layer.state_dict())
    torch.manual_seed(7)
    y = layer(x)
    torch.manual_seed(7)
    with torch.no_grad():
        for name in ("d", "g", "b"):
            diagonal = getattr(layer, name)
            mask = torch.nn.functional.dropout(torch.ones_like(diagonal), 0.5)
            assert set(mask.unique().tolist()) == {0.0, 2.0}
            getattr(masked, name).copy_(diagonal * mask)
    torch.testing.assert_close(y, masked(x))
    assert not torch.equal(layer(x), y)


def test_stochastic_only_while_masks_are_drawn() -> None:
    layer = Wavelet(64, 64, dropout=0.5)
    assert stochastic(layer)
    layer.eval()
    assert not stochastic(layer)
    assert torch.equal(layer(torch.ones(64)), layer(torch.ones(64)))
    assert not stochastic(Wavelet(64, 64))


def test_holds_no_square_array() -> None:
    n = 1024
    layer = Wavelet(n, n)
    x = torch.randn(1, n, requires_grad=True)
    with LargestTensor() as largest:
        layer(x).sum().backward()
    assert largest.numel <= 3 * n
    assert all(t.numel() <= 1.1 * n for t in (*layer.parameters(), *layer.buffers()))


@pytest.mark.parametrize("settings", [{"slicing": "legacy"}, {"mode": "periodization"}])
def test_gradients(settings: dict[str, Any]) -> None:
    layer = Wavelet(21, 21, init="random", scales=2, **settings).double()
    x = torch.randn(2, 21, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.filters, layer.d, layer.g, layer.b)
    assert torch.autograd.gradcheck(lambda *_: layer(x), inputs, fast_mode=True)


def test_a_checkpoint_restores_permutation_and_filters() -> None:
    layer, other = Wavelet(64, 100, init="random"), Wavelet(64, 100, init="random")
    x = torch.randn(4, 64)
    assert not torch.equal(layer(x), other(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), other(x))


def test_refuses_where_a_dense_map_is_no_larger() -> None:
    assert Wavelet.supports(512, 512) is None
    assert Wavelet.supports(12, 12, scales=1) is None
    # 3 squares of 2 * 5 + 5 + 5, and 24 filter taps
    assert Wavelet.supports(5, 13, scales=1) == (
        "84 weights for 13 x 5, no fewer than the 65 of a dense map"
    )
    with pytest.raises(Unsupported, match="no fewer than"):
        Wavelet(5, 13, scales=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "mexh"}, "init must be haar6, random or a discrete wavelet"),
        ({"mode": "reflect"}, "mode must be zero or periodization"),
        ({"slicing": "old"}, "slicing must be cumulative or legacy"),
        ({"loss": "ac"}, "loss must be pr_ac or pr_twice"),
        ({"scales": 0}, "scales must be a whole number of at least 1"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"gain": float("nan")}, "gain must be a positive number"),
    ],
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wavelet(64, 64, **settings)


def test_refuses_an_input_of_another_width() -> None:
    with pytest.raises(ValueError, match="in_features = 64"):
        Wavelet(64, 64)(torch.ones(2, 128))
