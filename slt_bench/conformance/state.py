"""The checks of :mod:`slt_bench.conformance` on how a layer starts, is restored and behaves."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from slt_bench import layers
from slt_bench.conformance.isolation import Traces, isolated
from slt_bench.conformance.subject import (
    TOLERANCE,
    Problems,
    Subject,
    gap,
    matrix,
    noise,
    trouble,
    violation,
)


@violation("scale the starting weights: the matrix's Frobenius norm is sqrt(out_features / 3)")
def output_scale(subject: Subject) -> Problems:
    """At the start the output is 0.5 to 2 times nn.Linear's (white noise; square, n >= 64)."""
    chosen = [n for n in (64, 97, 200) if subject.works(n, n)]
    others = (n for n in (81, 100, 121, 128, 256, 784, 1024) if subject.works(n, n))
    for n in chosen or [n for n in [next(others, None)] if n is not None]:
        # For white noise x, E|Wx|^2 / E|x|^2 is |W|^2 / n: no sample of x is needed.
        built = (matrix(subject.build(n, n, seed=s), n).detach().double() for s in range(4))
        gain = (sum(float(w.square().sum()) for w in built) / 4 / n) ** 0.5
        ratio = gain / layers.LINEAR_GAIN
        if not 0.5 <= ratio <= 2:
            yield f"{ratio:.3g} times the output of nn.Linear at {n} -> {n} (allowed: 0.5 to 2)"
            return


@violation("draw every random choice from torch's default generator")
def seed(subject: Subject) -> Problems:
    """torch's seed determines the layer and its outputs; evaluation draws nothing."""
    n, m = subject.sizes[-1]
    with isolated():
        torch.manual_seed(12345)
        subject.baseline(n, m, bias=True, **subject.settings)
        reseeded = torch.initial_seed() != 12345
    first = subject.build(n, m)
    random.random()
    np.random.random()  # noqa: NPY002 - move on the generators that a layer should not draw from
    second = subject.build(n, m)
    state, other = first.state_dict(), second.state_dict()
    for name, value in state.items():
        if isinstance(value, Tensor) and not torch.equal(value, other[name]):
            yield f"two layers of one seed differ in {name}"
            return
    x = noise(first, 8, n)
    for mode in ("evaluation", "training"):
        outputs = []
        for layer in (first, second, second):
            torch.manual_seed(1)
            layer.train(mode == "training")
            outputs.append(layer(x))
            reseeded = reseeded or torch.initial_seed() != 1
        if any(gap(output, outputs[0]) > TOLERANCE for output in outputs):
            yield f"one seed gives different outputs in {mode} mode"
            return
    if reseeded:
        yield "it seeds torch's generator, which belongs to the trial"
    first.eval()
    if gap(first(x), first(x)) > TOLERANCE:
        yield "outputs in evaluation mode are random"


@violation("register constant tensors as buffers; keep the class at module level, without lambdas")
def restore(subject: Subject) -> Problems:
    """state_dict into another layer, deepcopy and pickle give the same function."""
    n, m = subject.sizes[-1]
    layer = subject.perturbed(n, m)
    x = noise(layer, 8, n)
    with torch.no_grad():
        expected = layer(x)

    def from_state_dict() -> nn.Module:
        other = subject.build(n, m, seed=1)
        other(x)  # what it keeps from this call must not outlive the new state
        layer.train()  # the mode in which a checkpoint is taken and training resumed
        other.train()
        other.load_state_dict(layer.state_dict())
        layer.eval()
        other.eval()
        return other

    @torch.no_grad()
    def error_of(restored: Callable[[], nn.Module]) -> str | None:
        error = gap(restored()(x), expected)
        return f"outputs differ by {error:.2g} (relative)" if error > TOLERANCE else None

    routes: dict[str, Callable[[], nn.Module]] = {
        "state_dict": from_state_dict,
        "deepcopy": lambda: copy.deepcopy(layer),
        "pickle": lambda: pickle.loads(pickle.dumps(layer)),
    }
    for name, restored in routes.items():
        if problem := trouble(partial(error_of, restored)):
            yield f"{name}: {problem}"


def _traces_of_use(subject: Subject) -> Traces:
    """Build a layer, train it for a step and call what it offers; errors are other checks' task."""
    n, m = subject.sizes[0]
    with isolated() as traces, suppress(Exception):
        layer = subject.baseline(n, m, bias=True, **subject.settings)
        x = torch.randn(4, n, dtype=noise(layer).dtype, requires_grad=True)
        y = layer(x)
        if y.requires_grad:
            y.sum().backward()
        layer.eval()
        layer(x)
        for name in ("dense_weight", "penalty", "multiply_adds", "summary"):
            getattr(layer, name, lambda: None)()
        if convert := getattr(subject.baseline, "from_dense", None):
            convert(torch.randn(m, n), torch.randn(m), **subject.settings)
    return traces


@violation("leave the state of Python, numpy and torch as it is; use local generators and contexts")
def global_state(subject: Subject) -> Problems:
    """Building and using a layer changes no global state, torch's default generator apart."""
    if changed := _traces_of_use(subject).changed:
        yield f"changes {', '.join(changed)}"


@violation("print nothing; put what is worth keeping into summary()")
def prints(subject: Subject) -> Problems:
    """Building and using a layer prints nothing, to stdout or stderr."""
    if printed := _traces_of_use(subject).printed:
        yield f"prints {printed.strip()[:80]!r}"


CHECKS = (output_scale, seed, restore, global_state, prints)
