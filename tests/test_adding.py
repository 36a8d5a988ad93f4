"""The adding problem: its data, its scores, its trivial answer, its published lengths and sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recurrent_cases import parameter_count
from torch import Tensor, nn

from slt_bench.task import Streams
from slt_bench.tasks.adding import PAPER, Adding


class Answer(nn.Module):
    """Gives the same answer to every sequence."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), 1), self.value)


@pytest.mark.parametrize("steps", [2, 3, 7, 150])
def test_a_sequence_has_one_mark_in_each_half(steps: int) -> None:
    task = Adding(replace(PAPER, time_steps=steps))
    x, y = task.draw(400, torch.Generator().manual_seed(1))
    assert (x.shape, y.shape) == ((400, steps, 2), (400,))
    assert (x.dtype, y.dtype) == (torch.float32, torch.float32)
    half = steps // 2
    for sequence, target in zip(x.double().tolist(), y.tolist(), strict=True):
        marked = [i for i, (_, mark) in enumerate(sequence) if mark == 1]
        assert [mark for _, mark in sequence if mark not in (0, 1)] == []
        first, second = marked
        assert first < half <= second
        assert target == pytest.approx(sequence[first][0] + sequence[second][0], abs=1e-6)


def test_numbers_and_marks_are_uniform() -> None:
    x, _ = Adding(PAPER).draw(15_000, torch.Generator().manual_seed(2))
    values, marks = x[..., 0].double(), x[..., 1].double()
    assert values.min() >= 0
    assert values.max() < 1
    # 2.25 million numbers: the standard error of their mean is 0.0002.
    assert values.mean().item() == pytest.approx(1 / 2, abs=1e-3)
    assert values.var().item() == pytest.approx(1 / 12, abs=1e-3)
    # Each of the 150 places is marked in 200 of 15,000 sequences, with a deviation of 14.
    counts = marks.sum(0)
    assert (counts - 200).abs().max() < 5 * 14
    assert counts.var().item() == pytest.approx(197, rel=0.5)


def test_the_trivial_answer_is_the_mean() -> None:
    task = Adding(replace(PAPER, time_steps=4))
    batch = task.draw(200_000, torch.Generator().manual_seed(3))
    scores = task.measure(Answer(1.0), *batch)
    assert {name: v.shape for name, v in scores.items()} == {
        "loss": (200_000,),
        "accuracy": (200_000,),
    }
    assert scores["loss"].double().mean().item() == pytest.approx(1 / 6, abs=2e-3)
    assert scores["accuracy"].mean().item() == pytest.approx(9.75, abs=0.3)
    assert task.trivial() == {"loss": pytest.approx(1 / 6), "accuracy": pytest.approx(9.75)}
    for other in (0.9, 1.1):
        assert task.measure(Answer(other), *batch)["loss"].mean() > scores["loss"].mean()


def test_an_answer_counts_when_it_is_less_than_a_twentieth_off() -> None:
    task = Adding(PAPER)
    x = torch.zeros(5, 150, 2)
    y = torch.tensor([0.5, 0.451, 0.549, 0.449, 0.551])
    scores = task.measure(Answer(0.5), x, y)
    assert scores["accuracy"].tolist() == [100, 100, 100, 0, 0]
    torch.testing.assert_close(scores["loss"], (y - 0.5) ** 2)


def test_the_answer_is_read_from_the_last_state() -> None:
    task = Adding(replace(PAPER, hidden_size=5, time_steps=6))
    model = task.build(lambda slot, i, o, bias=True: nn.Linear(i, o, bias))
    x, _ = task.draw(3, torch.Generator().manual_seed(4))
    changed = x.clone()
    changed[:, -1] += 1
    assert model(x).shape == (3, 1)
    assert not torch.equal(model(x), model(changed))


def test_screen_is_the_length_of_the_contrasts() -> None:
    task = Adding(Adding.budgets["screen"])
    o = task.options
    assert (o.hidden_size, o.time_steps, o.batch_size, task.updates) == (128, 150, 50, 6_000)


@pytest.mark.parametrize(
    ("baseline", "slots", "count"),
    [
        ("dense", (), 791_553),
        ("wavelet", ("state",), 531_002),
        ("wavelet", ("reset", "state"), 270_451),
        ("wavelet", ("reset", "update", "state"), 9_900),
        ("fastfood", ("reset", "update", "state"), 9_729),
    ],
)
def test_parameter_counts_of_table_2(baseline: str, slots: tuple[str, ...], count: int) -> None:
    assert parameter_count(Adding(PAPER), baseline, slots) == count


def test_a_sequence_must_have_room_for_both_marks() -> None:
    with pytest.raises(ValueError, match="time_steps=1: give a whole number from 2"):
        replace(PAPER, time_steps=1)


def test_batches_follow_their_options() -> None:
    task = Adding(replace(PAPER, time_steps=9, batch_size=7))
    x, y = task.batch(0, Streams(0))
    assert (x.shape, y.shape) == ((7, 9, 2), (7,))
