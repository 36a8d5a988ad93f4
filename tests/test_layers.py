"""What the harness asks of any linear layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slt_bench.layers import (
    count_parameters,
    dense_weight,
    multiply_adds,
    penalty,
    stochastic,
    summaries,
)


class Doubled(nn.Linear):
    """A subclass of nn.Linear whose matrix is not its weight."""

    def forward(self, x):
        return 2 * super().forward(x)


class Reported(nn.Linear):
    def penalty(self):
        return self.weight.sum()

    def summary(self):
        return {"rows": self.out_features}

    def multiply_adds(self):
        return 7


def test_shared_and_frozen_weights_are_counted_as_they_train():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert count_parameters(model) == 9 + 3 + 3
    model[0].bias.requires_grad_(False)
    assert count_parameters(model) == 9 + 3


def test_the_matrix_of_any_layer():
    plain, doubled = nn.Linear(4, 3), Doubled(4, 3)
    assert torch.equal(dense_weight(plain), plain.weight)
    assert torch.allclose(dense_weight(doubled), 2 * doubled.weight)
    deep = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3)).double()
    deep.in_features = 4
    expected = deep[1].weight @ deep[0].weight
    assert torch.allclose(dense_weight(deep), expected, atol=1e-14)


def test_the_matrix_is_differentiable():
    layer = Doubled(4, 3)
    dense_weight(layer).sum().backward()
    assert torch.allclose(layer.weight.grad, torch.full((3, 4), 2.0))
    assert torch.allclose(layer.bias.grad, torch.zeros(3), atol=1e-6)


def test_multiply_adds_are_declared_or_unknown():
    assert multiply_adds(nn.Linear(4, 3)) == 12
    assert multiply_adds(Reported(4, 3)) == 7
    assert multiply_adds(Doubled(4, 3)) is None


def test_penalties_and_summaries_of_a_model():
    model = nn.Sequential(Reported(2, 3), nn.Linear(3, 2), Reported(2, 2))
    total = model[0].weight.sum() + model[2].weight.sum()
    assert penalty(model).item() == pytest.approx(total.item())
    assert penalty(model[1]) is None
    assert summaries(model) == {"0": {"rows": 3}, "2": {"rows": 2}}


def test_dropout_is_random_in_training_alone():
    layer = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    assert stochastic(layer)
    assert not stochastic(layer.eval())
    assert not stochastic(nn.Sequential(nn.Dropout(0.0)))
