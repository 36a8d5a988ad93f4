"""Character language model of the Penn Treebank, as in Wolter, Lin, Yao 2020 (arXiv 2004.09569),
table 4.

A GRU over embedded characters predicts the next one: embedding n -> 100, GRU of 512, the slot
``output`` 512 -> n. The text runs as 32 contiguous streams. Each update reads a window of 400
characters of every stream from a state of zero and scores the last 320; the next window starts 320
later. The paper: Adam at 0.005, gradient norm clipped at 0.15, half the rate after an epoch (from
the sixth) whose validation loss exceeds the last three. Its code has run 20 and 60 epochs; here
``paper`` is 20. Reported is the last epoch's cross entropy on the test text, in bits a character.

The same code and protocol with ``model="tcn"`` is the convolutional network of table 4, by the
defaults of Bai, Kolter, Koltun 2018: SGD at 4, a tenth of the rate on a plateau, 100 epochs.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slt_bench.datasets import TextData, load_text
from slt_bench.recurrent import GRU
from slt_bench.task import Batch, LinearFactory, Metric, Options, Split, Streams
from slt_bench.tasks._options import at_least, positive
from slt_bench.tasks._recurrent import RecurrentOptions, RecurrentTask, make_gru
from slt_bench.tasks._tcn import TCN

#: Symbols and training characters of each data set: a model is built and counted without files.
TEXTS = {"ptb-eos": (49, 5_269_890), "ptb-raw": (50, 5_101_618), "kjv": (63, 3_723_704)}
EVALUATION_BATCH = 64  # windows; the values do not depend on it


@dataclass(frozen=True)
class Protocol:
    """What a model brings of its own: optimiser, its rate, the rate's divisor, its length."""

    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float
    divisor: float
    epochs: float


PROTOCOLS = {
    "gru": Protocol(torch.optim.Adam, learning_rate=0.005, divisor=2.0, epochs=20.0),
    "tcn": Protocol(torch.optim.SGD, learning_rate=4.0, divisor=10.0, epochs=100.0),
}


@dataclass(frozen=True, kw_only=True)
class PennTreebankOptions(RecurrentOptions):
    """Options of the task.

    Attributes:
        dataset: ``ptb-eos`` (49 symbols), ``ptb-raw`` (50) or ``kjv`` (63).
        model: ``gru``, or ``tcn``, which has no slots and takes of the sizes below only
            ``embedding_size``.
        learning_rate: at the start; None: the model's own (GRU 0.005, TCN 4).
        batch_size: contiguous streams that the training text is cut into.
        embedding_size: length of an embedded character.
        window: characters read in one update, from a state of zero.
        stride: characters from one window to the next: as many as are scored, the last ones.
        epochs: passes over the training text; None: the model's own (GRU 20, TCN 100).
        fraction: of these epochs that is trained, cut off at the end.
        evaluation_windows: so many windows, evenly spaced, stand for the validation or the test
            text; None: all of them.
        evaluate_every: updates between two points of the curve; None: an epoch, or a quarter of
            training where that is less.
    """

    dataset: str = "ptb-eos"
    model: str = "gru"
    learning_rate: float | None = None
    batch_size: int = 32
    hidden_size: int = 512
    embedding_size: int = 100
    window: int = 400
    stride: int = 320
    clip_norm: float | None = 0.15
    epochs: float | None = None
    fraction: float = 1.0
    evaluation_windows: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("dataset", TEXTS), ("model", PROTOCOLS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name}={value!r}: give one of {', '.join(allowed)}")
        if not 1 <= self.stride <= self.window:
            raise ValueError(
                f"stride={self.stride}, window={self.window}: give 1 <= stride <= window"
            )
        if self.model == "tcn" and self.update_gate_bias is not None:
            raise ValueError(
                f"update_gate_bias={self.update_gate_bias:g}: the model 'tcn' has no gates: give "
                "none, or the model 'gru'"
            )
        _, characters = TEXTS[self.dataset]
        if characters // self.batch_size - 1 <= self.window - self.stride:
            raise ValueError(
                f"batch_size={self.batch_size}, window={self.window}, stride={self.stride}: each "
                f"stream of {self.dataset} ({characters:,} characters in all) must be longer than "
                "window - stride + 1: give a smaller batch_size or window"
            )
        positive(epochs=self.epochs)
        at_least(1, embedding_size=self.embedding_size, evaluation_windows=self.evaluation_windows)
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction}: give a number above 0 and up to 1")


class CharacterGRU(nn.Module):
    """Character model: (batch, time) of symbols -> logits (batch, scored, symbols).

    ``scored``: how many of the last steps to predict from.
    """

    def __init__(self, embedding: nn.Embedding, gru: GRU, output: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.gru = gru
        self.output = output

    def forward(self, x: Tensor, scored: int) -> Tensor:
        states, _ = self.gru(self.embedding(x))
        logits: Tensor = self.output(states[:, -scored:])
        return logits


PAPER = PennTreebankOptions()
QUICK = replace(PAPER, dataset="kjv", hidden_size=64, embedding_size=32, window=100, stride=80)


class PennTreebank(RecurrentTask):
    """Predict the next character (Wolter, Lin, Yao 2020, table 4)."""

    metric: ClassVar[Metric] = Metric("bits_per_character", "bits", higher_is_better=False)
    budgets: ClassVar[Mapping[str, Options]] = {
        "smoke": replace(QUICK, hidden_size=32, epochs=1.0, fraction=0.02, evaluation_windows=64),
        "quick": replace(QUICK, epochs=1.0, fraction=0.2, evaluation_windows=512),
        "screen": replace(PAPER, hidden_size=128, epochs=5.0),
        "third": replace(PAPER, fraction=1 / 3),
        "paper": PAPER,
    }
    options: PennTreebankOptions

    def __init__(self, options: Any, folder: Path | None = None) -> None:
        super().__init__(options, folder)
        self.protocol = PROTOCOLS[options.model]
        self.symbols, characters = TEXTS[options.dataset]
        self.windows = windows(characters // options.batch_size, options.window, options.stride)

    @property
    def updates_per_epoch(self) -> int:
        return len(self.windows)

    @property
    def updates(self) -> int:
        epochs = self.options.epochs or self.protocol.epochs
        return max(1, round(epochs * self.options.fraction * self.updates_per_epoch))

    @property
    def evaluate_every(self) -> int:
        asked = self.options.evaluate_every
        return asked or min(self.updates_per_epoch, max(1, self.updates // 4))

    @cached_property
    def data(self) -> TextData:
        """The text; read once, when the first batch is asked for."""
        data = load_text(self.options.dataset, self.folder)
        assert (len(data.alphabet), len(data.train)) == TEXTS[self.options.dataset]
        return data

    def build(self, linear: LinearFactory) -> nn.Module:
        options = self.options
        if options.model == "tcn":
            return TCN(self.symbols, options.embedding_size)
        embedding = nn.Embedding(self.symbols, options.embedding_size)
        gru = make_gru(
            linear, options.embedding_size, options.hidden_size, options.update_gate_bias
        )
        return CharacterGRU(embedding, gru, linear("output", options.hidden_size, self.symbols))

    def batch(self, update: int, streams: Streams) -> Batch:
        """The same at every seed: the text is read in order, in each epoch anew."""
        return self._cut(self._contiguous, *self.windows[update % self.updates_per_epoch])

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        text = self.data.validation if split == "validation" else self.data.test
        spans = windows(len(text), self.options.window, self.options.stride)
        if count := self.options.evaluation_windows:
            count = min(count, len(spans))
            spans = [spans[i * len(spans) // count] for i in range(count)]
        full = [span for span in spans if span[1] == self.options.window]
        groups = [full[i : i + EVALUATION_BATCH] for i in range(0, len(full), EVALUATION_BATCH)]
        groups += [[span] for span in spans[len(full) :]]  # the last window may be shorter
        for group in groups:
            parts = [self._cut(text[None], *span) for span in group]
            yield tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def measure(self, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        logits = model(x, scored=y.shape[1])
        loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return {"loss": loss, "bits_per_character": loss / math.log(2)}

    def trivial(self) -> dict[str, float]:
        """The symbol frequencies of the training text, scored on the test text."""
        share = self.data.train.bincount(minlength=self.symbols).double()
        share /= share.sum()
        loss = float(-share.log()[self.data.test.long()].mean())
        return {"loss": loss, "bits_per_character": loss / math.log(2)}

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.protocol.optimizer(parameters, lr=self._start_rate)

    def learning_rate(self, update: int, curve: Sequence[Mapping[str, float]]) -> float:
        """Lowered for each epoch from the sixth with a validation loss above the last three."""
        n = self.updates_per_epoch
        marks = [point["update"] for point in curve]
        ends = [bisect_right(marks, epoch * n) - 1 for epoch in range(1, update // n + 1)]
        losses = [curve[end]["loss"] for end in ends]  # after each epoch
        rises = sum(losses[i] > max(losses[i - 3 : i]) for i in range(5, len(losses)))
        return self._start_rate / self.protocol.divisor**rises

    @property
    def _start_rate(self) -> float:
        asked: float | None = self.options.learning_rate
        return self.protocol.learning_rate if asked is None else asked

    @cached_property
    def _contiguous(self) -> Tensor:
        """The training text as streams, (batch_size, characters // batch_size)."""
        rows = self.options.batch_size
        text = self.data.train
        return text[: len(text) // rows * rows].reshape(rows, -1)

    def _cut(self, text: Tensor, start: int, size: int) -> Batch:
        """From (rows, time): ``size`` characters, and what follows each of those scored."""
        history = self.options.window - self.options.stride
        part = text[:, start : start + size + 1].long()
        return part[:, :-1], part[:, history + 1 :]


def windows(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Start and size of each window of a text: all that have a character to score.

    The first ``window - stride`` characters of a window are history, and only read. A window of
    size s needs s + 1 characters, the last as a target; at the end of a text it is shorter.
    """
    sizes = ((start, min(window, length - 1 - start)) for start in range(0, length - 1, stride))
    return [(start, size) for start, size in sizes if size > window - stride]
