"""What holds for the options of every task: budgets keep their values, nonsense is refused."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import Any

import pytest

from slt_bench.errors import UsageError
from slt_bench.registry import entries, load_task
from slt_bench.task import Task
from slt_bench.trial import canonical_json, task_options

#: The sha256 (16 hexadecimal digits) of a task's version and of its budgets' values.
DIGESTS = {
    "adding": "2823f01137e25f6a",
    "copy_memory": "74460b90a0de93c1",
    "mnist": "cf305cc2f6e6b2ae",
    "penn_treebank": "e13f4146883653e3",
    "sequential_mnist": "6831d380e2ccda58",
}
RECURRENT = ("adding", "copy_memory", "penn_treebank", "sequential_mnist")
NAN, INFINITE = float("nan"), float("inf")

#: Nonsense that every task refuses, and every task that trains a GRU.
COMMON = [
    ("batch_size", 0),
    ("batch_size", -50),
    ("learning_rate", 0.0),
    ("learning_rate", -1.0),
    ("learning_rate", NAN),
    ("learning_rate", INFINITE),
    ("penalty_weight", -1.0),
    ("penalty_weight", NAN),
    ("penalty_weight", INFINITE),
    ("dataset", "no-such-data"),
]
OF_A_GRU = [
    ("hidden_size", 0),
    ("hidden_size", -3),
    ("evaluate_every", 0),
    ("evaluate_every", -1),
    ("clip_norm", 0.0),
    ("clip_norm", -1.0),
    ("clip_norm", NAN),
    ("clip_norm", INFINITE),
    ("update_gate_bias", NAN),
    ("update_gate_bias", INFINITE),
]


def task_class(name: str) -> type[Task]:
    """The task; skips where its file is missing."""
    if name not in entries("tasks"):
        pytest.skip(f"there is no task {name!r}")
    return load_task(name)


@pytest.mark.parametrize("name", DIGESTS)
def test_budgets_keep_their_values(name: str) -> None:
    task = task_class(name)
    values = {budget: asdict(options) for budget, options in task.budgets.items()}
    text = canonical_json([task.version, values])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name], (
        "a budget's values are part of what older records mean: raise version "
        "(and pin the new digest)"
    )


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(name, *case) for name in DIGESTS for case in COMMON]
    + [(name, *case) for name in RECURRENT for case in OF_A_GRU],
)
def test_nonsense_is_refused(name: str, option: str, value: Any) -> None:
    options = task_class(name).budgets["quick"]
    with pytest.raises(ValueError, match=str(value)) as refused:
        replace(options, **{option: value})
    assert option in str(refused.value) or option == "dataset"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", DIGESTS)
def test_the_edge_of_a_range_is_allowed(name: str) -> None:
    options = replace(task_class(name).budgets["quick"], batch_size=1, penalty_weight=0.0)
    if name in RECURRENT:
        replace(options, hidden_size=1, evaluate_every=1, clip_norm=None, update_gate_bias=-1.0)


@pytest.mark.parametrize("name", DIGESTS)
def test_nonsense_on_the_command_line_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: batch_size=0: give a whole number from 1$"):
        task_options(task_class(name), name, "quick", {"batch_size": 0})
