"""What the tests of the GRU and of its strategies share: maps, runs, and how runs are compared."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slt_bench import kernels
from slt_bench.errors import UsageError
from slt_bench.recurrent import GRU, Factory
from slt_bench.registry import load_baseline

RECURRENT = GRU.slots[:3]
SUBSETS = [s for n in range(4) for s in itertools.combinations(RECURRENT, n)]

needs_kernels = pytest.mark.skipif(
    not kernels.enabled()
    or kernels.library(Path(kernels.__file__).with_name("sequence.c"), torch.float64) is None,
    reason="needs a C compiler, and no SLT_BENCH_KERNELS=0",
)
FUSED = pytest.param("fused", marks=needs_kernels)
every_strategy = pytest.mark.parametrize("strategy", ["eager", "scan", FUSED])
#: Those with a backward of their own.
own_backward = pytest.mark.parametrize("strategy", ["scan", FUSED])


# Maps


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


def maker(name: str, **options: Any) -> Factory:
    """Builds a baseline whose weights are drawn afresh; skips where its file is missing."""

    def make(n: int, m: int, bias: bool) -> nn.Module:
        try:
            layer = load_baseline(name)(n, m, bias, **options)
        except UsageError:
            pytest.skip(f"there is no baseline {name!r}")
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
        return layer

    return make


WAVELET = maker("wavelet", scales=3, init="random", gain=1.0)
FASTFOOD = maker("fastfood", gain=1.0)
#: Three kinds of maps at hidden size 64: two that bring a kernel, one known by its forward alone.
MIXED: dict[str, Factory] = {"reset": FASTFOOD, "update": WAVELET, "state": Circulant}


# Runs


def build(
    input_size: int, hidden: int, maps: dict[str, Factory] | None = None, seed: int = 0
) -> GRU:
    torch.manual_seed(seed)
    return GRU(input_size, hidden, maps).double()


def draw(batch: int, time: int, input_size: int, hidden: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(batch, time, input_size, dtype=torch.float64)
    return x, torch.randn(batch, hidden, dtype=torch.float64)


def loss_of(states: Tensor, last: Tensor, through: str = "both") -> Tensor:
    """A scalar that depends on every element of what it goes ``through``."""
    parts = {"states": [states], "last": [last], "both": [states, last]}[through]
    return torch.stack(
        [(p * torch.arange(1.0, p.numel() + 1).to(p).reshape(p.shape).sin()).sum() for p in parts]
    ).sum()


def run(
    gru: GRU, strategy: str, x: Tensor, h0: Tensor | None = None, through: str = "both"
) -> dict[str, Tensor]:
    """Outputs and gradients by name. The plain loop runs in plain torch: it is the oracle."""
    gru.strategy = strategy
    inputs = {"x": x, **({} if h0 is None else {"h0": h0})}
    leaves = {name: t.detach().clone().requires_grad_() for name, t in inputs.items()}
    learning = {name: p for name, p in gru.named_parameters() if p.requires_grad}
    with pytest.MonkeyPatch.context() as patch:
        if strategy == "eager":
            patch.setenv("SLT_BENCH_KERNELS", "0")
        torch.manual_seed(3)
        states, last = gru(**leaves)
        assert gru.last_strategy == strategy or not gru.training
        tensors = {**leaves, **learning}
        gradients = torch.autograd.grad(
            loss_of(states, last, through), list(tensors.values()), allow_unused=True
        )
    # A map that ignores its input cuts the graph of the plain loop: no gradient is a zero one.
    found = {
        name: torch.zeros_like(t) if g is None else g
        for (name, t), g in zip(tensors.items(), gradients, strict=True)
    }
    return {"states": states.detach(), "last": last.detach(), **found}


def assert_agree(
    got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10
) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )
