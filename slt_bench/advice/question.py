"""What is asked, and what each baseline would be: its settings and weights at the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from slt_bench import matching, registry
from slt_bench.layers import Unsupported, count_parameters
from slt_bench.timing.cell import Cell, slot_maps
from slt_bench.timing.functions import build


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        reference: the cell of dense: shape, batch, mode and machine.
        keep: the budget, as a share of the weights of dense maps without their biases.
    """

    reference: Cell
    keep: float

    @cached_property
    def maps(self) -> list[matching.Shape]:
        """(in_features, out_features, bias) of the maps that the budget is for."""
        return slot_maps(self.reference.shape, self.reference.mode)

    @property
    def dense_weights(self) -> int:
        return sum(n * m for n, m, _ in self.maps)

    @property
    def budget(self) -> int:
        """In weights, as ``--match-parameters`` aims at them."""
        return max(1, round(self.keep * self.dense_weights))

    @property
    def most(self) -> float:
        """Weights up to which a layer fits: as far above the budget as matching tolerates."""
        return self.budget * (1 + matching.TOLERANCE)

    @cached_property
    def outside(self) -> int:
        """Weights that a record of this mode counts beside its maps: the rest of the GRU."""
        if self.reference.mode != "sequence":
            return 0
        return count_parameters(build(self.reference, "meta")) - self.dense_weights

    def is_about(self, trial: Mapping[str, Any]) -> bool:
        """True for the identity of a time at this shape and batch, in this mode, here."""
        return group_of(trial) == self.reference.group


def group_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """What the identity of a time shares with that of the dense layer it is held against."""
    own = ("schema", "kind", "baseline", "settings", "copy")
    return {name: value for name, value in trial.items() if name not in own}


@dataclass(frozen=True)
class Sized:
    """A baseline at the budget.

    Attributes:
        source: what ``-b`` takes.
        settings: what the size solver picks, as a record keeps it.
        match: the value of ``slt-bench time --match-parameters`` that picks it at this shape.
        reason: why nothing fits; empty where something does.
    """

    name: str
    source: str
    baseline: type[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: int = 0
    match: str = ""
    reason: str = ""

    def cell(self, question: Question) -> Cell:
        """What would be timed of it."""
        return replace(question.reference, baseline=self.name, settings=dict(self.settings))


def size(question: Question, reference: str) -> Sized:
    """A baseline brought to the budget: the solver's pick, or its neighbour where only that fits.

    Raises:
        UsageError: there is no such baseline.
    """
    entry = registry.resolve("baselines", reference)
    named = entry.name in registry.entries("baselines")
    sized = Sized(
        entry.name, entry.name if named else entry.source, registry.load_baseline(reference)
    )
    if registry.is_control(sized.baseline):
        return replace(sized, reason="a control: it says what structure is worth")
    try:
        with torch.device("meta"):  # only sizes count
            picks = _picks(sized.baseline, question)
    except Unsupported as error:
        return replace(sized, reason=str(error))
    except Exception as error:  # a layer of the user's own
        return replace(sized, reason=f"cannot be built: {str(error).partition(chr(10))[0]}")
    for number, (settings, weights) in enumerate(picks):
        if weights <= question.most:
            changed = registry.changed_settings(sized.baseline, settings)
            match = str(weights if number else question.keep)
            return replace(sized, settings=changed, weights=weights, match=match)
    settings, least = min(picks, key=lambda pick: pick[1])
    at = "".join(f" at {name}={value}" for name, value in settings.items())
    share = f"{least / question.dense_weights:.2g} of dense's"
    return replace(sized, reason=f"its smallest{at} has {least:,} weights, {share}")


def _picks(baseline: type[Any], question: Question) -> list[tuple[dict[str, Any], int]]:
    """Settings around the budget with their weights, the nearest first."""
    match = matching.match_parameters(baseline, question.maps, question.budget)
    found = [(match.settings, match.count)]
    if match.neighbour is not None:
        other = {str(match.setting): match.neighbour}
        found.append((other, matching.count_weights(baseline, question.maps, other)))
    return found
