"""The GRU over interchangeable maps: its slots, which strategy runs, memory and copies."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from gru_cases import Circulant, Diagonal, build, draw, every_strategy
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from slt_bench import count_parameters
from slt_bench.recurrent import GRU, Factory


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


# Slots, errors


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
@every_strategy
def test_input_errors(
    strategy: str, shape: tuple[int, ...], h0: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GRU(3, 4, strategy=strategy)(torch.zeros(shape), h0)


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
