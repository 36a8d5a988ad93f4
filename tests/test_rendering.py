"""Formats keep the values of a table whole; files and figures depend on the records alone."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from records import (
    ACCURACY,
    FakeSuite,
    make_cell,
    make_failure,
    make_record,
    publish,
)

from slt_bench.errors import UsageError
from slt_bench.reporting import figures
from slt_bench.reporting.pages import Page, store_page, suite_page
from slt_bench.reporting.rendering import FORMATS, render, write_report
from slt_bench.store import Store
from slt_bench.suites import Cell

AWKWARD = r"a|b & 5 % of <x> _y_ [z] #1 $2 ^ ~ {} \n é → ±"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "reports")


@pytest.fixture
def page(store: Store) -> Page:
    """Two rows with values, one that failed, and text that every format has to escape."""
    row = {"label": AWKWARD, "published": {"error": 0.74}, "known": f"known: {AWKWARD}"}
    wavelet, dense, failed = (
        make_cell("wavelet", row=row),
        make_cell("dense"),
        make_cell("fastfood"),
    )
    publish(store, wavelet, [0.80, 0.81, 0.83])
    publish(store, dense, [0.65, 0.66, 0.63])
    for trial in failed.trials:
        store.publish_failure(make_failure(trial, "error", AWKWARD))
    return suite_page(FakeSuite([dense, wavelet, failed], margins={"error": 0.2}), store)


class Rows(HTMLParser):
    """The cells of every table of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_markdown_has_the_rows_of_each_table(page: Page) -> None:
    for table in page.tables:
        lines = [x for x in render(table, "md").splitlines() if x.startswith("|")]
        cells = [[c.strip() for c in re.split(r"(?<!\\)\|", x)[1:-1]] for x in lines]
        assert cells[0] == list(table.shown.columns)
        plain = [[c.replace("\\|", "|").replace("\\<", "<") for c in row] for row in cells[2:]]
        assert plain == table.shown.to_numpy().tolist()


def test_html_has_the_rows_of_each_table(page: Page) -> None:
    text = render(page, "html")
    expected = []
    for table in page.tables:
        expected += [list(table.shown.columns), *table.shown.to_numpy().tolist()]
    assert Rows(text).rows == expected
    assert "<x>" not in text
    assert "http" not in text, "a page that stands alone loads nothing"


def test_csv_has_the_numbers_at_full_precision(page: Page) -> None:
    rows = list(csv.DictReader(io.StringIO(render(page, "csv"))))
    row = next(r for r in rows if r["label"] == AWKWARD)
    values = page.summary.set_index("label").loc[AWKWARD]
    assert float(row["mean"]) == values["mean"]
    assert int(row["parameter_count"]) == 1000
    assert json.loads(row["keys"]) == values["keys"]
    assert json.loads(row["by_seed"]) == {"0": 0.80, "1": 0.81, "2": 0.83}
    assert row["settled_iqm"] == ""


def test_latex_has_the_rows_and_the_keys_of_each_table(page: Page) -> None:
    for table in page.tables:
        text = render(table, "tex")
        assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
        body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
        assert body.count("&") - body.count(r"\&") == len(table.frame) * (len(table.columns) - 2)
        for key in table.shown["keys"]:
            assert key in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles(page: Page, store: Store, tmp_path: Path) -> None:
    (tmp_path / "page.tex").write_text(render(page, "tex", document=True), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "page.log").read_text(errors="replace")
    assert (tmp_path / "page.pdf").stat().st_size > 1000


def test_an_unknown_format_writes_nothing(page: Page, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format 'pdf'"):
        render(page, "pdf")
    with pytest.raises(UsageError, match="no format 'pdf'"):
        write_report(page, tmp_path / "out", ["md", "pdf"])
    assert not (tmp_path / "out").exists()


def test_report_files_are_the_same_each_time(page: Page, tmp_path: Path) -> None:
    first, second = (write_report(page, tmp_path / name) for name in ("a", "b"))
    names = [path.relative_to(tmp_path / "a").as_posix() for path in first]
    assert names == [
        *(f"tables/fake.{format}" for format in FORMATS),
        "tables/fake.verdicts.json",
        "figures/fake_accuracy_mnist.png",
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    everything = {path for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert everything == set(first), "no temporary file is left"
    (verdict,) = json.loads((tmp_path / "a/tables/fake.verdicts.json").read_text())
    assert verdict["verdict"] == "reproduced"
    markdown = (tmp_path / "a/tables/fake.md").read_text()
    assert "(../figures/fake_accuracy_mnist.png)" in markdown
    assert "data:image/png;base64," in (tmp_path / "a/tables/fake.html").read_text()


def test_an_empty_store_renders_in_each_format(store: Store) -> None:
    page = store_page(store)
    for format in FORMATS:
        assert render(page, format)
    assert write_report(page, store.reports, ["md"])


# Figures: their data are those of the records ------------------------------------------------


def drawn(page: Page) -> dict[str, Figure]:
    return dict(figures._figures(page))


def points(figure: Figure, label: str) -> list[tuple[float, float]]:
    """The data of the line that the legend calls ``label``."""
    lines = [x for axes in figure.axes for x in axes.get_lines() if x.get_label() == label]
    return [pair for x in lines for pair in zip(x.get_xdata(), x.get_ydata(), strict=True)]


def all_points(figure: Figure, axes: int = 0) -> set[tuple[float, float]]:
    return {
        (float(x), float(y))
        for line in figure.axes[axes].get_lines()
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_accuracy_against_parameters(page: Page) -> None:
    figure = drawn(page)["accuracy_mnist"]
    assert points(figure, AWKWARD) == [(1000, pytest.approx((0.80 + 0.81 + 0.83) / 3))]
    assert points(figure, "dense") == [(5000, pytest.approx((0.65 + 0.66 + 0.63) / 3))]
    assert {(1000, 0.80), (1000, 0.81), (1000, 0.83)} <= all_points(figure), "each seed is shown"
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "test error (%)"
    assert axes.get_xlabel() == "trainable weights of the model, log scale"
    assert axes.get_title(loc="left") == "mnist, data set mnist, budget paper, 3 seeds"


def size_cells(store: Store) -> list[Cell]:
    cells = []
    for name, slots in (("dense", ()), ("wavelet", ("reset",))):
        for size in (12, 28, 44):
            row = {"id": f"{name}-{size}", "label": f"{name} {size}"}
            row |= {"published": {"accuracy": size / 2, "other_runs": [size / 4]}}
            cell = make_cell(
                name, task="copy", floor="zero", slots=slots, options={"hidden_size": size}, row=row
            )
            for trial in cell.trials:
                count = size * 100 + (name == "dense")
                more: dict[str, Any] = {"parameter_count": count, "dense_parameter_count": count}
                store.publish(
                    make_record(trial, size + trial.seed, metric=ACCURACY, settled=1.0, **more)
                )
            cells.append(cell)
    return cells


def test_sizes_are_drawn_as_curves(store: Store) -> None:
    page = suite_page(FakeSuite(size_cells(store)), store)
    assert list(drawn(page)) == ["sizes_copy"]
    figure = drawn(page)["sizes_copy"]
    assert "data set generated" in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_xlabel().endswith("log scale")
    by_weights, by_size = all_points(figure, 0), all_points(figure, 1)
    for size in (12, 28, 44):
        mean = size + 1.0
        assert {(100.0 * size, mean), (100.0 * size + 1, mean)} <= by_weights
        assert {(size, mean), (size, size + 2.0)} <= by_size, "the mean, and a seed"
        assert {(size, size / 2), (size, size / 4)} <= by_size, "published, and another run"


def wavelet_suite(store: Store, curve: list[float]) -> FakeSuite:
    filters = {name: [0.0, 0.5, -0.5, 0.0] for name in ("dec_lo", "dec_hi", "rec_lo", "rec_hi")}
    cell = make_cell("wavelet", seeds=(0, 1), row={"published": {"curve": [9.0, 8.0]}})
    for trial in cell.trials:
        summary = [
            {
                "update": 50 * epoch,
                "layers": {
                    "fc1": {
                        "filters": filters,
                        "perfect_reconstruction": value * (1 + trial.seed),
                        "alias_cancellation": value,
                    }
                },
            }
            for epoch, value in enumerate(curve)
        ]
        store.publish(make_record(trial, 0.8, summary=summary))
    return FakeSuite([cell], seeds=(0, 1))


def test_penalty_over_epochs(store: Store) -> None:
    """700 updates are 14 epochs, so 50 updates are one."""
    figure = drawn(suite_page(wavelet_suite(store, [4.0, 2.0, 1.0]), store))["penalty"]
    assert points(figure, "wavelet: each seed") == [(0, 8.0), (1, 4.0), (2, 2.0)]
    assert {(0, 12.0), (1, 6.0), (2, 3.0)} <= all_points(figure), "the other seed"
    assert points(figure, "wavelet: published") == [(0, 9.0), (1, 8.0)]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_xlabel() == "epoch"
    assert figure.axes[0].get_ylabel().endswith("log scale")
    assert "data set mnist" in figure.axes[0].get_title(loc="left")


def test_a_penalty_of_zero_is_left_out_of_the_log_axis(store: Store) -> None:
    figure = drawn(suite_page(wavelet_suite(store, [0.0, 2.0]), store))["penalty"]
    assert points(figure, "wavelet: each seed") == [(1, 4.0)]


def test_filters_of_the_lowest_seed(store: Store) -> None:
    figure = drawn(suite_page(wavelet_suite(store, [4.0, 2.0]), store))["filters"]
    assert [axes.get_title() for axes in figure.axes] == ["dec lo", "dec hi", "rec lo", "rec hi"]
    assert {(1.0, 0.5), (2.0, -0.5)} <= all_points(figure)
    assert figure._suptitle.get_text() == "mnist, data set mnist, budget paper"
    title = figure.subfigs[0]._suptitle.get_text()
    assert title.startswith("wavelet, fc1, seed 0: perfect reconstruction 2.0e+00")


def test_a_suite_without_records_draws_nothing(store: Store, tmp_path: Path) -> None:
    page = suite_page(FakeSuite([make_cell("wavelet")]), store)
    assert figures.draw_figures(page, tmp_path / "figures") == []
