"""What holds for every task that trains a GRU on sequences: slots, pairing, draws, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slt_bench.layers import Unsupported
from slt_bench.registry import load_task
from slt_bench.task import BUDGETS, Streams, Task, fill_slots
from slt_bench.tasks._recurrent import GRU_SLOTS

GENERATED = ("adding", "copy_memory")
TASKS = (*GENERATED, "sequential_mnist")
HIDDEN = 6


class Nothing(nn.Module):
    """Fills a slot without weights; it draws random numbers, which must disturb nobody."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        torch.rand(in_features)
        self.out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.out_features)


def dense(slot: str, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
    return nn.Linear(in_features, out_features, bias)


def small(name: str, **changes: Any) -> Task:
    task_class = load_task(name)
    options = replace(task_class.budgets["smoke"], **{"hidden_size": HIDDEN, **changes})
    task: Task = task_class(options)
    return task


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_the_model_asks_for_each_declared_slot_once(name: str) -> None:
    task = small(name)
    asked = []

    def linear(slot: str, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        asked.append((slot, out_features, bias))
        return nn.Linear(in_features, out_features, bias)

    task.build(linear)
    assert sorted(slot for slot, _, _ in asked) == sorted(task.slots)
    assert sorted(task.slots) == sorted([*GRU_SLOTS, "output"])
    for slot, width, bias in asked:
        assert bias == (slot not in ("reset", "update", "state"))
        assert slot == "output" or width == HIDDEN
    assert task.default_slots == ("reset", "state")
    assert task.slot_groups == {"all": ("reset", "update", "state")}


@pytest.mark.parametrize("name", TASKS)
def test_a_layer_that_cannot_have_a_slots_size_is_heard(name: str) -> None:
    def refuse(in_features: int, out_features: int, bias: bool) -> nn.Module:
        raise Unsupported("needs a power of two")

    with pytest.raises(Unsupported, match="power of two"):
        fill_slots(small(name), Streams(0), ("state",), refuse)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("filled", [("reset", "state"), ("update",), GRU_SLOTS, ("output",)])
def test_trials_of_a_seed_are_paired(name: str, filled: tuple[str, ...]) -> None:
    task = small(name)

    def weights(slots: tuple[str, ...], seed: int) -> dict[str, Tensor]:
        return dict(fill_slots(task, Streams(seed), slots, Nothing).state_dict())

    whole, part = weights((), 5), weights(filled, 5)
    # An output map of the GRU's size and six maps: what is filled has no weights, the rest stays.
    assert len(part) < len(whole)
    assert all(torch.equal(part[k], whole[k]) for k in part)
    assert same(whole, weights((), 5))
    other = weights((), 6)
    assert not any(torch.equal(whole[k], other[k]) for k in whole)


@pytest.mark.parametrize("name", TASKS)
def test_building_leaves_the_callers_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fill_slots(small(name), Streams(0), ("state",), Nothing)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", GENERATED)
def test_a_batch_is_a_function_of_seed_and_update(name: str) -> None:
    torch.manual_seed(1)
    first = small(name).batch(3, Streams(5))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    task = small(name)
    task.batch(0, Streams(5))
    assert equal(task.batch(3, Streams(5)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(task.batch(4, Streams(5)), first)
    assert not equal(task.batch(3, Streams(6)), first)


@pytest.mark.parametrize("name", GENERATED)
def test_evaluation_draws_depend_on_the_task_alone(name: str) -> None:
    sizes = {"validation_size": 260, "test_size": 510}
    torch.manual_seed(1)
    draws = {split: list(small(name, **sizes).evaluation_batches(split)) for split in SPLITS}
    assert [len(batch[0]) for batch in draws["validation"]] == [250, 10]
    assert [len(batch[0]) for batch in draws["test"]] == [250, 250, 10]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = small(name, **sizes, batch_size=3, learning_rate=1.0)
    for split in SPLITS:
        for old, new in zip(draws[split], again.evaluation_batches(split), strict=True):
            assert equal(old, new)
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(draws["validation"][0], draws["test"][0])
    assert not equal(draws["test"][0], draws["test"][1])
    assert not equal(small(name).batch(0, Streams(0)), draws["test"][0][:50])


SPLITS = ("validation", "test")


@pytest.mark.parametrize("name", TASKS)
def test_budgets(name: str) -> None:
    task_class = load_task(name)
    assert tuple(task_class.budgets) == BUDGETS
    tasks = {budget: task_class(options) for budget, options in task_class.budgets.items()}
    assert 3 * tasks["third"].updates == tasks["paper"].updates
    lengths = ("epochs", "updates", "evaluate_every")
    paper, third = (
        {k: v for k, v in asdict(tasks[budget].options).items() if k not in lengths}
        for budget in ("paper", "third")
    )
    assert third == paper
    assert tasks["screen"].options.hidden_size == 128
    assert tasks["smoke"].updates < tasks["quick"].updates < tasks["third"].updates
    shipped = {"generated", "mnist-5k"}
    assert {tasks[b].options.dataset for b in ("smoke", "quick")} <= shipped


@pytest.mark.parametrize("name", GENERATED)
def test_the_curve_has_at_least_twelve_points(name: str) -> None:
    task_class = load_task(name)
    for budget in BUDGETS:
        task = task_class(task_class.budgets[budget])
        assert task.updates // task.evaluate_every >= 12
        assert task.updates % task.evaluate_every == 0, "the points are evenly spaced"
    for updates in (1, 11, 100, 3_000, 50_000):
        task = small(name, updates=updates)
        assert task.evaluate_every <= 1_000
        assert task.updates // task.evaluate_every >= min(updates, 12)
    assert small(name, updates=100, evaluate_every=30).evaluate_every == 30


@pytest.mark.parametrize("name", GENERATED)
def test_paper_is_the_published_protocol_of_table_2(name: str) -> None:
    task_class = load_task(name)
    task = task_class(task_class.budgets["paper"])
    o = task.options
    assert (o.hidden_size, o.time_steps, o.batch_size, o.learning_rate) == (512, 150, 50, 1e-3)
    assert (task.updates, task.updates * o.batch_size) == (12_000, 600_000)
    assert (o.test_size, o.update_gate_bias, task.clip_norm) == (10_000, None, None)
    assert task.evaluate_every == 1_000
    assert isinstance(task.optimizer([nn.Parameter(torch.zeros(1))]), torch.optim.RMSprop)


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize(
    "option", ["time_steps", "updates", "validation_size", "test_size", "hidden_size"]
)
def test_a_generated_task_refuses_what_is_below_its_range(name: str, option: str) -> None:
    for value in (0, -5):
        with pytest.raises(ValueError, match=f"{option}={value}: give a whole number from [12]$"):
            small(name, **{option: value})


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_task_has_no_other_data_set(name: str) -> None:
    with pytest.raises(ValueError, match="no data set 'mnist': this task draws its data"):
        small(name, dataset="mnist")


@pytest.mark.parametrize("name", TASKS)
def test_every_weight_gets_a_gradient_and_training_lowers_the_loss(name: str) -> None:
    task = small(name, learning_rate=0.01)
    streams = Streams(0)
    model = fill_slots(task, streams, (), nn.Linear)
    optimizer = task.optimizer(model.parameters())
    losses = []
    for update in range(30):
        optimizer.zero_grad()
        loss = task.loss(model, *task.batch(update, streams))
        assert loss.shape == ()
        loss.backward()
        if update == 0:
            gradients = [p.grad for p in model.parameters()]
            assert all(g is not None and g.abs().sum() > 0 for g in gradients)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("name", TASKS)
def test_the_update_gate_bias_is_set_and_nothing_else(name: str) -> None:
    layers = {}

    def linear(slot: str, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        torch.manual_seed(len(slot))
        layers[slot] = nn.Linear(in_features, out_features, bias)
        return layers[slot]

    small(name).build(linear)
    default = dict(layers)
    small(name, update_gate_bias=-1.0).build(linear)
    for slot, layer in layers.items():
        assert torch.equal(layer.weight, default[slot].weight)
        if slot == "input_update":
            assert torch.equal(layer.bias, torch.full((HIDDEN,), -1.0))
        elif layer.bias is not None:
            assert torch.equal(layer.bias, default[slot].bias)


def test_the_update_gate_bias_needs_a_map_that_has_one() -> None:
    task = small("adding", update_gate_bias=-1.0)
    with pytest.raises(ValueError, match="'input_update', and Nothing has none"):
        fill_slots(task, Streams(0), ("input_update",), Nothing)
    fill_slots(task, Streams(0), ("reset", "update", "state"), Nothing)


def test_clipping_is_an_option() -> None:
    assert small("adding").clip_norm is None
    assert small("adding", clip_norm=0.25).clip_norm == 0.25
