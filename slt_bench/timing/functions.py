"""What is timed: one call of a layer forward, in training, or in a GRU over a sequence.

The same functions are timed on a CPU and on a GPU. Inputs are random, never zeros: processors are
quicker on zeros. Weights and inputs come from streams that depend on the cell's shape alone, so
every round times the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from slt_bench.layers import Unsupported
from slt_bench.recurrent import GRU
from slt_bench.registry import settings_of
from slt_bench.task import slot_maker, stream_seed
from slt_bench.timing.cell import Cell

#: Features of a sequence's input, as in the paper's adding task.
INPUT_SIZE = 2


@dataclass(frozen=True)
class Measured:
    """A cell made ready: ``call`` is timed inside ``context()``.

    ``layer`` is the layer, or in mode ``sequence`` the GRU; ``inputs`` what a call reads beside
    the weights. A call returns the output (sequence: the last state); where it trains, gradients
    stand in ``leaves`` until the next call.
    """

    call: Callable[[], Tensor]
    context: Callable[[], AbstractContextManager[Any]]
    layer: nn.Module
    inputs: tuple[Tensor, ...]

    @property
    def leaves(self) -> list[Tensor]:
        """Every tensor that a call leaves a gradient in."""
        return [t for t in (*self.inputs, *self.layer.parameters()) if t.requires_grad]


def construction_settings(cell: Cell) -> dict[str, Any]:
    """A cell's settings, with ``gain=None`` where the baseline has that setting unchanged.

    The scale of the weights costs no time in a call, but to find it takes a pass over the whole
    matrix: minutes at 65,536 features.
    """
    plain = {"gain": None} if "gain" in settings_of(cell.load_baseline()) else {}
    return {**plain, **cell.settings}


def build(cell: Cell, device: str = "cpu") -> nn.Module:
    """The layer of a cell (mode ``sequence``: the GRU); device ``meta`` has shapes only.

    Raises:
        Unsupported: the baseline cannot have these sizes.
    """
    n, m = cell.shape
    make = slot_maker(cell.load_baseline(), construction_settings(cell))
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(_seed(cell, "weights"))
        if cell.mode != "sequence":
            layer = make(n, m, True)
        elif n != m:
            raise Unsupported(f"mode sequence needs a square shape, not {n} x {m}")
        else:
            layer = GRU(INPUT_SIZE, n, maps=dict.fromkeys(("reset", "update", "state"), make))
    return layer.to(getattr(torch, cell.dtype))


def prepare(cell: Cell) -> Measured:
    """Build a cell's layer and inputs on its device, and the function that is timed.

    Raises:
        Unsupported: the baseline cannot have these sizes.
    """
    layer = build(cell).to(cell.device)
    n, m = cell.shape
    if cell.mode == "forward":
        inputs = [_normal(cell, "input", cell.batch, n)]
    elif cell.mode == "training":
        x = _normal(cell, "input", cell.batch, n).requires_grad_()
        inputs = [x, _normal(cell, "upstream", cell.batch, m)]
    else:
        x = _normal(cell, "input", cell.batch, cell.steps or 1, INPUT_SIZE)
        inputs = [x, _normal(cell, "target", cell.batch, n)]
    return assemble(cell, layer, inputs, compiled=cell.compiled)


def assemble(
    cell: Cell, layer: nn.Module, inputs: Sequence[Tensor], *, compiled: bool = False
) -> Measured:
    """The function of a cell's mode over a layer and inputs that exist."""
    run: Callable[..., Any] = torch.compile(layer) if compiled else layer
    if cell.mode == "forward":
        layer.eval()
        return Measured(partial(run, *inputs), torch.inference_mode, layer, tuple(inputs))
    call = (_training if cell.mode == "training" else _sequence)(run, layer, *inputs)
    return Measured(call, nullcontext, layer, tuple(inputs))


def _training(
    run: Callable[..., Any], layer: nn.Module, x: Tensor, upstream: Tensor
) -> Callable[[], Tensor]:
    """Forward and backward, to the weights and to the input, as inside a network."""
    leaves = [t for t in (x, *layer.parameters()) if t.requires_grad]
    penalties = list(_penalties(layer))

    def call() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        y: Tensor = run(x)
        terms = [own() for own in penalties]
        gradients = [upstream, *map(torch.ones_like, terms)]
        torch.autograd.backward([y, *terms], gradients)
        return y.detach()

    return call


def _sequence(
    run: Callable[..., Any], gru: nn.Module, x: Tensor, target: Tensor
) -> Callable[[], Tensor]:
    """Forward over all steps, backward, and an optimiser step: the paper's real work.

    The optimiser is the paper's RMSprop at rate 0: it does all its work, and every call computes
    what was checked. On a GPU it counts its steps there, or no CUDA graph could hold it.
    """
    optimizer = torch.optim.RMSprop(gru.parameters(), lr=0.0, capturable=x.is_cuda)
    penalties = list(_penalties(gru))

    def call() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        last: Tensor = run(x)[1]
        loss = (last - target).square().mean() + sum(own() for own in penalties)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return last.detach()

    return call


def _penalties(layer: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """The loss terms that training this layer must include: found once, not at each call."""
    for module in layer.modules():
        own = getattr(module, "penalty", None)
        if callable(own):
            yield own


def _normal(cell: Cell, purpose: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(_seed(cell, purpose))
    x = torch.randn(*shape, generator=generator)
    return x.to(device=cell.device, dtype=getattr(torch, cell.dtype))


def _seed(cell: Cell, purpose: str) -> int:
    return stream_seed("timing", purpose, *cell.shape, cell.batch)
