"""The GRU over interchangeable maps: its equations, its slots, and that its strategies agree."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from slt_bench import _scan, count_parameters
from slt_bench.recurrent import GRU, Factory

RECURRENT = GRU.slots[:3]
SUBSETS = [s for n in range(4) for s in itertools.combinations(RECURRENT, n)]


class Diagonal(nn.Module):
    """y_i = d_i x_i, with a matrix of its own."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        assert in_features == out_features
        self.diagonal = nn.Parameter(torch.randn(in_features))

    def dense_weight(self) -> Tensor:
        return torch.diag(self.diagonal)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.diagonal


class Circulant(nn.Module):
    """Circular convolution of the zero-padded input, cropped: known by its forward alone."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.size = max(in_features, out_features)
        self.weights = nn.Parameter(torch.randn(self.size) / self.size)
        self.offset = nn.Parameter(torch.randn(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, self.size - self.in_features))
        shifted = torch.stack([padded.roll(k, -1) for k in range(self.size)], dim=-1)
        y = (shifted @ self.weights)[..., : self.out_features]
        return y if self.offset is None else y + self.offset


class Drawing(Diagonal):
    """A map that draws new random numbers in each call while it trains."""

    @property
    def stochastic(self) -> bool:
        return self.training

    def forward(self, x: Tensor) -> Tensor:
        return x * nn.functional.dropout(self.diagonal, 0.5, self.training)


class Opaque(Diagonal):
    """A map that says nothing of itself: no matrix, no sizes."""

    dense_weight = None  # type: ignore[assignment]


STRUCTURED: dict[str, Factory] = {"diagonal": Diagonal, "circulant": Circulant}


def loss_of(states: Tensor, last: Tensor, through: str) -> Tensor:
    """A scalar that depends on every element of what it goes ``through``."""
    parts = {"states": [states], "last": [last], "both": [states, last]}[through]
    return torch.stack(
        [(p * torch.arange(1.0, p.numel() + 1).to(p).reshape(p.shape).sin()).sum() for p in parts]
    ).sum()


class Result(NamedTuple):
    states: Tensor
    last: Tensor
    gradients: dict[str, Tensor | None]


def run(
    gru: GRU, strategy: str, x: Tensor, h0: Tensor | None = None, through: str = "both"
) -> Result:
    """One forward and backward from clean gradients."""
    gru.strategy = strategy
    gru.zero_grad()
    inputs = {"x": x, **({} if h0 is None else {"h0": h0})}
    leaves = {name: t.detach().clone().requires_grad_() for name, t in inputs.items()}
    states, last = gru(**leaves)
    assert gru.last_strategy == strategy
    loss_of(states, last, through).backward()
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    gradients |= {
        name: None if p.grad is None else p.grad.clone() for name, p in gru.named_parameters()
    }
    return Result(states.detach(), last.detach(), gradients)


def assert_agree(got: Result, expected: Result, tolerance: float = 1e-11) -> None:
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(got.states, expected.states, **close)
    torch.testing.assert_close(got.last, expected.last, **close)
    assert got.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(
            got.gradients[name], gradient, **close, msg=lambda text, name=name: f"{name}: {text}"
        )


def build(
    input_size: int, hidden: int, maps: dict[str, Factory] | None = None, seed: int = 0
) -> GRU:
    torch.manual_seed(seed)
    return GRU(input_size, hidden, maps).double()


def draw(batch: int, time: int, input_size: int, hidden: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(batch, time, input_size, dtype=torch.float64)
    return x, torch.randn(batch, hidden, dtype=torch.float64)


# Equations, slots, errors


@pytest.mark.parametrize("strategy", ["eager", "scan"])
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


@pytest.mark.parametrize(("i", "h"), [(2, 512), (1, 1), (7, 3)])
def test_parameter_count(i: int, h: int) -> None:
    assert count_parameters(GRU(i, h)) == 3 * h * h + 3 * (i * h + h)


def test_factories_fill_the_slots_they_are_given_for() -> None:
    asked: dict[str, tuple[int, int, bool]] = {}

    def factory(slot: str) -> Factory:
        def make(in_features: int, out_features: int, bias: bool) -> nn.Module:
            asked[slot] = (in_features, out_features, bias)
            return nn.Linear(in_features, out_features, bias)

        return make

    gru = GRU(3, 4, {slot: factory(slot) for slot in GRU.slots})
    of_state, of_input = GRU.slots[:3], GRU.slots[3:]
    assert asked == dict.fromkeys(of_state, (4, 4, False)) | dict.fromkeys(of_input, (3, 4, True))
    assert [name for name, _ in gru.named_children()] == list(GRU.slots)
    mixed = GRU(3, 4, {"reset": Diagonal})
    assert isinstance(mixed.reset, Diagonal)
    assert isinstance(mixed.update, nn.Linear)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2, 3, {"resett": nn.Linear}), ValueError, "'resett'; allowed: reset, update, state"),
        ((2, 3, None, "fast"), ValueError, "'fast'; allowed: auto, eager, scan, fused"),
        ((0, 3), ValueError, "at least 1"),
        ((2, 0), ValueError, "at least 1"),
        ((2, 3, {"state": lambda i, o, b: nn.Linear(i, o)}), ValueError, "'state' has a bias"),
        ((2, 3, {"state": lambda i, o, b: torch.eye(o)}), TypeError, "must return an nn.Module"),
    ],
)
def test_construction_errors(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        GRU(*arguments)


@pytest.mark.parametrize(
    ("shape", "h0", "message"),
    [
        ((2, 0, 3), None, "at least one time step"),
        ((2, 5, 4), None, r"\(batch, time, 3\)"),
        ((5, 3), None, r"\(batch, time, 3\)"),
        ((2, 5, 3), torch.zeros(3, 4), "h0 must be"),
        ((2, 5, 3), torch.zeros(2, 4, dtype=torch.float64), "h0 must be"),
    ],
)
@pytest.mark.parametrize("strategy", ["eager", "scan"])
def test_input_errors(
    strategy: str, shape: tuple[int, ...], h0: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GRU(3, 4, strategy=strategy)(torch.zeros(shape), h0)


# Agreement of the strategies


@pytest.mark.parametrize("through", ["states", "last", "both"])
@pytest.mark.parametrize("kind", STRUCTURED)
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_scan_equals_eager_for_every_subset_of_slots(
    subset: tuple[str, ...], kind: str, through: str
) -> None:
    gru = build(3, 7, dict.fromkeys(subset, STRUCTURED[kind]))
    x, h0 = draw(5, 19, 3, 7)
    assert_agree(run(gru, "scan", x, h0, through), run(gru, "eager", x, h0, through))


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(0, 5),
    time=st.integers(1, 50),
    hidden=st.integers(1, 17),
    input_size=st.integers(1, 5),
    filled=st.dictionaries(st.sampled_from(RECURRENT), st.sampled_from(sorted(STRUCTURED))),
    circulant_inputs=st.sets(st.sampled_from(GRU.slots[3:])),
    through=st.sampled_from(["states", "last", "both"]),
    chunk=st.integers(1, 20),
    with_h0=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_scan_equals_eager(
    batch: int,
    time: int,
    hidden: int,
    input_size: int,
    filled: dict[str, str],
    circulant_inputs: set[str],
    through: str,
    chunk: int,
    with_h0: bool,
    seed: int,
) -> None:
    maps = {slot: STRUCTURED[kind] for slot, kind in filled.items()}
    gru = build(input_size, hidden, maps | dict.fromkeys(circulant_inputs, Circulant), seed)
    x, h0 = draw(batch, time, input_size, hidden)
    start = h0 if with_h0 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "_CHUNK_STEPS", chunk)
        got = run(gru, "scan", x, start, through)
    assert_agree(got, run(gru, "eager", x, start, through))


@pytest.mark.parametrize("inputs", [nn.Linear, Circulant])
@pytest.mark.parametrize("learning", [(), ("x",), ("h0",), *((s,) for s in GRU.slots)], ids="".join)
def test_only_what_needs_a_gradient_gets_one(learning: tuple[str, ...], inputs: Factory) -> None:
    gru = build(2, 5, dict.fromkeys(GRU.slots[3:], inputs))
    for slot in GRU.slots:
        gru.get_submodule(slot).requires_grad_(slot in learning)
    x, h0 = draw(3, 18, 2, 5)
    leaves = {"x": x, "h0": h0}
    for name in set(learning) & set(leaves):
        leaves[name].requires_grad_()
    gradients: dict[str, list[Tensor | None]] = {}
    for strategy in ("eager", "scan"):
        gru.strategy = strategy
        states, last = gru(x, h0)
        assert states.requires_grad is bool(learning)
        tensors = [t for t in (x, h0, *gru.parameters()) if t.requires_grad]
        if learning:
            loss = loss_of(states, last, "both")
            gradients[strategy] = list(torch.autograd.grad(loss, tensors))
    if learning:
        torch.testing.assert_close(gradients["scan"], gradients["eager"], rtol=0, atol=1e-11)


def test_gradcheck() -> None:
    gru = build(2, 3)
    gru.strategy = "scan"
    x, h0 = draw(2, 4, 2, 3)
    names, weights = zip(*gru.named_parameters(), strict=True)

    def function(x: Tensor, h0: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(gru, dict(zip(names, weights, strict=True)), (x, h0))

    assert torch.autograd.gradcheck(
        function, (x.requires_grad_(), h0.requires_grad_(), *weights), fast_mode=False
    )


def test_inputs_need_not_be_contiguous() -> None:
    gru = build(3, 4)
    x = torch.randn(6, 3, 20, dtype=torch.float64).transpose(1, 2)[::2]
    h0 = torch.randn(4, 3, dtype=torch.float64).t()
    assert_agree(run(gru, "scan", x, h0), run(gru, "eager", x, h0))
    still = torch.randn(1, 1, 3, dtype=torch.float64).expand(3, 20, 3)
    assert_agree(run(gru, "scan", still), run(gru, "eager", still))


def test_scan_reads_no_uninitialised_memory() -> None:
    """In torch's deterministic mode a new tensor is full of NaN until it is written."""
    gru = build(3, 5, {"state": Circulant})
    x, h0 = draw(4, 21, 3, 5)
    x.requires_grad_()
    expected = run(gru, "eager", x, h0)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        got = run(gru, "scan", x, h0)
        gru.strategy = "scan"
        with torch.no_grad():
            states, _ = gru(x, h0)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_agree(got, expected)
    assert torch.equal(states, got.states)


def test_same_numbers_each_time() -> None:
    gru = build(3, 9)
    x, h0 = draw(4, 40, 3, 9)
    first, second = run(gru, "scan", x, h0), run(gru, "scan", x, h0)
    assert_agree(first, second, tolerance=0)


@pytest.mark.parametrize("strategy", ["eager", "scan"])
@pytest.mark.parametrize(("time", "batch", "hidden"), [(150, 8, 64), (784, 4, 24)])
def test_float32_is_within_rounding_of_float64(
    strategy: str, time: int, batch: int, hidden: int
) -> None:
    """States to 1e-6 absolute, gradients to 1e-5 relative in norm, over a whole sequence."""
    gru = build(2, hidden)
    x = torch.randn(batch, time, 2, dtype=torch.float64).float().double()
    gru.float().double()  # both runs start from weights that float32 holds exactly
    expected = run(gru, "eager", x)
    got = run(gru.float(), strategy, x.float())
    assert (got.states.double() - expected.states).abs().max() < 1e-6
    for name, gradient in expected.gradients.items():
        assert gradient is not None
        error = (got.gradients[name].double() - gradient).norm() / gradient.norm()  # type: ignore[union-attr]
        assert error < 1e-5, name


def test_nan_in_nan_out() -> None:
    gru = build(2, 5)
    x, _ = draw(3, 20, 2, 5)
    x[1, 7, 0] = torch.nan
    for strategy in ("eager", "scan"):
        result = run(gru, strategy, x)
        assert result.states[1, 7:].isnan().all()
        assert not result.states[1, :7].isnan().any()
        assert not result.states[[0, 2]].isnan().any()
        assert result.gradients["state.weight"].isnan().any()  # type: ignore[union-attr]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scan_equals_eager_on_cuda() -> None:
    gru = build(3, 7, {"reset": Circulant}).cuda()
    x, h0 = (t.cuda() for t in draw(5, 37, 3, 7))
    assert_agree(run(gru, "scan", x, h0), run(gru, "eager", x, h0), tolerance=1e-10)


# One backward or several, in any order


TwoRuns = tuple[GRU, Tensor, Tensor, dict[str, list[Tensor]]]


@pytest.fixture
def two_runs() -> TwoRuns:
    """A scan GRU, two inputs, and the gradients of each alone."""
    gru = build(2, 5, {"update": Circulant})
    (a, _), (b, _) = draw(3, 20, 2, 5), draw(2, 33, 2, 5)
    alone = {
        name: [g for g in run(gru, "eager", x).gradients.values() if g is not None][1:]
        for name, x in (("a", a), ("b", b))
    }
    gru.zero_grad()
    gru.strategy = "scan"
    return gru, a, b, alone


def gradients_of(gru: GRU) -> list[Tensor]:
    return [p.grad.clone() for p in gru.parameters() if p.grad is not None]


def assert_sum(gru: GRU, *parts: list[Tensor]) -> None:
    expected = [torch.stack(terms).sum(0) for terms in zip(*parts, strict=True)]
    torch.testing.assert_close(gradients_of(gru), expected, rtol=1e-11, atol=1e-11)


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
    gru, a, _, alone = two_runs
    loss = loss_of(*gru(a), "both")
    loss.backward(retain_graph=True)
    loss.backward()
    assert_sum(gru, alone["a"], alone["a"])
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("strategy", ["eager", "scan"])
def test_a_sequence_in_two_pieces_is_the_whole_sequence(strategy: str) -> None:
    gru = build(2, 5)
    x, _ = draw(3, 30, 2, 5)
    expected = run(gru, "eager", x)
    gru.zero_grad()
    gru.strategy = strategy
    head, between = gru(x[:, :11])
    tail, last = gru(x[:, 11:], between)
    states = torch.cat([head, tail], dim=1)
    loss_of(states, last, "both").backward()
    got = {name: p.grad for name, p in gru.named_parameters()} | {"x": expected.gradients["x"]}
    assert_agree(Result(states, last, got), expected)


def test_no_second_derivative_through_scan() -> None:
    gru = build(2, 3)
    gru.strategy = "scan"
    x = draw(2, 4, 2, 3)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(gru(x)[1].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_returned_states_are_the_callers() -> None:
    gru = build(2, 5)
    gru.strategy = "scan"
    x, _ = draw(3, 20, 2, 5)
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
    with pytest.raises(RuntimeError, match=r"modified|view"):
        states.mul_(2).sum().backward()


# Which strategy runs


def identity(x: Any) -> Any:
    return x


class Case(NamedTuple):
    maps: dict[str, Factory]
    reason: str
    prepare: Callable[[GRU], Any] = identity


OBSTACLES = {
    "stochastic recurrent map": Case({"state": Drawing}, "'state' draws random numbers"),
    "stochastic input map": Case(
        {"input_reset": lambda i, o, b: nn.Sequential(nn.Dropout(0.5), nn.Linear(i, o, b))},
        "'input_reset' draws random numbers",
    ),
    "no matrix": Case({"update": Opaque}, "neither dense_weight"),
    "hooks": Case(
        {}, "'reset' has hooks", lambda gru: gru.reset.register_forward_hook(lambda *_: None)
    ),
    "low precision": Case({}, "bfloat16", lambda gru: gru.bfloat16()),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_auto_runs_eager_where_scan_would_differ(name: str) -> None:
    maps, reason, prepare = OBSTACLES[name]
    gru = GRU(2, 5, maps)
    prepare(gru)
    x = torch.randn(3, 8, 2, dtype=next(gru.parameters()).dtype)
    states, last = gru(x)
    (states.sum() + last.sum()).backward()
    assert gru.last_strategy == "eager"
    gru.strategy = "scan"
    with pytest.raises(ValueError, match=reason):
        gru(x)


def test_auto_runs_eager_under_autocast() -> None:
    gru = GRU(2, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, last = gru(torch.randn(3, 8, 2))
        assert gru.last_strategy == "eager"
    last.float().sum().backward()
    gru(torch.randn(3, 8, 2))
    assert gru.last_strategy in ("scan", "fused")


@pytest.mark.parametrize("maps", [{}, {"reset": Circulant}, {"input_state": Circulant}])
def test_auto_runs_scan_otherwise(
    maps: dict[str, Factory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNELS", "0")
    gru = GRU(2, 5, maps)
    assert gru.last_strategy is None
    gru(torch.randn(3, 8, 2))
    assert gru.last_strategy == "scan"
    gru(torch.randn(3, 1, 2))
    assert gru.last_strategy == "eager"  # a single step has nothing to gain


def test_evaluation_does_not_hide_how_the_model_was_trained() -> None:
    gru = GRU(2, 5, {"state": Drawing})
    x = torch.randn(3, 8, 2)
    gru(x)
    gru.eval()
    expected, _ = gru(x)
    assert gru.last_strategy == "eager"
    gru.strategy = "scan"  # in evaluation the map draws nothing
    torch.testing.assert_close(gru(x)[0], expected)


def test_a_strategy_set_later_is_checked() -> None:
    gru = GRU(2, 5)
    gru.strategy = "fast"
    with pytest.raises(ValueError, match="'fast'; allowed: auto, eager, scan, fused"):
        gru(torch.randn(3, 8, 2))


@pytest.mark.parametrize("strategy", ["eager", "scan"])
def test_maps_without_tensors_take_the_inputs_dtype(strategy: str) -> None:
    class Same(nn.Identity):
        in_features = 4

    gru = build(2, 4, {"state": lambda i, o, b: Same(), "reset": lambda i, o, b: Same()})
    x, h0 = draw(3, 20, 2, 4)
    assert_agree(run(gru, strategy, x, h0), run(gru, "eager", x, h0))


# Memory, copies


class Allocations(TorchDispatchMode):
    """The size in bytes of each memory block that is written while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            storage = result.untyped_storage()
            self.blocks[storage.data_ptr()] = storage.nbytes()
        return result


def test_inference_keeps_no_history_but_the_states() -> None:
    gru = build(2, 16)
    gru.strategy = "scan"
    x, _ = draw(4, 1000, 2, 16)

    def blocks() -> float:
        with Allocations() as seen:
            states, _ = gru(x)
        return sum(seen.blocks.values()) / states.nbytes

    with torch.no_grad():
        assert 1 <= blocks() < 1.4  # the states, a time-major copy of x, and one chunk
    assert blocks() > 4


@pytest.mark.parametrize(("strategy", "tensors"), [("eager", 25), ("scan", 4.5)])
def test_history_grows_with_time_batch_and_hidden_alone(strategy: str, tensors: float) -> None:
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    gru = build(2, 16)
    gru.strategy = strategy
    x, _ = draw(8, 200, 2, 16)
    with torch.autograd.graph.saved_tensors_hooks(pack, identity):
        states, _ = gru(x)
    assert sum(saved) <= tensors * states.numel()


def test_copies_and_checkpoints_give_the_same_function() -> None:
    gru = build(2, 5, {"reset": Circulant, "state": Diagonal})
    x, h0 = draw(3, 20, 2, 5)
    expected = gru(x, h0)[0]
    buffer = io.BytesIO()
    torch.save(gru, buffer)
    buffer.seek(0)
    fresh = build(2, 5, {"reset": Circulant, "state": Diagonal}, seed=1)
    fresh.load_state_dict(gru.state_dict())
    for copied in (copy.deepcopy(gru), torch.load(buffer, weights_only=False), fresh):
        assert torch.equal(copied(x, h0)[0], expected)
