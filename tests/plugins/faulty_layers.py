"""Baselines that fail in training, each in its own way."""

import os
import signal
import time

from torch import nn


class Killed(nn.Linear):
    """The system ends the process."""

    def forward(self, x):
        if self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class KilledOnce(nn.Linear):
    """The first attempt dies; a file remembers it."""

    def __init__(self, in_features, out_features, bias=True, *, mark=""):
        super().__init__(in_features, out_features, bias)
        self.mark = mark

    def forward(self, x):
        if self.training and not os.path.exists(self.mark):
            with open(self.mark, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Hanging(nn.Linear):
    """Never comes back, and does not listen."""

    def forward(self, x):
        if self.training:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        return super().forward(x)


class Raising(nn.Linear):
    """An ordinary mistake."""

    def forward(self, x):
        if self.training:
            raise RuntimeError("shapes differ\nand more lines")
        return super().forward(x)


class Hungry(nn.Linear):
    """Asks for more memory than there is."""

    def forward(self, x):
        if self.training:
            x.new_empty(2**45)
        return super().forward(x)


class Exploding(nn.Linear):
    """Diverges at once."""

    def forward(self, x):
        return super().forward(x) * (float("nan") if self.training else 1.0)


class Refusing(nn.Linear):
    """Supports no size."""

    @staticmethod
    def supports(in_features, out_features):
        return "only sizes divisible by 1,000"
