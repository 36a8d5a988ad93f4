"""A control outside the tree."""

from torch import nn


class Removed(nn.Linear):
    """y = 0: the map contributes nothing."""

    control = True

    def forward(self, x):
        return 0 * super().forward(x)
