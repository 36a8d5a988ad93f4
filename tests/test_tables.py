"""Tables hold the numbers of the records, and say in words what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from page_cases import DENSE, IDENTITY, WAVELET, lenet_cells, line, shown, table
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


def short_keys(cell: Cell) -> str:
    return " ".join(trial.key[:8] for trial in cell.trials)


def test_accuracy_and_its_keys(store: Store, cells: list[Cell]) -> None:
    page = suite_page(make_suite(cells), store)
    assert shown(page, "accuracy_mnist", "LeNet-Wavelet") == {
        "row": "LeNet-Wavelet",
        "baseline": "wavelet",
        "slots": "fc1",
        "settings": "scales=6",
        "mean ± sd": "0.81 ± 0.02",
        "by seed": "0.80, 0.81, 0.83",
        "loss": "0.0813",
        "n": "3",
        "keys": short_keys(cells[1]),
    }
    assert table(page, "accuracy_mnist").title == "mnist: error (%)"
    measured = line(page, "LeNet-Wavelet")
    interval = evidence.mean_interval(WAVELET)
    assert (measured["mean"], measured["sd"]) == (interval.mean, interval.sd)
    assert measured["by_seed"] == dict(enumerate(WAVELET))


def test_missing_seeds_are_named_not_dropped(store: Store) -> None:
    cell = make_cell("wavelet", seeds=(0, 1, 2, 3))
    store.publish(make_record(cell.trials[0], 1.0))
    store.publish(make_record(cell.trials[2], 2.0))
    store.publish_failure(make_failure(cell.trials[1], "diverged", "loss is NaN at update 40"))
    page = suite_page(make_suite([cell], seeds=(0, 1, 2, 3)), store)
    row = shown(page, "accuracy_mnist", "wavelet")
    assert row["n"] == "2/4, 1 diverged, 1 not run"
    assert row["by seed"] == "1.00, diverged, 2.00, not run"
    assert row["mean ± sd"] == "1.50 ± 0.71"
    # A trial that has not run has no record to show; a failure has one.
    assert row["keys"].split() == [cell.trials[i].key[:8] for i in (0, 1, 2)]
    notes = table(page, "accuracy_mnist").notes
    assert notes == ("wavelet: diverged: loss is NaN at update 40",)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({0: 0.72}, "0.72; 4 not run"),
        ({0: 0.72, 1: 0.80, 2: 0.80}, "0.72, 0.80, 0.80; 2 not run"),
        ({3: 0.80, 4: 0.80, 0: 0.72}, "0.72, not run, not run, 0.80, 0.80"),
        ({0: 0.72, 1: 0.73, 2: 0.74, 3: 0.75}, "0.72, 0.73, 0.74, 0.75, not run"),
    ],
)
def test_several_missing_seeds_at_the_end_are_counted(
    store: Store, values: dict[int, float], text: str
) -> None:
    cell = make_cell("wavelet", seeds=range(5))
    for seed, value in values.items():
        store.publish(make_record(cell.trials[seed], value))
    page = suite_page(make_suite([cell], seeds=tuple(range(5))), store)
    assert shown(page, "accuracy_mnist", "wavelet")["by seed"] == text


def test_a_row_without_any_value_says_why(store: Store) -> None:
    unsupported, idle = make_cell("tensor_train"), make_cell("fastfood")
    for trial in unsupported.trials:
        store.publish_failure(make_failure(trial, "unsupported", "7 -> 7: needs factors"))
    page = suite_page(make_suite([unsupported, idle]), store)
    row = shown(page, "accuracy_mnist", "tensor_train")
    assert (row["mean ± sd"], row["n"]) == ("3 unsupported", "0/3")
    assert shown(page, "accuracy_mnist", "fastfood")["mean ± sd"] == "3 not run"
    assert table(page, "accuracy_mnist").notes == (
        "tensor_train: unsupported: 7 -> 7: needs factors",
    )
    assert [t.name for t in page.tables] == ["accuracy_mnist"], "nothing else has a number"


def test_a_failure_that_was_mended_is_not_shown(store: Store) -> None:
    cell = make_cell("wavelet", seeds=(0,))
    store.publish_failure(make_failure(cell.trials[0]))
    store.publish(make_record(cell.trials[0], 1.0))
    page = suite_page(make_suite([cell]), store)
    assert shown(page, "accuracy_mnist", "wavelet")["n"] == "1"
    assert table(page, "accuracy_mnist").notes == ()


def test_bimodal_tasks_show_how_many_seeds_solved_them(store: Store) -> None:
    cell = make_cell("wavelet", task="adding", floor="zero", seeds=tuple(range(5)))
    calm = [99.0, 98.0, 97.0, 40.0, 10.0]
    for trial, settled in zip(cell.trials, calm, strict=True):
        store.publish(make_record(trial, settled - 1, metric=ACCURACY, settled=settled))
    page = suite_page(make_suite([cell]), store)
    row = shown(page, "accuracy_adding", "wavelet")
    assert row["solved"] == "3/5"
    assert row["settled (IQM)"] == f"{evidence.interquartile_mean(calm):.2f}" == "78.33"
    assert row["settled by seed"] == "99.00, 98.00, 97.00, 40.00, 10.00"
    assert row["final mean ± sd"].startswith("67.80 ± ")
    assert line(page, "wavelet")["updates_to_solve"] == {0: 300, 1: 300, 2: 300, 3: None, 4: None}


def test_comparisons_are_those_of_evidence(store: Store, cells: list[Cell]) -> None:
    page = suite_page(make_suite(cells), store)
    x, dense, floor = (dict(enumerate(v)) for v in (WAVELET, DENSE, IDENTITY))
    difference = evidence.paired_difference(x, dense, higher_is_better=False).interval
    ratio = evidence.recovered(x, floor, dense, higher_is_better=False)
    found = line(page, "LeNet-Wavelet")
    assert found["difference"] == difference.mean
    assert found["difference_low"] == difference.low
    assert found["difference_high"] == difference.high
    assert found["recovered"] == ratio.value
    assert (found["recovered_low"], found["recovered_high"]) == (ratio.low, ratio.high)
    row = shown(page, "comparisons", "LeNet-Wavelet")
    assert row["better than dense by"].startswith("-0.17 [-0.24, ")
    assert row["recovered"] == f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
    assert row["by"] == "final error (%)"
    assert list(table(page, "comparisons").shown["row"]) == ["LeNet-Wavelet"], (
        "dense and the floor are not compared with themselves"
    )


@pytest.mark.parametrize(
    ("floor", "reason"),
    [
        ([0.5, 0.5, 0.5], evidence.REMOVAL_IS_NO_WORSE),
        ([0.66, 0.70, 0.62], evidence.GAP_UNRESOLVED),
        ([], "no record of the floor"),
    ],
)
def test_without_a_gap_the_reason_stands_in_words(
    store: Store, floor: list[float], reason: str
) -> None:
    wavelet, dense, identity = (make_cell(name) for name in ("wavelet", "dense", "identity"))
    publish(store, wavelet, WAVELET)
    publish(store, dense, DENSE)
    publish(store, identity, floor)
    page = suite_page(make_suite([wavelet, dense, identity]), store)
    assert shown(page, "comparisons", "wavelet")["recovered"] == reason
    assert line(page, "wavelet")["recovered"] is None


def test_one_seed_has_no_interval(store: Store, cells: list[Cell]) -> None:
    single = [make_cell(name, seeds=(0,)) for name in ("wavelet", "dense", "identity")]
    publish(store, single[0], [0.8])
    row = shown(suite_page(make_suite(single), store), "comparisons", "wavelet")
    assert row["better than dense by"] == "-0.15"
    assert row["recovered"] == "0.40 (one seed: no interval)"


def test_settled_values_are_compared_where_there_are_some(store: Store) -> None:
    x, dense, floor = (
        make_cell(name, task="adding", floor="zero") for name in ("wavelet", "dense", "zero")
    )
    for cell, base in ((x, 80.0), (dense, 90.0), (floor, 20.0)):
        for i, trial in enumerate(cell.trials):
            store.publish(make_record(trial, 50.0, metric=ACCURACY, settled=base + i))
    page = suite_page(make_suite([x, dense, floor]), store)
    row = shown(page, "comparisons", "wavelet")
    assert row["by"] == "settled accuracy (%)"
    assert row["better than dense by"] == "-10.00 [-10.00, -10.00]"
    assert row["recovered"] == "0.86 [0.86, 0.86]"


def test_parameters_are_exact(store: Store, cells: list[Cell]) -> None:
    row = shown(suite_page(make_suite(cells), store), "parameters", "LeNet-Wavelet")
    assert (row["weights"], row["saved"]) == ("1,000", "80.0 %")
    assert (row["slot weights"], row["dense slots"]) == ("100", "4,000")
    assert row["saved in slots"] == "97.5 %"
    assert (row["multiply-adds"], row["dense multiply-adds"]) == ("400", "4,000")


def test_multiply_adds_are_those_of_the_fast_algorithm(store: Store, cells: list[Cell]) -> None:
    caption = table(suite_page(make_suite(cells), store), "parameters").caption
    assert "by the fast algorithm of each structure; what ran may do more" in caption


def test_unknown_multiply_adds_are_not_counted_as_none(store: Store) -> None:
    cell = make_cell("wavelet", seeds=(0,))
    record = make_record(cell.trials[0], 1.0)
    record["facts"]["slots"]["fc1"]["multiply_adds"] = None
    store.publish(record)
    page = suite_page(make_suite([cell]), store)
    assert line(page, "wavelet")["multiply_adds"] is None
    assert "multiply-adds" not in table(page, "parameters").shown.columns


def test_latency_compares_one_machine_only(store: Store, cells: list[Cell]) -> None:
    elsewhere = make_cell("fastfood")
    publish(store, elsewhere, [0.7] * 3, machine="Processor B", step_ms=1.0)
    page = suite_page(make_suite([*cells, elsewhere]), store)
    assert shown(page, "latency", "LeNet-Wavelet")["times dense"] == "0.50"
    assert shown(page, "latency", "fastfood")["times dense"] == "—"
    assert shown(page, "latency", "fastfood")["step (ms)"] == "1.00"
    assert "Processor B (avx2), 1 thread" in shown(page, "latency", "fastfood")["machine"]
    assert "without verdict" in table(page, "latency").caption


def test_latency_of_seeds_on_two_machines_uses_that_of_dense(store: Store) -> None:
    dense, wavelet = make_cell("dense", seeds=(0,)), make_cell("wavelet")
    publish(store, dense, [0.6], step_ms=4.0)
    for trial, machine, step in zip(wavelet.trials, "BBA", (9.0, 9.0, 2.0), strict=True):
        store.publish(make_record(trial, 0.8, machine=f"Processor {machine}", step_ms=step))
    found = line(suite_page(make_suite([dense, wavelet]), store), "wavelet")
    assert (found["step_ms"], found["step_ratio"], found["step_n"]) == (2.0, 0.5, 1)


def test_raw_has_numbers_at_full_precision(store: Store, cells: list[Cell]) -> None:
    raw = table(suite_page(make_suite(cells), store), "accuracy_mnist").raw
    assert isinstance(raw, pd.DataFrame)
    assert (
        raw.set_index("label").loc["LeNet-Wavelet", "mean"] == evidence.mean_interval(WAVELET).mean
    )
