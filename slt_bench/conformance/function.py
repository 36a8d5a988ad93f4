"""The checks of :mod:`slt_bench.conformance` on the map that a layer computes and its gradients.

Each is a function of a subject that yields what is wrong, in one line, and stops at the first size
where something is. What a layer raises is a finding too: the caller catches it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck as check_gradients
from torch.func import functional_call

from slt_bench import layers
from slt_bench.conformance.subject import (
    TOLERANCE,
    Problems,
    Subject,
    gap,
    gradients,
    image_of_zero,
    matrix,
    noise,
    own_dense_weight,
    train,
    trainable,
    violation,
)


@violation("let supports(in, out, **settings) give the reason to refuse the sizes, or mend them")
def sizes(subject: Subject) -> Problems:
    """Prime and rectangular sizes, and 1, work wherever supports() allows them."""
    tried = [(7, 7), (13, 13), (31, 31), (97, 97), (2, 3), (5, 17), (17, 5), (30, 20), (64, 10)]
    tried += [(10, 64), (1, 1), (1, 8), (8, 1)]
    allowed = [size for size in tried if subject.supports(*size)]
    failures = {size: p for size in allowed if (p := subject.problem_at(*size)) is not None}
    if failures:
        (n, m), problem = next(iter(failures.items()))
        yield f"fails at {len(failures)} of {len(allowed)} sizes; at {n} -> {m}: {problem}"


@violation("act on the last dimension only: (..., in_features) -> (..., out_features)")
def shapes(subject: Subject) -> Problems:
    """(batch, n) and (batch, time, n) work, and each vector is mapped by itself."""
    for n, m, layer in subject.samples():
        x = noise(layer, 4, 3, n)
        flat = layer(x.reshape(12, n))
        deep = layer(x)
        if deep.shape != (4, 3, m):
            yield f"(4, 3, {n}) gives {tuple(deep.shape)} instead of (4, 3, {m})"
        elif gap(deep.reshape(12, m), flat) > TOLERANCE:
            yield f"(batch, time, {n}) gives other values than (batch * time, {n})"
        elif gap(layer(x[1, 2:]), flat[5:6]) > TOLERANCE:
            yield "the output for a vector depends on the rest of its batch"
        else:
            continue
        return


@violation("use no activation, normalisation or constant in forward: W x, plus the bias if asked")
def linear(subject: Subject) -> Problems:
    """In evaluation mode forward is linear in x, up to the bias."""
    for n, m, layer in subject.samples():
        x, y, bias = noise(layer, 8, n), noise(layer, 8, n, seed=1), image_of_zero(layer, n)
        fx, fy = layer(x) - bias, layer(y) - bias
        claims = {
            "f(3x - 2y) = 3 f(x) - 2 f(y)": (layer(3 * x - 2 * y) - bias, 3 * fx - 2 * fy),
            "f(100 x) = 100 f(x)": (layer(100 * x) - bias, 100 * fx),
            "f(x / 100) = f(x) / 100": (layer(x / 100) - bias, fx / 100),
        }
        for claim, (left, right) in claims.items():
            if (error := gap(left, right)) > TOLERANCE:
                yield f"{claim} fails by {error:.2g} (relative, without the bias, {n} -> {m})"
                return
        with suppress(Exception):  # the limit `bias` tells of a layer that cannot do without
            bare = subject.perturbed(n, m, bias=False)
            if image_of_zero(bare, n).any():
                yield f"with bias=False the image of zero is not zero ({n} -> {m})"
                return


@violation("make forward and dense_weight() one formula, of shape (out_features, in_features)")
def dense_weight(subject: Subject) -> Problems:
    """forward(x) - forward(0) is x @ dense_weight().T, where the layer declares its matrix."""
    for n, m, layer in subject.samples():
        for mode in ("evaluation", "training"):
            if mode == "training" and not train(layer):
                break
            weight = own_dense_weight(layer)
            if weight is None:
                return
            if weight.shape != (m, n):
                yield f"dense_weight() has shape {tuple(weight.shape)} instead of {(m, n)}"
                return
            x = noise(layer, 8, n)
            if (error := gap(layer(x) - image_of_zero(layer, n), x @ weight.T)) > TOLERANCE:
                yield f"forward and dense_weight() differ by {error:.2g} ({n} -> {m}, {mode} mode)"
                return


@violation(
    "leave both modes the same map, or let a property `stochastic` be True where they differ"
)
def training_mode(subject: Subject) -> Problems:
    """A layer that is not stochastic is the same map in training and in evaluation mode."""
    n, _, layer = next(subject.samples())
    x = noise(layer, 64, n)
    expected = layer(x)
    if train(layer) and (error := gap(layer(x), expected)) > TOLERANCE:
        yield f"outputs in training and evaluation mode differ by {error:.2g} (relative)"


@violation("let every parameter take part in the output, through differentiable operations")
def gradient(subject: Subject) -> Problems:
    """Each parameter and the input get a gradient, the one that the dense matrix gives them."""
    for n, m, layer in subject.samples():
        train(layer)
        x, target = noise(layer, 8, n).requires_grad_(), noise(layer, 8, m, seed=1)
        tensors = {"the input": x, **trainable(layer)}
        values = list(tensors.values())
        weight, declared = matrix(layer, n), own_dense_weight(layer)
        if declared is not None and gap(declared, weight) <= TOLERANCE:
            weight = declared  # where it is wrong, that is for the check `dense_weight` to say
        output, dense = layer(x), x @ weight.T + image_of_zero(layer, n)
        comparable = gap(output, dense) <= TOLERANCE  # not so where `linear` finds something
        got = gradients((target * output).sum(), values)
        expected = gradients((target * dense).sum(), values) if comparable else got
        others = got
        with suppress(Exception):  # the check `penalty` tells
            extra = layers.penalty(layer)
            others = got if extra is None else gradients(extra, values)
        for name, g, e, other in zip(tensors, got, expected, others, strict=True):
            if name != "the input" and not (g.any() or other.any()):
                yield f"{name} gets no gradient ({n} -> {m})"
                return
            if (error := gap(g, e)) > 10 * TOLERANCE:
                yield f"the gradient of {name} and dense autograd's differ by {error:.2g}"
                return


def _check_gradients(function: Callable[..., Tensor], values: Sequence[Tensor]) -> None:
    check_gradients(
        function, tuple(values), fast_mode=True, nondet_tol=1e-9, check_undefined_grad=False
    )


def _forward(layer: nn.Module, x: Tensor, *values: Tensor) -> Tensor:
    """``forward`` with other values of the parameters."""
    return functional_call(layer, dict(zip(trainable(layer), values, strict=True)), (x,))  # type: ignore[no-any-return]


def _penalty(layer: nn.Module, *values: Tensor) -> Tensor:
    """``penalty()``, whose parameters gradcheck changes in place."""
    value = layers.penalty(layer)
    assert value is not None
    return value


@violation("correct the backward formula, and compute in the dtype of weights and input")
def gradcheck(subject: Subject) -> Problems:
    """torch.autograd.gradcheck passes in float64, for the input and every parameter."""
    for n, _, layer in subject.samples():
        train(layer.double())
        x = noise(layer, 3, n).double().requires_grad_()
        dtype = layer(x).dtype
        if dtype != torch.float64:
            yield f"the output for float64 is {dtype}"
            return
        _check_gradients(partial(_forward, layer), [x, *trainable(layer).values()])


@violation("return a finite, differentiable tensor of one element from penalty()")
def penalty(subject: Subject) -> Problems:
    """penalty(), where there is one, is a finite scalar with a correct gradient."""
    for n, m, layer in subject.samples():
        for each in (subject.build(n, m), layer.double()):
            value = layers.penalty(each)
            if value is None:
                return
            if not value.isfinite():
                yield f"penalty() is {value.item()} ({n} -> {m})"
                return
        if values := list(trainable(layer).values()):
            _check_gradients(partial(_penalty, layer), values)


CHECKS = (sizes, shapes, linear, dense_weight, training_mode, gradient, gradcheck, penalty)
