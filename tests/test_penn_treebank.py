"""The character language model: sizes, windows, schedule, pairing, and the TCN's structure."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from slt_bench import load_baseline
from slt_bench.datasets import TextData, load_text
from slt_bench.errors import UsageError
from slt_bench.layers import count_parameters
from slt_bench.task import BUDGETS, Streams, fill_slots, slot_maker
from slt_bench.tasks import penn_treebank
from slt_bench.tasks._tcn import TCN
from slt_bench.tasks.penn_treebank import (
    CharacterGRU,
    PennTreebank,
    PennTreebankOptions,
    windows,
)
from slt_bench.training import evaluate, train

Maker = Callable[[int, int, bool], nn.Module]
SMALL = {"hidden_size": 8, "embedding_size": 4, "window": 50, "stride": 40}


def task(budget: str = "paper", **changes: Any) -> PennTreebank:
    return PennTreebank(replace(PennTreebank.budgets[budget], **changes))


def network(
    task: PennTreebank, seed: int = 0, slots: Sequence[str] = (), make: Maker = nn.Linear
) -> nn.Module:
    return fill_slots(task, Streams(seed), slots, make)


@pytest.fixture(scope="module")
def kjv() -> TextData:
    return load_text("kjv")


class TestSizes:
    @pytest.mark.parametrize(("dataset", "expected"), [("ptb-eos", 971_605), ("ptb-raw", 972_218)])
    def test_dense(self, dataset: str, expected: int) -> None:
        assert count_parameters(network(task(dataset=dataset))) == expected

    @pytest.mark.parametrize(
        ("dataset", "slots", "expected"),
        [
            ("ptb-eos", ("state",), 711_054),
            ("ptb-eos", ("reset",), 711_054),
            ("ptb-eos", ("reset", "state"), 450_503),
            ("ptb-raw", ("state",), 711_667),
            ("ptb-raw", ("reset", "state"), 451_116),
        ],
    )
    def test_wavelet_rows(self, dataset: str, slots: tuple[str, ...], expected: int) -> None:
        try:
            wavelet = load_baseline("wavelet")
        except UsageError:
            pytest.skip("there is no baseline wavelet")
        model = network(task(dataset=dataset), 0, slots, slot_maker(wavelet, {"scales": 8}))
        assert count_parameters(model) == expected

    @pytest.mark.parametrize(
        ("dataset", "expected"), [("ptb-eos", 2_221_999), ("ptb-raw", 2_222_100)]
    )
    def test_tcn(self, dataset: str, expected: int) -> None:
        assert count_parameters(network(task(dataset=dataset, model="tcn"))) == expected


class TestWindows:
    @pytest.mark.parametrize(
        ("length", "count", "last_size"),
        [(5_269_890 // 32, 515, 203), (413_262, 1_292, 141), (464_989, 1_453, 348)],
        ids=["train", "validation", "test"],
    )
    def test_counts_of_the_paper(self, length: int, count: int, last_size: int) -> None:
        spans = windows(length, 400, 320)
        assert len(spans) == count
        assert spans[-1] == ((count - 1) * 320, last_size)
        assert {size for _, size in spans[:-1]} == {400}

    @given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 30))
    def test_every_character_after_the_first_history_is_scored_once(
        self, length: int, stride: int, history: int
    ) -> None:
        scored = [
            target
            for start, size in windows(length, history + stride, stride)
            for target in range(start + history + 1, start + size + 1)
        ]
        assert scored == list(range(history + 1, length))


class TestProtocol:
    def test_lengths(self) -> None:
        assert task().updates_per_epoch == task().evaluate_every == 515
        assert task().updates == 20 * 515
        assert task("third").updates == 20 * 515 // 3
        assert task(epochs=3.0).updates == 3 * 515
        assert task(model="tcn").updates == 100 * 515
        assert task("third", model="tcn").updates == pytest.approx(100 * 515 / 3, abs=1)
        assert task(evaluate_every=7).evaluate_every == 7

    def test_every_budget(self) -> None:
        assert tuple(PennTreebank.budgets) == BUDGETS
        assert {b for b in BUDGETS if task(b).options.dataset == "kjv"} == {"smoke", "quick"}
        assert all(task(b).options.evaluation_windows is None for b in ("third", "paper"))

    def test_optimizers(self) -> None:
        for name, kind, rate in (("gru", torch.optim.Adam, 0.005), ("tcn", torch.optim.SGD, 4.0)):
            chosen = task(model=name)
            optimizer = chosen.optimizer([nn.Parameter(torch.zeros(1))])
            assert type(optimizer) is kind
            assert optimizer.defaults["lr"] == chosen.learning_rate(0, []) == rate
            assert chosen.clip_norm == 0.15
        assert task(learning_rate=0.1).learning_rate(0, []) == 0.1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"dataset": "mnist"},
            {"model": "lstm"},
            {"stride": 401},
            {"stride": 0},
            {"window": -1},
            {"window": 10**9},
            {"batch_size": 10**9},
            {"embedding_size": 0},
            {"epochs": 0.0},
            {"epochs": math.inf},
            {"fraction": 0.0},
            {"fraction": math.nan},
            {"fraction": 1.5},
            {"evaluation_windows": 0},
            {"update_gate_bias": -1.0, "model": "tcn"},
        ],
    )
    def test_wrong_options(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PennTreebankOptions(**wrong)

    def test_the_largest_batch_leaves_one_character_to_score(self) -> None:
        size = 5_269_890 // 82  # 80 of 82 characters are only read, and the last is a target
        assert task(batch_size=size).windows == [(0, 81)]
        with pytest.raises(ValueError, match=f"batch_size={size + 1000}"):
            task(batch_size=size + 1000)

    def test_no_data_is_read_to_build_and_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("data was read")

        monkeypatch.setattr(penn_treebank, "load_text", refuse)
        small = task(**SMALL)
        network(small)
        assert small.updates
        with pytest.raises(AssertionError, match="data was read"):
            small.batch(0, Streams(0))


def points(losses: Sequence[float]) -> list[dict[str, float]]:
    """The curve of a run with an evaluation before training and one after each epoch."""
    return [{"update": 515 * i, "loss": loss} for i, loss in enumerate([9.0, *losses])]


class TestLearningRate:
    @pytest.mark.parametrize(
        ("losses", "halvings"),
        [
            ([5, 4, 3, 2, 9], 0),  # the fifth epoch is too early
            ([5, 4, 3, 2, 1, 9], 1),
            ([5, 4, 3, 2, 1, 3], 0),  # as high as the worst of three is not above it
            ([5, 4, 3, 2, 1, 3.5], 1),
            ([5, 4, 3, 2, 1, 3.5, 3.4, 3.6, 3.7], 3),
        ],
    )
    def test_half_on_a_plateau(self, losses: list[float], halvings: int) -> None:
        update = 515 * len(losses)
        assert task().learning_rate(update, points(losses)) == 0.005 / 2**halvings

    def test_a_tenth_for_the_tcn(self) -> None:
        rate = task(model="tcn").learning_rate(515 * 6, points([5, 4, 3, 2, 1, 9]))
        assert rate == pytest.approx(0.4)

    def test_holds_from_the_first_update_of_the_next_epoch(self) -> None:
        curve = points([5, 4, 3, 2, 1, 9, 1, 1])
        assert task().learning_rate(515 * 6 - 1, curve) == 0.005
        assert task().learning_rate(515 * 6, curve) == 0.0025
        assert task().learning_rate(515 * 9 - 1, curve) == 0.0025

    @given(st.lists(st.integers(1, 6), min_size=1, max_size=25), st.sampled_from([1, 5]))
    def test_against_a_loop_over_epochs(self, losses: list[int], evaluations: int) -> None:
        rate, seen = 0.005, []
        for epoch, loss in enumerate(losses, start=1):
            if epoch > 5 and loss > max(seen[-3:]):
                rate /= 2
            seen.append(loss)
        curve = points(losses)
        if evaluations > 1:  # points inside an epoch change nothing
            step = 515 // evaluations
            more = [{"update": step * i, "loss": 100.0} for i in range(5 * len(losses)) if i % 5]
            curve = sorted(curve + more, key=lambda point: point["update"])
        assert task().learning_rate(515 * len(losses), curve) == pytest.approx(rate)


class TestBatches:
    def test_against_the_text(self, kjv: TextData) -> None:
        quick = task("quick", batch_size=3, window=10, stride=6)
        per_stream = len(kjv.train) // 3
        for update in (0, 1, 70_000):
            x, y = quick.batch(update, Streams(0))
            for row in range(3):
                at = row * per_stream + 6 * update
                assert torch.equal(x[row], kjv.train[at : at + 10].long())
                assert torch.equal(y[row], kjv.train[at + 5 : at + 11].long())

    def test_an_epoch_ends_with_a_shorter_window_and_starts_again(self) -> None:
        quick = task("quick")
        n = quick.updates_per_epoch
        x, y = quick.batch(n - 1, Streams(0))
        assert x.shape == (32, quick.windows[-1][1])
        assert y.shape == (32, x.shape[1] - 20)
        assert all(map(torch.equal, quick.batch(n, Streams(1)), quick.batch(0, Streams(0))))

    def test_scored_windows_follow_one_another(self) -> None:
        quick = task("quick")
        batches = [quick.batch(update, Streams(0)) for update in range(3)]
        for (x, y), (following, _) in pairwise(batches):
            assert torch.equal(x[:, 21:], y[:, :-1])
            assert torch.equal(following[:, :21], torch.cat([x[:, -20:], y[:, -1:]], 1))


class TestPairing:
    def test_weights_outside_the_slots_do_not_depend_on_what_fills_them(self) -> None:
        def greedy(in_features: int, out_features: int, bias: bool) -> nn.Module:
            torch.rand(1_000)  # draws more numbers than a dense map
            return nn.Sequential(nn.Linear(in_features, 3), nn.Linear(3, out_features))

        small = task(**SMALL)
        dense = network(small, 7).state_dict()
        other = network(small, 7, ("reset", "state"), greedy).state_dict()
        shared = dense.keys() & other.keys()
        assert {"embedding.weight", "output.weight", "output.bias"} <= shared
        assert sum(dense[name].numel() for name in dense.keys() - shared) == 2 * 8 * 8
        assert all(torch.equal(dense[name], other[name]) for name in shared)
        different = network(small, 8).state_dict()
        assert not any(torch.equal(dense[name], different[name]) for name in dense)

    @pytest.mark.parametrize("slot", PennTreebank.slots)
    def test_every_slot_can_be_filled(self, slot: str) -> None:
        asked = []

        def note(in_features: int, out_features: int, bias: bool) -> nn.Module:
            asked.append((in_features, out_features, bias))
            return nn.Linear(in_features, out_features, bias)

        network(task(**SMALL), 0, (slot,), note)
        inputs = 4 if slot.startswith("input") else 8
        recurrent = slot in ("reset", "update", "state")
        assert asked == [(inputs, 49 if slot == "output" else 8, not recurrent)]

    def test_the_tcn_has_no_slot(self) -> None:
        with pytest.raises(UsageError, match="no slot 'state'"):
            network(task(model="tcn"), 0, ("state",))


class TestEvaluation:
    @pytest.fixture
    def short(self, kjv: TextData) -> PennTreebank:
        """The task with texts of a few hundred characters."""
        short = task("quick", **SMALL, evaluation_windows=None)
        short.data = replace(kjv, validation=kjv.validation[:333], test=kjv.test[:777])
        return short

    def test_values_do_not_depend_on_the_batch_size(
        self, short: PennTreebank, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = network(short).double()
        values = {}
        for size in (1, 3, 64):
            monkeypatch.setattr(penn_treebank, "EVALUATION_BATCH", size)
            values[size] = evaluate(short, model, "test")
        assert values[3] == pytest.approx(values[1], rel=1e-12)
        assert values[64] == pytest.approx(values[1], rel=1e-12)

    def test_all_of_a_split_in_order(self, short: PennTreebank, kjv: TextData) -> None:
        for split, text in (("validation", kjv.validation[:333]), ("test", kjv.test[:777])):
            scored = [y.flatten() for _, y in short.evaluation_batches(split)]  # type: ignore[arg-type]
            assert torch.equal(torch.cat(scored), text[11:].long())

    def test_a_fixed_subset_is_evenly_spaced(self, short: PennTreebank, kjv: TextData) -> None:
        some = task("quick", **SMALL, evaluation_windows=4)
        some.data = short.data
        ((x, _),) = some.evaluation_batches("test")
        starts = [40 * i for i in (0, 5, 10, 15)]  # of 20 windows
        assert torch.equal(x, torch.stack([kjv.test[s : s + 50].long() for s in starts]))

    def test_measure(self, short: PennTreebank) -> None:
        model = network(short).double()
        assert isinstance(model, CharacterGRU)
        x, y = short.batch(0, Streams(0))
        values = short.measure(model, x, y)
        logits = model.output(model.gru(model.embedding(x))[0])
        expected = F.cross_entropy(logits[:, 10:].transpose(1, 2), y, reduction="none").flatten()
        torch.testing.assert_close(values["loss"], expected)
        torch.testing.assert_close(values["bits_per_character"], expected / math.log(2))
        torch.testing.assert_close(short.loss(model, x, y), expected.mean())

    def test_trivial(self, kjv: TextData) -> None:
        counts = Counter(kjv.train.tolist())
        tested = Counter(kjv.test.tolist())
        loss = -sum(n * math.log(counts[c] / len(kjv.train)) for c, n in tested.items())
        loss /= len(kjv.test)
        assert task("quick").trivial() == pytest.approx(
            {"loss": loss, "bits_per_character": loss / math.log(2)}
        )


class TestTCN:
    @pytest.fixture
    def tcn(self) -> TCN:
        torch.manual_seed(0)
        return TCN(11, embedding_size=6, inner_channels=(9, 9)).double().eval()

    def test_sees_the_last_29_characters(self, tcn: TCN) -> None:
        x = torch.randint(11, (1, 60))
        before = tcn(x, scored=60)
        changed = x.clone()
        changed[0, 20] = (x[0, 20] + 1) % 11
        moved = (tcn(changed, scored=60) - before).abs().amax(-1)[0] > 0
        # Two convolutions of three taps at dilations 1, 2 and 4: 1 + 2 * 2 * (1 + 2 + 4).
        assert moved.nonzero().flatten().tolist() == list(range(20, 20 + 29))

    def test_scores_the_last_steps(self, tcn: TCN) -> None:
        x = torch.randint(11, (2, 30))
        torch.testing.assert_close(tcn(x, scored=7), tcn(x, scored=30)[:, -7:])

    def test_against_explicit_weights(self, tcn: TCN) -> None:
        x = torch.randint(11, (2, 30))
        embedding = tcn.embedding.weight
        y = embedding[x].transpose(1, 2)
        for level, block in enumerate(tcn.blocks):
            inner = y
            for layer in block.convolutions:
                g, v = layer.convolution.parametrizations.weight.parameters()
                weight = g * v / v.flatten(1).norm(dim=1)[:, None, None]
                full = F.conv1d(
                    inner,
                    weight,
                    layer.convolution.bias,
                    padding=2 * 2**level,
                    dilation=2**level,
                )
                inner = full[..., :30].clamp(min=0)
            if not isinstance(block.shortcut, nn.Identity):
                y = block.shortcut.weight[..., 0] @ y + block.shortcut.bias[:, None]
            y = (inner + y).clamp(min=0)
        expected = y.transpose(1, 2) @ embedding.T + tcn.decoder.bias
        torch.testing.assert_close(tcn(x, scored=30), expected, rtol=0, atol=1e-12)

    def test_copies_and_restores(self, tcn: TCN) -> None:
        x = torch.randint(11, (1, 30))
        other = TCN(11, embedding_size=6, inner_channels=(9, 9)).double().eval()
        other.load_state_dict(tcn.state_dict())
        copied = copy.deepcopy(tcn)
        assert copied.decoder.weight is copied.embedding.weight
        for model in (other, copied):
            assert torch.equal(model(x, scored=30), tcn(x, scored=30))

    def test_learns(self) -> None:
        torch.manual_seed(0)
        tcn = TCN(11, embedding_size=16, inner_channels=(32, 32)).train()
        optimizer = torch.optim.SGD(tcn.parameters(), lr=4.0)
        x = torch.arange(41).repeat(8, 1) + torch.arange(8)[:, None]
        x = x * x % 11  # the next character follows from the last two
        for _ in range(150):
            optimizer.zero_grad()
            loss = F.cross_entropy(tcn(x[:, :-1], scored=30).transpose(1, 2), x[:, -30:])
            loss.backward()
            nn.utils.clip_grad_norm_(tcn.parameters(), 0.15)
            optimizer.step()
        assert loss.item() < 0.5 * math.log(6)


def test_learns_in_a_second() -> None:
    smoke = task("smoke")
    curve = train(smoke, network(smoke), Streams(0)).curve
    assert curve[0]["loss"] > 1.2 * smoke.trivial()["loss"]
    assert curve[-1]["loss"] < 0.95 * smoke.trivial()["loss"]
    bits = curve[-1]["bits_per_character"]
    assert bits == pytest.approx(curve[-1]["loss"] / math.log(2))


@pytest.mark.data("ptb-eos", "ptb-raw")
@pytest.mark.parametrize("dataset", ["ptb-eos", "ptb-raw"])
def test_the_real_text(dataset: str) -> None:
    paper = task(dataset=dataset)
    x, y = paper.batch(0, Streams(0))
    assert (x.shape, y.shape) == ((32, 400), (32, 320))
    assert x.max() < len(paper.data.alphabet) == {"ptb-eos": 49, "ptb-raw": 50}[dataset]
    if dataset == "ptb-eos":
        for split, count, scored in (
            ("validation", 1_292, 413_262 - 81),
            ("test", 1_453, 464_989 - 81),
        ):
            batches = list(paper.evaluation_batches(split))  # type: ignore[arg-type]
            assert sum(len(x) for x, _ in batches) == count
            assert sum(y.numel() for _, y in batches) == scored
    assert 2.7 < paper.trivial()["loss"] < 3.0
