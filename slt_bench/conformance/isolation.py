"""Run code so that it leaves no trace: global state put back, output kept, warnings ignored."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch


@dataclass
class Traces:
    """What a block of code left behind: names of global state that it changed, what it printed."""

    changed: list[str] = field(default_factory=list)
    printed: str = ""


def seed_all(seed: int) -> None:
    """Seed every global generator."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _numpy_state() -> list[Any]:
    state: Any = np.random.get_state()  # noqa: NPY002 - the legacy generator is the global one
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in state]


def _set_device(device: torch.device) -> None:
    # None is how torch is without a default; naming the CPU would slow every call down.
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _flag(module: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return (lambda: getattr(module, name)), (lambda value: setattr(module, name, value))


_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "Python's random generator": (random.getstate, random.setstate),
    "numpy's random generator": (_numpy_state, np.random.set_state),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_device),
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic algorithms": (
        _deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "torch's matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch's anomaly mode": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's CPU autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda value: torch.set_autocast_enabled("cpu", value),
    ),
    "torch.backends.cudnn.enabled": _flag(torch.backends.cudnn, "enabled"),
    "torch.backends.cudnn.benchmark": _flag(torch.backends.cudnn, "benchmark"),
    "torch.backends.cudnn.deterministic": _flag(torch.backends.cudnn, "deterministic"),
    "the environment": (lambda: dict(os.environ), _set_environment),
    "the working directory": (os.getcwd, os.chdir),
}


@contextmanager
def isolated() -> Iterator[Traces]:
    """Run the block in silence and put global state back; the traces are complete after it."""
    traces, output = Traces(), StringIO()
    before = {name: get() for name, (get, _) in _STATE.items()}
    try:
        with (
            redirect_stdout(output),
            redirect_stderr(output),
            catch_warnings(),
            torch.random.fork_rng(devices=[]),
        ):
            simplefilter("ignore")  # a warning is for the user to see, not something printed
            yield traces
    finally:
        traces.printed = output.getvalue()
        for name, (get, put) in _STATE.items():
            if get() != before[name]:
                traces.changed.append(name)
                put(before[name])
