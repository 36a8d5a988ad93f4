"""Baselines outside the tree for tests of timings."""

import os
import time

import torch
from torch import nn


class Steady(nn.Linear):
    """Calls end 0.2 ms apart, on a schedule: what the machine does meanwhile is caught up with."""

    milliseconds = 0.2
    due = 0.0

    def forward(self, x):
        y = super().forward(x)
        now = time.perf_counter()
        start = self.due if now - self.due < 0.05 else now
        self.due = start + self.milliseconds / 1000
        while time.perf_counter() < self.due:
            pass
        return y


class Planted(Steady):
    """The same, slowed down by the factor SLT_BENCH_TEST_FACTOR."""

    milliseconds = 0.2 * float(os.environ.get("SLT_BENCH_TEST_FACTOR", "1"))


class Slowed(nn.Linear):
    """A dense layer that does its work twice."""

    def forward(self, x):
        super().forward(x)
        return super().forward(x)


class Sloppy(nn.Linear):
    """Its quick float32 kernel computes something else."""

    def forward(self, x):
        return super().forward(x) * (1.01 if x.dtype == torch.float32 else 1)


class Refusing(nn.Linear):
    @classmethod
    def supports(cls, in_features, out_features, **settings):
        return "no size is good enough"


class Dying(nn.Linear):
    def forward(self, x):
        os._exit(7)


class Penalised(nn.Linear):
    """Has a loss term that takes a while and leaves a gradient."""

    def penalty(self):
        time.sleep(0.002)
        return self.weight.square().sum()


class Chance(nn.Module):
    """Draws random numbers while it trains."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.layer = nn.Linear(in_features, out_features, bias)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.layer(x))


class Grasping(nn.Linear):
    """Its prediction is small, what it takes is not."""

    def forward(self, x):
        torch.empty(2**46, dtype=torch.uint8)
        return super().forward(x)
