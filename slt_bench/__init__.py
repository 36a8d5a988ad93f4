"""Benchmark harness for structured linear transforms: stand-ins for ``torch.nn.Linear``.

The public names below are imported on first use, so that ``import slt_bench`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the folders baselines/, tasks/ and reports/ stand beside this package; in a wheel
# they are inside it. Either way they import as slt_bench.baselines and slt_bench.tasks.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "baselines").is_dir() and (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout))

_HOME = {
    "GRU": "recurrent",
    "Trial": "trial",
    "check": "conformance",
    "count_parameters": "layers",
    "dense_weight": "layers",
    "load_baseline": "registry",
    "load_records": "store",
    "load_task": "registry",
    "run": "runner",
}

if TYPE_CHECKING:
    from slt_bench.conformance import check
    from slt_bench.layers import count_parameters, dense_weight
    from slt_bench.recurrent import GRU
    from slt_bench.registry import load_baseline, load_task
    from slt_bench.runner import run
    from slt_bench.store import load_records
    from slt_bench.trial import Trial

__all__ = [
    "GRU",
    "Trial",
    "__version__",
    "check",
    "count_parameters",
    "dense_weight",
    "load_baseline",
    "load_records",
    "load_task",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"slt_bench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'slt_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
