"""Memory that is used again: fresh memory costs a page fault every 4 KiB."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64
#: Free blocks kept at most; the smallest go first.
_KEPT = 32


class Workspace:
    """Blocks of memory that are lent as tensors and come back when nobody holds them any more.

    A tensor in a graph is held until its backward is done (unless the graph is retained), so that
    a second forward before that gets a block of its own. The contents of a lent tensor are
    whatever was there before.
    """

    def __init__(self) -> None:
        self._free: list[tuple[int, np.ndarray]] = []  # size in bytes, memory
        self._lock = threading.Lock()
        self._own = threading.local()

    def lease(self, count: int, dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor of ``count`` elements, aligned to a cache line."""
        size = max(1, count) * dtype.itemsize
        with self._lock:
            fitting = [i for i, (have, _) in enumerate(self._free) if size <= have <= 4 * size]
            # The list is sorted, the smallest last.
            have, block = self._free.pop(fitting[-1]) if fitting else _new_block(size)
        view = block[:size]
        # The tensor holds ``view`` as long as its storage lives, and ``view`` alone is watched.
        weakref.finalize(view, self._take_back, have, block).atexit = False
        return torch.from_numpy(view).view(dtype)[:count]

    def scratch(self, count: int, dtype: torch.dtype) -> Tensor:
        """At least ``count`` elements that this thread may use until it asks for scratch again."""
        kept: dict[str, Tensor] = self._own.__dict__
        if (own := kept.get(str(dtype))) is None or own.numel() < count:
            own = kept[str(dtype)] = self.lease(count, dtype)
        return own

    def _take_back(self, size: int, block: np.ndarray) -> None:
        with self._lock:
            self._free.append((size, block))
            self._free.sort(key=lambda entry: -entry[0])
            del self._free[_KEPT:]


def _new_block(size: int) -> tuple[int, np.ndarray]:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return size, memory[start : start + size]


#: Histories of sequences, scratch of layers: any size, any thread.
workspace = Workspace()
