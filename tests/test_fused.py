"""Whole sequences in compiled code: they equal the plain loop for every mix of maps."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slt_bench import kernels
from slt_bench.kernels import _measured, _workspace
from slt_bench.recurrent import GRU, Factory, only_picking
from slt_bench.registry import load_baseline

pytestmark = pytest.mark.skipif(
    not kernels.enabled()
    or kernels.library(Path(kernels.__file__).with_name("sequence.c"), torch.float64) is None,
    reason="needs a C compiler, and no SLT_BENCH_KERNELS=0",
)

RECURRENT = GRU.slots[:3]
SUBSETS = [s for n in range(4) for s in itertools.combinations(RECURRENT, n)]


def maker(name: str, **options: Any) -> Factory:
    """Builds a baseline whose weights are drawn afresh, with a gain near one."""

    def make(n: int, m: int, bias: bool) -> nn.Module:
        layer = load_baseline(name)(n, m, bias, **options)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
        return layer

    return make


MAPS: dict[str, Factory] = {
    "wavelet": maker("wavelet", scales=3, init="random", gain=1.0),
    "legacy": maker("wavelet", scales=3, init="random", slicing="legacy", gain=1.0),
    "periodization": maker("wavelet", scales=2, mode="periodization", init="random", gain=1.0),
    "fastfood": maker("fastfood", gain=1.0),
    "low_rank": maker("low_rank", rank=9),
    "rank 12": maker("low_rank", rank=12),  # no kernel at this size: a dense matrix
    "diagonal": maker("diagonal"),
    "identity": load_baseline("identity"),
    "zero": load_baseline("zero"),
    "dense": nn.Linear,
}
DROPPED: dict[str, Factory] = {
    "wavelet": maker("wavelet", scales=2, dropout=0.3, gain=1.0),
    "legacy": maker("wavelet", scales=2, dropout=0.5, slicing="legacy", gain=1.0),
    "fastfood": maker("fastfood", dropout=0.3, gain=1.0),
    "dense": nn.Linear,
}


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All uninitialised memory is NaN: what is left unwritten fails the comparison."""
    for method in ("lease", "scratch"):
        given = getattr(kernels.Workspace, method)

        def poisoned(
            self: kernels.Workspace, count: int, dtype: torch.dtype, given: Any = given
        ) -> Tensor:
            return given(self, count, dtype).fill_(torch.nan)

        monkeypatch.setattr(kernels.Workspace, method, poisoned)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    yield
    torch.use_deterministic_algorithms(False)


def build(i: int, h: int, maps: dict[str, Factory] | None = None, seed: int = 0) -> GRU:
    torch.manual_seed(seed)
    return GRU(i, h, maps).double()


def draw(batch: int, time: int, i: int, h: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(batch, time, i, dtype=torch.float64)
    return x, torch.randn(batch, h, dtype=torch.float64)


def loss_of(states: Tensor, last: Tensor, through: str) -> Tensor:
    """A scalar that depends on every element of what it goes ``through``."""
    parts = {"states": [states], "last": [last], "both": [states, last]}[through]
    return torch.stack(
        [(p * torch.arange(1.0, p.numel() + 1).to(p).reshape(p.shape).sin()).sum() for p in parts]
    ).sum()


def run(
    gru: GRU, strategy: str, x: Tensor, h0: Tensor | None = None, through: str = "both"
) -> dict[str, Tensor]:
    """Outputs and gradients. The plain loop runs in plain torch: it is the oracle."""
    gru.strategy = strategy
    inputs = {"x": x, **({} if h0 is None else {"h0": h0})}
    leaves = {k: v.detach().clone().requires_grad_() for k, v in inputs.items()}
    learning = {k: p for k, p in gru.named_parameters() if p.requires_grad}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLT_BENCH_KERNELS", "0" if strategy == "eager" else "1")
        torch.manual_seed(3)
        states, last = gru(**leaves)
        tensors = {**leaves, **learning}
        gradients = torch.autograd.grad(
            loss_of(states, last, through), list(tensors.values()), allow_unused=True
        )
    # A map that ignores its input cuts the graph of the plain loop: no gradient is a zero one.
    found = {
        k: torch.zeros_like(t) if g is None else g
        for (k, t), g in zip(tensors.items(), gradients, strict=True)
    }
    return {"states": states.detach(), "last": last.detach(), **found}


def assert_agree(
    got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10
) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


# Agreement with the plain loop


@pytest.mark.parametrize("through", ["states", "last", "both"])
@pytest.mark.parametrize("kind", sorted(set(MAPS) - {"dense", "identity", "zero"}))
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_fused_equals_eager_for_every_subset_of_slots(
    subset: tuple[str, ...], kind: str, through: str
) -> None:
    gru = build(2, 59, dict.fromkeys(subset, MAPS[kind]))
    x, h0 = draw(19, 7, 2, 59)
    assert_agree(run(gru, "fused", x, h0, through), run(gru, "eager", x, h0, through))


@settings(max_examples=50, deadline=None)
@given(
    batch=st.one_of(st.integers(0, 3), st.integers(15, 50)),
    time=st.integers(1, 12),
    hidden=st.one_of(st.sampled_from([1, 2, 5, 16]), st.integers(59, 80)),
    input_size=st.integers(1, 6),
    kinds=st.lists(st.sampled_from(sorted(MAPS)), min_size=3, max_size=3),
    input_maps=st.booleans(),
    through=st.sampled_from(["states", "last", "both"]),
    with_h0=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_fused_equals_eager(
    batch: int,
    time: int,
    hidden: int,
    input_size: int,
    kinds: list[str],
    input_maps: bool,
    through: str,
    with_h0: bool,
    seed: int,
) -> None:
    if hidden < 59:  # too small for a wavelet layer to have fewer weights than a dense one
        kinds = [k if k in ("fastfood", "diagonal", "zero") else "dense" for k in kinds]
    maps = {slot: MAPS[k] for slot, k in zip(RECURRENT, kinds, strict=True)}
    if input_maps:
        maps["input_reset"] = MAPS["fastfood"]
    gru = build(input_size, hidden, maps, seed)
    x, h0 = draw(batch, time, input_size, hidden)
    start = h0 if with_h0 else None
    got, expected = (run(gru, s, x, start, through) for s in ("fused", "eager"))
    assert_agree(got, expected)


@pytest.mark.parametrize("limit", [0, 256])
@pytest.mark.parametrize("input_size", [5, 16, 37, 64, 100])
@pytest.mark.parametrize("kind", ["wavelet", "dense"])
def test_many_inputs(
    kind: str, input_size: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to the gradients of input weights: in rows at each step, and one product."""
    monkeypatch.setattr("slt_bench.kernels.sequence._SOME_INPUTS", limit)
    gru = build(input_size, 59, dict.fromkeys(RECURRENT, MAPS[kind]))
    x, h0 = draw(19, 4, input_size, 59)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))


@pytest.mark.parametrize("kinds", [*itertools.product(sorted(DROPPED), repeat=3)], ids="+".join)
def test_dropout_draws_the_same_masks_as_the_plain_loop(kinds: tuple[str, ...]) -> None:
    gru = build(2, 64, {s: DROPPED[k] for s, k in zip(RECURRENT, kinds, strict=True)})
    x, h0 = draw(17, 5, 2, 64)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))
    gru.eval()
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))


@pytest.mark.parametrize("kind", ["wavelet", "fastfood"])
def test_dropout_draws_a_new_mask_at_each_step(kind: str) -> None:
    gru = build(1, 64, {"state": DROPPED[kind]})
    for slot in ("update", "reset", "input_update", "input_reset", "input_state"):
        for parameter in gru.get_submodule(slot).parameters():
            nn.init.zeros_(parameter)
    gru.strategy = "fused"
    h0 = torch.zeros(1, 64, dtype=torch.float64)
    torch.manual_seed(0)
    states, _ = gru(torch.zeros(1, 6, 1, dtype=torch.float64), h0 + 1)
    previous = torch.cat([h0[:, None] + 1, states[:, :-1]], 1)
    moved = states - previous / 2  # z c with z = 1/2
    zeros = {tuple((moved[0, t] == 0).tolist()) for t in range(6)}
    assert len(zeros) == 6


@pytest.mark.parametrize("kind", ["wavelet", "fastfood", "dense"])
@pytest.mark.parametrize(("time", "batch", "hidden"), [(150, 20, 128), (784, 5, 64)])
def test_float32_is_within_rounding_of_float64(
    kind: str, time: int, batch: int, hidden: int
) -> None:
    """States to 1e-6 absolute, gradients to 1e-5 relative in norm, over a whole sequence."""
    make = {"wavelet": maker("wavelet"), "fastfood": maker("fastfood"), "dense": nn.Linear}[kind]
    gru = build(2, hidden, dict.fromkeys(RECURRENT, make))
    if kind == "wavelet" and hidden == 64:
        gru = build(2, hidden, dict.fromkeys(RECURRENT, maker("wavelet", scales=4)))
    gru.float().double()
    x = torch.randn(batch, time, 2).double()
    expected = run(gru, "eager", x)
    got = run(copy.deepcopy(gru).float(), "fused", x.float())
    for name in ("states", "last"):
        assert (got[name] - expected[name]).abs().max() < 1e-6
    for name, value in expected.items():
        assert (got[name] - value).norm() < 1e-5 * value.norm(), name


@pytest.mark.parametrize("kind", ["wavelet", "dense"])
@pytest.mark.parametrize("inputs", [nn.Linear, MAPS["fastfood"]])
@pytest.mark.parametrize("learning", [(), ("x",), ("h0",), *((s,) for s in GRU.slots)], ids="".join)
def test_only_what_needs_a_gradient_gets_one(
    learning: tuple[str, ...], inputs: Factory, kind: str
) -> None:
    for input_size in (2, 7):
        maps = dict.fromkeys(GRU.slots[3:], inputs) | dict.fromkeys(RECURRENT, MAPS[kind])
        gru = build(input_size, 64, maps)
        for slot in GRU.slots:
            gru.get_submodule(slot).requires_grad_(slot in learning)
        x, h0 = draw(3, 5, input_size, 64)
        found = []
        for strategy in ("eager", "fused"):
            gru.strategy = strategy
            leaves = {"x": x.clone(), "h0": h0.clone()}
            for name in set(learning) & set(leaves):
                leaves[name].requires_grad_()
            states, last = gru(**leaves)
            assert states.requires_grad is bool(learning)
            tensors = [t for t in (*leaves.values(), *gru.parameters()) if t.requires_grad]
            if tensors:
                found.append(torch.autograd.grad(loss_of(states, last, "both"), tensors))
        if learning:
            torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


def test_gradcheck() -> None:
    gru = build(2, 16, {"reset": MAPS["fastfood"]})
    gru.strategy = "fused"
    x, h0 = draw(2, 3, 2, 16)
    names, weights = zip(*gru.named_parameters(), strict=True)

    def function(x: Tensor, h0: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(gru, dict(zip(names, weights, strict=True)), (x, h0))

    assert torch.autograd.gradcheck(function, (x.requires_grad_(), h0.requires_grad_(), *weights))


def test_inputs_and_gradients_need_not_be_contiguous() -> None:
    gru = build(3, 64, {"state": MAPS["wavelet"]})
    x = torch.randn(6, 3, 20, dtype=torch.float64).transpose(1, 2)[::2]
    h0 = torch.randn(64, 3, dtype=torch.float64).t()
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))
    still = torch.randn(1, 1, 3, dtype=torch.float64).expand(3, 20, 3)
    assert_agree(run(gru, "fused", still), run(gru, "eager", still))
    outer = torch.randn(64, 20, 3, dtype=torch.float64).permute(2, 1, 0)
    found = []
    for strategy in ("eager", "fused"):
        gru.strategy = strategy
        found.append(torch.autograd.grad((gru(x)[0] * outer).sum(), [*gru.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)


def test_nan_in_nan_out_of_this_sequence_alone() -> None:
    for maps in ({}, {"state": MAPS["wavelet"]}, dict.fromkeys(RECURRENT, MAPS["fastfood"])):
        gru = build(2, 64, maps)
        x, _ = draw(20, 9, 2, 64)
        x[18, 7, 0] = torch.nan
        for dtype in (torch.float64, torch.float32):
            result = run(gru.to(dtype), "fused", x.to(dtype))
            states = result["states"]
            assert states[18, 7:].isnan().all()
            assert not states[18, :7].isnan().any()
            assert not states[:18].isnan().any()
            assert not states[19:].isnan().any()
            assert result["input_state.weight"].isnan().any()


@pytest.mark.parametrize("scale", [1e2, 1e6, 1e30])
def test_gates_far_from_zero_saturate(scale: float) -> None:
    gru = build(1, 16)
    x = scale * torch.randn(20, 5, 1, dtype=torch.float64)
    expected = run(gru, "eager", x)
    got = run(gru.float(), "fused", x.float())
    assert (got["states"] - expected["states"]).abs().max() < 1e-5
    assert all(g.isfinite().all() for g in got.values())


# A kernel that a stranger brings


FLIP = """
#include "lanes.h"
EXPORT void flip_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    int64_t n = map->sizes[0];
    for (int64_t b = 0; b < blocks; b++, x += n, y += n)
        for (int64_t i = 0; i < n; i++) y[i] = map->parameters[0][i] * x[n - 1 - i];
}
EXPORT void flip_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                          vec *dx) {
    int64_t n = map->sizes[0];
    for (int64_t b = 0; b < blocks; b++, x += n, dy += n, dx += n)
        for (int64_t i = 0; i < n; i++) {
            map->gradients[i] += dy[i] * x[n - 1 - i];
            dx[n - 1 - i] = map->parameters[0][i] * dy[i];
        }
}
"""


class Flip(nn.Module):
    """y_i = w_i x_(n - 1 - i), as somebody outside this repository would write it."""

    source: Path

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.weights = nn.Parameter(torch.randn(in_features))

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1) * self.weights

    def kernel(self) -> kernels.Kernel:
        return kernels.Kernel(
            source=self.source,
            forward="flip_forward",
            backward="flip_backward",
            in_features=self.in_features,
            out_features=self.in_features,
            parameters=(self.weights,),
            constants=(),
            sizes=(self.in_features,),
            scratch=0,
        )


@pytest.mark.parametrize("subset", SUBSETS[1:], ids="+".join)
def test_any_layer_may_bring_a_kernel(
    subset: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    Flip.source = tmp_path_factory.getbasetemp() / "flip.c"
    Flip.source.write_text(FLIP, encoding="utf-8")
    gru = build(3, 37, dict.fromkeys(subset, Flip))
    x, h0 = draw(19, 6, 3, 37)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))
    Flip.source = Flip.source.with_name("broken.c")
    Flip.source.write_text("not C", encoding="utf-8")
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))  # as a dense matrix


# Deterministic; several forwards and backwards


def test_the_same_numbers_each_time() -> None:
    gru = build(3, 64, {"update": MAPS["wavelet"]})
    x, h0 = draw(20, 11, 3, 64)
    assert_agree(run(gru, "fused", x, h0), run(gru, "fused", x, h0), tolerance=0)


MIXED: dict[str, Factory] = {"update": MAPS["wavelet"], "reset": MAPS["fastfood"]}
TwoRuns = tuple[GRU, Tensor, Tensor, dict[str, list[Tensor]]]


@pytest.fixture
def two_runs() -> TwoRuns:
    """A fused GRU, two inputs, and the gradients of each alone."""
    gru = build(2, 64, MIXED)
    (a, _), (b, _) = draw(18, 6, 2, 64), draw(18, 6, 2, 64)
    alone = {
        name: [g for k, g in run(gru, "eager", x).items() if k not in ("states", "last", "x")]
        for name, x in (("a", a), ("b", b))
    }
    gru.zero_grad()
    gru.strategy = "fused"
    return gru, a, b, alone


def assert_sum(gru: GRU, *parts: list[Tensor]) -> None:
    got = [p.grad for p in gru.parameters()]
    expected = [torch.stack(terms).sum(0) for terms in zip(*parts, strict=True)]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_two_forwards_before_a_backward(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    first, second = loss_of(*gru(a), "both"), loss_of(*gru(b), "both")
    first.backward()
    assert_sum(gru, alone["a"])
    second.backward()  # accumulates
    assert_sum(gru, alone["a"], alone["b"])


def test_same_module_twice_in_one_graph(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    (loss_of(*gru(a), "both") + loss_of(*gru(b), "both")).backward()
    assert_sum(gru, alone["a"], alone["b"])


def test_evaluation_between_forward_and_backward(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    loss = loss_of(*gru(a), "both")
    with torch.inference_mode():
        gru.eval()(b)
        gru.train()
    loss.backward()
    assert_sum(gru, alone["a"])


def test_retain_graph(two_runs: TwoRuns) -> None:
    gru, a, b, alone = two_runs
    loss = loss_of(*gru(a), "both")
    loss.backward(retain_graph=True)
    loss_of(*gru(b), "both")
    loss.backward()
    assert_sum(gru, alone["a"], alone["a"])
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_no_second_derivative() -> None:
    gru = build(2, 16)
    gru.strategy = "fused"
    x = draw(2, 4, 2, 16)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(gru(x)[1].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_returned_states_are_the_callers() -> None:
    gru = build(2, 64, MIXED)
    gru.strategy = "fused"
    x, _ = draw(3, 20, 2, 64)
    with torch.no_grad():
        states, last = gru(x)
        expected = states.clone(), last.clone()
        last.zero_()
        gru(x + 1)
        assert torch.equal(states, expected[0])
        states.zero_()
        assert torch.equal(gru(x)[0], expected[0])
    states, _ = gru(x)
    with pytest.raises(RuntimeError, match=r"modified|view"):
        states.mul_(2).sum().backward()


def test_training_uses_its_workspace_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gru = build(2, 64, MIXED)
    gru.strategy = "fused"
    x, _ = draw(20, 30, 2, 64)
    made: list[int] = []
    monkeypatch.setattr(kernels.workspace, "_free", [])
    new_block = _workspace._new_block
    monkeypatch.setattr(_workspace, "_new_block", lambda size: made.append(size) or new_block(size))
    for _ in range(2):  # the first graph lives on while the second is made
        loss = loss_of(*gru(x), "both")
        loss.backward()
    assert made
    made.clear()
    for _ in range(4):
        loss = loss_of(*gru(x), "both")
        loss.backward()
    assert not made


def test_inference_keeps_no_history() -> None:
    leased: list[int] = []
    lease = kernels.Workspace.lease
    gru = build(2, 64, MIXED)
    gru.strategy = "fused"
    x, _ = draw(16, 200, 2, 64)

    def sizes() -> int:
        leased.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                kernels.Workspace,
                "lease",
                lambda self, n, dtype: leased.append(n) or lease(self, n, dtype),
            )
            states, _ = gru(x)
        return max(leased) // (states.numel() // 200)

    assert sizes() >= 4 * 200
    with torch.no_grad():
        assert sizes() < 50


# Which strategy runs


def test_auto_takes_fused_for_small_sequences() -> None:
    gru = GRU(2, 64, MIXED)
    gru(torch.randn(3, 8, 2))
    assert gru.last_strategy == "fused"


def test_auto_takes_what_was_quickest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru = GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    gru(x)
    (case,) = kernels.measured()
    assert case.startswith("GRU training, batch 20, torch.float32, reset Fastfood(64, 64")
    assert kernels.measured()[case].keys() == {"fused", "scan", "eager"}
    assert all(p.grad is None for p in gru.parameters())
    for strategy in ("eager", "scan", "fused"):
        kernels.measured()[case] = dict.fromkeys(("fused", "scan", "eager"), 1.0) | {strategy: 0.5}
        gru(x)
        assert gru.last_strategy == strategy
    gru.eval()
    with torch.inference_mode():
        gru(x)
    assert [c.split(",")[0] for c in kernels.measured()] == ["GRU training", "GRU inference"]
    _measured._known.clear()


def test_measuring_leaves_the_run_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gru = GRU(2, 64, dict.fromkeys(RECURRENT, DROPPED["wavelet"]))
    x = torch.randn(20, 24, 2)
    gru.strategy = "fused"
    torch.manual_seed(1)
    expected, _ = gru(x)
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru.strategy = "auto"
    torch.manual_seed(1)
    got, _ = gru(x)
    (case,) = kernels.measured()
    assert kernels.measured()[case].keys() == {"fused", "eager"}  # a matrix would hold one mask
    torch.testing.assert_close(got, expected)
    _measured._known.clear()


def test_what_was_picked_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru, again = GRU(2, 64, MIXED), GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    gru(x)
    with torch.inference_mode():
        gru(x[:3])
    (training, milliseconds), (inference, _) = (
        (case, pick["milliseconds"]) for case, pick in gru.picks.items()
    )
    assert (training, inference) == ("training, 24 steps x 20", "inference, 24 steps x 3")
    assert milliseconds is not None
    (measured, _) = kernels.measured().values()
    assert milliseconds == {name: pytest.approx(1e3 * s, abs=1e-4) for name, s in measured.items()}
    for strategy in ("eager", "scan", "fused"):  # whatever would be quickest now
        for case in kernels.measured():
            kernels.measured()[case] |= dict.fromkeys(("fused", "scan", "eager"), 2.0)
            kernels.measured()[case]["scan"] = 1.0
        again.keep({training: {"strategy": strategy, "milliseconds": None}})
        again(x)
        assert again.last_strategy == strategy
        again(x[:3])  # another case goes by the rule
        assert again.picks["training, 24 steps x 3"]["strategy"] == again.last_strategy
    again.strategy = "fused"  # what a user sets comes first
    again.keep({training: {"strategy": "eager", "milliseconds": None}})
    again(x)
    assert again.last_strategy == "fused"
    _measured._known.clear()


def test_only_picking_runs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru = GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    with only_picking():
        states, last = gru(x)
    assert (states.shape, last.shape) == ((20, 24, 64), (20, 64))
    assert not states.any()
    assert not last.any()
    assert len(kernels.measured()) == 1
    measured = dict(kernels.measured())
    states, _ = gru(x)
    assert states.any()
    assert kernels.measured() == measured
    _measured._known.clear()


@pytest.mark.parametrize(
    ("maps", "prepare", "reason"),
    [
        ({}, lambda gru: gru.bfloat16(), "bfloat16"),
        ({}, lambda gru: gru.state.register_forward_hook(lambda *_: None), "has hooks"),
        (
            {"state": lambda i, o, b: nn.Sequential(nn.Dropout(0.5), nn.Linear(i, o, b))},
            lambda gru: gru,
            "'state' draws random numbers",
        ),
    ],
)
def test_what_fused_cannot_run(maps: dict[str, Factory], prepare: Any, reason: str) -> None:
    gru = GRU(2, 16, maps, strategy="fused")
    prepare(gru)
    with pytest.raises(ValueError, match=reason):
        gru(torch.randn(3, 8, 2, dtype=next(gru.parameters()).dtype))


def test_without_kernels_auto_takes_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNELS", "0")
    gru = GRU(2, 64, MIXED)
    x = torch.randn(3, 8, 2)
    gru(x)
    assert gru.last_strategy == "scan"
    gru.strategy = "fused"
    with pytest.raises(ValueError, match="SLT_BENCH_KERNELS=0"):
        gru(x)
