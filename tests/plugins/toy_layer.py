"""A baseline outside the tree, as short as one can be: its file and nothing else."""

from torch import nn


class ToyLayer(nn.Module):
    """y = B A x + bias with A (rank x in_features) and B (out_features x rank)."""

    size_setting = "rank"

    def __init__(self, in_features, out_features, bias=True, *, rank=2):
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)
        nn.init.normal_(self.down.weight, std=in_features**-0.5)
        nn.init.normal_(self.up.weight, std=(3 * rank) ** -0.5)

    def forward(self, x):
        return self.up(self.down(x))
