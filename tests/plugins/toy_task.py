"""A task outside the tree: linear regression on generated data, with dropout, in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from slt_bench.task import Metric, Options, Task, fixed_generator


@dataclass(frozen=True, kw_only=True)
class ToyOptions(Options):
    width: int = 6
    updates: int = 20
    evaluate_every: int = 5
    pause: float = 0.0


class ToyTask(Task):
    """Regress the sum of the inputs."""

    slots = ("first", "second")
    default_slots = ("second",)
    slot_groups = {"all": ("first", "second")}
    metric = Metric("accuracy", "%", higher_is_better=True)
    floor = "zero"
    solved_at = 95.0
    _quick = ToyOptions(dataset="generated", learning_rate=0.01, batch_size=8)
    budgets = {
        "smoke": replace(_quick, updates=4, evaluate_every=2),
        "quick": _quick,
        "paper": replace(_quick, updates=200, evaluate_every=20),
    }

    @property
    def updates(self):
        return self.options.updates

    @property
    def evaluate_every(self):
        return self.options.evaluate_every

    def build(self, linear):
        width = self.options.width
        return nn.Sequential(
            nn.Linear(width, width),
            linear("first", width, width),
            nn.Dropout(0.1),
            linear("second", width, width, bias=False),
            nn.Linear(width, 1),
        )

    def _draw(self, count, generator):
        x = torch.randn(count, self.options.width, generator=generator)
        return x, x.sum(1)

    def batch(self, update, streams):
        if self.options.pause:
            import time

            time.sleep(self.options.pause)
        return self._draw(self.options.batch_size, streams.generator("data", update))

    def evaluation_batches(self, split):
        generator = fixed_generator("toy_task", split)
        for _ in range(2):
            yield self._draw(16, generator)

    def measure(self, model, x, y):
        error = model(x).squeeze(-1) - y
        return {"loss": error**2, "accuracy": 100.0 * (error.abs() < 1).to(x.dtype)}

    def trivial(self):
        return {"loss": float(self.options.width), "accuracy": 32.0}
