"""Figures of the latency page: what they show, and that no label lies on another."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
import records as training
import timing_records as timing
from matplotlib.backends.backend_agg import FigureCanvasAgg

from slt_bench.reporting.figures.style import STYLE
from slt_bench.reporting.joined import join
from slt_bench.reporting.latency import latency_page, record_lines
from slt_bench.reporting.latency_figures import _spread_out, series
from slt_bench.reporting.outcomes import store_outcomes
from slt_bench.reporting.rendering import write_report
from slt_bench.reporting.trained import trained
from slt_bench.store import Store

SIZES = (256, 1024, 4096)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def publish(store, baseline, seconds, *, dense=1e-3, weights=None, match=None, **more):
    """A record whose ten rounds lie within 2 % of ``seconds``, and dense's too."""
    cell = timing.make_cell(baseline, more.pop("n", 256), **more)
    spread = [1 + 0.01 * (i % 5 - 2) for i in range(10)]
    paired = [] if cell.is_dense else [dense * part for part in spread]
    record = timing.make_record(cell, [seconds * part for part in spread], paired, match=match)
    record["parameter_count"] = weights or record["parameter_count"]
    store.publish(record)


def time_laws(store, **more):
    """Dense (n^2); quick (n), which crosses it at 1,000; slow, never below it."""
    for n in SIZES:
        dense = 1e-9 * n**2
        publish(store, "dense", dense, n=n, **more)
        publish(store, "dense", dense, dense=dense, n=n, copy=True, **more)
        publish(store, "quick", 1e-6 * n, dense=dense, n=n, **more)
        publish(store, "slow", 3 * dense, dense=dense, n=n, **more)


def train(store, baseline, values, *, control=False, size=256, kept=0.1, **more):
    for seed, value in enumerate(values):
        record = training.make_record(training.make_trial(baseline, seed, **more), value)
        slot = {"in_features": size, "out_features": size}
        filled = dict.fromkeys(record["trial"]["slots"], slot)
        record["facts"] |= {"floor": "removed", "control": control, "slots": filled,
                            "slot_parameter_count": kept * 1e6,
                            "dense_slot_parameter_count": 1e6}  # fmt: skip
        store.publish(record)


def drawn(store, name="latency_cpu"):
    with mpl.rc_context(STYLE):
        figures = dict(latency_page(store, name).figures())
        for figure in figures.values():
            FigureCanvasAgg(figure).draw()
    return figures


def labels(figure):
    """(text, place) of every text that is drawn: ticks outside the limits are not."""
    hidden = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
    return [(t.get_text(), mpl.text.Text.get_window_extent(t)) for t in texts if t not in hidden]


def overlapping(figure):
    """Pairs of labels that touch: ticks, titles, axis labels, annotations, legends."""
    return [(a, b) for (a, one), (b, other) in combinations(labels(figure), 2)
            if one.overlaps(other)]  # fmt: skip


def outside(figure):
    """Labels that the picture cuts off."""
    page = figure.bbox
    return [
        text
        for text, box in labels(figure)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1
    ]


# Time against n ------------------------------------------------------------------------------


def test_a_panel_a_mode_with_the_crossover_marked(store):
    time_laws(store)
    time_laws(store, mode="training")
    figures = drawn(store)
    assert list(figures) == ["times_chip_float32_1_thread_batch_8"]
    (figure,) = figures.values()
    assert [a.get_title(loc="left") for a in figure.axes] == [
        "forward, eager call", "training, eager call",
    ]  # fmt: skip
    for axes in figure.axes:
        below = axes.get_xlabel().splitlines()[1:]
        assert below == [
            "quick: below dense from n = 1,000 (ring)",
            "slow: not below dense at n = 4,096",
        ]
        (ring,) = [line for line in axes.lines if line.get_markersize() == 13]
        assert float(ring.get_xdata()[0]) == pytest.approx(1000, rel=1e-6)
        height = float(ring.get_ydata()[0])
        assert height == pytest.approx(1.0, rel=1e-6)  # 1e-9 n^2 seconds, in ms
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["dense", "quick", "slow"]
    assert not overlapping(figure)
    assert not outside(figure)


def test_the_bars_are_the_range_over_rounds(store):
    time_laws(store)
    (figure,) = drawn(store).values()
    bars = figure.axes[0].containers[0]  # dense
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.98 * 0.065536, 1.02 * 0.065536))


def test_sizes_solved_for_one_budget_are_one_curve(store):
    for n, rank in zip(SIZES, (12, 51, 204), strict=True):
        publish(store, "low", 1e-6 * n, n=n, settings={"rank": rank}, match="0.1")
        publish(store, "low", 2e-6 * n, n=n)
        publish(store, "plain", 3e-6 * n, n=n, match="0.1")
    lines = [line for record in store.records("time") for line in record_lines(record)]
    found = {label: [line["n_in"] for line in points] for (_, label), points in
             series(lines).items()}  # fmt: skip
    assert found == {"low": [*SIZES], "low at 0.1": [*SIZES], "plain": [*SIZES]}


def test_machines_and_batches_have_figures_of_their_own(store):
    time_laws(store)
    time_laws(store, threads=2)
    time_laws(store, batch=1)
    assert len(drawn(store)) == 3


def test_one_size_makes_no_figure(store):
    publish(store, "dense", 1e-3)
    publish(store, "quick", 1e-4)
    assert drawn(store) == {}
    assert drawn(Store(store.reports / "empty")) == {}


# Accuracy against latency --------------------------------------------------------------------


def test_training_is_joined_with_the_time_at_its_slots_shape(store):
    for n in (256, 300):
        publish(store, "dense", 4e-3, n=n)
        publish(store, "quick", 1e-6 * n, n=n)
    train(store, "quick", [1.0, 1.1, 1.2], size=300)
    train(store, "dense", [0.7, 0.8, 0.9])
    train(store, "removed", [3.0], control=True, slots=("fc1",), size=300)
    figure = drawn(store)["accuracy"]
    (axes,) = figure.axes
    assert "at 300 x 300, its slot's shape (ms)" in axes.get_xlabel()
    assert "forward, eager call, float32, 1 thread, batch 8, Chip" in axes.get_xlabel()
    assert axes.get_title(loc="left") == "mnist, fc1, data set mnist, budget paper, 3 seeds"
    x, y = axes.containers[0].lines[0].get_data()
    assert (float(x[0]), float(y[0])) == (pytest.approx(0.3), pytest.approx(1.1))
    names = {text.get_text() for text in axes.texts}
    assert names == {"quick", "dense", "removed (removed)"}
    assert figure.legends == []
    assert not overlapping(figure)
    assert not outside(figure)


def test_without_that_shape_the_nearest_timed_square_stands_in_and_is_named(store):
    for n in SIZES:
        publish(store, "quick", 1e-6 * n, n=n)
        publish(store, "quick", 1.0, shape=(800, 100))
    train(store, "quick", [1.0], size=800)
    axes = drawn(store)["accuracy"].axes[0]
    label = axes.get_xlabel()
    assert "at 1,024 x 1,024, the timed square nearest to the slot's 800 x 800 (ms)" in label


def lines_of(store):
    return [line for record in store.records("time") for line in record_lines(record)]


def test_the_same_settings_are_joined_else_the_nearest_share_of_weights(store):
    for rank in (1, 8, 64):
        publish(store, "low", 1e-4 * rank, settings={"rank": rank}, weights=512 * rank)
    train(store, "low", [1.0], settings={"rank": 8, "gain": None}, kept=0.0625)
    train(store, "low", [2.0], settings={"rank": 50}, kept=0.39)
    panel = join(trained(store_outcomes(store)), lines_of(store))
    found = {one.row.outcome.settings["rank"]: one for one in panel.rows}
    assert (found[8].line["trial"]["settings"], found[8].exact) == ({"rank": 8}, True)
    assert (found[50].line["trial"]["settings"], found[50].exact) == ({"rank": 64}, False)
    figure = drawn(store)["accuracy"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "hollow: timed with other settings than it was trained with"
    ]
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {"low rank=8 gain=None", "low rank=50 gain=default"}


def test_a_panel_a_task_by_the_protocol_with_most_structures(store):
    for name in ("a", "b", "dense"):
        publish(store, name, 1e-3)
    train(store, "a", [1.0], budget="paper")
    train(store, "a", [2.0, 2.5], budget="quick")
    train(store, "b", [3.0, 3.5], budget="quick")
    train(store, "c", [3.0, 3.5], budget="quick")  # never timed
    train(store, "a", [4.0], task="adding", options={"hidden_size": 64})
    axes = drawn(store)["accuracy"].axes
    titles = [one.get_title(loc="left").replace("\n", " ") for one in axes]
    assert titles == [
        "adding, state, data set generated, budget paper, hidden_size=64, 1 seed",
        "mnist, fc1, data set mnist, budget quick, 2 seeds",
    ]


def test_nothing_to_join_makes_no_figure(store):
    publish(store, "quick", 1e-3, mode="sequence", steps=3)
    train(store, "quick", [1.0])
    assert drawn(store) == {}  # the time of a network is not that of its layer
    publish(store, "other", 1e-3)
    assert drawn(store) == {}


def test_many_points_close_together_keep_their_labels_apart(store):
    rng = np.random.default_rng(0)
    for number in range(14):
        name = f"structure_{number}"
        publish(store, name, 1e-3 * (1 + 0.01 * number))
        train(store, name, (50 + rng.normal(0, 0.1, 3)).tolist())
    figure = drawn(store)["accuracy"]
    assert len(figure.axes[0].texts) == 14
    assert not overlapping(figure)
    assert not outside(figure)


def test_heights_are_kept_apart_near_where_they_are_wanted():
    assert _spread_out([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert _spread_out([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    found = _spread_out([0.98, 0.99, 1.2, 1.3], 0.2)
    assert found == pytest.approx([0.4, 0.6, 0.8, 1.0])


# The page ------------------------------------------------------------------------------------


def test_the_page_shows_its_figures_and_they_do_not_change(store, tmp_path):
    time_laws(store)
    train(store, "quick", [1.0])
    first, second = (
        {f.name: f for f in write_report(latency_page(store, "latency_cpu"), tmp_path / name)}
        for name in ("a", "b")
    )
    pictures = [name for name in first if name.endswith(".png")]
    assert pictures == [
        "latency_cpu_times_chip_float32_1_thread_batch_8.png",
        "latency_cpu_accuracy.png",
    ]
    text = first["latency_cpu.md"].read_text()
    for name in pictures:
        assert first[name].read_bytes() == second[name].read_bytes()
        assert f"../figures/{name}" in text
