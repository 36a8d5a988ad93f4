"""What several baselines share: checks of settings and inputs, and the scale at the start."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from slt_bench.kernels import Kernel
from slt_bench.layers import Unsupported

_POINTWISE = Path(__file__).with_name("_pointwise_kernel.c")
CHUNK = 256  # unit vectors pushed at a time: no n x n array even while a layer is built

Layer = TypeVar("Layer", bound=nn.Module)


def check_whole(**settings: object) -> None:
    """Raise ``ValueError`` unless every one of ``settings`` is a whole number of at least 1."""
    for name, value in settings.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def refuse(reason: str | None) -> None:
    """Raise ``Unsupported`` with the reason that ``supports`` gave, if it gave one."""
    if reason is not None:
        raise Unsupported(reason)


def check_input(x: Tensor, in_features: int) -> None:
    """Raise ``ValueError`` unless the last dimension of ``x`` is ``in_features``."""
    if x.shape[-1:] != (in_features,):
        raise ValueError(
            f"the input's last dimension must be in_features = {in_features}, "
            f"but its shape is {tuple(x.shape)}"
        )


def layer_for(
    cls: type[Layer], weight: Tensor, bias: Tensor | None, settings: dict[str, Any]
) -> Layer:
    """A new layer with the sizes, bias, dtype and device of a dense one; only weights lack."""
    out_features, in_features = weight.shape
    layer = cls(in_features, out_features, bias is not None, **settings)
    layer.to(device=weight.device, dtype=weight.dtype)
    if bias is not None:
        with torch.no_grad():
            layer.bias.copy_(bias)  # type: ignore[operator]
    return layer


@torch.no_grad()
def start_at_gain(layer: nn.Module, tensors: Iterable[Tensor], gain: float | None) -> None:
    """Scale ``tensors``, all by the same factor, so that the new ``layer`` has the given gain.

    The gain is output over input root mean square for white-noise input, without bias and
    without dropout: ``gain**2 = ||W||_F**2 / out_features``. It is met exactly, by pushing all
    unit vectors through the layer, whose bias must still be zero and whose matrix must be a
    product of all ``tensors``. ``None`` leaves the layer as it is; so does a matrix of zeros, and
    the meta device, which has shapes only. Raises ``ValueError`` for a gain that is not positive.
    """
    if gain is None:
        return
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(f"gain must be a positive number or None, not {gain!r}")
    tensors = list(tensors)
    if any(t.is_meta for t in tensors):
        return
    n, out_features = int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
    norm, training = 0.0, layer.training
    layer.eval()
    units = tensors[0].new_zeros(min(CHUNK, n), n)
    for start in range(0, n, CHUNK):
        ones = units[: n - start].diagonal(start)
        ones.fill_(1)
        norms = torch.linalg.vector_norm(layer(units[: n - start]), dim=1)
        norm += norms.double().square().sum().item()
        ones.zero_()
    layer.train(training)
    if norm > 0:
        factor = gain / math.sqrt(norm / out_features)
        for tensor in tensors:
            tensor.mul_(factor ** (1 / len(tensors)))


def check_dropout(dropout: float) -> None:
    """Raise ``ValueError`` unless ``dropout`` is a probability below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")


def draw_dropout(factors: Tensor, tensors: Iterable[Tensor], dropout: float) -> None:
    """Fill ``factors`` with what ``F.dropout`` multiplies each of ``tensors`` by, in turn."""
    start = 0
    for tensor in tensors:
        stop = start + tensor.numel()
        factors[start:stop].bernoulli_(1 - dropout)
        start = stop
    factors.mul_(1 / (1 - dropout))


def pointwise_kernel(
    name: str, in_features: int, out_features: int, parameters: tuple[Tensor, ...]
) -> Kernel:
    """The kernel of a map that does not mix features."""
    return Kernel(
        source=_POINTWISE,
        forward=f"{name}_forward",
        backward=f"{name}_backward",
        in_features=in_features,
        out_features=out_features,
        parameters=parameters,
        constants=(),
        sizes=(in_features, out_features),
        scratch=0,
    )


def permutations(count: int, n: int) -> Tensor:
    """``count`` random permutations of n, one behind the other, as one index into count * n."""
    return torch.cat([torch.randperm(n) + k * n for k in range(count)])
