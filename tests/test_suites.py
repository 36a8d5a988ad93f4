"""Suites: rows become cells and trials, with the references that they are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from suite_cases import MINIMAL, NEW_BASELINE, cells_of, skip_if_missing, weights, write

from slt_bench import registry
from slt_bench.errors import UsageError
from slt_bench.layers import Unsupported
from slt_bench.suites import load_suite


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


# Options and names of a row


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
