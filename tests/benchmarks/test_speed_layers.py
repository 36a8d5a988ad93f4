"""Ratios of speed to peers, layers and LeNet-5: ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from measuring import Comparison, Growth, Target
from peers import Conv1dWavelet, UsualLeNet5
from torch import Tensor, nn
from torch.nn import functional as F
from ways import layer_step, trained_layer

from slt_bench.layers import count_parameters
from slt_bench.registry import load_baseline, load_task
from slt_bench.timing.turns import Way

N, BATCH = 1024, 64
SIZES = {"n": N, "batch": BATCH}


def test_layers(compare: Any) -> None:
    torch.manual_seed(0)
    wavelet = load_baseline("wavelet")(N, N)
    layers: dict[str, nn.Module] = {
        "nn.Linear": nn.Linear(N, N),
        "wavelet": wavelet,
        "conv1d form": Conv1dWavelet(wavelet),
        "fastfood": load_baseline("fastfood")(N, N),
        "tensor train": load_baseline("tensor_train")(N, N, rank=4),
        "low rank 32": load_baseline("low_rank")(N, N, rank=32),
    }
    x = torch.randn(BATCH, N)
    torch.testing.assert_close(layers["conv1d form"](x), wavelet(x), rtol=1e-4, atol=1e-5)
    tensor_train = "tensor-train layer (rank 4), n = 1024"
    goals = [
        Target("wavelet layer, n = 1024", "wavelet", "nn.Linear", (6, 6), 20),
        Target("wavelet layer, n = 1024", "wavelet", "conv1d form", (1, 1), 10),
        Target("Fastfood layer, n = 1024", "fastfood", "nn.Linear", (5.5, 5.5), 25),
        Target(tensor_train, "tensor train", "nn.Linear", (1.8, 1.8), 3),
    ]
    ways = {name: layer_step(layer, N, BATCH) for name, layer in layers.items()}
    ways["wavelet, with its loss term"] = trained_layer("wavelet", N, BATCH)
    group = "layer training, n = 1024"
    compare(Comparison(group, SIZES, ways, goals, models=layers, turns=15))


def test_beside_ptwt(compare: Any) -> None:
    """The whole layer beside the bare transforms of another library."""
    ptwt = pytest.importorskip("ptwt")
    torch.manual_seed(0)
    x = torch.randn(BATCH, N, requires_grad=True)

    def transforms() -> None:
        x.grad = None
        coefficients = ptwt.wavedec(x, "db3", mode="zero", level=6)
        ptwt.waverec(coefficients, "db3").sum().backward()

    layer = load_baseline("wavelet")(N, N, init="db3", scales=6)
    ways = {"ptwt": transforms, "wavelet": layer_step(layer, N, BATCH)}
    row = Target("wavelet layer (db3, 6 scales), n = 1024", "wavelet", "ptwt", (1, 1), 10)
    compare(Comparison("layer training, beside ptwt", SIZES, ways, [row], turns=9))


def test_beside_tensorly(compare: Any) -> None:
    """The tensor-train layer beside tensorly's way from cores to a matrix."""
    tensorly = pytest.importorskip("tensorly")
    matrices = pytest.importorskip("tensorly.tt_matrix")
    torch.manual_seed(0)
    shape, ranks = [4, 8, 8, 4], [1, 4, 4, 4, 1]
    x = torch.randn(BATCH, N, requires_grad=True)
    with tensorly.backend_context("pytorch"):
        cores = [
            torch.randn(ranks[k], size, size, ranks[k + 1], requires_grad=True)
            for k, size in enumerate(shape)
        ]

        def product() -> None:
            x.grad = None
            (x @ matrices.tt_matrix_to_matrix(cores).T).sum().backward()

        layer = load_baseline("tensor_train")(N, N, rank=4)
        ways = {"tensorly": product, "tensor train": layer_step(layer, N, BATCH)}
        name = "tensor-train layer (rank 4), n = 1024"
        row = Target(name, "tensor train", "tensorly", (1, 1), 3)
        compare(Comparison("layer training, beside tensorly", SIZES, ways, [row], turns=9))


def test_growth(compare: Any) -> None:
    """The exponent with which the wavelet layer's time grows; no square array anywhere."""
    torch.manual_seed(0)
    layers = {str(n): load_baseline("wavelet")(n, n, gain=None) for n in (4096, 16384, 65536)}
    for n, layer in layers.items():
        assert count_parameters(layer) < 5 * int(n)
    ways = {n: layer_step(layer, int(n), BATCH) for n, layer in layers.items()}
    goal = Growth("growth of the wavelet layer's time, n 4,096 to 65,536", 1.25, 1.1, 1.6)
    group = "wavelet layer training, by n"
    compare(Comparison(group, {"batch": BATCH}, ways, [goal], models=layers, turns=7))


def test_lenet5(compare: Any) -> None:
    torch.manual_seed(0)
    x, target = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
    task = load_task("mnist")
    module = __import__(task.__module__, fromlist=["LeNet5"])
    channels_last = torch.channels_last

    def step(model: nn.Module, x: Tensor = x) -> Way:
        optimizer = torch.optim.Adadelta(model.parameters())

        def run() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x), target).backward()
            optimizer.step()

        return run

    def wavelet() -> nn.Module:
        net: nn.Module = module.LeNet5(load_baseline("wavelet")(800, 800, scales=6), 800, False)
        return net

    models: dict[str, nn.Module] = {
        "dense LeNet-5": UsualLeNet5(),
        "dense, channels_last": UsualLeNet5().to(memory_format=channels_last),
        "wavelet": wavelet(),
        "wavelet, channels_last": wavelet().to(memory_format=channels_last),
    }
    ways = {
        name: step(
            model, x.contiguous(memory_format=channels_last) if "channels_last" in name else x
        )
        for name, model in models.items()
    }
    name = "LeNet-5 training step, wavelet layer"
    limit = (
        "the task's network turns to channels_last after its first convolution, which is slower in "
        "plain order: channels_last from the start takes {wavelet, channels_last:.1f} ms, not "
        "{wavelet:.1f} (a change of the task's code, which would make its records stale)"
    )
    goals = [
        Target(name, "wavelet", "dense LeNet-5", (1.5, 1.5), 2, limit),
        Target(name, "wavelet", "dense, channels_last", (1.0, 1.0), 1.1, limit),
    ]
    group = "LeNet-5 training step"
    compare(Comparison(group, {"batch": BATCH}, ways, goals, models=models, turns=9))
