"""Formats keep the values of a table whole; files depend on the records alone."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from records import make_cell, make_failure, make_suite, publish

from slt_bench.errors import UsageError
from slt_bench.reporting.pages import Page, store_page, suite_page
from slt_bench.reporting.rendering import FORMATS, render, write_report
from slt_bench.store import Store

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
    return suite_page(make_suite([dense, wavelet, failed], margins={"error": 0.2}), store)


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
        *(f"tables/made.{format}" for format in FORMATS),
        "tables/made.verdicts.json",
        "figures/made_accuracy_mnist.png",
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    everything = {path for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert everything == set(first), "no temporary file is left"
    (verdict,) = json.loads((tmp_path / "a/tables/made.verdicts.json").read_text())
    assert verdict["verdict"] == "reproduced"
    markdown = (tmp_path / "a/tables/made.md").read_text()
    assert "(../figures/made_accuracy_mnist.png)" in markdown
    assert "data:image/png;base64," in (tmp_path / "a/tables/made.html").read_text()


def test_an_empty_store_renders_in_each_format(store: Store) -> None:
    page = store_page(store)
    for format in FORMATS:
        assert render(page, format)
    assert write_report(page, store.reports, ["md"])
