"""The copy-memory problem (Hochreiter, Schmidhuber 1997) as in Wolter, Lin, Yao 2020, table 2.

Ten symbols are shown, and must be told again T steps later, when a marker asks for them. Classes:
0 blank, 1 to 8 symbols, 9 marker. Over T + 20 steps

    input   [10 symbols] [T - 1 blanks] [marker] [10 blanks]    one-hot, (batch, T + 20, 10)
    target  [T + 10 blanks]                      [10 symbols]   (batch, T + 20)

This is the layout of the paper's code; its text has one blank more before the marker.
The paper: T = 150, 600,000 sequences seen once in batches of 50, 512 hidden units, RMSprop at
0.001, no clipping; cross entropy over all T + 20 steps, and accuracy over the last 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slt_bench.task import Batch, LinearFactory, Options
from slt_bench.tasks._recurrent import GeneratedOptions, GeneratedTask

SYMBOLS, LENGTH = 8, 10
MARKER = SYMBOLS + 1
CLASSES = SYMBOLS + 2


@dataclass(frozen=True, kw_only=True)
class CopyMemoryOptions(GeneratedOptions):
    """``time_steps``: T, the steps from the last symbol to the marker."""


PAPER = CopyMemoryOptions()


class CopyMemory(GeneratedTask):
    """Repeat ten symbols after T blank steps (Wolter, Lin, Yao 2020, table 2)."""

    budgets: ClassVar[Mapping[str, Options]] = {
        "smoke": replace(
            PAPER, hidden_size=16, time_steps=2, updates=120, validation_size=250, test_size=250
        ),
        "quick": replace(
            PAPER,
            hidden_size=64,
            time_steps=5,
            learning_rate=1e-2,
            clip_norm=0.25,
            updates=840,
            validation_size=500,
        ),
        "screen": replace(PAPER, hidden_size=128, time_steps=60, updates=8_000, evaluate_every=500),
        "third": replace(PAPER, updates=4_000, evaluate_every=250),
        "paper": PAPER,
    }
    options: CopyMemoryOptions

    def build(self, linear: LinearFactory) -> nn.Module:
        return self.network(linear, CLASSES, CLASSES, every_step=True)

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        steps = self.options.time_steps
        symbols = torch.randint(1, SYMBOLS + 1, (count, LENGTH), generator=generator)
        x = torch.zeros(count, steps + 2 * LENGTH, dtype=torch.int64)
        y = torch.zeros_like(x)
        x[:, :LENGTH] = symbols
        x[:, LENGTH + steps - 1] = MARKER
        y[:, -LENGTH:] = symbols
        return F.one_hot(x, CLASSES).float(), y

    def measure(self, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        logits = model(x)
        told = logits[:, -LENGTH:].argmax(-1) == y[:, -LENGTH:]
        return {
            "loss": F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none"),
            "accuracy": 100.0 * told.flatten(),
        }

    def trivial(self) -> dict[str, float]:
        """Blank until the marker, then each symbol with probability 1/8."""
        steps = self.options.time_steps + 2 * LENGTH
        return {"loss": LENGTH * math.log(SYMBOLS) / steps, "accuracy": 100 / SYMBOLS}
