"""Rows against their published numbers: differences, verdicts, and what is not comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_cases import WAVELET, lenet_cells, shown, table
from records import ACCURACY, make_cell, make_failure, make_record, make_suite, publish

from slt_bench import evidence
from slt_bench.reporting.pages import suite_page
from slt_bench.store import Store
from slt_bench.suites import Cell


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    return lenet_cells(store)


def test_verdicts_are_those_of_evidence(store: Store, cells: list[Cell]) -> None:
    page = suite_page(make_suite(cells, margins={"error": 0.2}), store)
    expected = evidence.verdict(0.74, WAVELET, 0.2, higher_is_better=False)
    assert expected.name == "reproduced"
    row = shown(page, "published", "LeNet-Wavelet")
    assert (row["published"], row["verdict"], row["why"]) == ("0.74", "reproduced", expected.reason)
    assert row["difference"] == "-0.07"
    assert (row["published loss"], row["loss"]) == ("0.03", "0.0813")
    assert (row["published weights"], row["weights"]) == ("36K (36,030)", "1,000")
    assert "count of the published network" in table(page, "published").caption
    assert "LeNet-Wavelet (mnist): One run of many." in table(page, "published").notes
    assert list(page.verdicts) == [
        {
            "id": "wavelet",
            "suite": "made",
            "published": 0.74,
            "mean": expected.mean,
            "sd": expected.sd,
            "n": 3,
            "verdict": "reproduced",
            "cause": expected.reason,
            "keys": [trial.key for trial in cells[1].trials],
        }
    ]


def verdict_of(store: Store, cell: Cell, **suite: Any) -> dict[str, Any]:
    page = suite_page(
        make_suite([cell], **{"margins": {"error": 0.2, "accuracy": 2.0}, **suite}), store
    )
    return dict(page.verdicts[0])


def published_cell(value: float = 0.74, **more: Any) -> Cell:
    row = {"published": {"error": value}, **more.pop("row", {})}
    return make_cell("wavelet", row=row, **more)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.74, 0.75, 0.73], "reproduced"),
        ([1.50, 1.52, 1.48], "worse"),
        ([0.20, 0.22, 0.18], "better"),
        ([0.30, 1.30, 2.50], "inconclusive"),
        ([0.74, 0.75], "inconclusive"),
    ],
)
def test_each_verdict(store: Store, values: list[float], verdict: str) -> None:
    cell = published_cell()
    publish(store, cell, values)
    assert verdict_of(store, cell)["verdict"] == verdict


def test_a_shorter_budget_is_partial_and_says_its_length(store: Store) -> None:
    cell = published_cell(budget="quick")
    publish(store, cell, [0.74, 0.75, 0.73])
    found = verdict_of(store, cell)
    assert found["verdict"] == "partial"
    assert found["cause"].startswith("budget quick: 700 updates")


@pytest.mark.parametrize(
    ("task", "options", "verdict", "other"),
    [
        ("adding", {"updates": 120, "test_size": 250, "evaluate_every": 10}, "partial", ""),
        (
            "adding",
            {"hidden_size": 16, "time_steps": 8, "updates": 120, "clip_norm": 0.25},
            "not comparable",
            "hidden_size 16 not 512, clip_norm 0.25 not none, time_steps 8 not 150",
        ),
        ("sequential_mnist", {"dataset": "mnist"}, "partial", ""),
        (
            "sequential_mnist",
            {"dataset": "mnist-5k"},
            "not comparable",
            "data set mnist-5k not mnist",
        ),
        ("not_installed", {"hidden_size": 16}, "partial", ""),
    ],
)
def test_another_experiment_than_the_published_is_no_partial_one(
    store: Store, task: str, options: dict[str, Any], verdict: str, other: str
) -> None:
    row = {"published": {"accuracy": 99.0}}
    cell = make_cell("wavelet", task=task, floor="zero", budget="smoke", row=row)
    for trial in cell.trials:
        record = make_record(trial, 98.0, metric=ACCURACY)
        record["facts"]["options"] = options
        store.publish(record)
    found = verdict_of(store, cell)
    length = "budget smoke: 700 updates, not the published training"
    expected = f"not the published experiment: {other}; {length}" if other else length
    assert (found["verdict"], found["cause"]) == (verdict, expected)


def test_without_a_margin_another_experiment_is_still_named(store: Store) -> None:
    row = {"published": {"accuracy": 12.5}}
    cell = make_cell("wavelet", task="copy_memory", floor="zero", budget="smoke", row=row)
    record = make_record(cell.trials[0], 13.0, metric=ACCURACY)
    record["facts"]["options"] = {"time_steps": 2}
    store.publish(record)
    page = suite_page(make_suite([cell]), store)
    reason = "not the published experiment: time_steps 2 not 150"
    assert shown(page, "published", "wavelet")["why"] == reason
    assert page.verdicts == ()


def test_the_options_of_the_row_itself_are_no_difference(store: Store) -> None:
    """58 units are the row's own under every budget; its batches only where it is published."""
    row = {
        "published": {"accuracy": 96.4},
        "options": {"hidden_size": 58},
        "published_options": {"batch_size": 256, "epochs": 100},
        "not_comparable": "a literature value",
    }
    cell = make_cell("wavelet", task="sequential_mnist", floor="zero", budget="quick", row=row)
    record = make_record(cell.trials[0], 98.0, metric=ACCURACY)
    record["facts"]["options"] = {"hidden_size": 58, "batch_size": 50, "epochs": 8.0}
    store.publish(record)
    cause = verdict_of(store, cell)["cause"]
    assert cause.startswith(
        "a literature value; not the published experiment: batch_size 50 not 256; budget quick"
    )


@pytest.mark.parametrize("margins", [{"error": 0.2}, {}])
def test_what_is_not_comparable_has_no_difference_but_in_the_csv(
    store: Store, margins: dict[str, float]
) -> None:
    other = published_cell(row={"id": "a", "label": "a", "not_comparable": "a literature value"})
    same = published_cell(row={"id": "b", "label": "b"}, options={"fc1_features": 500})
    for cell in (other, same):
        publish(store, cell, [0.74, 0.75, 0.76])
    page = suite_page(make_suite([other, same], margins=margins), store)
    assert shown(page, "published", "a")["difference"] == "—"
    assert shown(page, "published", "b")["difference"] == "-0.01"
    raw = table(page, "published").raw
    assert list(raw["published_difference"]) == pytest.approx([-0.01, -0.01])
    assert list(raw["standing"]) == ["not comparable", "comparable"]
    alone = suite_page(make_suite([other], margins=margins), store)
    assert "difference" not in table(alone, "published").shown.columns


def test_not_comparable_gives_its_reason(store: Store) -> None:
    cell = published_cell(row={"not_comparable": "a literature value"})
    publish(store, cell, [0.74, 0.75, 0.73])
    found = verdict_of(store, cell)
    assert (found["verdict"], found["cause"]) == ("not comparable", "a literature value")


def test_not_run_says_what_dense_cost(store: Store) -> None:
    cell = published_cell()
    for trial in cell.dense:
        store.publish(make_record(trial, 0.6, step_ms=36_000 / 7))
    found = verdict_of(store, cell)
    assert found["verdict"] == "not run"
    assert found["cause"] == "3 not run; dense with the same options took 1.0 h a trial"
    assert (found["mean"], found["n"], found["keys"]) == (None, 0, [])


def test_seeds_that_failed_are_named_in_the_verdict(store: Store) -> None:
    cell = published_cell(seeds=(0, 1, 2, 3))
    publish(store, cell, [0.74, 0.75, 0.73])
    store.publish_failure(make_failure(cell.trials[3]))
    found = verdict_of(store, cell)
    assert (found["verdict"], found["n"]) == ("reproduced", 3)
    assert found["cause"].endswith("; not counted: 1 diverged")


def test_no_margin_no_verdict(store: Store) -> None:
    cell = published_cell()
    publish(store, cell, [0.74, 0.75, 0.73])
    page = suite_page(make_suite([cell]), store)
    assert page.verdicts == ()
    assert shown(page, "published", "wavelet")["published"] == "0.74"
    assert "verdict" not in table(page, "published").shown.columns


def test_bimodal_rows_are_judged_by_class(store: Store) -> None:
    """Chance comes from the record: 10 % here, so 20 % is stuck and 20.1 % learns."""
    cell = make_cell("wavelet", task="adding", floor="zero", row={"published": {"accuracy": 99.0}})
    for trial, value in zip(cell.trials, (99.0, 60.0, 20.0), strict=True):
        store.publish(make_record(trial, value, metric=ACCURACY, settled=value))
    classes = {"solved": 95.0, "stuck_within": 10.0}
    found = verdict_of(store, cell, classes=classes)
    assert found["verdict"] == "inconclusive"
    assert found["cause"] == (
        "seeds disagree: 1/3 stuck, 1/3 learning, 1/3 solved; published solved"
    )
