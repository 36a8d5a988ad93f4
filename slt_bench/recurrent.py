"""A GRU over interchangeable linear maps, and the ways to run it over a sequence.

The cell of Wolter, Lin, Yao (2020), "Neural network compression via learnable wavelet transforms",
arXiv 2004.09569, equations 9 to 12::

    r = sigmoid(reset(h) + input_reset(x))
    z = sigmoid(update(h) + input_update(x))
    c = tanh(state(r * h) + input_state(x))
    h' = (1 - z) * h + z * c

Two things differ from ``torch.nn.GRU``: the reset gate acts before the product, and z weights the
candidate c, not the old state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, TypedDict, TypeGuard

import torch
from torch import Tensor, nn

from slt_bench._scan import scan
from slt_bench.kernels import Kernel, available, quickest, usable
from slt_bench.kernels.sequence import fused, fused_available
from slt_bench.layers import dense_weight, stochastic

# With fewer multiply-adds of dense maps in a sequence, measuring costs more than it gains.
_WORTH_MEASURING = 10**8
_MEASURED_STEPS = 16

#: Builds the map of one slot: ``(in_features, out_features, bias) -> nn.Module``.
Factory = Callable[[int, int, bool], nn.Module]

_only_picking = False


class Pick(TypedDict):
    """What ``auto`` picked, and by which times of ``_MEASURED_STEPS`` steps, if it measured any."""

    strategy: str
    milliseconds: dict[str, float] | None


@contextmanager
def only_picking() -> Iterator[None]:
    """Inside, a ``GRU`` picks its strategy, measuring it where need be, and gives zeros unrun.

    It makes a model ready for batches of a size at little cost.
    """
    global _only_picking
    before, _only_picking = _only_picking, True
    try:
        yield
    finally:
        _only_picking = before


class GRU(nn.Module):
    """Gated recurrent unit whose six linear maps are named slots that any layer may fill.

    ``reset``, ``update`` and ``state`` map hidden to hidden, without bias; ``input_reset``,
    ``input_update`` and ``input_state`` map input to hidden, with bias. Each is a submodule of that
    name. Dense, the six have ``3 h h + 3 (i h + h)`` weights.

    Args:
        input_size: number of input features i, at least 1.
        hidden_size: number of state features h, at least 1.
        maps: for any of the slots a factory ``(in_features, out_features, bias) -> nn.Module``
            of a linear map; a slot that is left out is an ``nn.Linear`` with torch's own start.
        strategy: how a sequence is run, see below. It may be changed at any time.

    Strategies, which agree in outputs and gradients up to rounding:

    * ``eager``: a loop over time that calls every map at every step. It takes any map.
    * ``scan``: the recurrent maps as dense matrices, built once a call; the input maps called once
      for all steps; the sequence as one function with a hand-written backward, in plain torch.
    * ``fused``: the sequence in one compiled function on the CPU. A map that brings a kernel (see
      ``slt_bench.kernels``) is applied at each step, any other one is a dense matrix, built once
      a call.

    ``scan`` and ``fused`` can be differentiated once only (RuntimeError). Neither runs where

    - a map is ``stochastic`` (it draws random numbers in each call, so anew at each step), but for
      recurrent maps under ``fused`` whose kernel takes what was drawn;
    - a map or a part of it has hooks, which a dense matrix would pass by;
    - a recurrent map has no matrix to ask for: it is no ``nn.Linear`` and has neither a
      ``dense_weight()`` nor ``in_features`` (``fused``: nor a kernel);
    - the input is neither float32 nor float64, or autocast is on for its device;

    and ``fused`` does not off the CPU or where no kernel can be built. ``auto`` takes the quickest
    of those that run:

    - ``eager`` where there is one time step only;
    - with few multiply-adds in all (10**8 in dense maps) ``fused``, else ``scan``, else ``eager``;
    - with more the one that takes the least processor time over 16 steps, forward and backward, of
      these very maps, sizes, batch and number of threads. It is measured once a machine, in about
      a second, and remembered (``slt_bench.kernels.measured_file``). Without gradients it is
      measured apart, forward alone. On other devices than the CPU: ``scan``, else ``eager``.

    To run a model again exactly as before set ``strategy`` to its ``last_strategy``; or hand its
    ``picks`` to ``keep``.

    Raises:
        ValueError: for an unknown slot or strategy, a size below 1, or a recurrent map that has a
            bias although none was asked for.
        TypeError: where a factory returns something that is no ``nn.Module``.
    """

    #: Every slot, recurrent maps first.
    slots: ClassVar[tuple[str, ...]] = (
        "reset",
        "update",
        "state",
        "input_reset",
        "input_update",
        "input_state",
    )
    strategies: ClassVar[tuple[str, ...]] = ("auto", "eager", "scan", "fused")

    reset: nn.Module
    update: nn.Module
    state: nn.Module
    input_reset: nn.Module
    input_update: nn.Module
    input_state: nn.Module

    #: The strategy that ran latest in training mode, so that evaluation does not hide how a model
    #: was trained; before that, the one of the first ``forward``, and None at the start.
    last_strategy: str | None

    #: What ``auto`` picked, by case (``"training, 150 steps x 50"``: steps and batch).
    picks: dict[str, Pick]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        maps: Mapping[str, Factory] | None = None,
        strategy: str = "auto",
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"sizes must be at least 1, got {input_size} and {hidden_size}")
        maps = dict(maps or {})
        if unknown := sorted(set(maps) - set(self.slots)):
            raise ValueError(
                f"unknown slot {', '.join(map(repr, unknown))}; allowed: {', '.join(self.slots)}"
            )
        if strategy not in self.strategies:
            raise ValueError(_unknown_strategy(strategy))
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.strategy = strategy
        self.last_strategy = None
        self.picks = {}
        self._kept: dict[str, str] = {}
        for slot in self.slots:
            from_input = slot.startswith("input_")
            factory = maps.get(slot, nn.Linear)
            layer = factory(input_size if from_input else hidden_size, hidden_size, from_input)
            if not isinstance(layer, nn.Module):
                raise TypeError(
                    f"the factory of slot {slot!r} must return an nn.Module, "
                    f"not {type(layer).__name__}"
                )
            if not from_input and isinstance(getattr(layer, "bias", None), Tensor):
                raise ValueError(
                    f"the map in slot {slot!r} has a bias, but recurrent maps have none: "
                    "its factory must heed bias=False"
                )
            self.add_module(slot, layer)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, strategy={self.strategy!r}"

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the cell over a batch of sequences.

        Args:
            x: inputs, (batch, time, input_size), at least one step; batch may be 0.
            h0: first state, (batch, hidden_size), of the dtype of x; zeros where left out.

        Returns:
            the state after each step, (batch, time, hidden_size), a transposed view as from
            ``nn.GRU(batch_first=True)``; and the last of them, (batch, hidden_size).

        Raises:
            ValueError: for inputs of another shape or dtype, no time step, or a strategy that is
                unknown or cannot run.
        """
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] != self.input_size:
            raise ValueError(
                f"x must be (batch, time, {self.input_size}) with at least one time step, "
                f"got {tuple(x.shape)}"
            )
        if h0 is None:
            h0 = x.new_zeros(x.shape[0], self.hidden_size)
        elif h0.shape != (x.shape[0], self.hidden_size) or h0.dtype != x.dtype:
            raise ValueError(
                f"h0 must be ({x.shape[0]}, {self.hidden_size}) and {x.dtype} as x, "
                f"got {tuple(h0.shape)} and {h0.dtype}"
            )
        steps = x.transpose(0, 1)
        strategy = self._pick_strategy(steps, h0)
        if self.training or self.last_strategy is None:
            self.last_strategy = strategy
        if _only_picking:
            return h0.new_zeros(()).expand(*x.shape[:2], self.hidden_size), torch.zeros_like(h0)
        states, last = self._run(strategy, steps, h0)
        return states.transpose(0, 1), last

    def keep(self, picks: Mapping[str, Pick]) -> None:
        """Let ``auto`` take what it has picked before, in the cases that ``picks`` names."""
        self.picks = dict(picks)
        self._kept = {case: pick["strategy"] for case, pick in picks.items()}

    def _run(self, strategy: str, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        run = {"eager": self._eager, "scan": self._scan, "fused": self._fused}[strategy]
        return run(x, h0)

    def _pick_strategy(self, x: Tensor, h0: Tensor) -> str:
        """The strategy that runs for input x, by the rule in the class's docstring."""
        case = f"{'training' if torch.is_grad_enabled() else 'inference'}, "
        case += f"{x.shape[0]} steps x {x.shape[1]}"
        asked = self._kept.get(case, "auto") if self.strategy == "auto" else self.strategy
        if asked == "auto":
            pick = self.picks[case] = self._pick(x, h0)
            return pick["strategy"]
        if asked not in self.strategies:
            raise ValueError(_unknown_strategy(asked))
        if asked != "eager" and (obstacle := self._obstacle(x, asked)) is not None:
            raise ValueError(
                f"strategy {asked!r} cannot run: {obstacle}; use strategy 'eager' or 'auto'"
            )
        return asked

    def _pick(self, x: Tensor, h0: Tensor) -> Pick:
        """What ``auto`` takes."""
        steps, batch = x.shape[:2]
        if steps == 1:
            return {"strategy": "eager", "milliseconds": None}
        able = [s for s in ("fused", "scan") if self._obstacle(x, s) is None] + ["eager"]
        work = 3 * steps * batch * self.hidden_size**2
        if len(able) == 1 or x.device.type != "cpu" or work < _WORTH_MEASURING:
            return {"strategy": able[0], "milliseconds": None}
        return self._quickest(able, x, h0)

    def _quickest(self, able: Sequence[str], x: Tensor, h0: Tensor) -> Pick:
        """The strategy that takes the least processor time for these maps and sizes."""
        learning = torch.is_grad_enabled()
        weights = [p for p in self.parameters() if p.requires_grad]

        def way(strategy: str) -> Callable[[], object]:
            def once() -> None:
                with torch.inference_mode(False), torch.set_grad_enabled(learning):
                    start = x[:_MEASURED_STEPS].detach().clone(), h0.detach().clone()
                    _, last = self._run(strategy, *start)
                    if last.requires_grad:
                        torch.autograd.grad(last.sum(), weights, allow_unused=True)

            return once

        maps = "; ".join(f"{slot} {self.get_submodule(slot)}" for slot in self.slots)
        case = (
            f"GRU {'training' if learning else 'inference'}, batch {x.shape[1]}, {x.dtype}, {maps}"
        )
        strategy, seconds = quickest(case, {strategy: way(strategy) for strategy in able})
        return {
            "strategy": strategy,
            "milliseconds": {name: round(1000 * value, 4) for name, value in seconds.items()},
        }

    def _obstacle(self, x: Tensor, strategy: str) -> str | None:
        """Why a strategy would not compute what eager does, in words, or None."""
        if x.dtype not in (torch.float32, torch.float64):
            return f"the input is {x.dtype}, not float32 or float64"
        if torch.is_autocast_enabled(x.device.type):
            return "autocast is on"
        if strategy == "fused":
            if not usable(x):
                return "the input is no plain CPU tensor, or SLT_BENCH_KERNELS=0"
            if not fused_available(x.dtype):
                return "no C compiler was found"
        for slot in self.slots:
            layer = self.get_submodule(slot)
            recurrent = not slot.startswith("input_")
            if _has_hooks(layer):
                return f"the map in slot {slot!r} has hooks"
            own = _kernel_of(layer, x) if recurrent and strategy == "fused" else None
            if own is not None and (own.draw is not None or not stochastic(layer)):
                continue
            if stochastic(layer):
                return f"the map in slot {slot!r} draws random numbers at each step"
            if recurrent and not _has_matrix(layer):
                return f"the map in slot {slot!r} has neither dense_weight() nor in_features"
        return None

    def _eager(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The equations of the module's docstring, step by step; x is (time, batch, features)."""
        states = []
        # Not x[t]: the backward of each such slice fills a tensor as large as x.
        for x_t in x.unbind(0):
            r = torch.sigmoid(self.reset(h) + self.input_reset(x_t))
            z = torch.sigmoid(self.update(h) + self.input_update(x_t))
            c = torch.tanh(self.state(r * h) + self.input_state(x_t))
            h = (1 - z) * h + z * c
            states.append(h)
        return torch.stack(states), h

    def _scan(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        """All steps in one function, ``slt_bench._scan.scan``; x is (time, batch, features)."""
        # A layer without tensors of its own cannot know the dtype: its matrix takes the input's.
        maps = (self.reset, self.update, self.state)
        reset, update, state = (dense_weight(layer).to(x) for layer in maps)
        w_gates, w_state = torch.cat([reset, update]), state.contiguous()
        x, w_in, b_in = self._inputs(x.contiguous())
        return scan(x, w_in, b_in, h0, w_gates, w_state)

    def _fused(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        """All steps in compiled code; x is (time, batch, features)."""
        maps = [
            dense_weight(layer).to(x) if (own := _kernel_of(layer, x)) is None else own
            for layer in (self.reset, self.update, self.state)
        ]
        x, w_in, b_in = self._inputs(x)
        return fused(x, w_in, b_in, h0, maps)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """x with the input maps as one matrix and bias; or, where they are more, what they make."""
        layers = [self.input_reset, self.input_update, self.input_state]
        plain = [layer for layer in layers if _is_plain(layer)]
        if len(plain) == len(layers):
            w_in = torch.cat([layer.weight for layer in plain])
            return x, w_in, torch.cat([layer.bias for layer in plain])
        return torch.cat([layer(x) for layer in layers], dim=2), None, None


def _unknown_strategy(strategy: str) -> str:
    return f"unknown strategy {strategy!r}; allowed: {', '.join(GRU.strategies)}"


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``layer`` is an nn.Linear with bias, or a subclass that only starts differently."""
    return (
        isinstance(layer, nn.Linear)
        and type(layer).forward is nn.Linear.forward
        and layer.bias is not None
    )


def _kernel_of(layer: nn.Module, x: Tensor) -> Kernel | None:
    """The layer's kernel, where it has one that can run in the dtype of x."""
    offer = getattr(layer, "kernel", None)
    own = offer() if callable(offer) else None
    return own if isinstance(own, Kernel) and available(own, x.dtype) else None


def _has_matrix(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Linear)
        or callable(getattr(layer, "dense_weight", None))
        or isinstance(getattr(layer, "in_features", None), int)
    )


def _has_hooks(layer: nn.Module) -> bool:
    return any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in layer.modules()
    )
