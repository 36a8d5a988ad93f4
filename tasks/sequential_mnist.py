"""MNIST digits read pixel by pixel by a GRU, as in Wolter, Lin, Yao 2020, table 3.

An image, normalised and row by row, is a sequence of 784 / p steps of p pixels (the paper: p = 1);
the last state gives one of ten classes. Input (batch, 784 / p, p), output (batch, 10).
The rows with 512 hidden units, and the budget ``paper``: 10 epochs in batches of 50, RMSprop at
0.001, no clipping. The row WaveGRU is hidden_size=58, batch_size=256, epochs=100, clip_norm=1.
The training images keep the order of their file, as in the paper's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from slt_bench.task import LinearFactory, Metric, Options
from slt_bench.tasks._digits import CLASSES, DigitOptions, DigitTask
from slt_bench.tasks._recurrent import RecurrentOptions, RecurrentTask

PIXELS = 28 * 28


@dataclass(frozen=True, kw_only=True)
class SequentialMnistOptions(DigitOptions, RecurrentOptions):
    """Options of the task: those of a GRU, those of MNIST, and

    Attributes:
        pixels_per_step: p, a divisor of 784.
        evaluate_every: updates between two points of the curve; None: an epoch.
    """

    learning_rate: float = 1e-3
    batch_size: int = 50
    hidden_size: int = 512
    pixels_per_step: int = 1
    epochs: float = 10.0
    shuffle: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pixels_per_step < 1 or PIXELS % self.pixels_per_step:
            raise ValueError(f"pixels_per_step={self.pixels_per_step}: give a divisor of {PIXELS}")


PAPER = SequentialMnistOptions()
ROWS = replace(PAPER, dataset="mnist-5k", pixels_per_step=28)


class SequentialMnist(DigitTask, RecurrentTask):
    """Classify digits read pixel by pixel (Wolter, Lin, Yao 2020, table 3)."""

    metric: ClassVar[Metric] = Metric("accuracy", "%", higher_is_better=True)
    budgets: ClassVar[Mapping[str, Options]] = {
        "smoke": replace(ROWS, hidden_size=16, epochs=1.0),
        "quick": replace(ROWS, hidden_size=64, learning_rate=3e-3, epochs=8.0),
        "screen": replace(PAPER, hidden_size=128, pixels_per_step=4, epochs=4.0),
        "third": replace(PAPER, epochs=10 / 3),
        "paper": PAPER,
    }
    options: SequentialMnistOptions

    @property
    def evaluate_every(self) -> int:
        return self.options.evaluate_every or self.updates_per_epoch

    def build(self, linear: LinearFactory) -> nn.Module:
        return self.network(linear, self.options.pixels_per_step, CLASSES)

    def inputs(self, pixels: Tensor) -> Tensor:
        return pixels.reshape(len(pixels), -1, self.options.pixels_per_step)

    def measure(self, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        logits = model(x)
        return {
            "loss": F.cross_entropy(logits, y, reduction="none"),
            "accuracy": 100.0 * (logits.argmax(-1) == y),
        }

    def trivial(self) -> dict[str, float]:
        """The class frequencies of the training set, and its most frequent class."""
        loss, accuracy = self.constant_answer()
        return {"loss": loss, "accuracy": accuracy}
