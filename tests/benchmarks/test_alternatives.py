"""Ways that exist and were left: each beside what is used in its place, and why.

Sequences are short here: these are the same steps, fewer of them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import Comparison
from peers import ButterflyFastfood, Conv1dWavelet, EinsumTensorTrain
from torch import Tensor, nn
from ways import gru, iteration, layer_step, nn_gru, without_kernels

from slt_bench.registry import load_baseline
from slt_bench.timing.cell import Cell
from slt_bench.timing.functions import assemble
from slt_bench.timing.turns import Way

N, BATCH = 1024, 64
STEPS, SEQUENCES, HIDDEN = 30, 50, 512
#: Seconds that a compiler may take.
PATIENCE = 60


def tried(way: str, instead: str, why: str) -> dict[str, str]:
    return {"way": way, "instead": instead, "why": why}


def same(own: nn.Module, peer: nn.Module) -> None:
    x = torch.randn(BATCH, N)
    torch.testing.assert_close(peer(x), own(x), rtol=1e-4, atol=1e-5)


def test_wavelet_layer(compare: Any) -> None:
    torch.manual_seed(0)
    layer = load_baseline("wavelet")(N, N)
    convolved = Conv1dWavelet(layer)
    same(layer, convolved)
    step = layer_step(layer, N, BATCH)
    kernel, torch_form, conv1d = "one kernel", "plain torch, blocks", "strided conv1d"
    ways = {
        kernel: step,
        torch_form: without_kernels(step),
        conv1d: layer_step(convolved, N, BATCH),
    }
    rows = [
        tried(
            conv1d,
            torch_form,
            "a strided convolution of one channel and two filters is too small for its set-up, "
            "in each level and again in its backward",
        ),
        tried(
            torch_form,
            kernel,
            "each level still writes padded and split copies; the kernel keeps all levels of 16 "
            "rows in cache",
        ),
    ]
    sizes = {"n": N, "batch": BATCH}
    compare(Comparison("wavelet layer, ways to build it", sizes, ways, tried=rows, turns=9))


def test_fastfood_layer(compare: Any) -> None:
    torch.manual_seed(0)
    layer = load_baseline("fastfood")(N, N)
    butterfly = ButterflyFastfood(layer)
    same(layer, butterfly)
    step = layer_step(layer, N, BATCH)
    kernel, kronecker, rounds = "one kernel", "two Kronecker factors", "log2 n butterfly in torch"
    ways = {
        kernel: step,
        kronecker: without_kernels(step),
        rounds: layer_step(butterfly, N, BATCH),
    }
    rows = [
        tried(rounds, kronecker, "log2 n passes over memory, where two products make two"),
        tried(kronecker, kernel, "products with many more multiply-adds, and copies between them"),
    ]
    sizes = {"n": N, "batch": BATCH}
    compare(Comparison("Fastfood layer, ways to build it", sizes, ways, tried=rows, turns=9))


def test_tensor_train_layer(compare: Any) -> None:
    torch.manual_seed(0)
    layer = load_baseline("tensor_train")(N, N, rank=4)
    einsum = EinsumTensorTrain(layer)
    same(layer, einsum)
    merged, contracted = "cores merged into two groups", "einsum over the cores"
    ways = {merged: layer_step(layer, N, BATCH), contracted: layer_step(einsum, N, BATCH)}
    why = "a contraction a core, each with a permuted copy of an intermediate larger than the input"
    sizes = {"n": N, "batch": BATCH, "rank": 4}
    rows = [tried(contracted, merged, why)]
    compare(Comparison("tensor-train layer, ways to build it", sizes, ways, tried=rows, turns=9))


def test_wavelet_gru(compare: Any) -> None:
    torch.manual_seed(0)

    def way(strategy: str) -> Way:
        return iteration(gru(2, HIDDEN, "wavelet", strategy=strategy), STEPS, SEQUENCES)

    fused, matrix = "the sequence in one kernel", "dense matrix once an iteration, scan"
    layers, plain = "layer kernel at each step", "plain torch at each step"
    library = "nn.GRU, dense"
    ways = {
        fused: way("fused"),
        layers: way("eager"),
        matrix: way("scan"),
        plain: without_kernels(way("eager")),
        library: iteration(nn_gru(2, HIDDEN), STEPS, SEQUENCES),
    }
    rows = [
        tried(plain, fused, "hundreds of small operators a step, and as many again backward"),
        tried(layers, fused, "rows are turned into lanes and back, and the graph kept, each step"),
        tried(matrix, fused, "the products of a step are those of a dense layer again"),
        tried(library, fused, "three dense products a step"),
    ]
    sizes = {"steps": STEPS, "batch": SEQUENCES, "hidden": HIDDEN}
    compare(Comparison("GRU with wavelet maps, ways to run it", sizes, ways, tried=rows))


@pytest.mark.filterwarnings("ignore")  # of torch's own tools
def test_loops(compare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense GRU by what others offer for a loop over time."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # an empty one
    torch.manual_seed(0)
    ours, loop, library = "our dense GRU", "plain loop", "nn.GRU"
    trace, compiled = "plain loop, torch.jit.trace", "plain loop over a step by torch.compile"
    ways = {
        ours: iteration(gru(2, HIDDEN), STEPS, SEQUENCES),
        loop: iteration(gru(2, HIDDEN, strategy="eager"), STEPS, SEQUENCES),
        library: iteration(nn_gru(2, HIDDEN), STEPS, SEQUENCES),
    }
    x = torch.randn(SEQUENCES, STEPS, 2)
    tools = {trace: lambda model: torch.jit.trace(model, x), compiled: CompiledStep}
    setup: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, make in tools.items():
        start = time.perf_counter()
        try:
            with at_most(PATIENCE):
                way = transformed(make)
                way()
                way()
        except TimeoutError:
            missing[name] = f"not ready after {PATIENCE} s"
        except Exception as error:  # a compiler that is missing or fails says so in many ways
            missing[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            ways[name] = way
            setup[name] = time.perf_counter() - start
    rows = [
        tried(loop, ours, "a dozen operators a step, each with a node of the graph"),
        tried(trace, ours, "the same operators, unrolled"),
        tried(compiled, ours, "the products stay single calls; only what is elementwise is joined"),
        tried(library, ours, "a product a step for each weight gradient"),
    ]
    sizes = {"steps": STEPS, "batch": SEQUENCES, "hidden": HIDDEN}
    group = "dense GRU, ways to run it"
    compare(Comparison(group, sizes, ways, tried=rows, setup_seconds=setup, missing=missing))


class CompiledStep(nn.Module):
    """A loop over a step that is compiled once; all steps at once would be unrolled."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.step = torch.compile(model)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(len(x), HIDDEN)
        states = []
        for x_t in x.split(1, 1):
            _, h = self.step(x_t, h)
            states.append(h)
        return torch.stack(states, 1), h


def transformed(make: Callable[[nn.Module], Any]) -> Way:
    """A training iteration of a plain loop that ``make`` has changed."""
    cell = Cell("dense", {}, (HIDDEN, HIDDEN), SEQUENCES, "sequence", steps=STEPS)
    x, target = torch.randn(SEQUENCES, STEPS, 2), torch.randn(SEQUENCES, HIDDEN)
    return assemble(cell, make(gru(2, HIDDEN, strategy="eager")), [x, target]).call


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer; without signals there is no limit."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
