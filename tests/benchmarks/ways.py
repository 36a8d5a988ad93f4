"""Ways that are timed: layers and GRUs by the functions of ``slt_bench.timing``, which
``slt-bench time`` times too, and what those functions do not cover."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from slt_bench.recurrent import GRU
from slt_bench.registry import load_baseline
from slt_bench.timing.cell import Cell
from slt_bench.timing.functions import INPUT_SIZE, assemble, prepare
from slt_bench.timing.turns import Way

MAPS = GRU.slots[:3]


def gru(
    inputs: int, hidden: int, baseline: str = "dense", slots: tuple[str, ...] = MAPS, **more: Any
) -> GRU:
    """A GRU with a baseline in some slots; ``strategy`` among ``more`` goes to the GRU."""
    strategy = more.pop("strategy", "auto")
    if baseline == "dense":
        return GRU(inputs, hidden, strategy=strategy)
    layer = load_baseline(baseline)
    return GRU(
        inputs, hidden, dict.fromkeys(slots, lambda n, m, b: layer(n, m, b, **more)), strategy
    )


def nn_gru(inputs: int, hidden: int) -> nn.GRU:
    return nn.GRU(inputs, hidden, batch_first=True)


def iteration(model: nn.Module, steps: int, batch: int, inputs: int = INPUT_SIZE) -> Way:
    """Forward, backward from the last state, optimiser: mode ``sequence`` of ``slt-bench time``."""
    hidden = int(model.hidden_size)  # type: ignore[arg-type]
    cell = Cell("dense", {}, (hidden, hidden), batch, "sequence", steps=steps)
    x, target = torch.randn(batch, steps, inputs), torch.randn(batch, hidden)
    return assemble(cell, model, [x, target]).call


def learned_iteration(model: nn.Module, steps: int, batch: int, inputs: int) -> Way:
    """The same with a loss on every state and inputs that learn, as behind an embedding."""
    x = torch.randn(batch, steps, inputs, requires_grad=True)
    optimizer = torch.optim.RMSprop([x, *model.parameters()], lr=0.0)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        states, _ = model(x)
        states.square().sum().backward()
        optimizer.step()

    return call


def inference(model: nn.Module, x: Tensor) -> Way:
    model.eval()

    def call() -> Any:
        with torch.inference_mode():
            return model(x)

    return call


def layer_step(layer: nn.Module, n: int, batch: int) -> Way:
    """Forward and backward of the map, to the weights and to the input.

    Loss terms of a layer are left out, as they have no part in its peers; ``trained_layer`` has
    them.
    """
    x, upstream = torch.randn(batch, n, requires_grad=True), torch.randn(batch, n)

    def step() -> None:
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x).backward(upstream)

    return step


def trained_layer(baseline: str, n: int, batch: int) -> Way:
    """Mode ``training`` of ``slt-bench time``, with the loss terms of the layer."""
    return prepare(Cell(baseline, {}, (n, n), batch, "training")).call


def without_kernels(way: Way) -> Way:
    """In plain torch, as where there is no C compiler."""

    def call() -> object:
        before = os.environ.get("SLT_BENCH_KERNELS")
        os.environ["SLT_BENCH_KERNELS"] = "0"
        try:
            return way()
        finally:
            if before is None:
                del os.environ["SLT_BENCH_KERNELS"]
            else:
                os.environ["SLT_BENCH_KERNELS"] = before

    return call
