"""The task contract: random streams, and models with slots."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported
from slt_bench.registry import load_baseline, load_task
from slt_bench.task import Streams, fill_slots, fixed_generator, slot_maker


@pytest.fixture
def task(toy_task):
    cls = load_task(toy_task)
    return cls(cls.budgets["quick"])


def build(task, filled=(), make=nn.Linear, seed=0, found=None):
    return fill_slots(task, Streams(seed), filled, make, found)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_stream_depends_on_seed_and_purpose_alone():
    first = Streams(0)
    first.generator("data", 1)
    assert first.seed("data", 2) == Streams(0).seed("data", 2)
    seeds = {Streams(s).seed(*p) for s in (0, 1) for p in (("data", 1), ("data", 2), ("weights",))}
    assert len(seeds) == 6
    assert Streams(0).seed("data", 12) != Streams(0).seed("data1", 2)


def test_fixed_draws_know_no_seed():
    a, b = (torch.rand(3, generator=fixed_generator("adding", "test")) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(3, generator=fixed_generator("adding", "validation")))


def test_weights_outside_the_slots_do_not_depend_on_what_fills_them(task, toy_layer):
    make = slot_maker(load_baseline(toy_layer), {"rank": 5})
    dense, filled = build(task), build(task, ("first", "second"), make)
    for index in (0, 4):  # outside the slots
        assert same(dense[index], filled[index])


def test_a_slot_left_dense_keeps_its_weights(task, toy_layer):
    make = slot_maker(load_baseline(toy_layer), {})
    dense, filled = build(task), build(task, ("first",), make)
    assert same(dense[3], filled[3])
    assert not isinstance(filled[1], nn.Linear)


def test_seeds_give_other_weights_everywhere(task):
    for a, b in zip(build(task, seed=0), build(task, seed=1), strict=True):
        if list(a.parameters()):
            assert not same(a, b)


def test_building_leaves_the_default_generator_alone(task):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build(task)
    assert torch.equal(torch.rand(1), expected)


def test_what_was_filled_is_told(task, toy_layer):
    found = {}
    build(task, ("second",), slot_maker(load_baseline(toy_layer), {}), found=found)
    assert list(found) == ["second"]
    assert (found["second"].in_features, found["second"].out_features) == (6, 6)
    assert found["second"].bias is False


def test_a_slot_that_the_model_does_not_ask_for(task):
    with pytest.raises(UsageError, match="has no slot 'third'"):
        build(task, ("third",))


def test_an_undeclared_slot_is_the_tasks_error(task):
    task.build = lambda linear: linear("third", 2, 2)
    with pytest.raises(ValueError, match="does not declare slot 'third'"):
        build(task)


def test_a_baseline_that_cannot_have_the_sizes_says_why():
    class Square(nn.Linear):
        @staticmethod
        def supports(in_features, out_features):
            return None if in_features == out_features else "square maps only"

    make = slot_maker(Square, {})
    assert isinstance(make(3, 3, True), Square)
    with pytest.raises(Unsupported, match="3 -> 4: square maps only"):
        make(3, 4, True)
