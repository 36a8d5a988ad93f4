"""What every strategy keeps: the equations, gradients in any order, and what is the caller's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from gru_cases import (
    FASTFOOD,
    FUSED,
    MIXED,
    RECURRENT,
    WAVELET,
    Circulant,
    assert_agree,
    build,
    draw,
    every_strategy,
    loss_of,
    maker,
    own_backward,
    run,
)
from torch import Tensor, nn

from slt_bench.recurrent import GRU, Factory

pytestmark = pytest.mark.usefixtures("poison")


@every_strategy
def test_equations(strategy: str) -> None:
    """Equations 9 to 12 of Wolter, Lin, Yao (2020), written out in numpy."""
    gru = build(3, 5)
    x, h0 = draw(2, 4, 3, 5)
    w = {name: p.detach().numpy() for name, p in gru.named_parameters()}
    gru.strategy = strategy
    states, last = gru(x, h0)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    h = h0.numpy()
    for t, x_t in enumerate(x.numpy().swapaxes(0, 1)):
        a = {
            slot: x_t @ w[f"input_{slot}.weight"].T + w[f"input_{slot}.bias"] for slot in RECURRENT
        }
        r = sigmoid(h @ w["reset.weight"].T + a["reset"])
        z = sigmoid(h @ w["update.weight"].T + a["update"])
        c = np.tanh((r * h) @ w["state.weight"].T + a["state"])
        h = (1 - z) * h + z * c
        np.testing.assert_allclose(states[:, t].detach().numpy(), h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(last.detach().numpy(), h, rtol=0, atol=1e-14)


# Inputs of all kinds


@own_backward
def test_inputs_and_gradients_need_not_be_contiguous(strategy: str) -> None:
    gru = build(3, 64, {"state": WAVELET})
    x = torch.randn(6, 3, 20, dtype=torch.float64).transpose(1, 2)[::2]
    h0 = torch.randn(64, 3, dtype=torch.float64).t()
    assert_agree(run(gru, strategy, x, h0), run(gru, "eager", x, h0))
    still = torch.randn(1, 1, 3, dtype=torch.float64).expand(3, 20, 3)
    assert_agree(run(gru, strategy, still), run(gru, "eager", still))
    outer = torch.randn(64, 20, 3, dtype=torch.float64).permute(2, 1, 0)
    found = []
    for one in ("eager", strategy):
        gru.strategy = one
        found.append(torch.autograd.grad((gru(x)[0] * outer).sum(), [*gru.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


@every_strategy
def test_maps_without_tensors_take_the_inputs_dtype(strategy: str) -> None:
    class Same(nn.Identity):
        in_features = 4

    gru = build(2, 4, {"state": lambda i, o, b: Same(), "reset": lambda i, o, b: Same()})
    x, h0 = draw(3, 20, 2, 4)
    assert_agree(run(gru, strategy, x, h0), run(gru, "eager", x, h0))


@every_strategy
@pytest.mark.parametrize(
    "maps",
    [{}, {"state": WAVELET}, dict.fromkeys(RECURRENT, FASTFOOD)],
    ids=["dense", "wavelet", "fastfood"],
)
def test_nan_in_nan_out_of_this_sequence_alone(maps: dict[str, Factory], strategy: str) -> None:
    gru = build(2, 64, maps)
    x, _ = draw(20, 19, 2, 64)
    x[18, 7, 0] = torch.nan
    for dtype in (torch.float64, torch.float32):
        result = run(gru.to(dtype), strategy, x.to(dtype))
        states = result["states"]
        assert states[18, 7:].isnan().all()
        assert not states[18, :7].isnan().any()
        assert not states[:18].isnan().any()
        assert not states[19:].isnan().any()
        assert result["input_state.weight"].isnan().any()
        if not maps:
            assert result["state.weight"].isnan().any()


@every_strategy
@pytest.mark.parametrize("scale", [1e2, 1e6, 1e30])
def test_gates_far_from_zero_saturate(scale: float, strategy: str) -> None:
    gru = build(1, 16)
    x = scale * torch.randn(20, 5, 1, dtype=torch.float64)
    expected = run(gru, "eager", x)
    got = run(gru.float(), strategy, x.float())
    assert (got["states"] - expected["states"]).abs().max() < 1e-5
    assert all(g.isfinite().all() for g in got.values())


KINDS: dict[str, Factory] = {
    "dense": nn.Linear,
    "wavelet": maker("wavelet", scales=4),
    "fastfood": maker("fastfood"),
}


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [
        ("eager", "dense"),
        ("scan", "dense"),
        *(pytest.param("fused", kind, marks=FUSED.marks) for kind in KINDS),
    ],
)
@pytest.mark.parametrize(("time", "batch", "hidden"), [(150, 20, 128), (784, 5, 64)])
def test_float32_is_within_rounding_of_float64(
    strategy: str, kind: str, time: int, batch: int, hidden: int
) -> None:
    """States to 1e-6 absolute, gradients to 1e-5 relative in norm, over a whole sequence."""
    gru = build(2, hidden, dict.fromkeys(RECURRENT, KINDS[kind]))
    gru.float().double()  # both runs start from weights that float32 holds exactly
    x = torch.randn(batch, time, 2).double()
    expected = run(gru, "eager", x)
    got = run(copy.deepcopy(gru).float(), strategy, x.float())
    for name in ("states", "last"):
        assert (got[name] - expected[name]).abs().max() < 1e-6
    for name, value in expected.items():
        assert (got[name] - value).norm() < 1e-5 * value.norm(), name


# Which gradients


@own_backward
@pytest.mark.parametrize("kind", [WAVELET, nn.Linear], ids=["wavelet", "dense"])
@pytest.mark.parametrize(
    "inputs", [nn.Linear, FASTFOOD, Circulant], ids=["Linear", "Fastfood", "Circulant"]
)
@pytest.mark.parametrize("learning", [(), ("x",), ("h0",), *((s,) for s in GRU.slots)], ids="".join)
def test_only_what_needs_a_gradient_gets_one(
    learning: tuple[str, ...], inputs: Factory, kind: Factory, strategy: str
) -> None:
    for input_size in (2, 7):
        maps = dict.fromkeys(GRU.slots[3:], inputs) | dict.fromkeys(RECURRENT, kind)
        gru = build(input_size, 64, maps)
        for slot in GRU.slots:
            gru.get_submodule(slot).requires_grad_(slot in learning)
        x, h0 = draw(3, 18, input_size, 64)
        found = []
        for one in ("eager", strategy):
            gru.strategy = one
            leaves = {"x": x.clone(), "h0": h0.clone()}
            for name in set(learning) & set(leaves):
                leaves[name].requires_grad_()
            states, last = gru(**leaves)
            assert states.requires_grad is bool(learning)
            tensors = [t for t in (*leaves.values(), *gru.parameters()) if t.requires_grad]
            if tensors:
                found.append(torch.autograd.grad(loss_of(states, last), tensors))
        if learning:
            torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


@own_backward
def test_gradcheck(strategy: str) -> None:
    gru = build(2, 8, {"reset": FASTFOOD})
    gru.strategy = strategy
    x, h0 = draw(2, 3, 2, 8)
    names, weights = zip(*gru.named_parameters(), strict=True)

    def function(x: Tensor, h0: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(gru, dict(zip(names, weights, strict=True)), (x, h0))

    assert torch.autograd.gradcheck(
        function, (x.requires_grad_(), h0.requires_grad_(), *weights), fast_mode=False
    )


@own_backward
def test_no_second_derivative(strategy: str) -> None:
    gru = build(2, 16)
    gru.strategy = strategy
    x = draw(2, 4, 2, 16)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(gru(x)[1].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# Several forwards and backwards, in any order


@own_backward
def test_the_same_numbers_each_time(strategy: str) -> None:
    gru = build(3, 64, MIXED)
    x, h0 = draw(20, 40, 3, 64)
    assert_agree(run(gru, strategy, x, h0), run(gru, strategy, x, h0), tolerance=0)


TwoRuns = tuple[GRU, Tensor, Tensor, dict[str, list[Tensor]]]


@pytest.fixture
def two_runs(strategy: str) -> TwoRuns:
    """A GRU, two inputs, and the gradients of each alone."""
    gru = build(2, 64, MIXED)
    (a, _), (b, _) = draw(18, 20, 2, 64), draw(17, 33, 2, 64)
    alone = {
        name: [g for k, g in run(gru, "eager", x).items() if k not in ("states", "last", "x")]
        for name, x in (("a", a), ("b", b))
    }
    gru.strategy = strategy
    return gru, a, b, alone


def assert_sum(gru: GRU, *parts: list[Tensor]) -> None:
    got = [p.grad for p in gru.parameters()]
    expected = [torch.stack(terms).sum(0) for terms in zip(*parts, strict=True)]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@own_backward
def test_two_forwards_before_a_backward(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    first, second = loss_of(*gru(a)), loss_of(*gru(b))
    first.backward()
    assert_sum(gru, alone["a"])
    second.backward()  # accumulates
    assert_sum(gru, alone["a"], alone["b"])


@own_backward
def test_same_module_twice_in_one_graph(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    (loss_of(*gru(a)) + loss_of(*gru(b))).backward()
    assert_sum(gru, alone["a"], alone["b"])


@own_backward
def test_evaluation_between_forward_and_backward(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    loss = loss_of(*gru(a))
    with torch.inference_mode():
        gru.eval()(b)
        gru.train()
    loss.backward()
    assert_sum(gru, alone["a"])


@own_backward
def test_retain_graph(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    loss = loss_of(*gru(a))
    loss.backward(retain_graph=True)
    loss_of(*gru(b))
    loss.backward()
    assert_sum(gru, alone["a"], alone["a"])
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@every_strategy
def test_a_sequence_in_two_pieces_is_the_whole_sequence(strategy: str) -> None:
    gru = build(2, 64, MIXED)
    x, _ = draw(3, 30, 2, 64)
    expected = run(gru, "eager", x)
    gru.strategy = strategy
    head, between = gru(x[:, :11])
    tail, last = gru(x[:, 11:], between)
    states = torch.cat([head, tail], dim=1)
    loss_of(states, last).backward()
    got = {"states": states, "last": last, "x": expected["x"]}
    assert_agree(got | {name: p.grad for name, p in gru.named_parameters()}, expected)


@own_backward
def test_returned_states_are_the_callers(strategy: str) -> None:
    gru = build(2, 64, MIXED)
    gru.strategy = strategy
    x, _ = draw(3, 20, 2, 64)
    with torch.no_grad():
        states, last = gru(x)
        expected = states.clone(), last.clone()
        last.zero_()
        assert torch.equal(states, expected[0])
        gru(x + 1)
        assert torch.equal(states, expected[0])
        states.zero_()
        assert torch.equal(gru(x)[0], expected[0])
    states, _ = gru(x)  # with gradients they are part of the history: no silent change
    assert torch.equal(states, expected[0])
    with pytest.raises(RuntimeError, match=r"modified|view"):
        states.mul_(2).sum().backward()
