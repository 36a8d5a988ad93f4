"""The adding problem (Hochreiter, Schmidhuber 1997) as in Wolter, Lin, Yao 2020, table 2.

Of T numbers from U(0, 1) two are marked, one in each half; the GRU's last state gives their sum.
Input (batch, T, 2): channel 0 the numbers, channel 1 the marks. Target (batch,).
The paper: T = 150, 600,000 sequences seen once in batches of 50, 512 hidden units, RMSprop at
0.001, no clipping; mean squared error, and the share of answers less than 0.05 off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from slt_bench.task import Batch, LinearFactory, Options
from slt_bench.tasks._recurrent import GeneratedOptions, GeneratedTask

TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class AddingOptions(GeneratedOptions):
    """``time_steps``: length T of a sequence, with a mark in each half."""

    minimum_steps: ClassVar[int] = 2


PAPER = AddingOptions()


class Adding(GeneratedTask):
    """Add two marked numbers of a sequence (Wolter, Lin, Yao 2020, table 2)."""

    budgets: ClassVar[Mapping[str, Options]] = {
        "smoke": replace(
            PAPER, hidden_size=16, time_steps=8, updates=120, validation_size=250, test_size=250
        ),
        "quick": replace(
            PAPER,
            hidden_size=64,
            time_steps=20,
            learning_rate=2e-3,
            updates=900,
            validation_size=500,
        ),
        "screen": replace(PAPER, hidden_size=128, updates=6_000),
        "third": replace(PAPER, updates=4_000, evaluate_every=250),
        "paper": PAPER,
    }
    options: AddingOptions

    def build(self, linear: LinearFactory) -> nn.Module:
        return self.network(linear, input_size=2, output_size=1)

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        steps = self.options.time_steps
        half = steps // 2
        x = torch.zeros(count, steps, 2)
        x[..., 0] = torch.rand(count, steps, generator=generator)
        first = torch.randint(0, half, (count, 1), generator=generator)
        second = torch.randint(half, steps, (count, 1), generator=generator)
        x[..., 1].scatter_(1, torch.cat([first, second], 1), 1.0)
        return x, (x[..., 0] * x[..., 1]).sum(1)

    def measure(self, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        error = model(x).squeeze(-1) - y
        return {"loss": error.square(), "accuracy": 100.0 * (error.abs() < TOLERANCE)}

    def trivial(self) -> dict[str, float]:
        """Answer 1, the mean: the variance 2/12, and the mass of a triangle around its peak."""
        return {"loss": 1 / 6, "accuracy": 100 * (1 - (1 - TOLERANCE) ** 2)}
