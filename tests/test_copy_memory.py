"""The copy-memory problem: its layout, scores, trivial answer, published lengths and sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from recurrent_cases import parameter_count
from torch import Tensor, nn

from slt_bench.task import Streams
from slt_bench.tasks.copy_memory import PAPER, CopyMemory

RESET, STATE = ("reset",), ("state",)
BOTH, ALL = ("reset", "state"), ("reset", "update", "state")


class Blank(nn.Module):
    """Says blank until the marker has been read, then any of the symbols."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.full_like(x, -1e4)
        logits[:, :-10, 0] = 0
        logits[:, -10:, 1:9] = 0
        return logits


class Oracle(nn.Module):
    """Knows the answer."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.zeros_like(x)
        logits[:, :-10, 0] = 1
        logits[:, -10:] = x[:, :10]
        return 1e4 * logits


@pytest.mark.parametrize("steps", [1, 2, 5, 60, 150])
def test_layout(steps: int) -> None:
    task = CopyMemory(replace(PAPER, time_steps=steps))
    x, y = task.draw(20, torch.Generator().manual_seed(1))
    assert (x.shape, y.shape) == ((20, steps + 20, 10), (20, steps + 20))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert torch.equal(x.sum(-1), torch.ones(20, steps + 20))
    for classes, target in zip(x.argmax(-1).tolist(), y.tolist(), strict=True):
        symbols = classes[:10]
        assert set(symbols) <= set(range(1, 9))
        assert classes == symbols + [0] * (steps - 1) + [9] + [0] * 10
        assert target == [0] * (steps + 10) + symbols


def test_symbols_are_uniform_at_every_place() -> None:
    x, _ = CopyMemory(replace(PAPER, time_steps=1)).draw(8_000, torch.Generator().manual_seed(2))
    counts = x[:, :10, 1:9].sum(0)  # 1,000 of each symbol at each place, with a deviation of 30
    assert counts.sum() == 80_000
    assert (counts - 1_000).abs().max() < 5 * 30


@pytest.mark.parametrize("steps", [1, 5, 150])
def test_the_trivial_answer_knows_the_layout_alone(steps: int) -> None:
    task = CopyMemory(replace(PAPER, time_steps=steps))
    x, y = task.draw(2_000, torch.Generator().manual_seed(3))
    scores = task.measure(Blank(), x, y)
    assert scores["loss"].shape == (2_000 * (steps + 20),)
    assert scores["accuracy"].shape == (2_000 * 10,)
    trivial = task.trivial()
    assert scores["loss"].double().mean().item() == pytest.approx(trivial["loss"], rel=1e-5)
    assert scores["accuracy"].mean().item() == pytest.approx(trivial["accuracy"], abs=1.2)
    assert trivial == {
        "loss": pytest.approx(10 * math.log(8) / (steps + 20)),
        "accuracy": 12.5,
    }


def test_the_published_chance_level() -> None:
    assert CopyMemory(PAPER).trivial()["loss"] == pytest.approx(0.12232, abs=5e-6)


def test_a_perfect_answer_scores_100() -> None:
    task = CopyMemory(replace(PAPER, time_steps=3))
    scores = task.measure(Oracle(), *task.draw(50, torch.Generator().manual_seed(4)))
    assert scores["accuracy"].unique().tolist() == [100]
    assert scores["loss"].max() == 0


def test_accuracy_is_over_the_last_ten_steps_and_loss_over_all() -> None:
    task = CopyMemory(replace(PAPER, time_steps=3))
    x, y = task.draw(50, torch.Generator().manual_seed(5))
    early = y.clone()
    early[:, 0] = 9  # wrong where nothing is told
    scores = task.measure(Oracle(), x, early)
    assert scores["accuracy"].unique().tolist() == [100]
    assert (scores["loss"] > 0).sum() == 50
    late = y.clone()
    late[:, -10] = 9
    scores = task.measure(Oracle(), x, late)
    assert (scores["accuracy"] == 0).sum() == 50
    assert (scores["loss"] > 0).sum() == 50


def test_an_answer_is_given_at_every_step() -> None:
    task = CopyMemory(replace(PAPER, hidden_size=5, time_steps=2))
    model = task.build(lambda slot, i, o, bias=True: nn.Linear(i, o, bias))
    x, _ = task.draw(3, torch.Generator().manual_seed(6))
    changed = x.clone()
    changed[:, 12] = x[:, 0]
    before, after = model(x), model(changed)
    assert before.shape == (3, 22, 10)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12], after[:, 12])


def test_screen_is_the_length_of_the_contrasts() -> None:
    task = CopyMemory(CopyMemory.budgets["screen"])
    o = task.options
    assert (o.hidden_size, o.time_steps, o.batch_size, task.updates) == (128, 60, 50, 8_000)


@pytest.mark.parametrize(
    ("baseline", "settings", "slots", "count"),
    [
        ("dense", {}, (), 808_458),
        ("wavelet", {}, STATE, 547_907),
        ("wavelet", {}, BOTH, 287_356),
        ("wavelet", {"init": "db6"}, BOTH, 287_502),
        ("wavelet", {}, ALL, 26_805),
        ("fastfood", {}, ALL, 26_634),
    ],
)
def test_parameter_counts_of_table_2(
    baseline: str, settings: dict[str, object], slots: tuple[str, ...], count: int
) -> None:
    assert parameter_count(CopyMemory(PAPER), baseline, slots, settings) == count


@pytest.mark.parametrize(
    ("hidden", "dense", "wavelet"),
    [
        (12, 958, 911),
        (28, 3_566, 2_926),
        (44, 7_710, 5_966),
        (60, 13_390, 10_029),
        (76, 20_606, 15_118),
        (92, 29_358, 21_229),
        (108, 39_646, 28_365),
        (124, 51_470, 36_524),
    ],
)
@pytest.mark.parametrize("baseline", ["dense", "wavelet"])
def test_parameter_counts_of_figure_4(baseline: str, hidden: int, dense: int, wavelet: int) -> None:
    task = CopyMemory(
        replace(PAPER, hidden_size=hidden, time_steps=60, batch_size=200, updates=3_000)
    )
    expected = {"dense": dense, "wavelet": wavelet}
    assert parameter_count(task, baseline, RESET) == expected[baseline]
    assert task.updates * task.options.batch_size == 600_000


def test_batches_follow_their_options() -> None:
    task = CopyMemory(replace(PAPER, time_steps=4, batch_size=7))
    x, y = task.batch(0, Streams(0))
    assert (x.shape, y.shape) == ((7, 24, 10), (7, 24))
