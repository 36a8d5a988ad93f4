"""How long this process has built kernels and compared strategies: what no timing may hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_spent = 0.0
_depth = 0
_since = 0.0


@contextmanager
def preparing() -> Iterator[None]:
    """Counts the time inside; what is inside another ``preparing`` counts once."""
    global _depth, _since, _spent
    with _lock:
        if _depth == 0:
            _since = time.perf_counter()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _spent += time.perf_counter() - _since


def preparation_seconds() -> float:
    """Seconds of this process that went into building kernels and comparing strategies.

    The difference of two clock readings less the difference of two of these is what the work
    between them took by itself.
    """
    with _lock:
        return _spent + (time.perf_counter() - _since if _depth else 0.0)
