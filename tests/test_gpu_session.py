"""``slt-bench gpu``, tried on the CPU: tests, timings and trials in a given time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from slt_bench import running
from slt_bench.cli import main
from slt_bench.commands import gpu
from slt_bench.store import Store
from slt_bench.timing import worker
from slt_bench.timing.sampling import Protocol

QUICK = Protocol(warm_up_seconds=0.0, samples=3, seconds=0.0, spread=1e9, cap=0.01, window=0.01)
GROUP = "forward:16:4"
PLUGINS = Path(__file__).parent / "plugins"


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """From what else runs on this machine, and without a trace in this process."""
    monkeypatch.setattr(running, "_folder", lambda: tmp_path)
    for name in ("SLT_BENCH_OFFLINE", *worker.ENVIRONMENT):
        monkeypatch.setenv(name, "1")


@pytest.fixture
def suite(tmp_path, toy_task, toy_layer):
    """Two seeds of two rows; ``options`` of the task."""

    def suite(options="", tasks=toy_task):
        path = tmp_path / "toys.toml"
        path.write_text(f"""
title = "Toys"
budget = "smoke"
seeds = 2
tasks = ["{tasks}"]
floor = "{PLUGINS / "removed.py"}"
[[row]]
id = "toy"
label = "Toy layer"
baselines = ["{toy_layer}"]
options = {{ {options} }}
""")
        return str(path)

    return suite


@pytest.fixture
def tests(tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_card.py").write_text(
        "import pytest\n"
        "@pytest.mark.gpu\ndef test_card(): print('on the card')\n"
        "def test_other(): assert False\n"
    )
    (folder / "test_others.py").write_text("import nothing_that_is_installed")
    return folder


CELLS = gpu._cells


@pytest.fixture
def session(tmp_path, tests, monkeypatch):
    """A session in which each group has three cells: dense, its copy, and one baseline."""
    monkeypatch.setattr(gpu, "_cells", lambda group, device: CELLS(group, device)[:3])

    def session(**given):
        store = Store(tmp_path / "reports")
        values = {"minutes": 10.0, "device": "cpu", "groups": (), "suites": (), "rounds": 1,
                  "protocol": QUICK, "tests": tests}  # fmt: skip
        return gpu.run(store, str(tmp_path / "records.zip"), **{**values, **given})

    return session


def statuses(document, step):
    return {line["what"]: line["status"] for line in document["steps"] if line["step"] == step}


def archived(folder):
    with zipfile.ZipFile(folder / "records.zip") as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_everything_lands_in_one_archive_that_merge_takes(session, suite, tmp_path, capsys):
    document = session(groups=[GROUP], suites=[suite()])
    assert document["exit_code"] == 0, document
    entries = archived(tmp_path)
    assert "1 passed" in entries.pop("tests.txt")
    about = json.loads(entries.pop("environment.json"))
    assert about["groups"] == [GROUP]
    assert about["torch"]
    records = [json.loads(text) for text in entries.values()]
    kinds = [record["kind"] for record in records]
    assert kinds.count("train") == 3 * 2  # the row, dense and the floor, two seeds
    assert kinds.count("time") == len(records) - 6 >= 3
    assert document["record_count"] == len(records)
    assert set(entries) == {
        f"{r['key']}.json" if r["status"] == "done" else f"{r['key']}.failed.json" for r in records
    }
    with pytest.raises(SystemExit) as ended:
        main(["merge", document["archive"], "--results", str(tmp_path / "there")])
    assert ended.value.code == 0
    assert f"{len(records)} added" in capsys.readouterr().out
    there, here = (
        {p.relative_to(tmp_path / name): p.read_text() for p in (tmp_path / name).rglob("*.json")}
        for name in ("there", "reports")
    )
    assert there == here

    # the same command again finds all of it done
    again = session(groups=[GROUP], suites=[f"{suite()}:smoke"])
    assert set(statuses(again, "timings").values()) == {"its records are here already"}
    assert list(statuses(again, "trials").values()) == ["6 done"]
    assert again["record_count"] == len(records)


def test_every_part_of_a_group_has_dense_and_its_copy():
    cells = CELLS(GROUP, "cpu")
    parts = list(gpu._parts(cells * 3))  # as if there were three times as many baselines
    assert len(parts) == -(-3 * (len(cells) - 2) // gpu._PART) >= 2
    for part in parts:
        assert {c.copy for c in part if c.baseline == "dense"} == {True, False}
    others = [c.key for part in parts for c in part if c.baseline != "dense"]
    assert others == [c.key for c in cells * 3 if c.baseline != "dense"]
    assert list(gpu._parts(cells[:2])) == [cells[:2]]


def test_failed_tests_are_told_and_the_rest_goes_on(session, suite, tests, tmp_path):
    (tests / "test_card.py").write_text(
        "import pytest\n@pytest.mark.gpu\ndef test_card(): assert 'card' == 'burnt'\n"
    )
    document = session(suites=[suite()])
    assert document["exit_code"] == 1
    assert statuses(document, "tests")["marked gpu"].startswith("failed with exit code 1: 1 failed")
    assert "burnt" in archived(tmp_path)["tests.txt"]
    assert list(statuses(document, "trials").values()) == ["6 done"]


def test_tests_that_hang_are_stopped(session, tests, tmp_path):
    (tests / "test_card.py").write_text(
        "import pytest, time\n@pytest.mark.gpu\n"
        "def test_card():\n    print('hanging', flush=True)\n    time.sleep(600)\n"
    )
    document = session(minutes=0.2)
    assert statuses(document, "tests")["marked gpu"].startswith("stopped after")
    assert "stopped after" in archived(tmp_path)["tests.txt"]


def test_without_pytest_or_tests_it_says_so(session, monkeypatch, tmp_path):
    document = session(tests=tmp_path / "nowhere")
    assert "has no tests" in statuses(document, "tests")["marked gpu"]
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pytest", None)
        document = session()
    assert "pytest is not installed" in statuses(document, "tests")["marked gpu"]
    assert document["exit_code"] == 0


def test_what_no_time_is_left_for_is_not_started(session, suite):
    document = session(minutes=0.001, groups=[GROUP], suites=[suite()])
    assert all(s.startswith("not started") for s in statuses(document, "timings").values())
    (trials,) = statuses(document, "trials").values()
    assert trials == "6 not started: the time is over"
    assert document["record_count"] == 0


def test_trials_stop_at_a_checkpoint_in_time(session, suite, tmp_path):
    suites = [suite("updates = 150, pause = 0.1")]
    document = session(minutes=0.2, tests=tmp_path / "none", suites=suites)
    (status,) = statuses(document, "trials").values()
    assert "stopped" in status
    assert "the checkpoints are in" in status
    assert document["exit_code"] == 0
    assert list((tmp_path / "reports" / "checkpoints").glob("*.pt"))


def test_trials_without_data_are_left_out_and_told(session, suite, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SLT_BENCH_DATA", str(tmp_path))
    document = session(suites=[f"{suite(tasks='mnist')}:paper"], data=str(tmp_path))
    assert list(statuses(document, "trials").values()) == ["none; no data: mnist"]


def test_a_step_that_breaks_does_not_take_the_others_along(session, suite, monkeypatch):
    def broken(*arguments, **given):
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(gpu.session, "measure", broken)
    document = session(groups=[GROUP], suites=[suite()])
    assert statuses(document, "timings") == {"the step": "RuntimeError: the driver is gone"}
    assert list(statuses(document, "trials").values()) == ["6 done"]
    assert document["exit_code"] == 1


def test_a_timing_that_would_not_end_is_given_up_and_gone_on_with(session, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "expected", lambda *given: SimpleNamespace(most=0.001))
        patched.setattr(gpu.Work, "left", lambda work, share=1.0: 0.01 if share == 1 else 60.0)
        document = session(groups=[GROUP], rounds=3)
    assert set(statuses(document, "timings").values()) == {gpu.GIVEN_UP}
    assert document["record_count"] == document["exit_code"] == 0
    capsys.readouterr()
    document = session(groups=[GROUP], rounds=3)
    assert "going on after round 1 of 3" in capsys.readouterr().err
    assert document["record_count"] >= 3


def test_a_matrix_that_runs_keeps_the_timings_away(session):
    with running.matrix():
        document = session(groups=[GROUP])
    refused = set(statuses(document, "timings").values())
    assert refused == {"refused: a matrix of slt-bench is running"}
    assert document["exit_code"] == 1


def test_kill_minus_9_leaves_what_was_finished(suite, tmp_path):
    options = "updates = 60, pause = 0.02"  # about a second a trial
    arguments = ["gpu", "--minutes", "10", "--device", "cpu", "--archive", "records.zip",
                 "--results", "reports", "--suites", suite(options), "--groups", ","]  # fmt: skip
    code = (
        "import slt_bench.archive, slt_bench.commands.gpu as gpu, sys\n"
        "slt_bench.archive._SECONDS = 0.05\n"
        "gpu.GROUPS, gpu._test = (), lambda work: ()\n"
        "from slt_bench.cli import main\n"
        "main(sys.argv[1:])"
    )
    places = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    session = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places},
    )
    deadline = time.monotonic() + 120
    count = 0
    while count < 2 and time.monotonic() < deadline and session.poll() is None:
        time.sleep(0.05)
        if (tmp_path / "records.zip").exists():
            count = sum(len(name) > 64 for name in archived(tmp_path))
    assert session.poll() is None, "it ended before it could be killed"
    os.kill(session.pid, signal.SIGKILL)
    session.wait()
    entries = archived(tmp_path)
    finished = {p.name for p in (tmp_path / "reports" / "results").rglob("[!.]*.json")}
    assert 2 <= len(entries.keys() & finished) <= len(finished)
    assert {name for name in entries if len(name) > 64} <= finished


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "0.0 is not in the range"),
        (["--groups", "forward"], "give MODE:SHAPE:BATCH"),
        (["--groups", "backward:16:4"], "did you mean 'forward'"),
        (["--suites", "table9"], "no suite 'table9'"),
        (["--suites", "table1:papr"], "did you mean 'paper'"),
        (["--device", "tpu"], "is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_nothing_is_written(arguments, message, tmp_path, capsys):
    given = ["gpu", "--minutes", "1", "--archive", str(tmp_path / "a.zip"), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--results", str(tmp_path / "reports"), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
