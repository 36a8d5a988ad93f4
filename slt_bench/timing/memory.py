"""Memory: predicted before a shape is tried, and the peak of a call in a pass of its own."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import torch

from slt_bench.timing.cell import Cell
from slt_bench.timing.check import matrix_entries
from slt_bench.timing.functions import INPUT_SIZE, Measured, build

#: Share of the free memory that a cell may be predicted to take.
USABLE = 0.8
#: Tensors as large as the input that a layer is taken to hold at a time.
_ACTIVATIONS = 8
#: The same for each step of a GRU.
_STATES = 40


def predicted_bytes(cell: Cell) -> int:
    """What a cell would take at its peak, from its shapes alone: no weight is allocated.

    Weights, gradients and the optimiser's state; activations; and the check in float64, which
    holds all of that again at eight bytes a number.

    Raises:
        Unsupported: the baseline cannot have these sizes.
    """
    size = getattr(torch, cell.dtype).itemsize
    try:
        layer = build(cell, "meta")
    except (NotImplementedError, RuntimeError):  # its start needs numbers: built for real
        layer = build(cell)
    weights = sum(t.numel() for t in chain(layer.parameters(), layer.buffers()))
    copies = {"forward": 1, "training": 2, "sequence": 3}[cell.mode]
    values = cell.batch * sum(cell.shape) * _ACTIVATIONS
    if cell.mode == "sequence":
        values = cell.batch * (cell.steps or 1) * (cell.shape[0] * _STATES + INPUT_SIZE)
    timed = size * (copies * weights + values)
    return int(timed + 8 * (copies * weights + values + matrix_entries(cell)))


def available_bytes(device: str) -> int | None:
    """Free memory of a device; None where the system does not say."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    if all(name in os.sysconf_names for name in names):
        return os.sysconf(names[0]) * os.sysconf(names[1])
    return None


def limit_memory(device: str) -> None:
    """Turn a wrong prediction into an error of this process: it may not grow past what is free."""
    statm = Path("/proc/self/statm")
    free = available_bytes(device) if device == "cpu" else None
    if free is None or not statm.exists():
        return
    import resource

    taken = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + free, resource.RLIM_INFINITY))


def peak_bytes(measured: Measured, device: str) -> int:
    """The most bytes that torch holds during a call: weights, buffers, inputs, what it allocates.

    On a CPU the allocations are counted as torch's profiler reports them, so small layers are
    exact too; what a kernel allocates past torch is not seen.
    """
    for leaf in measured.leaves:
        leaf.grad = None
    held = held_bytes(measured)
    if device != "cpu":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        measured.call()
        torch.cuda.synchronize()
        return held + torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        result = measured.call()
    del result
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, nbytes in changes:
        now += nbytes
        most = max(most, now)
    return held + most


def held_bytes(measured: Measured) -> int:
    """Bytes of weights, buffers and inputs."""
    tensors = (*measured.layer.parameters(), *measured.layer.buffers(), *measured.inputs)
    return sum(t.numel() * t.element_size() for t in tensors)
