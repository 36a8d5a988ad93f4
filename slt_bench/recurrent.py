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

from collections.abc import Callable, Mapping
from typing import ClassVar, TypeGuard

import torch
from torch import Tensor, nn

from slt_bench._scan import scan
from slt_bench.layers import dense_weight, stochastic

#: Builds the map of one slot: ``(in_features, out_features, bias) -> nn.Module``.
Factory = Callable[[int, int, bool], nn.Module]


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
      for all steps; the sequence as one function with a hand-written backward. Its gradients cannot
      be differentiated again (RuntimeError). Every map costs what a dense one costs: with a hidden
      size of several hundred, maps of one or two small products (diagonal, low rank) are quicker
      under ``eager``.
    * ``auto``: ``scan``, but ``eager`` where

      - a map is ``stochastic`` (it draws random numbers in each call, so anew at each step);
      - a map or a part of it has hooks, which a dense matrix would pass by;
      - a recurrent map has no matrix to ask for: it is no ``nn.Linear`` and has neither a
        ``dense_weight()`` nor ``in_features``;
      - the input is neither float32 nor float64, or autocast is on for its device;
      - there is one time step only, so nothing to gain.

      Asking for ``scan`` by name passes over the last rule; for the others ``forward`` raises.

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
    strategies: ClassVar[tuple[str, ...]] = ("auto", "eager", "scan")

    reset: nn.Module
    update: nn.Module
    state: nn.Module
    input_reset: nn.Module
    input_update: nn.Module
    input_state: nn.Module

    #: The strategy that ran latest in training mode, so that evaluation does not hide how a model
    #: was trained; before that, the one of the first ``forward``, and None at the start.
    last_strategy: str | None

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
        strategy = self._pick_strategy(x)
        if self.training or self.last_strategy is None:
            self.last_strategy = strategy
        run = self._eager if strategy == "eager" else self._scan
        states, last = run(x.transpose(0, 1), h0)
        return states.transpose(0, 1), last

    def _pick_strategy(self, x: Tensor) -> str:
        """The strategy that runs for input x, by the rule in the class's docstring."""
        if self.strategy == "eager":
            return "eager"
        if self.strategy not in self.strategies:
            raise ValueError(_unknown_strategy(self.strategy))
        obstacle = self._obstacle(x)
        if self.strategy == "auto":
            return "scan" if obstacle is None and x.shape[1] > 1 else "eager"
        if obstacle is not None:
            raise ValueError(
                f"strategy 'scan' cannot run: {obstacle}; use strategy 'eager' or 'auto'"
            )
        return "scan"

    def _obstacle(self, x: Tensor) -> str | None:
        """Why scan would not compute what eager does, in words, or None."""
        if x.dtype not in (torch.float32, torch.float64):
            return f"the input is {x.dtype}, not float32 or float64"
        if torch.is_autocast_enabled(x.device.type):
            return "autocast is on"
        for slot in self.slots:
            layer = self.get_submodule(slot)
            if stochastic(layer):
                return f"the map in slot {slot!r} draws random numbers at each step"
            if _has_hooks(layer):
                return f"the map in slot {slot!r} has hooks"
            if not slot.startswith("input_") and not _has_matrix(layer):
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
        x = x.contiguous()
        layers = [self.input_reset, self.input_update, self.input_state]
        plain = [layer for layer in layers if _is_plain(layer)]
        if len(plain) == len(layers):
            w_in = torch.cat([layer.weight for layer in plain])
            b_in = torch.cat([layer.bias for layer in plain])
            return scan(x, w_in, b_in, h0, w_gates, w_state)
        projections = torch.cat([layer(x) for layer in layers], dim=2)
        return scan(projections, None, None, h0, w_gates, w_state)


def _unknown_strategy(strategy: str) -> str:
    return f"unknown strategy {strategy!r}; allowed: {', '.join(GRU.strategies)}"


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``layer`` is an nn.Linear with bias, or a subclass that only starts differently."""
    return (
        isinstance(layer, nn.Linear)
        and type(layer).forward is nn.Linear.forward
        and layer.bias is not None
    )


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
