"""Tables hold the numbers of the records, and say in words what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import (
    ACCURACY,
    FakeSuite,
    make_cell,
    make_failure,
    make_record,
    make_trial,
    publish,
)

from slt_bench import evidence
from slt_bench.errors import UsageError
from slt_bench.reporting.pages import Page, store_page, suite_page
from slt_bench.reporting.summary import FIELDS
from slt_bench.reporting.tables import Table
from slt_bench.store import Store
from slt_bench.suites import Cell

WAVELET, DENSE, IDENTITY = [0.80, 0.81, 0.83], [0.65, 0.66, 0.63], [0.90, 0.85, 0.95]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    """Dense, wavelet, and identity as the floor: three seeds each."""
    published = {
        "error": 0.74,
        "loss": 0.03,
        "parameter_count": 36030,
        "printed_parameters": "36K",
    }
    row = {"label": "LeNet-Wavelet", "published": published, "known": "One run of many."}
    wavelet = make_cell("wavelet", settings={"scales": 6}, row=row)
    dense = make_cell("dense", row={"label": "LeNet-5"})
    identity = make_cell("identity", row={"label": "removed"})
    publish(store, wavelet, WAVELET)
    publish(store, dense, DENSE, step_ms=4.0)
    publish(store, identity, IDENTITY)
    return [dense, wavelet, identity]


def line(page: Page, label: str) -> dict[str, Any]:
    (found,) = page.summary[page.summary["label"] == label].to_dict("records")
    return dict(found)


def table(page: Page, name: str) -> Table:
    (found,) = (table for table in page.tables if table.name == name)
    return found


def shown(page: Page, name: str, label: str) -> dict[str, str]:
    frame = table(page, name).shown
    (found,) = frame[frame["row"] == label].to_dict("records")
    return dict(found)


def short_keys(cell: Cell) -> str:
    return " ".join(trial.key[:8] for trial in cell.trials)


def test_accuracy_and_its_keys(store: Store, cells: list[Cell]) -> None:
    page = suite_page(FakeSuite(cells), store)
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
    page = suite_page(FakeSuite([cell], seeds=(0, 1, 2, 3)), store)
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
    page = suite_page(FakeSuite([cell], seeds=tuple(range(5))), store)
    assert shown(page, "accuracy_mnist", "wavelet")["by seed"] == text


def test_a_row_without_any_value_says_why(store: Store) -> None:
    unsupported, idle = make_cell("tensor_train"), make_cell("fastfood")
    for trial in unsupported.trials:
        store.publish_failure(make_failure(trial, "unsupported", "7 -> 7: needs factors"))
    page = suite_page(FakeSuite([unsupported, idle]), store)
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
    page = suite_page(FakeSuite([cell]), store)
    assert shown(page, "accuracy_mnist", "wavelet")["n"] == "1"
    assert table(page, "accuracy_mnist").notes == ()


def test_bimodal_tasks_show_how_many_seeds_solved_them(store: Store) -> None:
    cell = make_cell("wavelet", task="adding", floor="zero", seeds=tuple(range(5)))
    calm = [99.0, 98.0, 97.0, 40.0, 10.0]
    for trial, settled in zip(cell.trials, calm, strict=True):
        store.publish(make_record(trial, settled - 1, metric=ACCURACY, settled=settled))
    page = suite_page(FakeSuite([cell]), store)
    row = shown(page, "accuracy_adding", "wavelet")
    assert row["solved"] == "3/5"
    assert row["settled (IQM)"] == f"{evidence.interquartile_mean(calm):.2f}" == "78.33"
    assert row["settled by seed"] == "99.00, 98.00, 97.00, 40.00, 10.00"
    assert row["final mean ± sd"].startswith("67.80 ± ")
    assert line(page, "wavelet")["updates_to_solve"] == {0: 300, 1: 300, 2: 300, 3: None, 4: None}


def test_comparisons_are_those_of_evidence(store: Store, cells: list[Cell]) -> None:
    page = suite_page(FakeSuite(cells), store)
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
    page = suite_page(FakeSuite([wavelet, dense, identity]), store)
    assert shown(page, "comparisons", "wavelet")["recovered"] == reason
    assert line(page, "wavelet")["recovered"] is None


def test_one_seed_has_no_interval(store: Store, cells: list[Cell]) -> None:
    single = [make_cell(name, seeds=(0,)) for name in ("wavelet", "dense", "identity")]
    publish(store, single[0], [0.8])
    row = shown(suite_page(FakeSuite(single), store), "comparisons", "wavelet")
    assert row["better than dense by"] == "-0.15"
    assert row["recovered"] == "0.40 (one seed: no interval)"


def test_settled_values_are_compared_where_there_are_some(store: Store) -> None:
    x, dense, floor = (
        make_cell(name, task="adding", floor="zero") for name in ("wavelet", "dense", "zero")
    )
    for cell, base in ((x, 80.0), (dense, 90.0), (floor, 20.0)):
        for i, trial in enumerate(cell.trials):
            store.publish(make_record(trial, 50.0, metric=ACCURACY, settled=base + i))
    page = suite_page(FakeSuite([x, dense, floor]), store)
    row = shown(page, "comparisons", "wavelet")
    assert row["by"] == "settled accuracy (%)"
    assert row["better than dense by"] == "-10.00 [-10.00, -10.00]"
    assert row["recovered"] == "0.86 [0.86, 0.86]"


@pytest.mark.parametrize(
    ("against", "names", "columns"),
    [
        (["published"], {"published"}, set()),
        (["dense"], {"comparisons"}, {"better than dense by"}),
        (["floor"], {"comparisons"}, {"gap dense - floor", "recovered"}),
        (["floor", "dense"], {"comparisons"}, {"better than dense by", "recovered"}),
        ([], set(), set()),
    ],
)
def test_against_chooses_the_comparisons(
    store: Store, cells: list[Cell], against: list[str], names: set[str], columns: set[str]
) -> None:
    page = suite_page(FakeSuite(cells), store, against=against)
    found = {t.name for t in page.tables} & {"published", "comparisons"}
    assert found == names
    if columns:
        assert columns <= {*table(page, "comparisons").shown.columns}
    if against == ["dense"]:
        assert "recovered" not in table(page, "comparisons").shown.columns


def test_an_unknown_comparison_is_refused(store: Store, cells: list[Cell]) -> None:
    with pytest.raises(UsageError, match="no comparison 'flor'; did you mean 'floor'"):
        suite_page(FakeSuite(cells), store, against=["flor"])


def test_parameters_are_exact(store: Store, cells: list[Cell]) -> None:
    row = shown(suite_page(FakeSuite(cells), store), "parameters", "LeNet-Wavelet")
    assert (row["weights"], row["saved"]) == ("1,000", "80.0 %")
    assert (row["slot weights"], row["dense slots"]) == ("100", "4,000")
    assert row["saved in slots"] == "97.5 %"
    assert (row["multiply-adds"], row["dense multiply-adds"]) == ("400", "4,000")


def test_multiply_adds_are_those_of_the_fast_algorithm(store: Store, cells: list[Cell]) -> None:
    caption = table(suite_page(FakeSuite(cells), store), "parameters").caption
    assert "by the fast algorithm of each structure; what ran may do more" in caption


def test_unknown_multiply_adds_are_not_counted_as_none(store: Store) -> None:
    cell = make_cell("wavelet", seeds=(0,))
    record = make_record(cell.trials[0], 1.0)
    record["facts"]["slots"]["fc1"]["multiply_adds"] = None
    store.publish(record)
    page = suite_page(FakeSuite([cell]), store)
    assert line(page, "wavelet")["multiply_adds"] is None
    assert "multiply-adds" not in table(page, "parameters").shown.columns


def test_latency_compares_one_machine_only(store: Store, cells: list[Cell]) -> None:
    elsewhere = make_cell("fastfood")
    publish(store, elsewhere, [0.7] * 3, machine="Processor B", step_ms=1.0)
    page = suite_page(FakeSuite([*cells, elsewhere]), store)
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
    found = line(suite_page(FakeSuite([dense, wavelet]), store), "wavelet")
    assert (found["step_ms"], found["step_ratio"], found["step_n"]) == (2.0, 0.5, 1)


# Against the published numbers ---------------------------------------------------------------


def test_verdicts_are_those_of_evidence(store: Store, cells: list[Cell]) -> None:
    page = suite_page(FakeSuite(cells, margins={"error": 0.2}), store)
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
            "suite": "fake",
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
        FakeSuite([cell], **{"margins": {"error": 0.2, "accuracy": 2.0}, **suite}), store
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
    page = suite_page(FakeSuite([cell]), store)
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
    page = suite_page(FakeSuite([cell]), store)
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


# Several tasks, captions, the whole store -----------------------------------------------------


def several_tasks(store: Store) -> FakeSuite:
    cells = []
    for task, floor, metric in (("mnist", "identity", None), ("adding", "zero", ACCURACY)):
        more: dict[str, Any] = {"metric": metric, "settled": 97.0} if metric else {}
        for name in ("dense", "wavelet", floor):
            cell = make_cell(name, task=task, floor=floor)
            publish(store, cell, [97.0, 98.0] if metric else WAVELET, **more)
            cells.append(cell)
    return FakeSuite(cells, name="everything")


def test_several_tasks_get_a_front_table(store: Store) -> None:
    page = suite_page(several_tasks(store), store)
    assert [t.name for t in page.tables[:2]] == ["matrix", "weights"]
    assert list(table(page, "matrix").shown.columns) == [
        "row",
        "mnist: error (%)",
        "adding: accuracy (%)",
    ]
    assert list(table(page, "matrix").shown["row"]) == ["dense", "wavelet", "removed (floor)"]
    row = shown(page, "matrix", "wavelet")
    assert row["mnist: error (%)"] == "0.81 ± 0.02"
    assert row["adding: accuracy (%)"] == "97.00 (2/2 solved), n 2/3"
    assert shown(page, "weights", "wavelet")["mnist"] == "1,000 (-80.0 %)"
    assert any(note.startswith("Keys of wavelet: mnist ") for note in table(page, "matrix").notes)
    assert [t.name for t in page.tables if t.name.startswith("accuracy")] == [
        "accuracy_mnist",
        "accuracy_adding",
    ]


def test_a_layer_larger_than_dense_has_a_change_with_one_sign(store: Store) -> None:
    suite = several_tasks(store)
    larger = make_cell("fastfood")
    publish(store, larger, WAVELET, parameter_count=24_290)
    page = suite_page(FakeSuite([*suite.made, larger]), store)
    assert shown(page, "weights", "fastfood")["mnist"] == "24,290 (+385.8 %)"
    assert shown(page, "weights", "dense")["mnist"] == "5,000"


def test_a_row_of_several_baselines_is_named_by_each(store: Store) -> None:
    row = {"id": "all", "label": "all baselines"}
    cells = [make_cell(name, row=row) for name in ("fastfood", "wavelet")]
    page = suite_page(FakeSuite(cells), store)
    assert list(page.summary["label"]) == ["fastfood", "wavelet"]
    assert list(page.summary["id"]) == ["all/fastfood", "all/wavelet"]


def test_captions_and_provenance(store: Store, cells: list[Cell]) -> None:
    suite = FakeSuite(cells, missing=["baseline 'butterfly'"])
    stale = {cells[1].trials[0].key}
    page = suite_page(suite, store, stale=stale)
    caption = table(page, "accuracy_mnist").caption
    assert caption.startswith("Suite fake, task mnist, data set mnist, budget paper, seeds 0 to 2.")
    text = "\n".join(page.provenance)
    assert "Processor A (avx2), 1 thread" in text
    assert "slt_bench 0.1.0, commit 0123456789ab, torch 2.13.0" in text
    assert "slt-bench run fake --budget paper --seeds 3" in text
    assert f"1 of 9 records, {cells[1].trials[0].key[:8]}" in text
    assert any("butterfly" in line for line in page.text)
    keys = shown(page, "accuracy_mnist", "LeNet-Wavelet")["keys"].split()
    assert keys[0].endswith("*")
    assert not keys[1].endswith("*")


@pytest.mark.parametrize(("seeds", "argument"), [((0, 1), "2"), ((0, 3), "0,3"), ((4,), "4,")])
def test_the_command_names_the_seeds(store: Store, seeds: tuple[int, ...], argument: str) -> None:
    cell = make_cell("wavelet", seeds=seeds)
    page = suite_page(FakeSuite([cell]), store, budget="quick", seeds=seeds)
    assert page.provenance[-1].endswith(f"run fake --budget quick --seeds {argument}")


def test_the_whole_store_by_task(store: Store) -> None:
    for seed in (0, 1):
        store.publish(make_record(make_trial("dense", seed), 0.6 + seed / 10))
        wavelet = make_trial("wavelet", seed, settings={"scales": 6})
        store.publish(make_record(wavelet, 0.8 + seed / 10))
    store.publish_failure(make_failure(make_trial("wavelet", 2, settings={"scales": 6})))
    other = make_trial("wavelet", 0, settings={"scales": 4})
    store.publish(make_record(other, 0.9))
    store.publish(make_record(make_trial("wavelet", 0, "adding"), 50.0, metric=ACCURACY))
    page = store_page(store)
    frame = page.summary[page.summary["task"] == "mnist"]
    assert list(
        zip(frame["label"], frame["settings"], frame["n"], frame["asked"], strict=True)
    ) == [
        ("dense", "", 2, 2),
        ("wavelet", "scales=4", 1, 1),
        ("wavelet", "scales=6", 2, 3),
    ]
    compared = table(page, "comparisons").raw
    assert list(compared["difference"]) == pytest.approx([-0.3, -0.2])
    assert "recovered" not in table(page, "comparisons").shown.columns
    assert page.verdicts == ()
    assert "Processor A" in page.provenance[0]
    assert "tale" not in " ".join(page.provenance), "nobody has looked whether they are stale"


def test_an_empty_store_says_so(store: Store) -> None:
    page = store_page(store)
    assert page.tables == ()
    assert "no records yet" in page.text[0]


def test_the_summary_has_every_field_and_no_other(store: Store, cells: list[Cell]) -> None:
    frame = suite_page(FakeSuite(cells, margins={"error": 0.2}), store).summary
    assert tuple(frame.columns) == FIELDS
    row = frame[frame["label"] == "LeNet-Wavelet"]
    unset = {"settled_iqm", "solved", "strategy", "recovered_reason"}
    assert {*row.columns[row.isna().any()]} == unset


def test_raw_has_numbers_at_full_precision(store: Store, cells: list[Cell]) -> None:
    raw = table(suite_page(FakeSuite(cells), store), "accuracy_mnist").raw
    assert isinstance(raw, pd.DataFrame)
    assert (
        raw.set_index("label").loc["LeNet-Wavelet", "mean"] == evidence.mean_interval(WAVELET).mean
    )
