"""What the rounds of a session become: records, and whether they may be published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slt_bench.provenance import utc_now
from slt_bench.store import SCHEMA, Record
from slt_bench.timing import gpu, noise
from slt_bench.timing.cell import Cell
from slt_bench.timing.floor import Rates
from slt_bench.timing.records import cell_facts, cell_provenance, reference
from slt_bench.timing.state import Plan, State, Taken

#: Failures that belong to the cell; any other may not happen again.
DETERMINED = ("unsupported", "out of memory", "wrong output")


@dataclass(frozen=True)
class Row:
    """How a cell ended: its record (finished or failed), whether it may be published, why not."""

    cell: Cell
    record: Record
    published: bool
    noisy: tuple[str, ...] = ()


def conclude(
    cells: Sequence[Cell], state: State, plan: Plan, match: str | None = None
) -> list[Row]:
    """A row for each cell of a session whose rounds are complete."""
    dense = {
        cell.group_key: state.taken[cell.key]
        for cell in cells
        if cell.is_dense and state.taken[cell.key].failure is None
    }
    rows = []
    for cell in cells:
        taken = state.taken[cell.key]
        if taken.failure is not None:
            rows.append(Row(cell, _failed(cell, taken, state, match), published=False))
            continue
        rounds = _paired(cell, taken, dense.get(cell.group_key))
        noisy = _noisy(cell, rounds, state)
        record = _finished(cell, rounds, noisy, state, plan, match)
        rows.append(Row(cell, record, not noisy or plan.allow_noisy, noisy))
    return rows


def _paired(cell: Cell, taken: Taken, dense: Taken | None) -> list[dict[str, Any]]:
    """The rounds of a cell, each with the medians of dense in the same round."""
    if dense is None or cell.is_dense:
        return taken.rounds
    return [
        {**own, "dense": {name: m["median"] for name, m in other["measures"].items()}}
        for own, other in zip(taken.rounds, dense.rounds, strict=True)
    ]


def _noisy(cell: Cell, rounds: Sequence[dict[str, Any]], state: State) -> tuple[str, ...]:
    ratios = [r["measures"]["call"]["median"] / r["dense"]["call"] for r in rounds if "dense" in r]
    found = noise.reasons(ratios, state.before, state.during[cell.group_key])
    for card in state.cards if cell.device != "cpu" else ():
        if card["before"]["others"]:
            found.append("another process is on the GPU")
        found += gpu.reasons(card["before"]["state"], card["after"]["state"])
    found += gpu.reasons_of(rounds)
    return tuple(dict.fromkeys(found))


def _head(cell: Cell) -> dict[str, Any]:
    return {"schema": SCHEMA, "key": cell.key, "kind": "time", "trial": cell.identity}


def _failed(cell: Cell, taken: Taken, state: State, match: str | None) -> Record:
    failure = taken.failure or {}
    return {
        **_head(cell),
        "status": failure["status"],
        "error": failure["message"],
        "facts": {"match": match, "reference": reference(cell)},
        "provenance": _provenance(cell, taken.rounds, state),
    }


def _finished(
    cell: Cell,
    rounds: list[dict[str, Any]],
    noisy: Sequence[str],
    state: State,
    plan: Plan,
    match: str | None,
) -> Record:
    rates = Rates.from_document(state.machines[cell.machine]["rates"])
    return {
        **_head(cell),
        "status": "done",
        "timing": {
            "rounds": rounds,
            "setup_ms": statistics.median(r["setup_ms"] for r in rounds),
            "sampling": asdict(plan.protocol),
            "others_before": state.before,
            "others_during": state.during[cell.group_key],
            **({"cards": state.cards} if cell.device != "cpu" else {}),
            "noisy": list(noisy),
        },
        **cell_facts(cell, state.taken[cell.key].facts, rates, match),
        "provenance": _provenance(cell, rounds, state),
    }


def _provenance(cell: Cell, rounds: Sequence[dict[str, Any]], state: State) -> dict[str, Any]:
    strategies = {r["strategy"] for r in rounds}
    strategy = strategies.pop() if len(strategies) == 1 else None
    machine = state.machines[cell.machine]["environment"]
    finished = rounds[-1]["finished"] if rounds else utc_now()
    return cell_provenance(cell, machine, strategy, finished)
