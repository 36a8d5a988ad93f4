"""Sequential MNIST: its sequences, their order, its splits, scores, published lengths and sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from recurrent_cases import parameter_count
from torch import Tensor, nn

from slt_bench.task import Streams
from slt_bench.tasks.sequential_mnist import PAPER, SequentialMnist

STATE = ("state",)
BOTH, ALL = ("reset", "state"), ("reset", "update", "state")
SAMPLE = replace(PAPER, dataset="mnist-5k", pixels_per_step=28)


class Answer(nn.Module):
    """Gives the same answer to every sequence."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def task_with(**changes: Any) -> SequentialMnist:
    return SequentialMnist(replace(SAMPLE, **changes))


@pytest.mark.parametrize("pixels", [1, 4, 28, 784])
def test_a_sequence_is_the_normalised_image_row_by_row(pixels: int) -> None:
    task = task_with(pixels_per_step=pixels)
    x, y = task.batch(0, Streams(0))
    assert (x.shape, x.dtype) == ((50, 784 // pixels, pixels), torch.float32)
    images = task.data.train_images[:50]
    expected = (images.double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(
        x.double().reshape(50, 28, 28), expected, rtol=0, atol=1e-6
    )  # row by row: reshaping back gives the image
    assert torch.equal(y, task.data.train_labels[:50])
    assert y.dtype == torch.int64


def test_without_shuffling_the_images_keep_the_order_of_their_file() -> None:
    task = task_with(batch_size=300)
    assert task.updates_per_epoch == 14  # 13 of 300 and one of 100
    labels = [task.batch(update, Streams(7))[1] for update in range(15)]
    assert [len(part) for part in labels[:14]] == [300] * 13 + [100]
    assert torch.equal(torch.cat(labels[:14]), task.data.train_labels)
    assert torch.equal(labels[14], labels[0])
    assert torch.equal(task.batch(3, Streams(8))[0], task.batch(3, Streams(7))[0])


def test_with_shuffling_every_epoch_shows_every_image_once_in_a_new_order() -> None:
    task = task_with(batch_size=1_000, shuffle=True)

    marks = torch.rand(784, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def epoch(number: int, seed: int) -> Tensor:
        """One number for each image, in the order of an epoch."""
        parts = [task.batch(4 * number + i, Streams(seed))[0] for i in range(4)]
        return torch.cat(parts).flatten(1).double() @ marks

    first, second, other = epoch(0, 1), epoch(1, 1), epoch(0, 2)
    assert torch.equal(first, epoch(0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    in_order = task_with(batch_size=4_000).batch(0, Streams(0))[0].flatten(1).double() @ marks
    assert len(in_order.unique()) == 4_000
    for shuffled in (first, second, other):
        torch.testing.assert_close(shuffled.sort().values, in_order.sort().values)


def test_the_curve_is_taken_on_the_test_images() -> None:
    task = task_with()
    assert task.curve_split == "test"
    batches = list(task.evaluation_batches("test"))
    assert torch.equal(torch.cat([y for _, y in batches]), task.data.test_labels)
    expected = (task.data.test_images[:1].double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(batches[0][0][:1].double(), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="no validation split: set the option holdout"):
        next(task.evaluation_batches("validation"))


def test_an_evaluation_before_the_first_update_does_not_spoil_the_images() -> None:
    task = task_with(hidden_size=5)
    model = task.build(lambda slot, i, o, bias=True: nn.Linear(i, o, bias))
    with torch.inference_mode():
        task.measure(model, *next(iter(task.evaluation_batches("test"))))
    task.loss(model, *task.batch(0, Streams(0))).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_holdout_is_not_trained_on_and_carries_the_curve() -> None:
    task = task_with(holdout=700, batch_size=500)
    assert (task.curve_split, task.training_images, task.updates_per_epoch) == (
        "validation",
        3_300,
        7,
    )
    trained = torch.cat([task.batch(i, Streams(0))[1] for i in range(7)])
    pixels, held = (
        torch.cat(part) for part in zip(*task.evaluation_batches("validation"), strict=True)
    )
    assert torch.equal(torch.cat([trained, held]), task.data.train_labels)
    assert len(held) == 700
    expected = (task.data.train_images[3_300:].double() / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(pixels.double(), expected, rtol=0, atol=1e-6)
    assert sum(len(y) for _, y in task.evaluation_batches("test")) == 1_000


def test_scores_and_the_trivial_answer() -> None:
    task = task_with()
    trivial = task.trivial()  # the sample is balanced: chance
    assert trivial == {"loss": pytest.approx(math.log(10)), "accuracy": 10.0}
    batches = list(task.evaluation_batches("test"))
    scores = [task.measure(Answer(torch.zeros(10)), *batch) for batch in batches]
    for name, expected in trivial.items():
        values = torch.cat([score[name] for score in scores])
        assert values.shape == (1_000,)
        assert values.double().mean().item() == pytest.approx(expected, rel=1e-6)
    logits = torch.zeros(10)
    logits[3] = 5
    x, y = batches[0]
    scores_of_3 = task.measure(Answer(logits), x, y)
    assert torch.equal(scores_of_3["accuracy"], 100.0 * (y == 3))
    expected_loss = torch.where(y == 3, 0.0, 5.0) + math.log(1 + 9 * math.exp(-5))
    torch.testing.assert_close(scores_of_3["loss"], expected_loss)


@pytest.mark.data("mnist")
def test_the_trivial_answer_on_mnist_is_the_most_frequent_digit() -> None:
    task = SequentialMnist(PAPER)
    x, y = task.batch(1_199, Streams(0))  # the last of an epoch
    assert (x.shape, y.shape) == ((50, 784, 1), (50,))
    assert torch.equal(y, task.data.train_labels[-50:])
    trivial = task.trivial()
    assert trivial["accuracy"] == pytest.approx(11.35)
    assert 2.29 < trivial["loss"] < math.log(10)


def test_the_answer_is_read_from_the_last_state() -> None:
    task = task_with(hidden_size=5)
    model = task.build(lambda slot, i, o, bias=True: nn.Linear(i, o, bias))
    x, _ = task.batch(0, Streams(0))
    changed = x.clone()
    changed[:, -1] += 1
    assert model(x).shape == (50, 10)
    assert not torch.equal(model(x), model(changed))


def test_paper_is_the_published_protocol_of_the_rows_with_512_units() -> None:
    task = SequentialMnist(SequentialMnist.budgets["paper"])
    o = task.options
    assert (o.dataset, o.hidden_size, o.pixels_per_step) == ("mnist", 512, 1)
    assert (o.batch_size, o.learning_rate, o.epochs, o.shuffle) == (50, 1e-3, 10, False)
    assert (task.updates, task.evaluate_every) == (12_000, 1_200)
    assert (o.holdout, o.update_gate_bias, task.clip_norm) == (0, None, None)
    assert task.solved_at is None
    assert isinstance(task.optimizer([nn.Parameter(torch.zeros(1))]), torch.optim.RMSprop)


def test_the_row_wavegru_is_a_matter_of_options() -> None:
    row = replace(PAPER, hidden_size=58, batch_size=256, epochs=100.0, clip_norm=1.0)
    task = SequentialMnist(row)
    assert (task.updates, task.evaluate_every, task.clip_norm) == (23_500, 235, 1.0)
    assert parameter_count(task, "wavelet", BOTH, {"init": "db6"}) == 4_912


@pytest.mark.parametrize(
    ("baseline", "settings", "slots", "count"),
    [
        ("dense", {}, (), 794_634),
        ("wavelet", {}, STATE, 534_083),
        ("wavelet", {}, BOTH, 273_532),
        ("wavelet", {}, ALL, 12_981),
        ("wavelet", {"init": "db6"}, STATE, 534_156),
        ("wavelet", {"init": "db6"}, BOTH, 273_678),
        ("wavelet", {"init": "db6"}, ALL, 13_200),
    ],
)
def test_parameter_counts_of_table_3(
    baseline: str, settings: dict[str, object], slots: tuple[str, ...], count: int
) -> None:
    assert parameter_count(SequentialMnist(PAPER), baseline, slots, settings) == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels_per_step": 5}, "pixels_per_step=5: give a divisor of 784"),
        ({"pixels_per_step": -28}, "pixels_per_step=-28: give a divisor of 784"),
        ({"pixels_per_step": 0}, "pixels_per_step=0: give a divisor of 784"),
        ({"dataset": "kjv"}, "dataset='kjv': give one of mnist, mnist-5k"),
        ({"dataset": "mnist-5k", "holdout": 4_000}, "holdout=4000: mnist-5k has 4,000"),
        ({"holdout": -1}, "holdout=-1"),
        ({"epochs": 0.0}, "epochs=0.0: give a number above 0"),
        ({"epochs": math.inf}, "epochs=inf: give a number above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **changes)
