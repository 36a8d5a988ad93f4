"""The temporal convolutional network that table 4 of Wolter, Lin, Yao 2020 compares with.

Source: Bai, Kolter, Koltun 2018, "An Empirical Evaluation of Generic Convolutional and Recurrent
Networks for Sequence Modeling", arXiv 1803.01271, section 3 and figure 1; sizes of its language
model over characters: an embedding of 100, blocks of 450, 450 and 100 channels, kernels of 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class CausalConvolution(nn.Module):
    """(batch, in_channels, time) -> (batch, out_channels, time): step t sees nothing after t.

    Convolution with normalised weights, ReLU, dropout. The start is that of ``nn.Conv1d``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.padding = (kernel_size - 1) * dilation
        self.convolution = weight_norm(
            nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(F.relu(self.convolution(F.pad(x, (self.padding, 0)))))
        return y


class ResidualBlock(nn.Module):
    """ReLU of two causal convolutions plus a shortcut, 1 x 1 where the channels differ in number.

    Shape (batch, in_channels, time) -> (batch, out_channels, time).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int, dropout: float
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            CausalConvolution(in_channels, out_channels, kernel_size, dilation, dropout),
            CausalConvolution(out_channels, out_channels, kernel_size, dilation, dropout),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Conv1d(in_channels, out_channels, 1)
            nn.init.normal_(self.shortcut.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolutions(x) + self.shortcut(x))


class TCN(nn.Module):
    """Character model: (batch, time) of symbols -> logits (batch, scored, symbols).

    Blocks of dilation 1, 2, 4, ... between an embedding and a decoder that share their matrix, so
    the last block has ``embedding_size`` channels. ``scored``: how many of the last steps to
    predict from.
    """

    def __init__(
        self,
        symbols: int,
        embedding_size: int = 100,
        inner_channels: Sequence[int] = (450, 450),
        kernel_size: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding_size)
        self.dropout = nn.Dropout(dropout)
        widths = [embedding_size, *inner_channels, embedding_size]
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(widths[level], widths[level + 1], kernel_size, 2**level, dropout)
                for level in range(len(widths) - 1)
            )
        )
        self.decoder = nn.Linear(embedding_size, symbols)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, x: Tensor, scored: int) -> Tensor:
        features = self.blocks(self.dropout(self.embedding(x)).transpose(1, 2))
        logits: Tensor = self.decoder(features[..., -scored:].transpose(1, 2))
        return logits
