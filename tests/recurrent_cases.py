"""What the tests of the recurrent tasks share."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import nn

from slt_bench.errors import UsageError
from slt_bench.layers import count_parameters
from slt_bench.registry import load_baseline
from slt_bench.task import Streams, Task, fill_slots, slot_maker

#: The paper's GRUs ran with eight scales; all that they left unsaid is the layer's default.
PUBLISHED: dict[str, Mapping[str, object]] = {"wavelet": {"scales": 8}}


def parameter_count(
    task: Task, baseline: str, slots: tuple[str, ...], settings: Mapping[str, object] | None = None
) -> int:
    """Weights of a task's model with a baseline in some slots; skips where its file is missing."""
    layer: type[nn.Module] = nn.Linear
    if baseline != "dense":
        try:
            layer = load_baseline(baseline)
        except UsageError:
            pytest.skip(f"there is no baseline {baseline!r}")
    make = slot_maker(layer, {**PUBLISHED.get(baseline, {}), **(settings or {})})
    return count_parameters(fill_slots(task, Streams(0), slots, make))
