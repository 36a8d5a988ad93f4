"""The C kernel of the wavelet layer: zero padding, filters of even length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from slt_bench.kernels import Kernel

_SOURCE = Path(__file__).with_suffix(".c")
_MAX_TAPS, _MAX_SCALES = 128, 64


def wavelet_kernel(
    sizes: tuple[int, int, int],
    lengths: Sequence[int],
    parameters: tuple[Tensor, Tensor, Tensor, Tensor],
    permutation: Tensor,
    order: Tensor | None,
    draw: Callable[[], Tensor] | None,
) -> Kernel | None:
    """The kernel, or None where it does not cover these filters.

    ``sizes``: in_features, out_features, blocks. ``lengths``: coefficients at each scale.
    ``parameters``: filters (4, L), D, G, B. ``permutation``: of the coefficients of all squares.
    ``order``: which of the scaled coefficients synthesis reads, or None: each one once.
    """
    n, out, blocks = sizes
    taps, (squares, coefficients) = parameters[0].shape[1], parameters[2].shape
    scales = len(lengths)
    if taps % 2 or taps > _MAX_TAPS or scales > _MAX_SCALES:
        return None
    # As the parts of scratch in the C file.
    signals = n + sum(lengths[:-1])
    scratch = signals + scales * (2 * taps + 1) + 4 * coefficients + signals + scales
    scratch += 2 * (n + 3 * taps + 2) + squares * (2 * n + coefficients)
    return Kernel(
        source=_SOURCE,
        forward="wavelet_forward",
        backward="wavelet_backward",
        in_features=n,
        out_features=out,
        parameters=parameters,
        constants=(permutation,) if order is None else (permutation, order),
        sizes=(n, out, squares, blocks, taps, scales, coefficients, order is not None, *lengths),
        scratch=scratch,
        draw=draw,
    )
