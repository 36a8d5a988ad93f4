"""What words of a command line mean: stores, seeds, lengths of time, devices."""

from __future__ import annotations

import re
from typing import Any

from slt_bench.errors import UsageError
from slt_bench.store import Store, find_reports

Document = dict[str, Any]


def open_store(results: str | None) -> Store:
    return Store(find_reports(results))


def parse_seeds(text: str) -> tuple[int, ...]:
    """``5`` -> (0, 1, 2, 3, 4); ``0,3,4`` -> (0, 3, 4); ``7,`` -> (7,)."""
    if not re.fullmatch(r"\d+|(\d+,)+\d*", text):
        raise UsageError(f"--seeds {text!r}: give a count (5) or a list (0,3,4)")
    if "," in text:
        return tuple(dict.fromkeys(int(word) for word in text.split(",") if word))
    if int(text) == 0:
        raise UsageError("--seeds 0 runs nothing: give a count from 1, or 0, for seed 0 alone")
    return tuple(range(int(text)))


def seconds(text: str) -> float:
    """``90``, ``90s``, ``9m``, ``2h`` -> seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise UsageError(f"{text!r} is no length of time: give 90s, 9m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def check_device(name: str) -> str:
    import torch

    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"no device {name!r}: give cpu, cuda or cuda:0")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"no CUDA device for --device {name}: torch finds none; use cpu")
    return name
