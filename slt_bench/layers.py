"""What the harness asks of any linear layer: its weights counted, its dense matrix, its penalty.

A baseline is an ``nn.Module`` with ``nn.Linear``'s signature, ``__init__(in_features,
out_features, bias=True, *, <settings>)`` and ``forward(x: (..., in_features)) -> (...,
out_features)``. Everything else is optional and found here by name:

=====================  ===========================================================================
``grid``               class attribute: ``{setting: [values]}`` that a matrix sweeps
``size_setting``       class attribute: the integer setting that makes the layer larger
``exempt``             class attribute: ``{check: reason}`` for checks that it cannot meet
``control``            class attribute: True where it only says what structure is worth
``supports(in, out, **settings)``   a reason to skip these sizes, in words, or ``None``
``penalty()``          a scalar tensor that the task's loss must include
``dense_weight()``     the (out_features, in_features) matrix, differentiable
``from_dense(weight, bias, **settings)``   classmethod: the closest layer of this structure
``exact_at_full_size``   class attribute: True where ``from_dense`` is exact at the largest size
``multiply_adds()``    multiply-adds per input vector
``parameter_count``    trainable weights; where declared it must equal the count
``summary()``          small JSON-able facts, kept in the record over training
``kernel()``           a ``slt_bench.kernels.Kernel``, the map without its bias as two C functions,
                       or ``None`` for these settings; ``GRU`` runs whole sequences through it
``stochastic``         property: True while ``forward`` draws random numbers (dropout in training)
=====================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

#: Output over input root mean square of a freshly built ``nn.Linear`` (weights U(±1/sqrt(in))).
LINEAR_GAIN = 3**-0.5


class Unsupported(ValueError):
    """A baseline says, through ``supports``, that it cannot be built for these sizes."""


def count_parameters(module: nn.Module) -> int:
    """Number of trainable weights of ``module``; a tensor shared by several layers counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def multiply_adds(layer: nn.Module) -> int | None:
    """Multiply-adds that ``layer`` spends on one input vector, or None where it does not say."""
    if callable(declared := getattr(layer, "multiply_adds", None)):
        return int(declared())
    if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward:
        return layer.in_features * layer.out_features
    return None


def dense_weight(layer: nn.Module) -> Tensor:
    """The matrix of a linear layer, shape (out_features, in_features), differentiable.

    Without a ``dense_weight`` of its own (or ``nn.Linear``'s ``weight``) the identity is pushed
    through ``forward`` and the image of zero, the bias, is taken off.
    """
    if callable(own := getattr(layer, "dense_weight", None)):
        weight = own()
        assert isinstance(weight, Tensor)
        return weight
    if type(layer).forward is nn.Linear.forward:
        return layer.weight  # type: ignore[return-value]
    like = next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), None)
    dtype, device = (None, None) if like is None else (like.dtype, like.device)
    n = int(layer.in_features)  # type: ignore[arg-type]
    probe = torch.zeros(n + 1, n, dtype=dtype, device=device)
    probe[:n].fill_diagonal_(1)
    image: Tensor = layer(probe)
    return (image[:n] - image[n]).T


def stochastic(layer: nn.Module) -> bool:
    """True while ``layer`` draws random numbers in ``forward``: its matrix changes at each call."""
    declared = getattr(layer, "stochastic", None)
    if declared is not None:
        return bool(declared)
    return any(
        m.training and m.p > 0
        for m in layer.modules()
        if isinstance(m, nn.modules.dropout._DropoutNd)
    )


def penalty(model: nn.Module) -> Tensor | None:
    """Sum of every ``penalty()`` in ``model``, or None where no layer has one."""
    found: Iterator[Any] = (getattr(m, "penalty", None) for m in model.modules())
    terms = [own() for own in found if callable(own)]
    return torch.stack([t.reshape(()) for t in terms]).sum() if terms else None


def summaries(model: nn.Module) -> dict[str, dict[str, Any]]:
    """``{module name: summary()}`` of every layer in ``model`` that has one to give."""
    return {
        name: m.summary()
        for name, m in model.named_modules()
        if callable(getattr(m, "summary", None))
    }
