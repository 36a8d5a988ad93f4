"""LeNet-5 on MNIST: sizes, protocol, pairing, and the network against a plain float64 oracle."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slt_bench import load_baseline
from slt_bench.datasets import ImageData
from slt_bench.errors import UsageError
from slt_bench.layers import count_parameters
from slt_bench.task import BUDGETS, Streams, fill_slots, slot_maker
from slt_bench.tasks import _digits
from slt_bench.tasks.mnist import LeNet5, Mnist, MnistOptions
from slt_bench.training import evaluate, train

PUBLISHED = {"fc1_features": 500, "fc1_bias": True, "dropout2d": True}
Maker = Callable[[int, int, bool], nn.Module]


def task(budget: str = "paper", **changes: Any) -> Mnist:
    return Mnist(replace(Mnist.budgets[budget], **changes))


def network(task: Mnist, seed: int = 0, make: Maker | None = None) -> LeNet5:
    """With dense maps, or with ``fc1`` from ``make``."""
    model = fill_slots(task, Streams(seed), ("fc1",), make or nn.Linear)
    assert isinstance(model, LeNet5)
    return model


def numbered(task: Mnist) -> Mnist:
    """The task with images that carry their own index in their first two pixels."""
    count = _digits.TRAINING_IMAGES[task.options.dataset]
    index = torch.arange(count)
    images = torch.zeros(count, 28, 28, dtype=torch.uint8)
    images[:, 0, 0], images[:, 0, 1] = index // 256, index % 256
    labels = index % 7
    task.data = ImageData("numbered", images, labels, images[:10], labels[:10])
    return task


def indices(images: Tensor) -> Tensor:
    bytes_ = ((images * _digits.DEVIATION + _digits.MEAN) * 255).round().long()
    return bytes_[:, 0, 0, 0] * 256 + bytes_[:, 0, 0, 1]


class TestSizes:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (PUBLISHED, 431_080),
            ({"fc1_features": 500}, 430_580),
            ({}, 673_580),
            ({"fc1_bias": True}, 674_380),
        ],
    )
    def test_dense(self, options: dict[str, Any], expected: int) -> None:
        assert count_parameters(network(task(**options))) == expected

    def test_fc1_removed(self) -> None:
        assert count_parameters(network(task(), make=lambda *_: nn.Identity())) == 33_580

    @pytest.mark.parametrize(
        ("name", "settings", "fc1_features", "expected"),
        [("fastfood", {}, 1024, 38_892), ("wavelet", {"scales": 6}, 800, 36_030)],
    )
    def test_published_rows(
        self, name: str, settings: dict[str, Any], fc1_features: int, expected: int
    ) -> None:
        try:
            baseline = load_baseline(name)
        except UsageError:
            pytest.skip(f"there is no baseline {name}")
        model = network(task(fc1_features=fc1_features), make=slot_maker(baseline, settings))
        assert count_parameters(model) == expected


class TestProtocol:
    def test_lengths(self) -> None:
        paper = task()
        assert paper.updates_per_epoch == paper.evaluate_every == 938
        assert paper.updates == 14 * 938
        assert task("third").updates == 14 * 938 // 3
        assert task("third").evaluate_every == 938

    def test_holdout(self) -> None:
        held = task(holdout=5_000)
        assert held.updates_per_epoch == math.ceil(55_000 / 64)
        assert held.curve_split == "validation"
        assert task().curve_split == "test"

    def test_every_budget(self) -> None:
        assert tuple(Mnist.budgets) == BUDGETS
        assert all(task(budget).updates > 0 for budget in BUDGETS)
        shipped = {b for b in BUDGETS if task(b).options.dataset == "mnist-5k"}
        assert shipped == {"smoke", "quick"}

    def test_learning_rate(self) -> None:
        paper = task()
        rates = [paper.learning_rate(update, []) for update in (0, 937, 938, 13 * 938)]
        assert rates == pytest.approx([1.0, 1.0, 0.7, 0.7**13])
        changed = task(learning_rate=0.5, gamma=0.8)
        assert changed.learning_rate(2 * 938, []) == pytest.approx(0.5 * 0.8**2)

    def test_optimizer(self) -> None:
        optimizer = task(learning_rate=0.3).optimizer(network(task()).parameters())
        assert isinstance(optimizer, torch.optim.Adadelta)
        assert optimizer.defaults["lr"] == 0.3

    @pytest.mark.parametrize(
        "wrong",
        [
            {"dataset": "kjv"},
            {"epochs": 0.0},
            {"epochs": math.nan},
            {"epochs": math.inf},
            {"holdout": 60_000},
            {"holdout": -1},
            {"gamma": 0.0},
            {"gamma": math.nan},
            {"fc1_features": 0},
        ],
    )
    def test_wrong_options(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MnistOptions(**wrong)

    def test_no_data_is_read_to_build_and_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("data was read")

        monkeypatch.setattr(_digits, "load_images", refuse)
        paper = task()
        network(paper)
        assert paper.updates
        with pytest.raises(AssertionError, match="data was read"):
            paper.batch(0, Streams(0))


class TestBatches:
    def test_an_epoch_shows_every_image_once_in_a_new_order(self) -> None:
        streams, quick = Streams(3), numbered(task("quick"))
        epochs = []
        for epoch in range(2):
            updates = range(epoch * 63, (epoch + 1) * 63)
            batches = [quick.batch(update, streams) for update in updates]
            assert [len(x) for x, _ in batches] == [64] * 62 + [4_000 - 62 * 64]
            shown = torch.cat([indices(x) for x, _ in batches])
            assert torch.equal(torch.cat([y for _, y in batches]), shown % 7)
            assert torch.equal(shown.sort().values, torch.arange(4_000))
            epochs.append(shown)
        assert not torch.equal(*epochs)

    def test_a_batch_is_a_function_of_seed_and_update(self) -> None:
        streams, first, second = Streams(5), numbered(task("quick")), numbered(task("quick"))
        wanted = {update: first.batch(update, streams)[0] for update in (0, 70, 130)}
        for update in (130, 0, 70):
            assert torch.equal(second.batch(update, Streams(5))[0], wanted[update])
        assert not torch.equal(first.batch(0, Streams(6))[0], wanted[0])

    def test_held_out_images_are_not_trained_on(self) -> None:
        held = numbered(task("quick", holdout=1_000))
        shown = torch.cat([indices(held.batch(u, Streams(0))[0]) for u in range(47)])
        assert torch.equal(shown.sort().values, torch.arange(3_000))
        validation = torch.cat([indices(x) for x, _ in held.evaluation_batches("validation")])
        assert torch.equal(validation, torch.arange(3_000, 4_000))

    def test_no_validation_split_without_holdout(self) -> None:
        with pytest.raises(ValueError, match="holdout"):
            list(numbered(task("quick")).evaluation_batches("validation"))

    def test_pixels_are_normalised(self) -> None:
        x, _ = numbered(task("quick")).batch(0, Streams(0))
        assert x.shape == (64, 1, 28, 28)
        assert x.dtype == torch.float32
        assert x[:, :, 1:].unique().item() == pytest.approx(-0.1307 / 0.3081)


class TestPairing:
    def test_weights_outside_fc1_do_not_depend_on_what_fills_it(self) -> None:
        def greedy(in_features: int, out_features: int, bias: bool) -> nn.Module:
            torch.rand(1_000)  # draws more numbers than a dense map
            return nn.Sequential(nn.Linear(in_features, 3), nn.Linear(3, out_features))

        dense, other = network(task(), 7), network(task(), 7, greedy)
        outside = [name for name in dense.state_dict() if not name.startswith("fc1")]
        assert len(outside) == 6
        for name in outside:
            assert torch.equal(dense.state_dict()[name], other.state_dict()[name])
        assert not torch.equal(dense.fc2.weight, network(task(), 8).fc2.weight)


def oracle(model: LeNet5, x: Tensor) -> Tensor:
    """LeNet-5 from matrix products over unfolded patches; no ReLU after the convolutions."""
    for conv in (model.conv1, model.conv2):
        side = x.shape[-1] - 4
        patches = F.unfold(x, 5)
        x = conv.weight.flatten(1) @ patches + conv.bias[:, None]  # type: ignore[index]
        x = x.unflatten(-1, (side // 2, 2, side // 2, 2)).amax((-3, -1))
    hidden = (x.flatten(1) @ model.fc1.weight.T).clamp(min=0)  # type: ignore[operator, union-attr]
    return hidden @ model.fc2.weight.T + model.fc2.bias


class TestNetwork:
    def test_outputs_and_gradients_against_the_oracle(self) -> None:
        model = network(task()).double()
        x = torch.randn(5, 1, 28, 28, dtype=torch.float64)
        labels = torch.arange(5)
        results = []
        for forward in (model, lambda x: oracle(model, x)):
            model.zero_grad()
            logits = forward(x)
            F.cross_entropy(logits, labels).backward()
            results.append((logits, [p.grad for p in model.parameters()]))
        (logits, gradients), (wanted, wanted_gradients) = results
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradients, wanted_gradients, rtol=0, atol=1e-12)

    def test_dropout_of_the_published_dense_row(self) -> None:
        model = network(task(**PUBLISHED))
        seen: dict[str, Tensor] = {}
        model.fc1.register_forward_pre_hook(lambda _, args: seen.update(features=args[0]))
        model.fc2.register_forward_pre_hook(lambda _, args: seen.update(hidden=args[0]))
        x = torch.randn(400, 1, 28, 28)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.eval()(x)
            features, hidden = seen["features"], seen["hidden"]
            torch.manual_seed(0)
            model.train()(x)
        # Whole channels of 4 x 4 features are dropped, the others scaled.
        channels = seen["features"].unflatten(1, (50, 16))
        dropped = (channels == 0).all(-1)
        assert torch.equal(dropped, (channels == 0).any(-1))
        assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.02)
        kept = ~dropped[..., None].expand(-1, -1, 16).flatten(1)
        torch.testing.assert_close(seen["features"][kept], features[kept] / 0.75)
        # The code's Dropout2d on (batch, n): each element is a channel of its own.
        torch.manual_seed(1)
        ours = model.dropout2(hidden)
        torch.manual_seed(1)
        assert torch.equal(ours, F.dropout2d(hidden[..., None, None], 0.5)[..., 0, 0])
        assert (seen["hidden"] == 0).float().mean().item() > 0.7  # ReLU alone: about half

    def test_without_dropout2d_training_is_deterministic(self) -> None:
        model = network(task()).train()
        x = torch.randn(4, 1, 28, 28)
        state = torch.get_rng_state()
        assert torch.equal(model(x), model(x))
        assert torch.equal(torch.get_rng_state(), state)


class TestEvaluation:
    def test_batches_cover_the_test_images(self) -> None:
        quick = task("quick")
        images, labels = (
            torch.cat(parts) for parts in zip(*quick.evaluation_batches("test"), strict=True)
        )
        assert images.shape == (1_000, 1, 28, 28)
        assert torch.equal(labels, quick.data.test_labels)

    def test_values_do_not_depend_on_the_batch_size(self) -> None:
        quick = task("quick")
        data = quick.data
        quick.data = replace(
            data, test_images=data.test_images[:50], test_labels=data.test_labels[:50]
        )
        model = network(quick).double()
        values = []
        for size in (50, 7, 1):
            quick.evaluation_batch = size
            values.append(evaluate(quick, model, "test"))
        assert values[1] == pytest.approx(values[0], rel=1e-12)
        assert values[2] == pytest.approx(values[0], rel=1e-12)

    def test_measure(self) -> None:
        logits = torch.zeros(2, 10)
        logits[0, 9], logits[1, 2] = 3, 2

        class Fixed(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return logits

        values = task().measure(Fixed(), torch.empty(2, 1, 28, 28), torch.tensor([9, 9]))
        assert values["error"].tolist() == [0, 100]
        expected = [math.log(9 + math.exp(3)) - 3, math.log(9 + math.exp(2))]
        assert values["loss"].tolist() == pytest.approx(expected)

    def test_trivial_of_a_balanced_set(self) -> None:
        quick = task("quick")
        assert quick.trivial() == pytest.approx({"loss": math.log(10), "error": 90.0})

    def test_trivial_takes_frequencies_from_the_training_set(self) -> None:
        quick = numbered(task("quick"))
        train_labels = torch.tensor([0, 0, 0, 1]).repeat(1_000)
        test_labels = torch.tensor([0, 1, 1, 1, 0, 0, 0, 0, 1, 0])
        quick.data = replace(quick.data, train_labels=train_labels, test_labels=test_labels)
        loss = -(0.6 * math.log(0.75) + 0.4 * math.log(0.25))
        assert quick.trivial() == pytest.approx({"loss": loss, "error": 40.0})


def test_learns_in_one_epoch() -> None:
    quick = task("quick", epochs=1.0)
    model = network(quick)
    curve = train(quick, model, Streams(0)).curve
    assert [point["update"] for point in curve] == [0, 63]
    assert curve[0]["error"] > 75
    assert curve[-1]["error"] < 20


@pytest.mark.data("mnist")
def test_the_real_data_set() -> None:
    paper = task()
    shown: Iterator[Tensor] = (paper.batch(update, Streams(0))[0] for update in range(938))
    pixels = torch.cat(list(shown))
    assert len(pixels) == 60_000
    assert abs(pixels.mean().item()) < 1e-3
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)
    assert sum(len(labels) for _, labels in paper.evaluation_batches("test")) == 10_000
    trivial = paper.trivial()
    assert trivial["error"] == pytest.approx(88.65)
    assert 2.29 < trivial["loss"] < math.log(10)
