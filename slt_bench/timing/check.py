"""Check, then time: the timed output against a float64 reference, on the timed inputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from slt_bench.layers import dense_weight, stochastic
from slt_bench.recurrent import GRU
from slt_bench.timing.cell import Cell
from slt_bench.timing.functions import Measured, assemble

#: Largest error of the output, as norm of the difference over norm of the reference. Gradients
#: pass through twice as many products: they may be off by ten times as much.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 5e-2}
GRADIENT_FACTOR = 10
#: Entries up to which the reference is the dense matrix. It is built anew in each process: beyond
#: this it would cost more time than the measurement, long before its memory runs out.
DENSE_ENTRIES = 2**24

Reference = Literal["dense matrix", "same layer", "none: random"]


class WrongOutput(RuntimeError):
    """The timed function does not compute what it should."""


@dataclass(frozen=True)
class Checked:
    """Against what a cell was checked, and its relative error."""

    reference: Reference
    error: float | None


def check(cell: Cell, measured: Measured, output: Tensor) -> Checked:
    """Hold the ``output`` of a call, and the gradients it left, against float64.

    Forward and training: the dense matrix of the layer times the input, or, for more than
    DENSE_ENTRIES, the same layer in float64; sequence: the plain loop over time in float64. The
    gradients are held against those of the same layer in float64.

    Raises:
        WrongOutput: the error is beyond tolerance.
    """
    if stochastic(measured.layer):
        return Checked("none: random", None)
    limit = TOLERANCES[cell.dtype]
    gradients = [t.grad for t in measured.leaves]
    exact = _exact_copy(cell, measured)
    reference: Reference = "same layer"
    if matrix_entries(cell):
        reference = "dense matrix"
        with torch.no_grad():
            expected = _by_matrix(exact.layer, exact.inputs[0])
    elif cell.mode == "forward":
        with torch.no_grad():
            expected = exact.layer(exact.inputs[0])
    if cell.mode != "forward":
        timed_way = exact.call()
        expected = timed_way if reference == "same layer" else expected
        for own, true in zip(gradients, (t.grad for t in exact.leaves), strict=True):
            _hold("gradient", own, true, limit * GRADIENT_FACTOR)
    return Checked(reference, _hold("output", output, expected, limit))


def matrix_entries(cell: Cell) -> int:
    """Entries of the dense matrix that a cell is checked against; 0 where it is another layer."""
    entries = cell.shape[0] * cell.shape[1]
    return entries if entries <= DENSE_ENTRIES and cell.mode != "sequence" else 0


def _exact_copy(cell: Cell, measured: Measured) -> Measured:
    """The same weights and inputs in float64, never compiled; a GRU as the plain loop."""
    layer = copy.deepcopy(measured.layer).double()
    for module in layer.modules():
        if isinstance(module, GRU):
            module.strategy = "eager"
    inputs = [t.detach().double().requires_grad_(t.requires_grad) for t in measured.inputs]
    return assemble(cell, layer, inputs)


def _by_matrix(layer: nn.Module, x: Tensor) -> Tensor:
    """x W^T + c, with c the image of zero."""
    bias: Tensor = layer(torch.zeros_like(x[:1]))
    return x @ dense_weight(layer).to(x).T + bias


def _hold(what: str, found: Tensor | None, expected: Tensor | None, limit: float) -> float:
    """The relative error; a gradient that autograd left out is zero."""
    if expected is None:
        expected = torch.zeros(()) if found is None else torch.zeros_like(found, dtype=torch.double)
    if found is None:
        found = torch.zeros_like(expected)
    scale = float(expected.norm())
    error = float((found.double() - expected).norm()) / (scale or 1.0)
    if not error <= limit:
        raise WrongOutput(
            f"the timed {what} is off by {error:.2g} of the float64 reference's norm, beyond "
            f"{limit:.2g}: what computes something else is not timed"
        )
    return error
