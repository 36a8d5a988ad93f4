"""What training came to, to stand beside a time: structured rows with their dense and floor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slt_bench.evidence import Interval, mean_interval
from slt_bench.reporting.outcomes import Outcome, final
from slt_bench.store import Record

#: What the trials of two rows must share before their metrics may stand side by side.
PROTOCOL = ("task", "task_version", "budget", "dataset", "dtype", "options")
#: The scale at the start: it changes what training comes to, but no time and no size.
_TIMELESS = ("gain",)


@dataclass(frozen=True)
class Trained:
    """A row of structured layers that has finished, and the floor of its protocol."""

    outcome: Outcome
    first: Record
    floor: Outcome | None

    @property
    def metric(self) -> dict[str, Any]:
        return dict(self.first["facts"]["metric"])

    @property
    def value(self) -> Interval:
        """The test metric after the last update: its mean over seeds."""
        return self._mean(self.outcome.records)

    @property
    def dense(self) -> Interval | None:
        return self._mean(self.outcome.dense) if self.outcome.dense else None

    @property
    def floor_name(self) -> str:
        return str(self.first["facts"]["floor"])

    @property
    def removed(self) -> Interval | None:
        """The same of the floor: this map removed."""
        return self._mean(self.floor.records) if self.floor else None

    @property
    def share(self) -> float:
        """Weights in the slots over those of dense maps there."""
        facts = self.first["facts"]
        return float(facts["slot_parameter_count"] / facts["dense_slot_parameter_count"])

    @property
    def shape(self) -> tuple[int, int]:
        """(in_features, out_features) of its largest slot."""
        slots = self.first["facts"]["slots"].values()
        shapes = [(int(slot["in_features"]), int(slot["out_features"])) for slot in slots]
        return max(shapes, key=lambda shape: shape[0] * shape[1])

    @property
    def protocol(self) -> str:
        """Equal where two rows may be compared: the same trials but for what fills the slots."""
        return _digest(self.first["trial"], *PROTOCOL, "slots")

    def _mean(self, records: Mapping[int, Record]) -> Interval:
        return mean_interval(list(final(records, self.metric["name"]).values()))


def trained(outcomes: Sequence[Outcome]) -> list[Trained]:
    """The rows that have finished and fill slots with what is neither dense nor a control."""
    rows = [(outcome, outcome.first) for outcome in outcomes if outcome.first and outcome.slots]
    floors = {
        _digest(first["trial"], *PROTOCOL, "slots", "baseline", "settings"): outcome
        for outcome, first in rows
        if first["facts"]["control"]
    }
    found = []
    for outcome, first in rows:
        if outcome.baseline == "dense" or first["facts"]["control"]:
            continue
        removed = {**first["trial"], "baseline": first["facts"]["floor"], "settings": {}}
        floor = floors.get(_digest(removed, *PROTOCOL, "slots", "baseline", "settings"))
        found.append(Trained(outcome, first, floor))
    return found


def timeless(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` without those that change neither time nor size."""
    return {name: value for name, value in settings.items() if name not in _TIMELESS}


def _digest(trial: Mapping[str, Any], *names: str) -> str:
    return json.dumps([trial[name] for name in names], sort_keys=True)
