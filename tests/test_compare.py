"""``slt-bench compare``: a planted slow-down from end to end, and git revisions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from timing_records import make_cell, make_record
from timing_sessions import LAYERS, cell, own_locks  # noqa: F401 - a fixture for all

from slt_bench.commands import compare, revisions
from slt_bench.commands import time as verb
from slt_bench.commands.revisions import turns
from slt_bench.errors import UsageError
from slt_bench.store import Store
from slt_bench.timing.sampling import Protocol

PROTOCOL = Protocol(warm_up_seconds=0.0, samples=15, seconds=0.1, spread=0.05, cap=0.4, window=0.01)


def test_a_planted_slow_down_of_a_fifth_is_worse(tmp_path, monkeypatch):
    """Fresh processes, rounds, records and the test between two stores; ratios alone.

    The layers take a set time by the clock, so that a loaded machine is no obstacle.
    """
    steady = f"{LAYERS}:Steady"
    cells = [cell(baseline_source=steady), cell(copy=True, baseline_source=steady), cell("Planted")]
    monkeypatch.setattr(verb, "Protocol", lambda: PROTOCOL)
    stores = Store(tmp_path / "before"), Store(tmp_path / "after")
    for store, factor in zip(stores, ("1", "1.2"), strict=True):
        monkeypatch.setenv("SLT_BENCH_TEST_FACTOR", factor)
        done = verb.time_cells(cells, store, rounds=8, allow_noisy=True)
        assert done["exit_code"] == 0
    document = compare.compare(*stores, fail_if=["worse"])
    changes = {row["label"]: row["change"] for row in document["rows"]}
    assert changes["Planted 16 batch 4 forward"] == "worse"
    assert changes["dense (copy) 16 batch 4 forward"] in ("same", "ambiguous")
    assert document["exit_code"] == 1
    back = compare.compare(*reversed(stores), fail_if=["worse"])
    assert "better" in {row["change"] for row in back["rows"]}
    assert back["exit_code"] == 0


# Revisions -------------------------------------------------------------------------------------

#: Stands in for slt_bench in a repository of the test: it logs how it was called, and its ``time``
#: publishes the records of its own commit, which say how long a call takes.
PROGRAM = """
import json, os, sys
from pathlib import Path

here, words = Path(__file__).parent, sys.argv[1:]
if words == ["time", "--help"]:
    print((here / "help.txt").read_text())
    sys.exit()
with open(os.environ["SLT_BENCH_TEST_LOG"], "a") as log:
    print(json.dumps({"commit": (here / "name.txt").read_text(), "cwd": os.getcwd(),
                      "words": words}), file=log)
if "wrong" in words:
    sys.exit("slt-bench: --shapes 'wrong': give a size")
print("round 1 of 10", file=sys.stderr)
code, rows, refused = 0, ["a row"], None
if "--stop-after" in words:
    code, rows, refused = 4, [], "stopped"
elif (here / "loud").exists() and "--allow-noisy" not in words:
    code, rows, refused = 3, [], "refused: others used 50%"
else:
    reports = Path(words[words.index("--results") + 1])
    for path, record in json.loads((here / "records.json").read_text()).items():
        file = reports / "results" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record))
print(json.dumps({"rows": rows, "refused": refused, "exit_code": code}))
sys.exit(code)
"""


def records(factor):
    """Ten rounds of a layer that takes ``factor`` times as long as dense."""
    record = make_record(make_cell(), [factor + 0.001 * i for i in range(10)], [1.0] * 10)
    return {f"time/forward/low_rank/{record['key']}.json": record}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the tags bare (no ``time``), old (cannot stop), one, slow and loud."""
    root = tmp_path / "checkout"
    package = root / "slt_bench"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()

    def git(*words):
        subprocess.run(["git", "-C", root, "-c", "user.name=n", "-c", "user.email=e", *words],
                       check=True, capture_output=True)  # fmt: skip

    def commit(name, **files):
        for file, text in {"name.txt": name, **files}.items():
            (package / file.replace("_txt", ".txt")).write_text(text)
        git("add", ".")
        git("commit", "-m", name)
        git("tag", name)

    git("init")
    (package / "__main__.py").write_text("raise SystemExit(2)")
    commit("bare")
    (package / "__main__.py").write_text(PROGRAM)
    (package / "records.json").write_text(json.dumps(records(0.5)))
    commit("old", help_txt="--rounds")
    commit("one", help_txt="--rounds --stop-after")
    (package / "records.json").write_text(json.dumps(records(0.6)))
    commit("slow")
    commit("loud", loud="")
    monkeypatch.setattr(revisions, "_ROOT", root)
    monkeypatch.setattr(compare.provenance, "commit", lambda: {"dirty": True})
    monkeypatch.setenv("SLT_BENCH_TEST_LOG", str(tmp_path / "log"))
    monkeypatch.chdir(tmp_path)
    yield root
    listed = subprocess.run(
        ["git", "-C", root, "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1  # no worktree is left


def calls():
    log = Path("log")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def kept():
    return list(Path("slt-bench-reports").rglob("*.json"))


def test_revisions_are_measured_in_turns_each_by_its_own_code(checkout, capfd):
    document = compare.compare_sides(
        "one", "slow", fail_if=["worse"], measuring=[("--shapes", "256"), ("--compile", "")],
        rounds=7,
    )  # fmt: skip
    assert [row["change"] for row in document["rows"]] == ["worse"]
    assert document["exit_code"] == 1
    made = calls()
    assert [c["commit"] for c in made] == ["one", "slow"] * 4
    options = ["time", "--shapes", "256", "--compile", "--rounds", "7"]
    for call, last in zip(made, [1, 2, 3, 4, 5, 6, None, None], strict=True):
        stop = ["--stop-after", str(last)] if last else []
        assert call["words"][:-3] == [*options, *stop]
    assert len({c["cwd"] for c in made}) == 2
    assert not any(Path(c["cwd"]).exists() for c in made)
    assert "one: round 1 of 10" in capfd.readouterr().err
    assert any("uncommitted changes are not measured" in note for note in document["notes"])
    assert not kept()


def test_a_revision_is_held_against_a_folder(checkout):
    first = compare.compare_sides("one", "slow", results="kept")
    (before,) = Path("kept/before").iterdir()
    count = len(calls())
    document = compare.compare_sides(str(before), "slow")
    assert [row["change"] for row in document["rows"]] == ["worse"]
    assert document["rows"] == first["rows"]
    assert [c["commit"] for c in calls()[count:]] == ["slow"]
    (after,) = Path("kept/after").iterdir()
    assert compare.compare_sides(str(before), str(after))["rows"] == first["rows"]


def test_a_revision_that_cannot_stop_is_measured_in_one_go(checkout):
    document = compare.compare_sides("old", "slow")
    assert [c["commit"] for c in calls()] == ["old", "slow"]
    assert any("one after the other" in note for note in document["notes"])


def test_what_is_too_noisy_is_refused_and_the_rest_is_not_measured_again(checkout):
    refused = compare.compare_sides("one", "loud", rounds=7)
    assert refused["exit_code"] == 3
    assert refused["refused"] == ["loud: refused: others used 50%"]
    assert not refused["rows"]
    count = len(calls())
    allowed = compare.compare_sides("one", "loud", rounds=7, measuring=[("--allow-noisy", "")])
    assert [row["change"] for row in allowed["rows"]] == ["worse"]
    assert {c["commit"] for c in calls()[count:]} == {"loud"}
    assert not kept()
    compare.compare_sides("one", "slow", rounds=7)
    assert calls()[-2]["commit"] == "one"


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (("bare", "one"), [], "revision bare has no 'slt-bench time'"),
        (("one", "none"), [], "'none' is neither a folder nor a revision"),
        (("one", "slow"), [("--shapes", "wrong")], "revision one: --shapes 'wrong': give a size"),
        ((".", "."), [("--shapes", "8"), ("--wait", "9s")], "--shapes, --wait: only git revisions"),
    ],
)
def test_what_cannot_be_measured_is_one_line(checkout, sides, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        compare.compare_sides(*sides, measuring=options)
    assert "\n" not in str(caught.value)


def test_only_a_checkout_has_revisions(tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "_ROOT", tmp_path)
    with pytest.raises(UsageError, match=r"no folder 'main': .* from a git checkout"):
        compare.compare_sides("main", str(tmp_path))


def test_a_baselines_file_is_that_of_each_revision_or_the_same_for_all(checkout):
    compare.compare_sides(
        "old", "old", measuring=[("--baseline", "low_rank,checkout/mine.py:A,other.py,torch.nn:X")]
    )
    given = calls()[0]["words"][2]
    assert given == f"low_rank,mine.py:A,{Path('other.py').resolve()},torch.nn:X"


def test_turns_meet_a_drift_alike():
    assert turns(2, 5) == [(0, 1), (1, 2), (0, 3), (1, 4), (0, 5), (1, 5)]
    assert turns(1, 10) == [(0, 10)]
