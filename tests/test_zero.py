from __future__ import annotations

import pytest
import torch

from slt_bench.baselines.zero import Zero
from slt_bench.layers import count_parameters, dense_weight, multiply_adds


def test_only_the_bias_is_left() -> None:
    layer = Zero(5, 3)
    x = torch.full((2, 4, 5), torch.nan)
    assert torch.equal(layer(x), torch.zeros(2, 4, 3))
    torch.nn.init.normal_(layer.bias)
    assert torch.equal(layer(x), layer.bias.expand(2, 4, 3))
    assert torch.equal(dense_weight(layer), torch.zeros(3, 5))
    assert count_parameters(layer) == 3
    assert multiply_adds(layer) == 0


def test_without_bias_it_has_no_weights() -> None:
    layer = Zero(5, 3, bias=False)
    assert count_parameters(layer) == 0
    assert torch.equal(layer(torch.ones(5)), torch.zeros(3))


def test_is_a_control_that_says_why_it_has_no_scale() -> None:
    assert Zero.control
    assert "output_scale" in Zero.exempt


def test_errors() -> None:
    with pytest.raises(ValueError, match="in_features = 5"):
        Zero(5, 3)(torch.ones(2, 4))
    with pytest.raises(ValueError, match="out_features must be a whole number of at least 1"):
        Zero(5, 0)
