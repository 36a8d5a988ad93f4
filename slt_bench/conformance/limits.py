"""The checks of :mod:`slt_bench.conformance` that name what a layer cannot do."""

from __future__ import annotations

import torch

from slt_bench.conformance.subject import (
    TOLERANCE,
    Problems,
    Subject,
    gap,
    gradients,
    image_of_zero,
    limit,
    noise,
    trainable,
    trouble,
)

#: Relative error that bfloat16 explains.
_COARSE = 0.1


@limit("accept a single vector, or give it as a batch of one")
def one_dimensional(subject: Subject) -> Problems:
    """A single vector, shape (n,), works."""
    n, m, layer = next(subject.samples())
    x = noise(layer, 1, n)
    y = layer(x[0])
    if y.shape != (m,):
        yield f"({n},) gives {tuple(y.shape)} instead of ({m},)"
    elif gap(y, layer(x)[0]) > TOLERANCE:
        yield f"({n},) gives other values than (1, {n})"


@limit("accept a batch of none, or leave empty batches out")
def empty_batch(subject: Subject) -> Problems:
    """A batch of none works, forward and backward."""
    n, m, layer = next(subject.samples())
    x = noise(layer, 0, n).requires_grad_()
    y = layer(x)
    if y.shape != (0, m):
        yield f"(0, {n}) gives {tuple(y.shape)} instead of (0, {m})"
    gradients(y.sum(), [x, *trainable(layer).values()])


@limit("use reshape for view, or call contiguous() on the input")
def non_contiguous(subject: Subject) -> Problems:
    """Transposed, strided and expanded inputs give what contiguous ones give."""
    n, _, layer = next(subject.samples())
    inputs = {
        "a transposed": noise(layer, n, 6).T,
        "a strided": noise(layer, 6, 2 * n)[:, ::2],
        "an expanded": noise(layer, 1, n).expand(6, n),
    }
    for name, x in inputs.items():
        if gap(layer(x), layer(x.contiguous())) > TOLERANCE:
            yield f"{name} input gives other values than its contiguous copy"


@limit("let constants follow the input's dtype, or train in float32")
def bfloat16(subject: Subject) -> Problems:
    """The layer computes in bfloat16, forward and backward."""
    n, _, layer = next(subject.samples())
    x = noise(layer, 8, n)
    expected = layer(x)
    layer.bfloat16()
    x = x.bfloat16().requires_grad_()
    y = layer(x)
    if y.dtype != torch.bfloat16:
        yield f"the output for bfloat16 is {y.dtype}"
    elif (error := gap(y, expected)) > _COARSE:
        yield f"outputs in bfloat16 and float32 differ by {error:.2g} (relative)"
    gradients(y.sum(), [x, *trainable(layer).values()])


@limit("let constants follow the input's dtype, or train without autocast")
def autocast(subject: Subject) -> Problems:
    """The layer computes under torch.autocast in bfloat16, forward and backward."""
    n, _, layer = next(subject.samples())
    x = noise(layer, 8, n).requires_grad_()
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    if (error := gap(y, expected)) > _COARSE:
        yield f"outputs with and without autocast differ by {error:.2g} (relative)"
    gradients(y.float().sum(), [x, *trainable(layer).values()])


@limit("keep numpy, data-dependent branches and changed attributes out of forward")
def compile(subject: Subject) -> Problems:
    """torch.compile(fullgraph=True, backend="aot_eager") gives the same values and gradients."""
    n, m, layer = next(subject.samples())
    x, target = noise(layer, 4, n).requires_grad_(), noise(layer, 4, m, seed=1)
    values = [x, *trainable(layer).values()]
    expected = layer(x)
    try:
        y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
        got = gradients((target * y).sum(), values)
    finally:
        torch._dynamo.reset()  # its limit of recompilations counts over all layers of a class
    if gap(y, expected) > TOLERANCE:
        yield "the compiled layer gives other values"
    pairs = zip(got, gradients((target * expected).sum(), values), strict=True)
    if any(gap(g, e) > 10 * TOLERANCE for g, e in pairs):
        yield "the compiled layer gives other gradients"


@limit("honour the argument bias, or fill only slots that suit what the layer does")
def bias(subject: Subject) -> Problems:
    """bias=True adds a trainable bias, and bias=False leaves it out."""
    n, m, layer = next(subject.samples())
    if not image_of_zero(layer, n).any():
        yield "bias=True adds no bias"

    def without() -> None:
        subject.build(n, m, bias=False)(noise(layer, 2, n))

    if problem := trouble(without):
        yield f"bias=False: {problem}"


CHECKS = (one_dimensional, empty_batch, non_contiguous, bfloat16, autocast, compile, bias)
