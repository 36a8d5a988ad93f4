"""Compiled CPU kernels: how a layer brings one, and what builds and calls it.

A kernel is plain C without torch's headers, built in a second or so where a C compiler is found
(``cc``, or what ``CC`` names) and called through ctypes. Everything works without: where there is
no compiler, or the environment has ``SLT_BENCH_KERNELS=0``, plain torch computes the same.

Why C and not numba: C vectors of GCC's and Clang's dialect say exactly which 16 batch rows share a
register; numba leaves transposes, splits and reductions scalar and was 2.5 to 3 times slower on
the wavelet layer and on whole sequences. numba also takes nine seconds to compile and would be a
heavy dependency; a C compiler is on most machines that train.

A layer brings a kernel by a method ``kernel() -> Kernel | None`` (None: not for these settings).
``GRU`` then runs whole sequences through it; the engine knows no layer by name. A layer that gains
from it by itself calls ``apply`` in its ``forward`` too::

    def kernel(self) -> Kernel:
        return Kernel(
            source=Path(__file__).with_name("_mine_kernel.c"),
            forward="mine_forward",
            backward="mine_backward",
            in_features=self.in_features,
            out_features=self.out_features,
            parameters=(self.weights,),
            constants=(),
            sizes=(self.in_features, self.out_features),
            scratch=self.in_features,
        )

    def forward(self, x: Tensor) -> Tensor:
        if (fast := apply(self.kernel, x, self.bias)) is not None:
            return fast
        ...  # the same in plain torch: every other device, dtype and machine

The C side is two functions over lanes, declared in ``lanes.h``: a block holds 16 batch rows (8
without AVX-512), one vector register a feature, so that a map that treats all rows alike needs no
shuffles. Gradients of parameters are summed up in lanes and over lanes only once, at the end. What
is random must be drawn by ``draw``, in the order of the layer's own ``forward``, and reaches the C
functions as factors of the parameters.
"""

from slt_bench.kernels._build import (
    cache_folder,
    enabled,
    features,
    instruction_set,
    kernel_facts,
    library,
)
from slt_bench.kernels._clock import preparation_seconds
from slt_bench.kernels._layer import Call, Kernel, Map, apply, available, lanes, usable
from slt_bench.kernels._measured import measured, measured_file, quickest
from slt_bench.kernels._workspace import Workspace, workspace

__all__ = [
    "Call",
    "Kernel",
    "Map",
    "Workspace",
    "apply",
    "available",
    "cache_folder",
    "enabled",
    "features",
    "instruction_set",
    "kernel_facts",
    "lanes",
    "library",
    "measured",
    "measured_file",
    "preparation_seconds",
    "quickest",
    "usable",
    "workspace",
]
