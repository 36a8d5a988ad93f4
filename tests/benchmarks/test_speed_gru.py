"""Ratios of speed to peers, whole sequences: ``pytest tests/benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from measuring import Comparison, Target
from peers import onnx_gru
from torch import nn
from ways import gru, inference, iteration, learned_iteration, nn_gru

from slt_bench.timing.turns import Way

HEADLINE = ("nn.GRU", "our dense scan")


def test_adding(compare: Any) -> None:
    """T 150, batch 50, hidden 512, two inputs."""
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 150, 50, 2, 512
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "plain loop": gru(inputs, hidden, strategy="eager"),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "wavelet": gru(inputs, hidden, "wavelet"),
        "wavelet, dropout": gru(inputs, hidden, "wavelet", dropout=0.5),
        "wavelet, legacy": gru(inputs, hidden, "wavelet", slicing="legacy"),
        "fastfood": gru(inputs, hidden, "fastfood"),
        "state wavelet": gru(inputs, hidden, "wavelet", ("state",)),
        "state + reset wavelet": gru(inputs, hidden, "wavelet", ("state", "reset")),
        "tensor train": gru(inputs, hidden, "tensor_train", rank=4),
        "low rank 8": gru(inputs, hidden, "low_rank", rank=8),
        "diagonal": gru(inputs, hidden, "diagonal"),
    }
    all_maps = "adding: all maps"
    goals = [
        Target("adding: dense GRU", "dense", "nn.GRU", (1.7, 1.05), 2.2),
        Target(f"{all_maps} wavelet", "wavelet", "nn.GRU", (4.8, 4), 15),
        Target(f"{all_maps} wavelet", "wavelet", "our dense scan", (2.5, 3.5), 8),
        Target(f"{all_maps} wavelet", "wavelet", "dense", (2.5, 3.5), 8),
        Target(f"{all_maps} Fastfood", "fastfood", "nn.GRU", (4.8, 4), 15),
        Target("adding: state wavelet", "state wavelet", "nn.GRU", (2.1, 1.4), 2.6),
        Target("adding: state and reset wavelet", "state + reset wavelet", "nn.GRU", (2.8, 2), 4),
        Target(f"{all_maps} tensor train (no kernel)", "tensor train", "nn.GRU", (1.5, 1), 1.8),
        Target("adding: wavelet with dropout", "wavelet, dropout", "wavelet", (0.7, 0.7), 1),
        Target("adding: wavelet, legacy slicing", "wavelet, legacy", "wavelet", (0.7, 0.7), 1),
    ]
    ways = {name: iteration(model, steps, batch) for name, model in models.items()}
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    compare(Comparison("GRU training, adding shape", sizes, ways, goals, HEADLINE, models=models))


def test_penn_treebank(compare: Any) -> None:
    """T 400, batch 32, hidden 512, two inputs."""
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 400, 32, 2, 512
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "wavelet": gru(inputs, hidden, "wavelet"),
    }
    ways = {name: iteration(model, steps, batch) for name, model in models.items()}
    name = "Penn Treebank shape, 2 inputs"
    goals = [
        Target(f"{name}: all maps wavelet", "wavelet", "nn.GRU", (6.5, 5), 18),
        Target(f"{name}: dense GRU", "dense", "nn.GRU", (1.7, 1.05), 2.2),
    ]
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    group = f"GRU training, {name}"
    compare(Comparison(group, sizes, ways, goals, HEADLINE, models=models))


def test_penn_treebank_embedded(compare: Any) -> None:
    """The same with an embedding of 100 that learns too, and a loss on every state."""
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 400, 32, 100, 512
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "wavelet": gru(inputs, hidden, "wavelet"),
    }
    ways = {name: learned_iteration(model, steps, batch, inputs) for name, model in models.items()}
    ways["products of the input maps"] = input_products(steps * batch, inputs, 3 * hidden)
    limit = (
        "the maps of the 100 inputs stay dense: their three products alone, by torch.mm, take "
        "{products of the input maps:.0f} ms"
    )
    name = "Penn Treebank shape, 100 inputs"
    goals = [
        Target(f"{name}: all maps wavelet", "wavelet", "nn.GRU", (6.5, 5), 18, limit),
        Target(f"{name}: dense GRU", "dense", "nn.GRU", (1.7, 1.05), 2.2, limit),
    ]
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    group = f"GRU training, {name}"
    compare(Comparison(group, sizes, ways, goals, HEADLINE, models=models))


def input_products(vectors: int, inputs: int, outputs: int) -> Way:
    """Output, gradient of the weights and of the input of one dense map, nothing allocated."""
    x, w = torch.randn(vectors, inputs), torch.randn(inputs, outputs)
    y, d_y = torch.empty(vectors, outputs), torch.randn(vectors, outputs)
    d_x, d_w = torch.empty_like(x), torch.empty_like(w)

    def call() -> None:
        torch.mm(x, w, out=y)
        torch.mm(x.T, d_y, out=d_w)
        torch.mm(d_y, w.T, out=d_x)

    return call


def test_hidden_128(compare: Any) -> None:
    """As in screening."""
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 150, 50, 2, 128
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "state + reset wavelet": gru(inputs, hidden, "wavelet", ("state", "reset")),
        "wavelet": gru(inputs, hidden, "wavelet"),
    }
    row = Target(
        "hidden 128: state and reset wavelet", "state + reset wavelet", "nn.GRU", (1.5, 1.5), 3
    )
    ways = {name: iteration(model, steps, batch) for name, model in models.items()}
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    compare(
        Comparison("GRU training, hidden 128", sizes, ways, [row], HEADLINE, models=models, turns=9)
    )


def test_sequential_mnist(compare: Any) -> None:
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 784, 256, 1, 64
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "wavelet": gru(inputs, hidden, "wavelet", scales=4),
    }
    row = Target("hidden 64, T 784: all maps wavelet", "wavelet", "nn.GRU", (2.2, 1.8), 5)
    ways = {name: iteration(model, steps, batch, inputs) for name, model in models.items()}
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    compare(
        Comparison("GRU training, hidden 64, T 784", sizes, ways, [row], HEADLINE, models=models)
    )


def test_inference(compare: Any) -> None:
    torch.manual_seed(0)
    steps, batch, inputs, hidden = 150, 50, 2, 512
    x = torch.randn(batch, steps, inputs)
    models: dict[str, nn.Module] = {
        "nn.GRU": nn_gru(inputs, hidden),
        "plain loop": gru(inputs, hidden, strategy="eager"),
        "our dense scan": gru(inputs, hidden, strategy="scan"),
        "dense": gru(inputs, hidden),
        "wavelet": gru(inputs, hidden, "wavelet"),
    }
    ways = {name: inference(model, x) for name, model in models.items()}
    dense: Any = models["dense"]
    theirs = onnx_gru(dense, x)
    states: Any = ways["dense"]()
    np.testing.assert_allclose(theirs()[:, 0], states[0].transpose(0, 1).numpy(), atol=2e-6)
    name = "inference, adding"
    goals = [
        Target(f"{name}: dense", "dense", "ONNX Runtime", (0.8, 0.8), 1.1),
        Target(f"{name}: all maps wavelet", "wavelet", "ONNX Runtime", (2.5, 2.5), 8),
    ]
    sizes = {"steps": steps, "batch": batch, "hidden": hidden, "inputs": inputs}
    compare(
        Comparison(
            "GRU inference, adding shape",
            sizes,
            {"ONNX Runtime": theirs, **ways},
            goals,
            HEADLINE,
            models=models,
            turns=7,
        )
    )
