"""The whole sequence of a GRU in compiled code, as one differentiable function.

The same cell as in ``slt_bench._scan``, with each recurrent map either a kernel of its own or a
dense matrix, which the engine multiplies by itself. Everything stays in lanes (see ``lanes.h``)
from the first step to the last; weight gradients of dense maps are one large product after the
sequence. The history, four numbers a step, row and hidden unit, lies in memory that is used again;
none is kept without gradients.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slt_bench.kernels._layer import (
    Call,
    Kernel,
    address,
    available,
    function,
    lanes,
    pointer_to,
    reduce,
    split,
)
from slt_bench.kernels._workspace import workspace

_SOURCE = Path(__file__).with_suffix(".c")
_MAPS = 3
_STATE = 2  # the place of the map ``state`` among them
_KEPT = 4
#: The gradient of input weights of at most so many features is summed up in lanes, step by step.
_FEW_INPUTS = 4
#: And of so many in rows, where no map is dense; beyond it leaves the cache: one large product.
_SOME_INPUTS = 256


class _Sequence(ctypes.Structure):
    """``slt_sequence`` of sequence.c."""

    _fields_ = [
        *((name, ctypes.c_void_p * _MAPS) for name in ("maps", "forward", "backward")),
        ("mask_stride", ctypes.c_int64 * _MAPS),
        *((n, ctypes.c_int64) for n in ("steps", "batch", "hidden", "inputs", "group", "keep")),
        ("x", ctypes.c_void_p),
        ("x_step", ctypes.c_int64),
        ("x_row", ctypes.c_int64),
        *((n, ctypes.c_void_p) for n in ("w_in", "b_in", "h0", "states", "history", "work")),
        ("grad_states", ctypes.c_void_p),
        ("grad_step", ctypes.c_int64),
        ("grad_row", ctypes.c_int64),
        *((n, ctypes.c_void_p) for n in ("grad_last", "grad_h0", "grad_b_in", "grad_w_in")),
        *((n, ctypes.c_void_p) for n in ("w_in_t", "grad_x", "grad_w_rows")),
        *((n, ctypes.c_void_p) for n in ("grad_gates", "reset_states")),
    ]


def dense_kernel(weight: Tensor) -> Kernel:
    """A square matrix as a kernel; its gradient is not the kernel's business."""
    n = weight.shape[0]
    return Kernel(
        source=_SOURCE,
        forward="slt_dense_forward",
        backward="slt_dense_backward",
        in_features=n,
        out_features=n,
        parameters=(weight,),
        constants=(),
        sizes=(n,),
        scratch=0,
    )


def fused_available(dtype: torch.dtype) -> bool:
    """Whether the engine itself can run in this dtype."""
    return available(dense_kernel(torch.empty(0, 0, dtype=dtype)), dtype)


def fused(
    x: Tensor,
    w_in: Tensor | None,
    b_in: Tensor | None,
    h0: Tensor,
    maps: Sequence[Kernel | Tensor],
) -> tuple[Tensor, Tensor]:
    """Run the cell over a sequence: states (time, batch, hidden) and the last one (batch, hidden).

    Args:
        x, w_in, b_in, h0: as for ``slt_bench._scan.scan``.
        maps: reset, update, state: each a kernel, or a matrix (hidden, hidden).

    Differentiable once in every tensor and every kernel's parameters.
    """
    kernels = tuple(dense_kernel(m) if isinstance(m, Tensor) else m for m in maps)
    dense = tuple(isinstance(m, Tensor) for m in maps)
    masks = _draw(kernels, x.shape[0])
    parameters = [p for kernel in kernels for p in kernel.parameters]
    given = (x, w_in, b_in, h0, *parameters)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        states, last = _Fused.apply(kernels, dense, masks, *given)  # type: ignore[no-untyped-call]
        return states, last
    states, _ = _Run(kernels, dense, masks, x, w_in, b_in, h0, parameters).forward(keep=False)
    return states, states[-1].clone()


def _draw(kernels: Sequence[Kernel], time: int) -> list[Tensor | None]:
    """The masks of all steps, (time, elements) a map, drawn in the order of the plain loop."""
    masks = [kernel.masks(time) for kernel in kernels]
    steps = [
        (kernel.draw, own.unbind())
        for kernel, own in zip(kernels, masks, strict=True)
        if kernel.draw is not None and own is not None
    ]
    for t in range(time if steps else 0):
        for draw, rows in steps:
            draw(rows[t])
    return masks


def _panels(weight: Tensor) -> Tensor:
    """(out, in) -> (panels, in, rows of a panel), with zeros for the rows that are too many."""
    rows = _panel_rows(weight.dtype)
    out, width = weight.shape
    count = -(-out // rows)
    padded = torch.nn.functional.pad(weight, (0, 0, 0, count * rows - out))
    return padded.view(count, rows, width).transpose(1, 2).contiguous()


@cache
def _panel_rows(dtype: torch.dtype) -> int:
    found = ctypes.c_int64()
    function(_SOURCE, "slt_panel_rows", dtype)(ctypes.addressof(found))
    return found.value


class _Run:
    """The C structure of one sequence, and the tensors that it points to."""

    def __init__(
        self,
        kernels: tuple[Kernel, ...],
        dense: tuple[bool, ...],
        masks: list[Tensor | None],
        x: Tensor,
        w_in: Tensor | None,
        b_in: Tensor | None,
        h0: Tensor,
        parameters: Sequence[Tensor],
    ) -> None:
        self.w_in, self.b_in = w_in, b_in
        self.x = x if x.stride(2) == 1 else x.contiguous()
        self.h0 = h0.contiguous()
        self.time, self.batch = x.shape[:2]
        self.hidden = h0.shape[1]
        self.inputs = 0 if self.w_in is None else self.w_in.shape[1]
        self.kernels, self.dense, self.masks = kernels, dense, masks
        self.width = lanes(x.dtype)
        self.blocks = -(-self.batch // self.width)
        # A dense map reads its whole matrix for every group of blocks: it wants a single group.
        self.group = max(1, self.blocks) if any(dense) else 1
        rest = iter(parameters)
        #: Those of each map.
        self.parameters = [tuple(next(rest) for _ in kernel.parameters) for kernel in kernels]

    def lanes(self, vectors: int) -> Tensor:
        """Workspace for so many vectors."""
        return workspace.lease(vectors * self.width, self.h0.dtype)

    def call(
        self,
        name: str,
        history: Tensor,
        parameters: Sequence[Sequence[Tensor]],
        sums: Sequence[Tensor | None],
        **fields: int | Tensor | None,
    ) -> None:
        """Run a function of sequence.c; ``fields`` are set beside those that all have."""
        dtype = self.h0.dtype
        scratch = self.lanes(max(kernel.scratch for kernel in self.kernels))  # used in turns
        calls = [
            Call(kernel, own, masks, address(total), scratch.data_ptr())
            for kernel, own, masks, total in zip(
                self.kernels, parameters, self.masks, sums, strict=True
            )
        ]
        rows_of_inputs = self.width * -(-self.inputs // self.width)
        work = self.lanes(self.group * (self.inputs + 9 * self.hidden) + rows_of_inputs)
        tensors = {"x": self.x, "h0": self.h0, "history": history, "work": work, **fields}
        s = _Sequence(
            steps=self.time,
            batch=self.batch,
            hidden=self.hidden,
            inputs=self.inputs,
            group=self.group,
            x_step=self.x.stride(0),
            x_row=self.x.stride(1),
            **{k: address(v) if isinstance(v, Tensor) else v for k, v in tensors.items()},
        )
        for m, (kernel, call, masks) in enumerate(
            zip(self.kernels, calls, self.masks, strict=True)
        ):
            s.maps[m] = call.pointer
            s.forward[m] = pointer_to(kernel.source, kernel.forward, dtype)
            s.backward[m] = pointer_to(kernel.source, kernel.backward, dtype)
            s.mask_stride[m] = 0 if masks is None else masks.stride(0)
        function(_SOURCE, name, dtype)(ctypes.addressof(s))

    def forward(self, *, keep: bool) -> tuple[Tensor, Tensor]:
        """States (time, batch, hidden), and the history that backward needs."""
        states = self.h0.new_empty(self.time, self.batch, self.hidden)
        kept = self.time * _KEPT + 1 if keep else _KEPT + 1
        history = self.lanes(self.blocks * self.hidden * kept)
        packed = [
            (_panels(own[0]),) if is_dense else own
            for own, is_dense in zip(self.parameters, self.dense, strict=True)
        ]
        self.call(
            "slt_sequence_forward",
            history,
            packed,
            [None] * _MAPS,
            keep=keep,
            states=states,
            w_in=None if self.w_in is None else _panels(self.w_in),
            b_in=None if self.b_in is None else self.b_in.contiguous(),
        )
        return states, history


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kernels: tuple[Kernel, ...],
        dense: tuple[bool, ...],
        masks: list[Tensor | None],
        x: Tensor,
        w_in: Tensor | None,
        b_in: Tensor | None,
        h0: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        run = _Run(kernels, dense, masks, x, w_in, b_in, h0, parameters)
        states, history = run.forward(keep=True)
        ctx.kernels, ctx.dense, ctx.masks = kernels, dense, masks
        ctx.save_for_backward(history, states, x, w_in, b_in, h0, *parameters)
        ctx.set_materialize_grads(False)
        return states, states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor | None, grad_last: Tensor | None) -> Any:
        history, states, x, w_in, b_in, h0, *parameters = ctx.saved_tensors
        run = _Run(ctx.kernels, ctx.dense, ctx.masks, x, w_in, b_in, h0, parameters)
        needs_x, needs_w_in, needs_b_in, needs_h0, *rest = ctx.needs_input_grad[3:]
        needs = iter(rest)
        learning = [sum(next(needs) for _ in own) > 0 for own in run.parameters]
        dense = [m for m in range(_MAPS) if run.dense[m] and learning[m]]
        rows, n = run.time * run.batch, run.hidden
        few = run.inputs <= _FEW_INPUTS
        stepwise = 0 < run.inputs <= _SOME_INPUTS and not any(run.dense)

        def zeros(vectors: int) -> Tensor:
            return run.lanes(vectors).zero_()

        sums = [
            None if is_dense else zeros(kernel.numel())
            for kernel, is_dense in zip(run.kernels, run.dense, strict=True)
        ]
        b_sums = zeros(3 * n) if needs_b_in else None
        w_sums = w_rows = d_gates = d_x = None
        if needs_w_in and few:
            w_sums = zeros(3 * n * run.inputs)
        elif needs_w_in and stepwise:
            w_rows = zeros(3 * n * -(-run.inputs // run.width))
        if needs_x and stepwise:
            d_x = x.new_empty(x.shape)
        elif needs_x and w_in is None:  # what enters the gates is what was given
            d_gates = d_x = x.new_empty(run.time, run.batch, 3 * n)
        elif dense or needs_x or (needs_w_in and not few and not stepwise):
            d_gates = workspace.lease(rows * 3 * n, x.dtype)
        reset_states = workspace.lease(rows * n, x.dtype) if _STATE in dense else None
        d_h0 = torch.empty_like(run.h0) if needs_h0 else None
        if grad_states is not None and grad_states.stride(2) != 1:
            grad_states = grad_states.contiguous()
        run.call(
            "slt_sequence_backward",
            history,
            [
                (_panels(own[0].t()),) if is_dense else own
                for own, is_dense in zip(run.parameters, run.dense, strict=True)
            ],
            sums,
            keep=True,
            grad_states=grad_states,
            grad_step=0 if grad_states is None else grad_states.stride(0),
            grad_row=0 if grad_states is None else grad_states.stride(1),
            grad_last=None if grad_last is None else grad_last.contiguous(),
            grad_h0=d_h0,
            grad_b_in=b_sums,
            grad_w_in=w_sums,
            w_in_t=_panels(w_in.t()) if needs_x and stepwise else None,
            grad_x=d_x if stepwise else None,
            grad_w_rows=w_rows,
            grad_gates=d_gates,
            reset_states=reset_states,
        )

        d_w_in = None
        if w_sums is not None:
            d_w_in = reduce(w_sums).view(3 * n, -1)
        elif w_rows is not None:
            d_w_in = w_rows.view(3 * n, -1)[:, : run.inputs].clone()
        if d_gates is not None:
            d_gates = d_gates.view(rows, 3 * n)
            if needs_w_in and d_w_in is None:
                d_w_in = (x.reshape(rows, x.shape[2]).t() @ d_gates).t()
            if needs_x and d_x is None:
                d_x = (d_gates @ w_in).view_as(x)
        d_maps: list[Tensor | None] = []
        for m, (own, total) in enumerate(zip(run.parameters, sums, strict=True)):
            if total is not None:
                d_maps += split(reduce(total), own)
            elif m in dense:
                assert d_gates is not None
                d_gate = d_gates[:, m * n : (m + 1) * n].t()
                if m == _STATE:
                    assert reset_states is not None
                    d_maps.append(d_gate @ reset_states.view(rows, n))
                else:
                    d_maps.append(_times_previous(d_gate, run.h0, states))
            else:
                d_maps.append(None)
        d_b_in = None if b_sums is None else reduce(b_sums)
        return None, None, None, d_x, d_w_in, d_b_in, d_h0, *d_maps


def _times_previous(d_gate: Tensor, h0: Tensor, states: Tensor) -> Tensor:
    """(hidden, time * batch) times the states before each step, (time * batch, hidden)."""
    batch, n = h0.shape
    total = d_gate[:, :batch] @ h0
    return total.addmm_(d_gate[:, batch:], states[:-1].reshape(-1, n))
