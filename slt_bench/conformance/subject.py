"""The layer under check: sizes that it can have, how it is built, and how its outputs compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from slt_bench import layers
from slt_bench.conformance.isolation import isolated

#: Relative error that float32 explains.
TOLERANCE = 1e-4

# The first of each row that the layer can have stands for its kind; small, since checks loop.
_SQUARE = [(n, n) for n in (16, 32, 64, 128, 256, 9, 36, 81, 100, 512, 1024)]
_NARROWING = [(23, 9), (24, 16), (32, 16), (64, 16), (64, 32), (128, 64), (256, 128)]
_WIDENING = [(m, n) for n, m in _NARROWING]


class Subject:
    """A baseline's class and settings, and the sizes to check it at.

    Attributes:
        known_checks: names that the class may be exempt from.
        sizes: (in_features, out_features), one square, one narrowing and one widening, as far as
            the layer can have them.
    """

    def __init__(
        self, baseline: type[Any], settings: Mapping[str, Any], known_checks: Collection[str] = ()
    ) -> None:
        self.baseline = baseline
        self.settings = dict(settings)
        self.known_checks = known_checks
        self.sizes: list[tuple[int, int]] = []

    @property
    def exempt(self) -> dict[str, str]:
        """``{check: reason}`` as the class declares it."""
        declared = getattr(self.baseline, "exempt", None)
        return dict(declared) if isinstance(declared, Mapping) else {}

    def supports(self, n: int, m: int) -> bool:
        """What the class says of these sizes; True where it says nothing."""
        refusal = getattr(self.baseline, "supports", None)
        return refusal is None or not refusal(n, m, **self.settings)

    def works(self, n: int, m: int) -> bool:
        return self.supports(n, m) and self.problem_at(n, m) is None

    def build(self, n: int, m: int, *, bias: bool = True, seed: int = 0) -> nn.Module:
        """A new layer in evaluation mode; nothing else is left of its making."""
        with isolated():
            torch.manual_seed(seed)
            layer = self.baseline(n, m, bias=bias, **self.settings)
        if not isinstance(layer, nn.Module):
            raise TypeError(f"{self.baseline.__name__} is no torch.nn.Module")
        layer.eval()
        return layer

    def perturbed(self, n: int, m: int, *, bias: bool = True) -> nn.Module:
        """A new layer moved away from its start, where weights may be zero or cancel."""
        layer = self.build(n, m, bias=bias)
        layer.train()  # in evaluation mode a layer may work with what it made of its weights
        generator = torch.Generator().manual_seed(n + 1000 * m)
        with torch.no_grad():
            for p in trainable(layer).values():
                p.add_(torch.randn(p.shape, dtype=p.dtype, generator=generator), alpha=0.1)
        layer.eval()
        return layer

    def samples(self) -> Iterator[tuple[int, int, nn.Module]]:
        """(in_features, out_features, perturbed layer) for each of :attr:`sizes`."""
        for n, m in self.sizes:
            yield n, m, self.perturbed(n, m)

    def problem_at(self, n: int, m: int) -> str | None:
        """Why a layer of this size cannot be built and called, or None."""

        def run() -> str | None:
            layer = self.build(n, m)
            shape = tuple(layer(noise(layer, 2, n)).shape)
            return None if shape == (2, m) else f"(2, {n}) gives {shape} instead of (2, {m})"

        return trouble(run)

    def find_sizes(self) -> str | None:
        """Fill :attr:`sizes`, or say why no layer can be built."""
        problem = None
        for candidates in (_SQUARE, _NARROWING, _WIDENING):
            for n, m in candidates:
                if self.supports(n, m):
                    failure = self.problem_at(n, m)
                    if failure is None:
                        self.sizes.append((n, m))
                        break
                    problem = problem or f"{failure} (at {n} -> {m})"
        if self.sizes:
            return None
        return problem or "supports() refuses every size that was tried"


Problems = Iterator[str]


@dataclass(frozen=True)
class Check:
    """One check: what it asks for, what to do where it finds something, and its function."""

    name: str
    kind: Literal["violation", "limit"]
    description: str
    advice: str
    run: Callable[[Subject], Problems]


def _check(
    kind: Literal["violation", "limit"], advice: str
) -> Callable[[Callable[[Subject], Problems]], Check]:
    def make(run: Callable[[Subject], Problems]) -> Check:
        return Check(run.__name__, kind, (run.__doc__ or "").rstrip("."), advice, run)

    return make


#: Decorators that make a check of a function: its name is the check's, its docstring describes.
violation = partial(_check, "violation")
limit = partial(_check, "limit")


def describe(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


def trouble(run: Callable[[], str | None]) -> str | None:
    """What ``run`` finds wrong, or the exception that it raises, in one line."""
    try:
        return run()
    except (Exception, SystemExit) as error:
        return describe(error)


def train(layer: nn.Module) -> bool:
    """Training mode where a layer is not random in it, else evaluation mode; True for the first.

    Gradients count in training, and a layer may do without them in evaluation mode.
    """
    layer.train()
    if layers.stochastic(layer):
        layer.eval()
    return layer.training


def noise(layer: nn.Module, *shape: int, seed: int = 0) -> Tensor:
    """White noise in the layer's dtype, the same at every call."""
    like = next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), None)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, dtype=torch.float64, generator=generator)
    return values.to(torch.float32 if like is None else like.dtype)


def image_of_zero(layer: nn.Module, n: int) -> Tensor:
    """The bias as ``forward`` has it, shape (1, out_features)."""
    return layer(noise(layer, 1, n) * 0)  # type: ignore[no-any-return]


def matrix(layer: nn.Module, n: int) -> Tensor:
    """The matrix that ``forward`` applies, shape (out_features, n): the images of unit vectors."""
    unit = torch.eye(n, dtype=noise(layer).dtype)
    return (layer(unit) - image_of_zero(layer, n)).T  # type: ignore[no-any-return]


def own_dense_weight(layer: nn.Module) -> Tensor | None:
    """The matrix that the layer declares, if it does."""
    declares = isinstance(layer, nn.Linear) or callable(getattr(layer, "dense_weight", None))
    return layers.dense_weight(layer) if declares else None


def trainable(layer: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in layer.named_parameters() if p.requires_grad}


def gap(a: Tensor, b: Tensor) -> float:
    """Norm of a - b over the larger norm of the two; infinite where shapes differ or a NaN is."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().double(), b.detach().double()
    difference, size = (a - b).norm().item(), max(a.norm().item(), b.norm().item())
    if not np.isfinite(difference):
        return float("inf")
    return difference / size if size else 0.0


def gradients(loss: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of a scalar; no graph counts as a gradient of zero."""
    found: Iterable[Tensor | None] = [None] * len(tensors)
    if loss.requires_grad and tensors:
        found = torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]
