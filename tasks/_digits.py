"""What the tasks on MNIST share: options, the images, their order, the splits, the trivial loss.

The paper has no validation set for MNIST: it trains on all images, and the curve is taken on the
test images, only to be shown. Where a setting must be chosen, ``holdout`` keeps images apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_bench.datasets import ImageData, load_images
from slt_bench.task import Batch, Options, Split, Streams, Task
from slt_bench.tasks._options import positive

CLASSES = 10
MEAN, DEVIATION = 0.1307, 0.3081  # of the training pixels, on the scale 0 to 1

#: Training images of each data set, so that a length is known without its files.
TRAINING_IMAGES = {"mnist": 60_000, "mnist-5k": 4_000}


@dataclass(frozen=True, kw_only=True)
class DigitOptions(Options):
    """Options of every task on MNIST.

    Attributes:
        dataset: ``mnist`` or ``mnist-5k``.
        epochs: length of training in passes over the training images; a fraction is allowed and
            cuts the last pass short.
        shuffle: a new order of the training images in each epoch; False: that of their file.
        holdout: this many images at the end of the training set are not trained on; the curve is
            then taken on them (split ``validation``) and not on the test set.
    """

    dataset: str = "mnist"
    epochs: float
    shuffle: bool = True
    holdout: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in TRAINING_IMAGES:
            raise ValueError(f"dataset={self.dataset!r}: give one of {', '.join(TRAINING_IMAGES)}")
        positive(epochs=self.epochs)
        if not 0 <= self.holdout < TRAINING_IMAGES[self.dataset]:
            raise ValueError(
                f"holdout={self.holdout}: {self.dataset} has "
                f"{TRAINING_IMAGES[self.dataset]:,} training images; give 0 or fewer than that"
            )


class DigitTask(Task):
    """Base class of a task on MNIST; a subclass adds ``inputs``, ``build`` and ``measure``."""

    #: Images in one batch of an evaluation; the values do not depend on it.
    evaluation_batch = 200
    options: DigitOptions

    def __init__(self, options: Any, folder: Path | None = None) -> None:
        super().__init__(options, folder)
        self.curve_split = "validation" if options.holdout else "test"
        self.training_images: int = TRAINING_IMAGES[options.dataset] - options.holdout
        self.updates_per_epoch: int = -(-self.training_images // options.batch_size)

    def inputs(self, pixels: Tensor) -> Tensor:
        """What the model reads, from normalised pixels (n, 28, 28)."""
        raise NotImplementedError

    @property
    def updates(self) -> int:
        return max(1, round(self.options.epochs * self.updates_per_epoch))

    @property
    def evaluate_every(self) -> int:
        return self.updates_per_epoch

    @cached_property
    def data(self) -> ImageData:
        """The images; read once, when the first batch is asked for."""
        with torch.inference_mode(False):  # an evaluation may be the first to ask
            data = load_images(self.options.dataset, self.folder)
        assert len(data.train_images) == TRAINING_IMAGES[self.options.dataset]
        return data

    def batch(self, update: int, streams: Streams) -> Batch:
        epoch, place = divmod(update, self.updates_per_epoch)
        start = place * self.options.batch_size
        stop = min(start + self.options.batch_size, self.training_images)
        rows: slice | Tensor = slice(start, stop)
        if self.options.shuffle:
            rows = _order(streams.seed("order", epoch), self.training_images)[rows]
        return self._examples(self.data.train_images[rows], self.data.train_labels[rows])

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        if split == "test":
            images, labels = self.data.test_images, self.data.test_labels
        elif self.options.holdout:
            images = self.data.train_images[self.training_images :]
            labels = self.data.train_labels[self.training_images :]
        else:
            raise ValueError("MNIST has no validation split: set the option holdout, e.g. to 5000")
        for start in range(0, len(images), self.evaluation_batch):
            rows = slice(start, start + self.evaluation_batch)
            yield self._examples(images[rows], labels[rows])

    def _examples(self, images: Tensor, labels: Tensor) -> Batch:
        return self.inputs((images.float() / 255 - MEAN) / DEVIATION), labels

    def constant_answer(self) -> tuple[float, float]:
        """Test loss and accuracy (%) of the training set's class frequencies, and of its mode."""
        share = self.data.train_labels.bincount(minlength=CLASSES).double()
        share /= share.sum()
        test = self.data.test_labels
        hits = (test == share.argmax()).double()
        return float(-share.log()[test].mean()), 100.0 * float(hits.mean())


@lru_cache(maxsize=2)
def _order(seed: int, count: int) -> Tensor:
    """The order of an epoch's images; kept, since every batch of the epoch asks for it."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
