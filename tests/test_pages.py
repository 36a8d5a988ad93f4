"""Pages: which tables they have, their captions, where their numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_cases import WAVELET, lenet_cells, shown, table
from records import (
    ACCURACY,
    make_cell,
    make_failure,
    make_record,
    make_suite,
    make_trial,
    publish,
)

from slt_bench.errors import UsageError
from slt_bench.reporting.pages import store_page, suite_page
from slt_bench.reporting.summary import FIELDS
from slt_bench.store import Store
from slt_bench.suites import Cell, Suite


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    return lenet_cells(store)


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
    page = suite_page(make_suite(cells), store, against=against)
    found = {t.name for t in page.tables} & {"published", "comparisons"}
    assert found == names
    if columns:
        assert columns <= {*table(page, "comparisons").shown.columns}
    if against == ["dense"]:
        assert "recovered" not in table(page, "comparisons").shown.columns


def test_an_unknown_comparison_is_refused(store: Store, cells: list[Cell]) -> None:
    with pytest.raises(UsageError, match="no comparison 'flor'; did you mean 'floor'"):
        suite_page(make_suite(cells), store, against=["flor"])


def several_tasks(store: Store) -> Suite:
    cells = []
    for task, floor, metric in (("mnist", "identity", None), ("adding", "zero", ACCURACY)):
        more: dict[str, Any] = {"metric": metric, "settled": 97.0} if metric else {}
        for name in ("dense", "wavelet", floor):
            cell = make_cell(name, task=task, floor=floor)
            publish(store, cell, [97.0, 98.0] if metric else WAVELET, **more)
            cells.append(cell)
    return make_suite(cells, name="everything")


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
    page = suite_page(make_suite([*suite.cells(), larger]), store)
    assert shown(page, "weights", "fastfood")["mnist"] == "24,290 (+385.8 %)"
    assert shown(page, "weights", "dense")["mnist"] == "5,000"


def test_a_row_of_several_baselines_is_named_by_each(store: Store) -> None:
    row = {"id": "all", "label": "all baselines"}
    cells = [make_cell(name, row=row) for name in ("fastfood", "wavelet")]
    page = suite_page(make_suite(cells), store)
    assert list(page.summary["label"]) == ["fastfood", "wavelet"]
    assert list(page.summary["id"]) == ["all/fastfood", "all/wavelet"]


def test_captions_and_provenance(store: Store, cells: list[Cell]) -> None:
    suite = make_suite(cells, missing=["baseline 'butterfly'"])
    stale = {cells[1].trials[0].key}
    page = suite_page(suite, store, stale=stale)
    caption = table(page, "accuracy_mnist").caption
    assert caption.startswith("Suite made, task mnist, data set mnist, budget paper, seeds 0 to 2.")
    text = "\n".join(page.provenance)
    assert "Processor A (avx2), 1 thread" in text
    assert "slt_bench 0.1.0, commit 0123456789ab, torch 2.13.0" in text
    assert "slt-bench run made --budget paper --seeds 3" in text
    assert f"1 of 9 records, {cells[1].trials[0].key[:8]}" in text
    assert any("butterfly" in line for line in page.text)
    keys = shown(page, "accuracy_mnist", "LeNet-Wavelet")["keys"].split()
    assert keys[0].endswith("*")
    assert not keys[1].endswith("*")


@pytest.mark.parametrize(("seeds", "argument"), [((0, 1), "2"), ((0, 3), "0,3"), ((4,), "4,")])
def test_the_command_names_the_seeds(store: Store, seeds: tuple[int, ...], argument: str) -> None:
    cell = make_cell("wavelet", seeds=seeds)
    page = suite_page(make_suite([cell]), store, budget="quick", seeds=seeds)
    assert page.provenance[-1].endswith(f"run made --budget quick --seeds {argument}")


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
    frame = suite_page(make_suite(cells, margins={"error": 0.2}), store).summary
    assert tuple(frame.columns) == FIELDS
    row = frame[frame["label"] == "LeNet-Wavelet"]
    unset = {"settled_iqm", "solved", "strategy", "recovered_reason"}
    assert {*row.columns[row.isna().any()]} == unset
