"""Suites: their files, their rows, their references, and the published numbers of weights."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from slt_bench import registry
from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported, count_parameters
from slt_bench.suites import Cell, Row, Suite, load_suite, suite_names
from slt_bench.task import BUDGETS, Streams, fill_slots, slot_maker
from slt_bench.trial import Trial

SUITES = [load_suite(name) for name in suite_names()]
ROWS = [(suite, row) for suite in SUITES for row in suite.rows]
by_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)

MINIMAL = """
title = "Mine"
budget = "smoke"
seeds = 2
tasks = ["adding"]
floor = "zero"
[[row]]
id = "one"
label = "One"
baselines = ["dense"]
"""

NEW_BASELINE = '''
"""A layer that somebody adds."""

from torch import Tensor, nn


class Added(nn.Linear):
    pass
'''


def by_row(rows: list[tuple[Suite, Row]]) -> pytest.MarkDecorator:
    ids = [f"{suite.name}-{row.id}" for suite, row in rows]
    return pytest.mark.parametrize(("suite", "row"), rows, ids=ids)


@cache
def cells_of(name: str) -> list[Cell]:
    return load_suite(name).cells()


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def weights(trial: Trial) -> int:
    task = trial.load_task()
    make = slot_maker(trial.load_baseline(), trial.settings)
    return count_parameters(fill_slots(task, Streams(trial.seed), trial.slots, make))


def skip_if_missing(suite: Suite) -> None:
    if suite.missing:
        pytest.skip(f"not installed: {', '.join(suite.missing)}")


def cell_of(suite: Suite, row: Row) -> Cell:
    """The one cell of a row of the paper; skips where its baseline is not installed."""
    found = [cell for cell in cells_of(suite.name) if cell.row == row]
    if not found:
        skip_if_missing(suite)
    assert len(found) == 1
    return found[0]


# The files -----------------------------------------------------------------------------------


def test_the_suites_of_the_paper_are_there() -> None:
    tables = {f"table{i}" for i in range(1, 5)}
    assert tables | {"figure2", "figure3", "figure4", "everything"} <= set(suite_names())


def test_reading_suites_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, slt_bench.suites as s\n"
        "print(len([s.load_suite(n) for n in s.suite_names()]),"
        " sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split(maxsplit=1) == [str(len(SUITES)), "[]\n"]


@by_suite
def test_what_a_reader_needs(suite: Suite) -> None:
    assert suite.title
    assert suite.note
    assert suite.budget in BUDGETS
    for row in suite.rows:
        assert (len(row.known) > 20) or not row.published, row.id
        assert row.not_comparable is None or row.published, row.id


@by_row(ROWS)
def test_published_numbers_are_of_the_tasks_metric(suite: Suite, row: Row) -> None:
    beside = {"loss", "parameter_count", "printed_parameters", "curve", "other_runs"}
    metrics = set(row.published) - beside
    for task in row.tasks:
        if task != "*":
            assert metrics <= {registry.load_task(task).metric.name}
    if suite.name.startswith("table"):
        assert metrics <= set(suite.margins)


@by_suite
@pytest.mark.parametrize("budget", ["smoke", "third"])
def test_every_trial_can_be_created(suite: Suite, budget: str) -> None:
    trials = suite.trials(budget, seeds=[0, 5])
    assert trials or suite.missing
    assert all(trial.budget == budget for trial in trials)
    assert len({trial.key for trial in trials}) == len(trials)
    assert [trial.seed for trial in trials] == [0] * (len(trials) // 2) + [5] * (len(trials) // 2)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("table1", 6 + 2),  # dense and identity, 1,024 wide
        ("table2", 18 + 14),  # zero in seven sets of slots, twice
        ("table3", 10 + 7 + 4),  # zero; dense and zero at the two other widths
        ("table4", 5 + 3),
        ("figure2", 2 + 2),
        ("figure3", 1 + 2),
        ("figure4", 16 + 8),
    ],
)
def test_number_of_cells_and_trials(name: str, cells: int) -> None:
    suite = load_suite(name)
    skip_if_missing(suite)
    assert len(cells_of(name)) == cells
    assert len({t for cell in cells_of(name) for t in cell.trials}) == cells * len(suite.seeds)


def test_everything_is_every_baseline_and_a_floor_on_every_task() -> None:
    skip_if_missing(load_suite("everything"))
    tasks = set(registry.entries("tasks"))
    baselines = {
        name
        for name in registry.entries("baselines")
        if not registry.is_control(registry.load_baseline(name))
    }
    trials = [trial for cell in cells_of("everything") for trial in cell.trials]
    floors = {(task, registry.load_task(task).floor) for task in tasks}
    expected = {(task, baseline) for task in tasks for baseline in baselines} | floors
    assert {(trial.task, trial.baseline) for trial in trials} == expected
    assert len(trials) == len(expected)
    assert all(not trial.settings and not trial.options for trial in trials)


def test_the_figures_of_lenet5_use_the_trials_of_table_1() -> None:
    table = {trial for cell in cells_of("table1") for trial in cell.trials}
    for name in ("figure2", "figure3"):
        assert {trial for cell in cells_of(name) for trial in cell.trials} <= table


def test_the_published_curves_have_a_point_at_the_start_and_after_each_epoch() -> None:
    for row in load_suite("figure2").rows:
        assert len(row.published["curve"]) == 1 + 14


# Numbers of weights --------------------------------------------------------------------------

COUNTED = [(suite, row) for suite, row in ROWS if "parameter_count" in row.published]
#: Printed numbers that the published configuration has not, rounded or cut off.
MISPRINTED = {
    "table2-copy-reset-update",
    "table2-copy-state-reset",
    "table2-copy-state-update",
    "figure4-reset-108",
}


@by_row(COUNTED)
def test_exact_number_of_weights(suite: Suite, row: Row) -> None:
    assert weights(cell_of(suite, row).trials[0]) == row.published["parameter_count"]


@by_row(COUNTED)
def test_printed_number_of_weights(suite: Suite, row: Row) -> None:
    if (printed := row.published.get("printed_parameters")) is None:
        return
    count = row.published["parameter_count"]
    number, decimals = printed.replace(",", "").rstrip("K"), len(printed.partition(".")[2][:-1])
    unit = 10 ** (3 - decimals)
    fits = round(float(number) * 1000) in (round(count / unit) * unit, count // unit * unit)
    assert fits != (f"{suite.name}-{row.id}" in MISPRINTED)


def test_tt_gru_has_the_printed_number_of_weights() -> None:
    suite = load_suite("table3")
    row = next(row for row in suite.rows if row.id == "tt-gru")
    assert row.published["printed_parameters"] == "5.1K"
    assert 5050 <= weights(cell_of(suite, row).trials[0]) < 5150


@by_suite
def test_every_reference_can_be_built(suite: Suite) -> None:
    for cell in suite.cells("smoke", seeds=[0]):
        if cell.row.reference:
            assert weights(cell.trials[0]) > 0


# Rows and references -------------------------------------------------------------------------


@by_suite
def test_references_are_equal_in_everything_but_the_baseline(suite: Suite) -> None:
    for cell in cells_of(suite.name):
        assert [trial.seed for trial in cell.trials] == list(suite.seeds)
        for reference in (cell.dense, cell.floor):
            for own, other in zip(cell.trials, reference, strict=bool(reference)):
                assert own.task == other.task
                assert (own.options, own.dataset) == (other.options, other.dataset)
                assert (own.seed, own.budget) == (other.seed, other.budget)
        assert all(trial.baseline == "dense" and not trial.slots for trial in cell.dense)
        assert all(a.slots == b.slots for a, b in zip(cell.trials, cell.floor, strict=False))
        assert bool(cell.floor) == bool(cell.trials[0].slots) or suite.missing


@by_suite
def test_each_trial_belongs_to_one_cell_and_each_reference_is_there(suite: Suite) -> None:
    cells = cells_of(suite.name)
    own = [trial for cell in cells for trial in cell.trials]
    assert len(own) == len(set(own))
    assert {t for cell in cells for t in (*cell.dense, *cell.floor)} <= set(own)
    assert [row for row in suite.rows if row.reference] == []


def test_a_row_without_its_own_reference_gets_one(tmp_path: Path) -> None:
    text = MINIMAL.replace("dense", "zero") + "slots = ['state']\noptions = {hidden_size = 3}\n"
    suite = load_suite(write(tmp_path, text))
    skip_if_missing(suite)
    removed, dense = suite.cells()
    assert removed.floor == removed.trials
    assert (dense.row.reference, dense.row.id) == (True, "dense (hidden_size=3)")
    assert dense.trials == removed.dense == dense.dense
    assert dense.floor == ()
    assert {t.options["hidden_size"] for t in dense.trials} == {3}


def test_a_narrowed_suite(tmp_path: Path) -> None:
    path = tmp_path / "added.py"
    path.write_text(NEW_BASELINE)
    everything = load_suite("everything")
    skip_if_missing(everything)
    narrowed = everything.narrowed([str(path), "zero"], ["mnist"])
    shown = [(cell.task, cell.baseline, cell.row.reference) for cell in narrowed.cells()]
    own, references = shown[:2], shown[2:]
    assert own == [("mnist", "Added", False), ("mnist", "zero", False)]
    assert references == [("mnist", "dense", True), ("mnist", "identity", True)]
    assert everything.narrowed([], []) == everything

    table = load_suite("table2").narrowed(["dense"], ["copy_memory"])
    assert [row.id for row in table.rows] == ["copy-gru"]
    assert [(cell.task, cell.baseline) for cell in table.cells()] == [("copy_memory", "dense")]
    with pytest.raises(UsageError, match=r"suite table2 has no row of torch\.nn:Linear on mnist"):
        load_suite("table2").narrowed(["torch.nn:Linear"], ["mnist"])
    with pytest.raises(UsageError, match="did you mean 'dense'"):
        everything.narrowed(["dens"], [])


def test_published_options_hold_under_paper_and_under_third_at_a_third_of_the_length(
    tmp_path: Path,
) -> None:
    text = MINIMAL + "options = {hidden_size = 3}\n"
    text += "published_options = {updates = 7, time_steps = 30}\n"
    suite = load_suite(write(tmp_path, text))
    own = {"hidden_size": 3, "time_steps": 30}
    assert [t.options for t in suite.trials("paper")] == [own | {"updates": 7}] * 2
    assert [t.options for t in suite.trials("third")] == [own | {"updates": 2}] * 2
    for budget in ("smoke", "quick", "screen"):
        assert [t.options for t in suite.trials(budget)] == [{"hidden_size": 3}] * 2


def test_a_published_length_of_none_has_no_third(tmp_path: Path) -> None:
    text = MINIMAL.replace("adding", "penn_treebank")
    suite = load_suite(write(tmp_path, text + "published_options = {epochs = 'none'}\n"))
    (trial,) = suite.trials("third", seeds=[0])
    assert trial.load_task().options.epochs is None


LENGTHS = {"updates", "epochs", "fraction", "evaluate_every"}


@by_suite
def test_third_is_the_experiment_of_paper_at_a_third_of_its_length(suite: Suite) -> None:
    cells = [suite.cells(budget, seeds=[0]) for budget in ("third", "paper")]
    for third, paper in zip(*cells, strict=True):
        tasks = [cell.trials[0].load_task() for cell in (third, paper)]
        short, full = (asdict(task.options) for task in tasks)
        assert {n for n in full if short[n] != full[n]} <= LENGTHS, third.row.id
        assert tasks[0].updates == pytest.approx(tasks[1].updates / 3, abs=1)


@pytest.mark.parametrize(
    ("name", "row", "options", "updates"),
    [
        ("figure4", "gru-12", {"time_steps": 60, "batch_size": 200, "hidden_size": 12}, 1_000),
        ("figure4", "reset-124", {"time_steps": 60, "batch_size": 200, "hidden_size": 124}, 1_000),
        ("table3", "wavegru-58", {"clip_norm": 1.0, "batch_size": 256, "hidden_size": 58}, 7_833),
        ("table3", "tt-gru", {"clip_norm": 1.0, "batch_size": 256, "hidden_size": 256}, 7_833),
    ],
)
def test_rows_with_an_experiment_of_their_own_keep_it_under_third(
    name: str, row: str, options: dict[str, Any], updates: int
) -> None:
    suite = load_suite(name)
    skip_if_missing(suite)
    (cell,) = (cell for cell in suite.cells("third", seeds=[0]) if cell.row.id == row)
    task = cell.trials[0].load_task()
    assert asdict(task.options) | options == asdict(task.options)
    assert task.updates == pytest.approx(updates, abs=1)
    assert task.updates / task.evaluate_every >= 12 or name != "figure4"


@pytest.mark.parametrize("name", ["figure4", "table3"])
def test_smoke_stays_short(name: str) -> None:
    for cell in load_suite(name).cells("smoke", seeds=[0]):
        assert cell.trials[0].options.keys() <= {"hidden_size"}


def test_the_best_epoch_of_many_runs_is_not_compared_with_the_last_of_one() -> None:
    (row,) = (row for row in load_suite("table1").rows if row.id == "wavelet-haar")
    assert "best epoch on the test set" in (row.not_comparable or "")
    assert "0.84" in row.known


def test_what_is_known_does_not_contradict_itself() -> None:
    for _, row in ROWS:
        assert not ("No log" in row.known and "as its log says" in row.known), row.id


def test_none_as_a_value(tmp_path: Path) -> None:
    text = MINIMAL.replace('"smoke"', '"paper"').replace("adding", "penn_treebank")
    (trial,) = load_suite(write(tmp_path, text + "options = {clip_norm = 'none'}\n")).trials(
        seeds=[0]
    )
    assert trial.options == {"clip_norm": None}


def test_what_is_missing_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = MINIMAL.replace('["dense"]', '["gone", "dense"]').replace('"zero"', '"no_control"')
    text += '[[row]]\nid="two"\nlabel="Two"\nbaselines=["gone"]\ntasks=["no_task", "adding"]\n'
    suite = load_suite(write(tmp_path, text))
    assert suite.missing == ["baseline 'no_control'", "baseline 'gone'", "task 'no_task'"]
    assert [(cell.row.id, cell.baseline) for cell in suite.cells()] == [("one", "dense")]
    assert all(cell.floor == () for cell in suite.cells())


def test_a_new_baseline_joins_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {trial for cell in cells_of("everything") for trial in cell.trials}
    path = tmp_path / "added.py"
    path.write_text(NEW_BASELINE)
    entries = registry.entries
    entry = registry.Entry("baselines", "added", f"{path}:Added")

    def more(kind: registry.Kind) -> dict[str, registry.Entry]:
        return entries(kind) | ({"added": entry} if kind == "baselines" else {})

    monkeypatch.setattr(registry, "entries", more)
    new = set(load_suite("everything").trials()) - before
    assert {trial.task for trial in new} == set(entries("tasks"))
    assert {trial.baseline for trial in new} == {"added"}
    assert len(new) == len(entries("tasks"))


def test_a_file_as_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "added.py"
    path.write_text(NEW_BASELINE)
    text = MINIMAL.replace('["dense"]', f'["{path}"]')
    suite = load_suite(write(tmp_path, text))
    assert str(path) not in " ".join(suite.missing)
    assert suite.cells()[0].baseline == "Added"


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "titel", "titel.*did you mean 'title'"),
        ('floor = "zero"', "", "field 'floor' is missing"),
        ("seeds = 2", "seeds = 0", "seeds = 0 is not a count above 0"),
        ("seeds = 2", "seeds = true", "seeds = True is not a count"),
        ("seeds = 2", "seeds = [1, 1]", r"seeds = \[1, 1\] is not"),
        ('budget = "smoke"', "budget = 3", "budget = 3 is not a text"),
        ('tasks = ["adding"]', "", "row 'one': field 'tasks' is missing"),
        ('tasks = ["adding"]', 'tasks = "adding"', "tasks = 'adding' is not a list of names"),
        ('label = "One"', 'label = ""', "row 'one': label = '' is not a text"),
        ('label = "One"', 'lable = "One"', "row 'one': no field 'lable'"),
        ('baselines = ["dense"]', "", "row 'one': field 'baselines' is missing"),
        ("[[row]]", "[margins]\naccuracy = -1\n[[row]]", "margins = .* is not a table of positive"),
        ("[[row]]", "[classes]\nsolvd = 95\n[[row]]", "classes = .* is not a table of solved"),
        ('label = "One"', 'label = "One"\npublished = {loss = "low"}', "published = .* is not"),
        ('label = "One"', 'label = "One"\nsettings = 3', "settings = 3 is not a table"),
        ("[[row]]", "[row]", "row = .* is not one or more"),
        ("[[row]]", "[[row", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MINIMAL
    with pytest.raises(UsageError, match=rf"mine\.toml.*{message}"):
        load_suite(write(tmp_path, MINIMAL.replace(old, new, 1)))


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    head, row = MINIMAL.split("[[row]]")
    with pytest.raises(UsageError, match=r"mine\.toml: two rows have the id 'one'"):
        load_suite(write(tmp_path, f"{head}[[row]]{row}[[row]]{row}"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("slots = ['fc1']", "no slot of task adding 'fc1'"),
        ("options = {hidden = 3}", "did you mean 'hidden_size'"),
        ("settings = {rank = 3}", "no setting of baseline dense 'rank'"),
        ("options = {hidden_size = 'big'}", "wrong type"),
    ],
)
def test_what_a_task_or_a_baseline_lacks_is_refused_by_file_and_row(
    tmp_path: Path, extra: str, message: str
) -> None:
    suite = load_suite(write(tmp_path, MINIMAL + extra))
    with pytest.raises(UsageError, match=rf"mine\.toml: row 'one'.*{message}"):
        suite.cells()


def test_budgets_and_seeds_that_do_not_exist(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, MINIMAL))
    with pytest.raises(UsageError, match="did you mean 'smoke'"):
        suite.cells("smok")
    with pytest.raises(UsageError, match="no seeds"):
        suite.cells(seeds=[])


def test_suites_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'table1'"):
        load_suite("tabel1")
    with pytest.raises(UsageError, match=r"cannot read the suite .*none\.toml"):
        load_suite(tmp_path / "none.toml")


def test_where_a_baseline_cannot_have_the_sizes_the_row_stays(tmp_path: Path) -> None:
    """An unsupported size is for the runner to record: the suite still lists the trial."""
    path = tmp_path / "picky.py"
    path.write_text(
        NEW_BASELINE.replace("Added", "Picky").replace(
            "    pass",
            "    @staticmethod\n"
            "    def supports(in_features: int, out_features: int) -> str | None:\n"
            "        return 'never'",
        )
    )
    (cell, *_) = load_suite(write(tmp_path, MINIMAL.replace('["dense"]', f'["{path}"]'))).cells()
    with pytest.raises(Unsupported, match="never"):
        weights(cell.trials[0])


def test_published_values_stay_as_they_are_in_the_file() -> None:
    row: dict[str, Any] = dict(load_suite("table1").rows[0].published)
    assert row == {"error": 0.87, "parameter_count": 431080, "printed_parameters": "431K"}
