"""Figures: their data are those of the records, and published numbers stand where they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from page_cases import lenet_cells
from records import ACCURACY, make_cell, make_record, make_suite

from slt_bench.reporting.figures import draw_figures, figures_of
from slt_bench.reporting.figures.style import PUBLISHED
from slt_bench.reporting.pages import Page, suite_page
from slt_bench.store import Store
from slt_bench.suites import Cell, Suite


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "reports")


def drawn(page: Page) -> dict[str, Figure]:
    return dict(figures_of(page))


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


def test_accuracy_against_parameters(store: Store) -> None:
    dense, wavelet, _ = lenet_cells(store)
    figure = drawn(suite_page(make_suite([dense, wavelet]), store))["accuracy_mnist"]
    assert points(figure, "LeNet-Wavelet") == [(1000, pytest.approx((0.80 + 0.81 + 0.83) / 3))]
    assert points(figure, "dense") == [(5000, pytest.approx((0.65 + 0.66 + 0.63) / 3))]
    assert {(1000, 0.80), (1000, 0.81), (1000, 0.83)} <= all_points(figure), "each seed is shown"
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "test error (%)"
    assert axes.get_xlabel() == "trainable weights of the model, log scale"
    assert axes.get_title(loc="left") == "mnist, data set mnist, budget paper, 3 seeds"


def sizes_figure(store: Store, *, row: dict[str, Any] | None = None, **trial: Any) -> Figure:
    """Two structures at three sizes; ``row`` and ``trial`` have more fields of these."""
    cells: list[Cell] = []
    for name, slots in (("dense", ()), ("wavelet", ("reset",))):
        for size in (12, 28, 44):
            fields = {"id": f"{name}-{size}", "label": f"{name} {size}"} | (row or {})
            fields |= {"published": {"accuracy": size / 2, "other_runs": [size / 4]}}
            trial |= {"slots": slots, "options": {"hidden_size": size}}
            cell = make_cell(name, task="copy", floor="zero", row=fields, **trial)
            count = size * 100 + (name == "dense")
            more: dict[str, Any] = {"parameter_count": count, "dense_parameter_count": count}
            for one in cell.trials:
                value = size + one.seed
                store.publish(make_record(one, value, metric=ACCURACY, settled=1.0, **more))
            cells.append(cell)
    ((name, figure),) = drawn(suite_page(make_suite(cells), store)).items()
    assert name == "sizes_copy"
    return figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def hollow(figure: Figure) -> dict[str, set[tuple[float, float]]]:
    """The points of hollow markers against the hidden size, by colour."""
    found: dict[str, set[tuple[float, float]]] = {}
    for line in figure.axes[1].get_lines():
        if line.get_markerfacecolor() == "none":
            pairs = zip(line.get_xdata(), line.get_ydata(), strict=True)
            found.setdefault(to_hex(line.get_color()).upper(), set()).update(pairs)
    return found


PRINTED = {(size, size / part) for size in (12, 28, 44) for part in (2, 4)}


def test_sizes_are_drawn_as_curves(store: Store) -> None:
    figure = sizes_figure(store)
    assert "data set generated" in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_xlabel().endswith("log scale")
    by_weights, by_size = all_points(figure, 0), all_points(figure, 1)
    for size in (12, 28, 44):
        mean = size + 1.0
        assert {(100.0 * size, mean), (100.0 * size + 1, mean)} <= by_weights
        assert {(size, mean), (size, size + 2.0)} <= by_size, "the mean, and a seed"
    assert list(hollow(figure).values()) == [PRINTED, PRINTED], "published, and other runs"
    assert legend(figure)[1] == "dense: published (faint: other runs)"


def test_published_numbers_of_a_longer_training_are_grey(store: Store) -> None:
    figure = sizes_figure(store, budget="third")
    assert hollow(figure) == {PUBLISHED: PRINTED}
    assert legend(figure)[1] == "dense: published, trained longer (faint: other runs)"
    assert "left out" not in figure.axes[0].get_title(loc="left")


def test_published_numbers_of_another_experiment_are_left_out(store: Store) -> None:
    figure = sizes_figure(store, row={"not_comparable": "another length"})
    assert hollow(figure) == {}
    assert not any("published" in text for text in legend(figure))
    assert "published numbers left out" in figure.axes[0].get_title(loc="left")


def wavelet_suite(store: Store, curve: list[float], **row: Any) -> Suite:
    filters = {name: [0.0, 0.5, -0.5, 0.0] for name in ("dec_lo", "dec_hi", "rec_lo", "rec_hi")}
    cell = make_cell("wavelet", seeds=(0, 1), row={"published": {"curve": [9.0, 8.0]}, **row})
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
    return make_suite([cell], seeds=(0, 1))


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


def test_a_published_curve_of_another_experiment_is_left_out(store: Store) -> None:
    suite = wavelet_suite(store, [4.0, 2.0], not_comparable="another data set")
    figure = drawn(suite_page(suite, store))["penalty"]
    assert legend(figure) == ["wavelet: each seed"]
    assert "published numbers left out" in figure.axes[0].get_title(loc="left")


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
    page = suite_page(make_suite([make_cell("wavelet")]), store)
    assert draw_figures(page, tmp_path / "figures") == []
