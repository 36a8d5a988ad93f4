"""The checks of :mod:`slt_bench.conformance` on what a class declares: sizes, counts, exactness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from slt_bench import layers
from slt_bench.conformance.arithmetic import executed_multiply_adds, has_more_freedom
from slt_bench.conformance.subject import (
    TOLERANCE,
    Problems,
    Subject,
    gap,
    image_of_zero,
    matrix,
    noise,
    trainable,
    violation,
)
from slt_bench.registry import settings_of


@violation(
    "correct what the class says of itself: grid, size_setting, exempt, in_features, summary()"
)
def declarations(subject: Subject) -> Problems:
    """Declared settings, sizes and checks are what they are called, and summary() is JSON."""
    settings = settings_of(subject.baseline)
    size_setting = getattr(subject.baseline, "size_setting", None)
    named = dict.fromkeys([*(getattr(subject.baseline, "grid", None) or {}), size_setting])
    for name in named:
        if name is not None and name not in settings:
            yield f"{name!r} is no setting of the constructor (it has {list(settings) or 'none'})"
    if not isinstance(getattr(subject.baseline, "exempt", {}), Mapping):
        yield "exempt is no mapping {check: reason}"
    for name in subject.exempt:
        if name not in subject.known_checks:
            yield f"it is exempt from {name!r}, which is no check"
    n, m = subject.sizes[-1]
    layer = subject.build(n, m)
    for name, size in (("in_features", n), ("out_features", m)):
        if (declared := getattr(layer, name, size)) != size:
            yield f"{name} is {declared!r} for {n} -> {m}"
    if callable(summary := getattr(layer, "summary", None)):
        json.dumps(summary())


@violation("count one for each multiply-add that forward spends on one vector, as an int")
def counts(subject: Subject) -> Problems:
    """Declared multiply_adds() and parameter_count agree with what can be counted."""
    for n, m, layer in subject.samples():
        declared: Any = getattr(layer, "parameter_count", None)
        declared = declared() if callable(declared) else declared
        weights = layers.count_parameters(layer)
        if declared is not None and declared != weights:
            yield f"parameter_count is {declared!r}, counted are {weights} ({n} -> {m})"
            return
        own = getattr(layer, "multiply_adds", None)
        spent: Any = own() if callable(own) else layers.multiply_adds(layer)
        if spent is None:
            continue
        says = f"multiply_adds() is {spent!r} ({n} -> {m})"
        values = list(trainable(layer).values())
        if not isinstance(spent, int) or spent < 0:
            yield f"{says}, which is no whole number"
        elif has_more_freedom(matrix(layer, n), values, spent):
            yield f"{says}, but the matrix has more degrees of freedom, and each takes one"
        elif spent > (executed := executed_multiply_adds(layer, noise(layer, 4, n))):
            yield f"{says}, but forward executes at most {executed:g}"
        else:
            continue
        return


@violation("project onto the structure, whose zero weights already have a relative error of 1")
def from_dense(subject: Subject) -> Problems:
    """from_dense() beats zero weights and keeps the bias; it is exact at full size if declared."""
    if not hasattr(subject.baseline, "from_dense"):
        return
    exact = getattr(subject.baseline, "exact_at_full_size", False)
    for n, m in subject.sizes:
        generator = torch.Generator().manual_seed(n)
        weight = torch.randn(m, n, generator=generator)
        bias = torch.randn(m, generator=generator)
        layer, error = _converted(subject, weight, bias)
        if not error <= 1 + TOLERANCE:
            yield f"its error is {error:.3g} times that of zero weights ({n} -> {m})"
        elif gap(image_of_zero(layer, n)[0], bias) > TOLERANCE:
            yield f"it does not keep the bias ({n} -> {m})"
        elif _adds_constant(subject, weight):
            yield f"it adds a constant where it is given no bias ({n} -> {m})"
        elif exact and (problem := _inexact(subject, weight, bias)):
            yield f"the class declares exact_at_full_size, but {problem} ({n} -> {m})"
        else:
            continue
        return


def _adds_constant(subject: Subject, weight: Tensor) -> bool:
    m, n = weight.shape
    with suppress(Exception):  # the limit `bias` tells of a layer that cannot do without
        subject.build(n, m, bias=False)
        layer = subject.baseline.from_dense(weight.clone(), None, **subject.settings)
        layer.eval()
        return bool(image_of_zero(layer, n).any())
    return False


def _converted(
    subject: Subject, weight: Tensor, bias: Tensor, **settings: Any
) -> tuple[nn.Module, float]:
    """from_dense's layer, and the norm of its matrix's error over the norm of the matrix."""
    convert = subject.baseline.from_dense
    layer = convert(weight.clone(), bias.clone(), **{**subject.settings, **settings})
    layer.eval()
    error = (matrix(layer, weight.shape[1]) - weight).norm() / weight.norm()
    return layer, float(error)


def _inexact(subject: Subject, weight: Tensor, bias: Tensor) -> str | None:
    """What is wrong with the errors as the size setting grows to the largest that is accepted."""
    name = getattr(subject.baseline, "size_setting", None)
    if name is None:
        error = _converted(subject, weight, bias)[1]
        return None if error <= TOLERANCE else f"its error is {error:.2g}"
    errors: dict[int, float] = {}

    def accepts(size: int) -> bool:
        with suppress(Exception):
            errors[size] = _converted(subject, weight, bias, **{name: size})[1]
        return size in errors

    low, high = 0, 1
    while high <= weight.numel() and (accepts(high) or not errors):
        low, high = high, 2 * high
    while errors and high - low > 1 and errors[max(errors)] > TOLERANCE:
        middle = (low + high) // 2
        low, high = (middle, high) if accepts(middle) else (low, middle)
    if not errors:
        return f"no {name} is accepted"
    in_order = [errors[size] for size in sorted(errors)]
    if any(after > 1.01 * before + TOLERANCE for before, after in pairwise(in_order)):
        return f"its error does not fall with {name}"
    if in_order[-1] > TOLERANCE:
        return f"its error is still {in_order[-1]:.2g} at {name} = {max(errors)}"
    return None


CHECKS = (declarations, counts, from_dense)
