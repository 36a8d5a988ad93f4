"""``slt-bench time`` and ``slt-bench compare``: usage, exit codes, records, tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from timing_records import make_cell, make_record
from timing_sessions import LAYERS, QUICK, FakeWorker, own_locks  # noqa: F401 - a fixture for all

from slt_bench import running
from slt_bench.cli import main
from slt_bench.commands import time as verb
from slt_bench.store import Store
from slt_bench.timing import noise, session

SMALL = ["time", "-b", "low_rank", "--shapes", "16", "--batch", "4", "--rounds", "7"]


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLT_BENCH_RESULTS", raising=False)

    def cli(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "1024y3"], "give a size (1024) or IN x OUT"),
        (["--shapes", "0"], "give a size"),
        (["--batch", "x"], "--batch 'x': give whole numbers"),
        (["--mode", "forwards"], "did you mean 'forward'"),
        (["--dtype", "float23"], "did you mean 'float32'"),
        (["--device", "tpu"], "give cpu, cuda"),
        (["--threads", "9999"], "physical cores"),
        (["--rounds", "6"], "6 is not in the range"),
        (["-b", "dnese"], "did you mean 'dense'"),
        (["--match-parameters", "-1"], "cannot match"),
        (["--wait", "soon"], "no length of time"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, arguments, message):
    code, out, err = cli("time", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def dry(cli, *arguments):
    return json.loads(cli("time", "--dry-run", "--json", *arguments)[1])


def test_dense_and_its_copy_are_in_every_group(cli):
    rows = dry(cli, "-b", "low_rank", "--shapes", "8,8x16", "--batch", "1,4", "--mode",
               "forward,training")["rows"]  # fmt: skip
    assert len(rows) == 3 * 2 * 2 * 2
    groups = {}
    for row in rows:
        group = (str(row["shape"]), row["batch"], row["mode"])
        groups.setdefault(group, []).append((row["baseline"], row.get("copy", False)))
    expected = [("dense", False), ("dense", True), ("low_rank", False)]
    assert all(sorted(found) == expected for found in groups.values())
    assert [8, 16] in [row["shape"] for row in rows]


def test_the_default_grid_is_small_and_reaches_far(cli):
    document = dry(cli)
    rows = document["rows"]
    assert len(rows) <= 60
    assert 0 < document["seconds"]["least"] < document["seconds"]["most"] < 1800
    sizes = {row["shape"][0] for row in rows}
    assert {256, 65536} <= sizes
    assert len(sizes) >= 3


def test_a_dry_run_says_how_long_it_takes(cli):
    small = ["-b", "low_rank", "--shapes", "8", "--rounds", "10"]
    out = cli("time", "--dry-run", *small)[1].splitlines()[-1]
    assert out.startswith("3 cells, 10 rounds: ")
    swift = dry(cli, *small, "--cap", "0.1s")["seconds"]
    assert swift["least"] == swift["most"]
    quick, slow = (dry(cli, *small, "--cap", cap)["seconds"]["most"] for cap in ("1s", "10s"))
    assert slow - quick == pytest.approx(3 * 10 * 9)


def test_sizes_are_matched_and_the_pick_is_told(cli):
    document = dry(cli, "-b", "low_rank", "--shapes", "64", "--match-parameters", "0.25")
    (note,) = document["notes"]
    assert "low_rank 64 forward: rank=" in note
    rank = next(r["settings"]["rank"] for r in document["rows"] if r["baseline"] == "low_rank")
    assert rank == 8 or abs(2 * 64 * rank + 64 - 1024) <= 64
    assert f"rank={rank}" in note


def test_a_busy_machine_is_refused_with_exit_code_3(cli, monkeypatch):
    monkeypatch.setattr(verb, "Protocol", lambda: QUICK)
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.5)
    code, out, _ = cli(*SMALL, "--wait", "0s")
    assert code == 3
    assert "refused: other processes used 50% of the cores' time" in out
    with running.matrix():
        code, out, _ = cli(*SMALL, "--wait", "0s", "--allow-noisy")
    assert code == 3
    assert "a matrix of slt-bench is running" in out
    with running.timing():
        code, out, _ = cli(*SMALL, "--wait", "0s")
    assert code == 3
    assert "another 'slt-bench time' is running" in out
    assert not list(Path().rglob("*.json"))


def test_a_run_leaves_records_and_tables(cli, monkeypatch):
    monkeypatch.setattr(verb, "Protocol", lambda: QUICK)
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.0)
    code, out, err = cli(*SMALL, "-b", f"{LAYERS}:Refusing", "--allow-noisy", "--results", "r")
    assert code == 0, err
    assert "round 6 of 7: " in err
    assert "round 7 of 7: " in err
    assert err.startswith("4 cells, 7 rounds: ")
    assert "times dense" in out
    assert "Refusing 16 batch 4 forward: unsupported: 16 -> 16: no size is good enough" in out
    records = list(Store("r").records("time"))
    assert len(records) == 3
    for name in ("md", "tex", "html", "csv"):
        assert Path(f"r/tables/latency_cpu.{name}").stat().st_size > 0
    written = Path("r/tables/latency_cpu.md").read_text()
    assert cli("report", "latency_cpu", "--results", "r")[0] == 0
    assert Path("r/tables/latency_cpu.md").read_text() == written
    key = records[0]["key"]
    assert json.loads(cli("show", key[:8], "--results", "r", "--json")[1])["key"] == key

    # a store against itself
    code, out, _ = cli("compare", "r", "r", "--fail-if", "worse")
    assert code == 0
    assert "2 rows" in out


def test_it_stops_and_goes_on(cli, monkeypatch):
    FakeWorker.reset()
    monkeypatch.setattr(session, "Worker", FakeWorker)
    monkeypatch.setattr(verb, "Protocol", lambda: QUICK)
    monkeypatch.setattr(noise.Meter, "others", lambda self: 0.0)
    code, out, err = cli(*SMALL, "--stop-after", "1", "--results", "r")
    assert code == 4
    assert "stopped after round 1 of 7: the same command goes on from here" in out
    code, out, err = cli(*SMALL, "--stop-after", "1", "--results", "r")
    assert code == 4
    assert "going on after round 1 of 7, measured " in err
    assert not list(Store("r").records("time"))


def planted(folder, factor):
    """Rounds with the spread of a quiet machine; low_rank's are ``factor`` slower."""
    store, rng = Store(folder), np.random.default_rng(0)
    dense = 1e-3 * np.exp(rng.normal(0, 0.1, 10))
    cells = {make_cell("dense", copy=True): 1.0, make_cell("low_rank"): 0.3 * factor,
             make_cell("low_rank", 512): 0.3}  # fmt: skip
    for cell, ratio in cells.items():
        times = ratio * dense * np.exp(rng.normal(0, 0.02, 10))
        store.publish(make_record(cell, times.tolist(), dense.tolist()))
    return folder


def test_a_planted_slow_down_of_a_fifth_is_worse(cli, tmp_path):
    before, after = planted(tmp_path / "a", 1.0), planted(tmp_path / "b", 1.2)
    code, out, _ = cli("compare", before, after, "--fail-if", "worse")
    assert code == 1
    worse = [line for line in out.splitlines() if line.startswith("worse")]
    assert len(worse) == 1
    assert "low_rank 256" in worse[0]
    rows = json.loads(cli("compare", after, before, "--json")[1])["rows"]
    assert {r["label"]: r["change"] for r in rows}["low_rank 256 batch 8 forward"] == "better"
    assert cli("compare", before, after)[0] == 0
    assert cli("compare", after, before, "--fail-if", "worse")[0] == 0


def test_stores_without_a_cell_in_common_cannot_be_compared(cli, tmp_path):
    (tmp_path / "nothing").mkdir()
    code, _, err = cli("compare", planted(tmp_path / "a", 1.0), tmp_path / "nothing")
    assert code == 2
    assert "no timed cell is in both" in err
    code, _, err = cli("compare", tmp_path / "a", tmp_path / "b")
    assert code == 2
    assert "neither a folder nor a revision" in err or "from a git checkout" in err
    code, _, err = cli("compare", tmp_path / "a", tmp_path / "a", "--rounds", "9", "--compile")
    assert code == 2
    assert "--rounds, --compile: only git revisions are measured" in err
    code, _, err = cli("compare", tmp_path / "a", tmp_path / "a", "--fail-if", "worst")
    assert code == 2
    assert "did you mean 'worse'" in err
