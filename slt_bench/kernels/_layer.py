"""A layer, or a map inside a sequence, that is computed by a C kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slt_bench.kernels._build import enabled, library
from slt_bench.kernels._workspace import workspace

_LAYER = Path(__file__).with_name("layer.c")


class Map(ctypes.Structure):
    """``slt_map`` of lanes.h."""

    _fields_ = [
        ("sizes", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("constants", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("gradients", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Kernel:
    """A linear map, without its bias, as a pair of C functions (their interface: lanes.h).

    Attributes:
        source: the C file; it may include ``lanes.h``.
        forward, backward: names of its two functions, ``slt_forward`` and ``slt_backward``.
        in_features, out_features: numbers of vectors in a block of x and of y.
        parameters: the tensors that it learns from, of one dtype.
        constants: int64 tensors.
        sizes: integers.
        scratch: vectors of scratch that one call needs, whatever the number of blocks.
        draw: for a map with new random factors in each call: writes those of one call over a
            vector of ones, one factor an element of ``parameters``. It must draw from torch's
            generator just as the layer's ``forward`` does. None where nothing is random.
    """

    source: Path
    forward: str
    backward: str
    in_features: int
    out_features: int
    parameters: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    sizes: tuple[int, ...]
    scratch: int
    draw: Callable[[Tensor], object] | None = None

    def numel(self) -> int:
        """Elements of all parameters: so many accumulators has the gradient."""
        return sum(p.numel() for p in self.parameters)

    def masks(self, calls: int) -> Tensor | None:
        """Room for the factors of so many calls, (calls, numel), all 1; None without ``draw``."""
        return None if self.draw is None else self.parameters[0].new_ones(calls, self.numel())


class Call:
    """A kernel with tensors in place, ready to be called; keeps what it points to alive.

    ``gradients`` and ``scratch`` are addresses of memory that the caller keeps.
    """

    def __init__(
        self,
        kernel: Kernel,
        parameters: Sequence[Tensor],
        masks: Tensor | None,
        gradients: int | None,
        scratch: int,
    ) -> None:
        parameters = [p.contiguous() for p in parameters]
        sizes = (ctypes.c_int64 * len(kernel.sizes))(*kernel.sizes)
        pointers = _pointers(parameters), _pointers(kernel.constants)
        self._kept = (kernel, parameters, masks, sizes, pointers)
        self.map = Map(
            ctypes.addressof(sizes),
            *(ctypes.addressof(p) for p in pointers),
            address(masks),
            gradients,
            scratch,
        )
        self.pointer = ctypes.addressof(self.map)


def _pointers(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * max(1, len(tensors)))(*(t.data_ptr() for t in tensors))


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@cache
def function(source: Path, name: str, dtype: torch.dtype) -> Any:
    """A C function without a result. All its arguments are addresses (None: NULL) or int64."""
    loaded = library(source, dtype)
    assert loaded is not None, f"{source.name} was asked for, but is not built"
    found = getattr(loaded, name)
    found.restype = None
    return lambda *arguments: found(*map(ctypes.c_void_p, arguments))


@cache
def pointer_to(source: Path, name: str, dtype: torch.dtype) -> int | None:
    """The address of a C function."""
    loaded = library(source, dtype)
    return ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value


@cache
def lanes(dtype: torch.dtype) -> int:
    """Batch rows in one vector."""
    found = ctypes.c_int64()
    function(_LAYER, "slt_lanes", dtype)(ctypes.addressof(found))
    return found.value


def available(kernel: Kernel, dtype: torch.dtype) -> bool:
    """Whether ``kernel`` can run here on the CPU in this dtype, compiling it where need be."""
    return (
        enabled()
        and dtype in (torch.float32, torch.float64)
        and all(p.dtype == dtype and p.device.type == "cpu" for p in kernel.parameters)
        and library(_LAYER, dtype) is not None
        and library(kernel.source, dtype) is not None
    )


def usable(x: Tensor) -> bool:
    """Whether a kernel may take ``x``: a plain float CPU tensor, and nobody watches.

    ``torch.compile``, torch's transforms, autocast and dispatch modes (which count operations, or
    trace them) cannot look into compiled code: they get plain torch.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


def apply(offer: Callable[[], Kernel | None], x: Tensor, bias: Tensor | None) -> Tensor | None:
    """A layer by its kernel, (..., in_features) -> (..., out_features), or None: use torch.

    ``offer`` is the layer's method ``kernel``. Differentiable once in x, the bias and the kernel's
    parameters.
    """
    if not usable(x) or (kernel := offer()) is None or not available(kernel, x.dtype):
        return None
    masks = kernel.masks(1)
    if kernel.draw is not None and masks is not None:
        kernel.draw(masks[0])
    y: Tensor = _Layer.apply(  # type: ignore[no-untyped-call]
        kernel, masks, x.reshape(-1, kernel.in_features), bias, *kernel.parameters
    )
    return y.view(*x.shape[:-1], kernel.out_features)


def reduce(sums: Tensor, count: int | None = None) -> Tensor:
    """Accumulators, all or the first ``count``, summed over lanes."""
    total = sums.new_empty(sums.numel() // lanes(sums.dtype) if count is None else count)
    function(_LAYER, "slt_reduce", sums.dtype)(total.numel(), sums.data_ptr(), total.data_ptr())
    return total


def split(total: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A flat gradient in the shapes of the tensors it is for."""
    parts = torch.split(total, [t.numel() for t in like])
    return [part.view_as(t) for part, t in zip(parts, like, strict=True)]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        masks: Tensor | None,
        x: Tensor,
        bias: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        x, bias = x.contiguous(), None if bias is None else bias.contiguous()
        ctx.kernel, ctx.masks, ctx.has_bias = kernel, masks, bias is not None
        ctx.save_for_backward(x, *parameters)
        y = x.new_empty(x.shape[0], kernel.out_features)
        width, dtype = lanes(x.dtype), x.dtype
        work = kernel.in_features + kernel.out_features
        space = workspace.scratch((work + kernel.scratch) * width, dtype)
        start = space.data_ptr()
        call = Call(kernel, parameters, masks, None, start + work * width * dtype.itemsize)
        function(_LAYER, "slt_layer_forward", dtype)(
            call.pointer,
            pointer_to(kernel.source, kernel.forward, dtype),
            *_sizes(kernel, x),
            x.data_ptr(),
            address(bias),
            y.data_ptr(),
            start,
        )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> Any:
        kernel: Kernel = ctx.kernel
        x, *parameters = ctx.saved_tensors
        d_y = d_y.contiguous()
        width, dtype = lanes(x.dtype), x.dtype
        size = width * dtype.itemsize
        count, out = kernel.numel(), kernel.out_features
        d_x = torch.empty_like(x) if ctx.needs_input_grad[2] else None
        # Accumulators of all parameters, then those of the bias; then work, then scratch.
        sums = count + ctx.has_bias * out
        work = 2 * kernel.in_features + out
        space = workspace.scratch((sums + work + kernel.scratch) * width, dtype)
        start = space.data_ptr()
        ctypes.memset(start, 0, sums * size)
        call = Call(kernel, parameters, ctx.masks, start, start + (sums + work) * size)
        function(_LAYER, "slt_layer_backward", dtype)(
            call.pointer,
            pointer_to(kernel.source, kernel.backward, dtype),
            *_sizes(kernel, x),
            x.data_ptr(),
            d_y.data_ptr(),
            address(d_x),
            start + count * size if ctx.has_bias else None,
            start + sums * size,
        )
        total = reduce(space, sums)
        d_bias = total[count:] if ctx.has_bias else None
        return None, None, d_x, d_bias, *split(total[:count], parameters)


def _sizes(kernel: Kernel, x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], kernel.in_features, kernel.out_features
