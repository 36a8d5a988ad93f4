"""Baselines brought to one parameter count: the value of a size setting that comes nearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported, count_parameters
from slt_bench.task import slot_maker

#: Largest deviation, as a share, at which a size counts as matched.
TOLERANCE = 0.05
#: (in_features, out_features, bias) of a linear map.
Shape = tuple[int, int, bool]


@dataclass(frozen=True)
class Match:
    """What the solver picked for a baseline.

    Attributes:
        setting: the size setting, or None where the baseline has none.
        value: what it was given.
        count: weights of the baseline over all shapes at that value.
        target: weights that were asked for.
        neighbour: the value on the other side of the target, if there is one.
    """

    setting: str | None
    value: int | None
    count: int
    target: int
    neighbour: int | None = None

    @property
    def unmatched(self) -> bool:
        """True where the nearest count is more than 5 % off: then both neighbours are run."""
        return self.setting is not None and abs(self.deviation) > TOLERANCE

    @property
    def deviation(self) -> float:
        """(count - target) / target."""
        return (self.count - self.target) / self.target

    @property
    def settings(self) -> dict[str, Any]:
        return {} if self.setting is None else {self.setting: self.value}


def parse_target(text: str) -> int | float:
    """The argument of ``--match-parameters``: a whole number of weights, or a ratio below 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0 or (value >= 1 and not value.is_integer()):
        raise UsageError(
            f"cannot match {text!r} parameters: give a whole number of weights (8000) or a ratio "
            "of the dense map's between 0 and 1 (0.1)"
        )
    return int(value) if value >= 1 else value


def match_parameters(
    baseline: type[nn.Module],
    shapes: Sequence[Shape],
    target: int | float,
    settings: Mapping[str, Any] | None = None,
) -> Match:
    """Choose a baseline's ``size_setting`` so that its exact count comes nearest to ``target``.

    ``target``: weights over all ``shapes`` together, or, below 1, a ratio of what dense layers
    without bias have there. Counts are assumed to grow with the setting. A tie goes to the
    smaller layer. A baseline without a size setting is counted as it is.

    Raises:
        Unsupported: no value of the setting suits the shapes.
    """
    dense = sum(n * m for n, m, _ in shapes)
    goal = max(1, round(target * dense)) if target < 1 else int(target)
    fixed = dict(settings or {})
    name = getattr(baseline, "size_setting", None)
    if name is None:
        return Match(None, None, count_weights(baseline, shapes, fixed), goal)

    def count(value: int) -> int | None:
        try:
            return count_weights(baseline, shapes, {**fixed, name: value})
        except Unsupported:
            return None

    found = _around(count, goal)
    if not found:
        count_weights(baseline, shapes, {**fixed, name: 1})  # raises with the baseline's own reason
        raise Unsupported(f"no value of {name} suits {shapes}")
    value, weights = found[0]
    neighbour = found[1][0] if len(found) > 1 else None
    return Match(name, value, weights, goal, neighbour)


def count_weights(
    baseline: type[nn.Module], shapes: Sequence[Shape], settings: Mapping[str, Any]
) -> int:
    """Trainable weights of a baseline over all ``shapes``.

    Raises:
        Unsupported: the baseline cannot have them.
    """
    make = slot_maker(baseline, settings)
    return sum(count_parameters(make(*shape)) for shape in shapes)


def _around(count: Callable[[int], int | None], goal: int) -> list[tuple[int, int]]:
    """The values below and above the goal with their counts, the nearest first.

    Doubling, then bisection; doubling ends where the count no longer grows.
    """
    low, high, before = 0, 1, -1
    while (weights := count(high)) is not None and before < weights < goal:
        low, high, before = high, 2 * high, weights
    while high - low > 1:
        middle = (low + high) // 2
        weights = count(middle)
        if weights is not None and weights < goal:
            low = middle
        else:
            high = middle
    found = [(v, c) for v in (low, high) if v > 0 and (c := count(v)) is not None]
    return sorted(found, key=lambda pair: (abs(pair[1] - goal), pair[1]))
