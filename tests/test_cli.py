"""The command line: exit codes, JSON, resuming, adding a baseline and a task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slt_bench.cli import main
from slt_bench.registry import entries
from slt_bench.store import Store

FAULTY = Path(__file__).parent / "plugins" / "faulty_layers.py"


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Runs ``slt-bench ARGUMENTS`` in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLT_BENCH_RESULTS", raising=False)

    def cli(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return cli


@pytest.fixture
def run(cli, toy_task):
    def run(*arguments):
        return cli("run", "-t", toy_task, "--engine", "inline", *arguments)

    return run


@pytest.fixture
def suite(tmp_path, toy_task, toy_layer):
    path = tmp_path / "toys.toml"
    path.write_text(
        f"""
title = "Toys"
source = "none"
budget = "smoke"
seeds = 2
tasks = ["{toy_task}"]
floor = "{FAULTY.with_name("removed.py")}"
[margins]
accuracy = 2.0
[[row]]
id = "toy"
label = "Toy layer"
baselines = ["{toy_layer}"]
published = {{ accuracy = 50.0, parameter_count = 115 }}
known = "It is made up."
"""
    )
    return path


# Wrong usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "nothing to run"),
        (["run", "tabel1"], "no suite 'tabel1'; did you mean 'table1'"),
        (["run", "-b", "dnese"], "did you mean 'dense'"),
        (["run", "-t", "addin"], "did you mean 'adding'"),
        (["run", "-t", "adding", "--budget", "quik"], "did you mean 'quick'"),
        (["run", "-t", "adding", "--slots", "rset"], "did you mean 'reset'"),
        (["run", "-t", "adding", "--seeds", "x"], "give a count (5) or a list"),
        (["run", "-t", "adding", "--seeds", "0"], "--seeds 0 runs nothing"),
        (["run", "-t", "adding", "--set", "rank=3"], "give NAME.SETTING=VALUE"),
        (["run", "-t", "adding", "--set", "adding.hidden=3"], "did you mean 'hidden_size'"),
        (["run", "-t", "adding", "-b", "dense", "--set", "mnist.epochs=3"], "in this run"),
        (["run", "-t", "adding", "--match-parameters", "-1"], "cannot match"),
        (["run", "-t", "adding", "--shard", "3"], "is not I/N"),
        (["run", "-t", "adding", "--shard", "5/4"], "does not exist"),
        (["run", "-t", "adding", "--timeout", "soon"], "no length of time"),
        (["run", "-t", "adding", "--device", "gpu"], "give cpu, cuda"),
        (["run", "-t", "adding", "--engine", "ray"], "no engine 'ray'"),
        (["run", "everything", "--set", "adding.hidden_size=4"], "changes what a suite is"),
        (["run", "--no-such-option"], "No such option"),
        (["report", "tabel1"], "did you mean 'table1'"),
        (["report", "--format", "pdf"], "no format 'pdf'"),
        (["report", "--against", "flor"], "did you mean 'floor'"),
        (["list", "suits"], "did you mean 'suites'"),
        (["show", "abcd"], "no record's key starts with 'abcd'"),
        (["show", "*"], "is no key"),
        (["check", "dnese"], "did you mean 'dense'"),
        (["new", "baseline", "dense"], "exists"),
        (["new", "baseline", "two words"], "cannot name a baseline"),
        (["new", "baseline", "class"], "cannot name a baseline"),
        (["report", "table1", "--budget", "quik"], "did you mean 'quick'"),
        (["run", "-t", "adding", "--engine", "inline", "--timeout", "3s"], "leave out --engine"),
        (
            [
                "run",
                "-b",
                "torch.nn:Linear",
                "-b",
                "torch.nn.modules.linear:Linear",
                "-t",
                "adding",
            ],
            "two classes are called 'Linear'",
        ),
        (["no-such-verb"], "No such command"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, arguments, message):
    code, out, err = cli(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("slt-bench: ")
    assert len(err.splitlines()) == 1
    assert out == ""


def test_missing_data_is_said_before_anything_runs(cli, monkeypatch):
    monkeypatch.delenv("SLT_BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "nowhere")
    code, _, err = cli("run", "-t", "mnist", "-b", "dense", "--budget", "paper")
    assert code == 2
    assert "train-images-idx3-ubyte.gz" in err
    assert "SLT_BENCH_DATA" in err


# Running -------------------------------------------------------------------------------------


def test_a_dry_run_says_what_there_is_to_do(run, toy_layer):
    code, out, _ = run("-b", toy_layer, "--dry-run", "--json")
    document = json.loads(out)
    assert code == 0
    assert [t["status"] for t in document["trials"]] == ["missing"]
    assert document["trials"][0]["parameter_count"] == 42 + 42 + 24 + 7
    assert run("-b", toy_layer, "--json")[0] == 0
    document = json.loads(run("-b", toy_layer, "--dry-run", "--json")[1])
    assert [t["status"] for t in document["trials"]] == ["done"]


def test_a_dry_run_says_how_long_it_will_take(run, toy_layer, tmp_path):
    asked = ("-b", toy_layer, "-b", "dense", "--seeds", "2", "--dry-run", "--results", tmp_path)
    code, out, _ = run(*asked)
    assert code == 0
    assert "estimated: 4 of 4 due trials, about " in out
    assert " on 1 at a time (" in out
    assert "4 by a rehearsal of its first updates" in out
    document = json.loads(run(*asked, "--json")[1])
    found = document["estimate"]
    assert (found["due"], found["estimated"], found["at_a_time"]) == (4, 4, 1)
    seconds = [t["seconds"] for t in document["trials"]]
    assert found["seconds"] >= sum(seconds) > 0
    assert found["longest"] == max(seconds)
    assert {t["basis"] for t in document["trials"]} == {"rehearsal"}
    assert list(tmp_path.iterdir()) == []  # neither records nor checkpoints


def test_a_dry_run_says_what_it_cannot_estimate(run, toy_layer):
    bad = f"{FAULTY}:Raising"
    code, out, _ = run("-b", toy_layer, "-b", bad, "--dry-run")
    assert code == 0
    assert "estimated: 1 of 2 due trials" in out
    assert "no estimate: 1 trial: RuntimeError: shapes differ" in out
    assert run("-b", toy_layer)[0] == 0
    _, out, _ = run("-b", toy_layer, "--dry-run")
    assert "estimate" not in out  # nothing is due
    _, out, _ = run("-b", toy_layer, "--seeds", "2", "--dry-run", "--threads", "1")
    assert "1 by the record of another seed" in out


def test_running_again_does_nothing(run, toy_layer):
    code, out, err = run("-b", toy_layer, "-b", "dense", "--seeds", "2")
    assert code == 0
    assert "4 trials: 4 done" in out
    assert err.count("done") == 4
    code, out, err = run("-b", toy_layer, "-b", "dense", "--seeds", "2")
    assert (code, err) == (0, "")
    assert "4 trials: 4 done" in out
    assert run("-b", "dense", "--force")[2].count("done") == 1


def test_values_are_swept(run, toy_layer):
    document = json.loads(
        run("-b", toy_layer, "--set", "ToyLayer.rank=1,2,3", "--set", "ToyTask.width=4,6",
            "--seeds", "3,5", "--dry-run", "--json")[1]
    )  # fmt: skip
    assert len(document["trials"]) == 3 * 2 * 2
    assert {t["seed"] for t in document["trials"]} == {3, 5}
    assert {t["settings"].get("rank", 2) for t in document["trials"]} == {1, 2, 3}


def test_sizes_are_matched_and_the_miss_is_told(run, toy_layer):
    code, out, _ = run("-b", toy_layer, "-b", "dense", "--match-parameters", "0.7", "--dry-run")
    assert code == 0
    assert "ToyTask ToyLayer: rank=2, 24 weights for 25 (-4.0%)\n" in out
    assert "dense: fills no slot" in out


def test_beyond_five_percent_both_neighbours_run(run, toy_layer):
    _, out, _ = run("-b", toy_layer, "--match-parameters", "30", "--dry-run")
    assert "rank=2, 24 weights for 30 (-20.0%): unmatched, rank=3 runs too" in out
    assert "2 trials" in out


def test_values_that_cannot_be_built_are_refused_before_anything_runs(run, toy_layer):
    for change in ("ToyLayer.rank=-3", "ToyTask.batch_size=0", "ToyTask.learning_rate=NaN"):
        code, out, err = run("-b", toy_layer, "--set", change)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1


def test_what_layers_print_stays_out_of_the_document(cli, toy_task):
    Path("loud.py").write_text(
        "from torch import nn\n"
        "print('imported')\n"
        "class Loud(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('forward')\n"
        "        return super().forward(x)\n"
    )
    code, out, _ = cli("run", "-t", toy_task, "-b", "loud.py", "--budget", "smoke", "--json")
    assert code == 0
    assert json.loads(out)["trials"][0]["status"] == "done"


def test_failures_are_told_and_the_rest_goes_on(run, toy_layer):
    code, out, _ = run("-b", f"{FAULTY}:Raising", "-b", f"{FAULTY}:Exploding",
                       "-b", f"{FAULTY}:Refusing", "-b", toy_layer)  # fmt: skip
    assert code == 1
    assert "RuntimeError: shapes differ" in out
    assert "diverged" in out
    assert "only sizes divisible by 1,000" in out
    assert "1 done" in out
    assert run("-b", f"{FAULTY}:Refusing", "-b", toy_layer)[0] == 0  # a skip is no failure


def test_the_time_limit_leaves_something_to_resume(run):
    slow = ["-b", "dense", "--set", "ToyTask.pause=0.05", "--seeds", "2"]
    code, out, _ = run(*slow, "--time-limit", "0.4s")
    assert code == 4
    assert "1 stopped, 1 not started" in out
    assert "goes on from here" in out
    assert run(*slow)[0] == 0


def test_shards_share_the_work(run):
    counts = [
        len(json.loads(run("-b", "dense", "--seeds", "9", "--shard", f"{i}/3", "--dry-run",
                           "--json")[1])["trials"])
        for i in (1, 2, 3)
    ]  # fmt: skip
    assert sum(counts) == 9


def test_json_is_one_document_and_nothing_else(cli, run, toy_layer):
    _, out, _ = run("-b", toy_layer, "--json")
    key = json.loads(out)["trials"][0]["key"]
    record = json.loads(cli("show", key[:8], "--json")[1])
    assert record["key"] == key
    listed = json.loads(cli("list", "trials", "--json")[1])["trials"]
    assert [t["key"] for t in listed] == [key[:8]]
    names = [b["name"] for b in json.loads(cli("list", "baselines", "--json")[1])["baselines"]]
    assert "dense" in names
    pages = json.loads(cli("report", "all", "--json")[1])["pages"]
    assert pages[0]["rows"][0]["baseline"] == "ToyLayer"


def test_a_record_for_people(cli, run, toy_layer):
    run("-b", toy_layer)
    key = json.loads(cli("list", "trials", "--json")[1])["trials"][0]["key"]
    code, out, _ = cli("show", key)
    assert code == 0
    assert "status: done" in out
    assert '"updates": 20' in out


# Suites and reports --------------------------------------------------------------------------


def test_a_suite_runs_with_its_references_and_is_reported(cli, suite):
    code, out, _ = cli("run", suite, "--engine", "inline")
    assert code == 0
    assert "6 trials: 6 done" in out  # the row, dense and the floor, two seeds each
    code, out, _ = cli("report", suite)
    assert code == 0
    assert "Toy layer" in out
    reports = Path("slt-bench-reports")
    for name in ("toys.md", "toys.tex", "toys.html", "toys.csv", "toys.verdicts.json"):
        assert (reports / "tables" / name).stat().st_size > 0
    verdicts = json.loads((reports / "tables/toys.verdicts.json").read_text())
    assert verdicts[0]["verdict"] in ("partial", "inconclusive")


def test_a_report_shows_the_budget_that_has_records(cli, suite):
    cli("run", suite, "--engine", "inline", "--budget", "quick", "--seeds", "1")
    _, out, _ = cli("report", suite)
    assert "quick" in out
    assert "1/2" in out  # the seed that is missing is shown


def test_a_suite_can_be_narrowed(cli, suite, toy_layer):
    document = json.loads(cli("run", suite, "-b", toy_layer, "--dry-run", "--json")[1])
    assert {t["baseline"] for t in document["trials"]} == {"ToyLayer", "dense", "Removed"}
    code, _, err = cli("run", suite, "-b", "torch.nn:Linear", "--dry-run")
    assert code == 2
    assert "suite toys has no row of torch.nn:Linear" in err


# Adding a baseline and a task ----------------------------------------------------------------


def test_a_new_file_is_checked_trained_on_all_tasks_and_in_the_table(cli, toy_layer):
    assert cli("check", toy_layer)[0] == 0
    code, out, _ = cli("run", "everything", "-b", toy_layer, "--budget", "smoke", "-j", "2")
    assert code == 0, out
    code, out, _ = cli("report", "everything", "--format", "md")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("| ToyLayer"))
    assert "-" not in [cell.strip() for cell in row.split("|")[2:7]]  # a number for every task


def test_a_new_task_is_run_with_every_baseline_and_in_the_table(cli, toy_task):
    arguments = ["-t", toy_task, "--budget", "smoke", "--engine", "inline"]
    document = json.loads(cli("run", "everything", *arguments, "--json")[1])
    assert {t["status"] for t in document["trials"]} <= {"done", "unsupported"}
    assert cli("run", "everything", *arguments)[0] == 0
    _, out, _ = cli("report", "everything", "--format", "md")
    header = next(line for line in out.splitlines() if line.startswith("| row"))
    column = [cell.strip() for cell in header.split("|")].index("ToyTask: accuracy (%)")
    floor = ["removed (floor)"] if "zero" in entries("baselines") else []
    for name in ("dense", *floor):
        row = next(line for line in out.splitlines() if line.startswith(f"| {name} "))
        assert float(row.split("|")[column].split()[0]) >= 0


def test_a_started_baseline_passes_the_check(cli):
    code, _, _ = cli("new", "baseline", "my-layer")
    assert code == 0
    assert Path("my_layer.py").exists()
    assert cli("check", "my_layer.py")[0] == 0
    assert cli("new", "baseline", "my-layer")[0] == 2


def test_a_violation_is_exit_code_3(cli):
    Path("relu.py").write_text(
        "from torch import nn\n"
        "class Relu(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).relu()\n"
    )
    code, out, _ = cli("check", "relu.py")
    assert code == 3
    assert "violation" in out
    code, out, _ = cli("check", "relu.py", "--json")
    assert json.loads(out)["exit_code"] == code == 3


# Killing -------------------------------------------------------------------------------------


def test_killed_at_random_a_run_ends_in_the_same_metrics(tmp_path, toy_task, toy_layer):
    command = [sys.executable, "-m", "slt_bench", "run", "-t", toy_task, "-b", toy_layer, "-b",
               "dense", "--seeds", "3", "--set", "ToyTask.updates=60", "--set",
               "ToyTask.pause=0.03", "--checkpoint-every", "0.1s", "-j", "2"]  # fmt: skip
    for seconds in (3.0, 4.5, 3.7):
        with subprocess.Popen([*command, "--results", tmp_path / "killed"],
                              start_new_session=True) as process:  # fmt: skip
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
    for folder in ("killed", "straight"):
        subprocess.run([*command, "--results", tmp_path / folder], check=True)
    killed, straight = (
        {r["key"]: (r["metrics"], r["curves"]) for r in Store(tmp_path / f).records()}
        for f in ("killed", "straight")
    )
    assert len(killed) == 6
    assert killed == straight


def test_ctrl_c_stops_at_a_checkpoint(tmp_path, toy_task):
    command = [sys.executable, "-m", "slt_bench", "run", "-t", toy_task, "-b", "dense", "--set",
               "ToyTask.updates=9000", "--set", "ToyTask.pause=0.02", "--checkpoint-every",
               "0.1s", "--results", tmp_path]  # fmt: skip
    # Tests that run in the background of a shell inherit that SIGINT is ignored.
    with subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while process.poll() is None and not list(tmp_path.glob("checkpoints/*.pt")):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert b"interrupted" in process.stderr.read()
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 1
