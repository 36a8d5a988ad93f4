from __future__ import annotations

import pytest
import torch

from slt_bench.baselines.identity import Identity
from slt_bench.layers import count_parameters, dense_weight, multiply_adds


@pytest.mark.parametrize(("n", "m"), [(5, 5), (5, 3), (3, 5), (1, 7), (7, 1)])
def test_passes_the_input_on_cropped_or_padded(n: int, m: int) -> None:
    layer = Identity(n, m)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, n)
    expected = torch.zeros(2, 4, m)
    expected[..., : min(n, m)] = x[..., : min(n, m)]
    assert torch.equal(layer(x), expected + layer.bias)
    assert torch.equal(dense_weight(Identity(n, m)), torch.eye(m, n))
    assert count_parameters(layer) == m
    assert multiply_adds(layer) == 0


def test_is_a_control_without_weights() -> None:
    assert Identity.control
    assert count_parameters(Identity(5, 3, bias=False)) == 0


def test_errors() -> None:
    with pytest.raises(ValueError, match="in_features = 5"):
        Identity(5, 3)(torch.ones(2, 4))
    with pytest.raises(ValueError, match="in_features must be a whole number of at least 1"):
        Identity(0, 3)
