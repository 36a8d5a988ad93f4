"""Ratios of speed to peers, printed as a table: ``pytest tests/benchmarks --benchmark-only``.

No absolute time is asserted, and a ratio only at half of what is asked: that far off, a fast path
was not taken.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from measuring import Result, Target, Way, medians
from torch import Tensor, nn
from torch.nn import functional as F

from slt_bench.kernels import instruction_set
from slt_bench.layers import count_parameters
from slt_bench.recurrent import GRU
from slt_bench.registry import load_baseline, load_task

MAPS = GRU.slots[:3]
WIDE = instruction_set() == "AVX-512"


def gru(i: int, h: int, baseline: str | None, slots: tuple[str, ...] = MAPS, **more: Any) -> GRU:
    """A GRU with a baseline in some slots; ``strategy`` among ``more`` goes to the GRU."""
    strategy = more.pop("strategy", "auto")
    if baseline is None:
        return GRU(i, h, strategy=strategy)
    layer = load_baseline(baseline)
    return GRU(i, h, dict.fromkeys(slots, lambda n, m, b: layer(n, m, b, **more)), strategy)


def training(model: nn.Module, x: Tensor, every_step: bool = False) -> Way:
    """One iteration: forward, backward, optimiser; the loss on the last state or on all."""
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-6)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        states, last = model(x)
        (states if every_step else last).square().sum().backward()
        optimizer.step()

    return iteration


def layer_step(layer: nn.Module, x: Tensor) -> Way:
    """Forward and backward, the gradient of the input included."""
    d_y = torch.randn_like(layer(x))

    def step() -> None:
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x).backward(d_y)

    return step


def judge(
    group: str,
    ways: dict[str, Way],
    targets: list[Target],
    rounds: int,
    benchmark: Any,
    results: list[Result],
    others: dict[str, dict[str, float]],
) -> dict[str, float]:
    """Measure ``ways`` and add a row for each target."""
    seconds = medians(ways, rounds)
    others[group] = seconds
    rows = [
        Result(
            t.name,
            t.peer,
            seconds[t.ours],
            seconds[t.peer] / seconds[t.ours],
            t.reach[0 if WIDE else 1],
            t.aim,
            t.limit,
        )
        for t in targets
    ]
    results += rows
    benchmark.extra_info.update({row.name: row.ratio for row in rows})
    benchmark.pedantic(ways[targets[0].ours], rounds=1)
    for row in rows:
        assert row.ratio > row.reach / 2, f"{row.name}: {row.ratio:.2f} of {row.reach}"
    return seconds


# Recurrent, training


def test_adding(benchmark: Any, results: Any, others: Any) -> None:
    """T 150, batch 50, hidden 512, two inputs."""
    torch.manual_seed(0)
    x = torch.randn(50, 150, 2)
    models: dict[str, nn.Module] = {
        "nn.GRU": nn.GRU(2, 512, batch_first=True),
        "plain loop": gru(2, 512, None, strategy="eager"),
        "our dense scan": gru(2, 512, None, strategy="scan"),
        "dense": gru(2, 512, None),
        "wavelet": gru(2, 512, "wavelet"),
        "wavelet, dropout": gru(2, 512, "wavelet", dropout=0.5),
        "wavelet, legacy": gru(2, 512, "wavelet", slicing="legacy"),
        "fastfood": gru(2, 512, "fastfood"),
        "state wavelet": gru(2, 512, "wavelet", ("state",)),
        "state + reset wavelet": gru(2, 512, "wavelet", ("state", "reset")),
        "tensor train": gru(2, 512, "tensor_train", rank=4),
        "low rank 8": gru(2, 512, "low_rank", rank=8),
        "diagonal": gru(2, 512, "diagonal"),
    }
    targets = [
        Target("adding: dense GRU", "dense", "nn.GRU", (1.7, 1.05), 2.2),
        Target("adding: all maps wavelet", "wavelet", "nn.GRU", (4.8, 4), 15),
        Target("adding: all maps wavelet", "wavelet", "our dense scan", (2.5, 3.5), 8),
        Target("adding: all maps wavelet", "wavelet", "dense", (2.5, 3.5), 8),
        Target("adding: all maps Fastfood", "fastfood", "nn.GRU", (4.8, 4), 15),
        Target("adding: state wavelet", "state wavelet", "nn.GRU", (2.1, 1.4), 2.6),
        Target("adding: state and reset wavelet", "state + reset wavelet", "nn.GRU", (2.8, 2), 4),
        Target(
            "adding: all maps tensor train (no kernel)", "tensor train", "nn.GRU", (1.5, 1), 1.8
        ),
        Target("adding: wavelet with dropout", "wavelet, dropout", "wavelet", (0.7, 0.7), 1),
        Target("adding: wavelet, legacy slicing", "wavelet, legacy", "wavelet", (0.7, 0.7), 1),
    ]
    ways = {name: training(model, x) for name, model in models.items()}
    judge("adding, training", ways, targets, 3, benchmark, results, others)


@pytest.mark.parametrize("inputs", [2, 100])
def test_penn_treebank(inputs: int, benchmark: Any, results: Any, others: Any) -> None:
    """T 400, batch 32, hidden 512; two inputs, or an embedding of 100 that learns too."""
    torch.manual_seed(0)
    learned = inputs == 100
    x = torch.randn(32, 400, inputs, requires_grad=learned)
    ways = {
        "nn.GRU": training(nn.GRU(inputs, 512, batch_first=True), x, learned),
        "dense": training(gru(inputs, 512, None), x, learned),
        "wavelet": training(gru(inputs, 512, "wavelet"), x, learned),
    }
    name = f"Penn Treebank shape, {inputs} inputs"
    limit = "the dense products with 100 inputs, 12 GFLOP, are not compressed" * learned
    targets = [
        Target(f"{name}: all maps wavelet", "wavelet", "nn.GRU", (6.5, 5), 18, limit),
        Target(f"{name}: dense GRU", "dense", "nn.GRU", (1.7, 1.05), 2.2, limit),
    ]
    judge(f"{name}, training", ways, targets, 3, benchmark, results, others)


def test_small_hidden(benchmark: Any, results: Any, others: Any) -> None:
    """Hidden 128 as in screening; hidden 64, batch 256, T 784 as in sequential MNIST."""
    torch.manual_seed(0)
    x = torch.randn(50, 150, 2)
    ways = {
        "nn.GRU": training(nn.GRU(2, 128, batch_first=True), x),
        "dense": training(gru(2, 128, None), x),
        "state + reset wavelet": training(gru(2, 128, "wavelet", ("state", "reset")), x),
    }
    row = Target(
        "hidden 128: state and reset wavelet", "state + reset wavelet", "nn.GRU", (1.5, 1.5), 3
    )
    judge("hidden 128, training", ways, [row], 7, benchmark, results, others)


def test_sequential_mnist(benchmark: Any, results: Any, others: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 784, 1)
    ways = {
        "nn.GRU": training(nn.GRU(1, 64, batch_first=True), x),
        "dense": training(gru(1, 64, None), x),
        "wavelet": training(gru(1, 64, "wavelet", scales=4), x),
    }
    row = Target("hidden 64, T 784: all maps wavelet", "wavelet", "nn.GRU", (2.2, 1.8), 5)
    judge("hidden 64, T 784, training", ways, [row], 3, benchmark, results, others)


# Recurrent, inference


def onnx_gru(model: GRU, x: Tensor) -> Callable[[], Any]:
    """The same cell in ONNX Runtime: its GRU with linear_before_reset=0."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    weights = {k: v.detach().numpy() for k, v in model.named_parameters()}
    signs = {"update": -1, "reset": 1, "state": 1}  # its z weights the old state
    w, r, b = (
        np.concatenate([sign * weights[name.format(slot)] for slot, sign in signs.items()])[None]
        for name in ("input_{}.weight", "{}.weight", "input_{}.bias")
    )
    tensors = {"W": w, "R": r, "B": np.concatenate([b, np.zeros_like(b)], 1)}
    node = helper.make_node(
        "GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=model.hidden_size, linear_before_reset=0
    )
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info("X", real, [x.shape[1], x.shape[0], x.shape[2]])],
        [helper.make_tensor_value_info("Y", real, None)],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    file = io.BytesIO()
    onnx.save(made, file)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(file.getvalue(), options, ["CPUExecutionProvider"])
    steps = x.transpose(0, 1).contiguous().numpy()
    return lambda: session.run(None, {"X": steps})[0]


def test_inference(benchmark: Any, results: Any, others: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 150, 2)
    dense, wavelet = gru(2, 512, None).eval(), gru(2, 512, "wavelet").eval()
    loop = gru(2, 512, None, strategy="eager").eval()
    theirs = onnx_gru(dense, x)

    def ours(model: nn.Module) -> Way:
        def run() -> Any:
            with torch.inference_mode():
                return model(x)

        return run

    states, _ = ours(dense)()
    np.testing.assert_allclose(theirs()[:, 0], states.transpose(0, 1).numpy(), atol=2e-6)
    ways = {
        "ONNX Runtime": theirs,
        "nn.GRU": ours(nn.GRU(2, 512, batch_first=True)),
        "plain loop": ours(loop),
        "dense": ours(dense),
        "wavelet": ours(wavelet),
    }
    targets = [
        Target("inference, adding: dense", "dense", "ONNX Runtime", (0.8, 0.8), 1.1),
        Target("inference, adding: all maps wavelet", "wavelet", "ONNX Runtime", (2.5, 2.5), 8),
    ]
    judge("adding, inference", ways, targets, 5, benchmark, results, others)


# Layers


class Conv1dWavelet(nn.Module):
    """The analysis and synthesis of a wavelet layer by strided convolutions, as is usual."""

    def __init__(self, like: nn.Module) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.like
        dec, rec = layer.filters[:2].flip(-1).unsqueeze(1), layer.filters[2:].unsqueeze(1)
        taps = dec.shape[-1]
        lo, details = (x * layer.b[0]).unsqueeze(1), []
        for length in layer.lengths:
            extra = 2 * length + taps - 2 - lo.shape[-1] - (taps - 2)
            lo, hi = F.conv1d(F.pad(lo, (taps - 2, extra)), dec, stride=2).split(1, 1)
            details.append(hi)
        c = torch.cat([*details, lo], -1)[:, 0].index_select(1, layer.permutation) * layer.g[0]
        *slices, lo = c.unsqueeze(1).split([*layer.lengths, layer.lengths[-1]], -1)
        for length, hi in zip(reversed(layer.lengths), reversed(slices), strict=True):
            pairs = torch.cat([lo[..., :length], hi], 1)
            lo = F.conv_transpose1d(pairs, rec, stride=2)[..., taps - 2 : 2 - taps or None]
        return lo[:, 0, : layer.in_features] * layer.d[0] + layer.bias


def test_layers(benchmark: Any, results: Any, others: Any) -> None:
    torch.manual_seed(0)
    n = 1024
    x = torch.randn(64, n, requires_grad=True)
    wavelet = load_baseline("wavelet")(n, n)
    convolved = Conv1dWavelet(wavelet)
    torch.testing.assert_close(convolved(x), wavelet(x), rtol=1e-4, atol=1e-5)
    layers: dict[str, nn.Module] = {
        "nn.Linear": nn.Linear(n, n),
        "wavelet": wavelet,
        "conv1d form": convolved,
        "fastfood": load_baseline("fastfood")(n, n),
        "tensor train": load_baseline("tensor_train")(n, n, rank=4),
        "low rank 32": load_baseline("low_rank")(n, n, rank=32),
    }
    targets = [
        Target("wavelet layer, n = 1024", "wavelet", "nn.Linear", (6, 6), 20),
        Target("wavelet layer, n = 1024", "wavelet", "conv1d form", (1, 1), 10),
        Target("Fastfood layer, n = 1024", "fastfood", "nn.Linear", (5.5, 5.5), 25),
        Target("tensor-train layer (rank 4), n = 1024", "tensor train", "nn.Linear", (1.8, 1.8), 3),
    ]
    ways = {name: layer_step(layer, x) for name, layer in layers.items()}
    judge("layers, n = 1024, batch 64", ways, targets, 15, benchmark, results, others)


def test_beside_ptwt(benchmark: Any, results: Any, others: Any) -> None:
    """The whole layer beside the bare transforms of another library."""
    ptwt = pytest.importorskip("ptwt")
    torch.manual_seed(0)
    n = 1024
    x = torch.randn(64, n, requires_grad=True)

    def transforms() -> None:
        x.grad = None
        coefficients = ptwt.wavedec(x, "db3", mode="zero", level=6)
        ptwt.waverec(coefficients, "db3").sum().backward()

    layer = load_baseline("wavelet")(n, n, init="db3", scales=6)
    ways = {"ptwt": transforms, "wavelet": layer_step(layer, x)}
    row = Target("wavelet layer (db3, 6 scales), n = 1024", "wavelet", "ptwt", (1, 1), 10)
    judge("ptwt", ways, [row], 7, benchmark, results, others)


def test_beside_tensorly(benchmark: Any, results: Any, others: Any) -> None:
    """The tensor-train layer beside tensorly's way from cores to a matrix."""
    tensorly = pytest.importorskip("tensorly")
    matrices = pytest.importorskip("tensorly.tt_matrix")
    torch.manual_seed(0)
    shape, ranks, n = [4, 8, 8, 4], [1, 4, 4, 4, 1], 1024
    x = torch.randn(64, n, requires_grad=True)
    with tensorly.backend_context("pytorch"):
        cores = [
            torch.randn(ranks[k], size, size, ranks[k + 1], requires_grad=True)
            for k, size in enumerate(shape)
        ]

        def product() -> None:
            x.grad = None
            (x @ matrices.tt_matrix_to_matrix(cores).T).sum().backward()

        layer = load_baseline("tensor_train")(n, n, rank=4)
        ways = {"tensorly": product, "tensor train": layer_step(layer, x)}
        row = Target("tensor-train layer (rank 4), n = 1024", "tensor train", "tensorly", (1, 1), 3)
        judge("tensorly", ways, [row], 7, benchmark, results, others)


def test_growth(benchmark: Any, results: Any, others: Any) -> None:
    """The exponent with which the wavelet layer's time grows; no square array anywhere."""
    torch.manual_seed(0)
    sizes = [4096, 16384, 65536]
    ways = {}
    for n in sizes:
        layer = load_baseline("wavelet")(n, n, gain=None)
        assert count_parameters(layer) < 5 * n
        ways[str(n)] = layer_step(layer, torch.randn(64, n, requires_grad=True))
    seconds = medians(ways, 5)
    others["wavelet layer by n, batch 64"] = seconds
    ratio = seconds[str(sizes[-1])] / seconds[str(sizes[0])]
    exponent = math.log(ratio) / math.log(sizes[-1] / sizes[0])
    results.append(
        Result(
            "growth of the wavelet layer's time, n 4,096 to 65,536",
            "(exponent)",
            seconds[str(sizes[-1])],
            exponent,
            1.25,
            1.1,
            smaller_is_better=True,
        )
    )
    benchmark.pedantic(ways[str(sizes[0])], rounds=1)
    assert exponent < 1.6


# LeNet-5


class UsualLeNet5(nn.Sequential):
    """The dense network as users write it."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
        )


def test_lenet5(benchmark: Any, results: Any, others: Any) -> None:
    torch.manual_seed(0)
    x, target = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    task = load_task("mnist")
    module = __import__(task.__module__, fromlist=["LeNet5"])
    ours = module.LeNet5(load_baseline("wavelet")(800, 800, scales=6), 800, False)

    def step(model: nn.Module, x: Tensor) -> Way:
        optimizer = torch.optim.Adadelta(model.parameters())

        def run() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), target).backward()
            optimizer.step()

        return run

    channels_last = UsualLeNet5().to(memory_format=torch.channels_last)
    ways = {
        "dense LeNet-5": step(UsualLeNet5(), x),
        "dense, channels_last": step(
            channels_last, x.contiguous(memory_format=torch.channels_last)
        ),
        "wavelet": step(ours, x),
    }
    name = "LeNet-5 training step, wavelet layer"
    targets = [
        Target(name, "wavelet", "dense LeNet-5", (1.5, 1.5), 2),
        Target(name, "wavelet", "dense, channels_last", (1.0, 1.0), 1.1),
    ]
    judge("LeNet-5, batch 64", ways, targets, 7, benchmark, results, others)
