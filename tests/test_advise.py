"""``slt-bench advise``: what fits and how fast, and what has not been measured, from records."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import records as training
import timing_records as timing

from slt_bench import registry
from slt_bench.advice import Question, advise
from slt_bench.cli import main
from slt_bench.commands.advise import advise_lines
from slt_bench.reporting.outcomes import store_outcomes
from slt_bench.store import Store
from slt_bench.timing.cell import Cell
from slt_bench.timing.hardware import hardware_name

PLUGINS = Path(__file__).parent / "plugins"
TOY = str(PLUGINS / "toy_layer.py")  # 128 weights a rank and 64 of the bias at 64 x 64; rank 2
DENSE = [2e-3] * 10


def cell(baseline="ToyLayer", *, n=64, **more):
    return timing.make_cell(baseline, n, **{"hardware": hardware_name("cpu"), **more})


def timed(one: Cell, milliseconds=1.0, *, rounds=10, stale=False, **facts):
    """A record with a spread of 1 %, paired with DENSE; ToyLayer's weights as they are."""
    medians = [1e-3 * milliseconds * (1 + 0.002 * (i % 5 - 2)) for i in range(rounds)]
    paired = [] if one.is_dense else DENSE[:rounds]
    record = timing.make_record(one, medians, paired, **facts)
    n, m = one.shape
    toy = one.baseline == "ToyLayer"
    record["parameter_count"] = (n + m) * one.settings.get("rank", 2) + m if toy else n * m + m
    digest = registry.source_digest(registry.load_baseline(TOY if toy else "dense"))
    record["provenance"]["source"] = {"baseline": "edited" if stale else digest}
    return record


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "reports")


def ask(store, keep=0.2, *names, **more):
    """The answer about ToyLayer (or ``names``) at 64 x 64, batch 8, forward."""
    times = [*store.failures("time"), *store.records("time")]
    question = Question(cell("dense", **more), keep)
    return advise(question, names or [TOY], times, store_outcomes(store))


def gap(document, part):
    """The one thing not measured whose reason has ``part``."""
    (found,) = (g for g in document["not_measured"] if part in g["reason"])
    return found


# What fits -----------------------------------------------------------------------------------


def test_what_was_timed_and_fits_comes_fastest_first(store):
    for rank, milliseconds in ((6, 1.5), (2, 3.0), (4, 1.0), (9, 0.1)):
        settings = {} if rank == 2 else {"rank": rank}
        store.publish(timed(cell(settings=settings), milliseconds))
    store.publish(timed(cell("dense"), 2.0))
    store.publish(timed(cell("dense", copy=True), 2.0))
    document = ask(store)
    rows = document["fits"]
    assert [row["label"] for row in rows] == ["ToyLayer rank=4", "ToyLayer rank=6", "ToyLayer"]
    assert [row["weights"] for row in rows] == [576, 832, 320]
    assert document["question"]["budget"] == 819
    (first,) = rows[0]["times"]
    assert (first["median"], first["rounds"]) == (pytest.approx(1e-3), 10)
    assert first["lowest"] < first["median"] < first["highest"]
    assert first["ratio_low"] < first["ratio"] == pytest.approx(0.5, abs=1e-3)
    assert [row["times"][0]["verdict"] for row in rows] == ["faster", "faster", "slower"]
    assert document["dense"]["times"][0]["median"] == pytest.approx(2e-3)
    assert document["dense"]["weights"] == 64 * 64 + 64
    assert not [g for g in document["not_measured"] if "timed" in g["reason"]]


def test_an_answer_is_for_one_shape_batch_mode_and_machine(store):
    others = (
        {"n": 128}, {"batch": 4}, {"mode": "training"}, {"threads": 2}, {"dtype": "float64"},
        {"compiled": True}, {"hardware": "Other"},
    )  # fmt: skip
    for other in others:
        store.publish(timed(cell(settings={"rank": 6}, **other)))
    document = ask(store)
    assert document["fits"] == []
    reason = gap(document, "not timed")["reason"]
    assert reason == "not timed; its times are on Other and here at 64 batch 4, 128 batch 8"


def test_weights_of_a_gru_count_in_its_recurrent_maps_alone(store):
    one = cell("dense", mode="sequence", steps=5)
    record = timed(cell(mode="sequence", steps=5, settings={"rank": 5}))
    question = Question(one, 0.2)
    record["parameter_count"] = 3 * 128 * 5 + question.outside
    store.publish(record)
    document = ask(store, 0.2, mode="sequence", steps=5)
    assert document["question"]["dense_weights"] == 3 * 64 * 64
    assert document["fits"][0]["weights"] == 3 * 128 * 5
    assert document["fits"][0]["share"] == pytest.approx(1920 / 12288)


# What does not -------------------------------------------------------------------------------


def test_what_cannot_fit_says_why(store):
    refusing = f"{PLUGINS / 'timed_layers.py'}:Refusing"
    control = str(PLUGINS / "removed.py")
    document = ask(store, 0.01, TOY, refusing, control)
    reasons = {entry["baseline"]: entry["reason"] for entry in document["cannot_fit"]}
    assert reasons == {
        "ToyLayer": "its smallest at rank=1 has 192 weights, 0.047 of dense's",
        "Refusing": "64 -> 64: no size is good enough",
        "Removed": "a control: it says what structure is worth",
    }
    assert document["not_measured"] == document["commands"] == []


def test_what_is_too_large_is_told_but_is_no_advice(store):
    store.publish(timed(cell(settings={"rank": 9})))
    document = ask(store)
    assert document["fits"] == []
    reason = gap(document, "not timed")["reason"]
    assert reason == "not timed; its times are here with rank=9 (1,216 weights)"


# What has not been measured ------------------------------------------------------------------


def test_an_empty_store_gives_commands_that_measure_what_is_missing(store, capsys):
    document = ask(store)
    assert document["fits"] == []
    assert document["dense"] is None
    time, run = document["commands"]
    assert time.startswith("slt-bench time -b ")
    assert run.endswith("--match-parameters 0.2")
    assert "--budget" not in run
    with pytest.raises(SystemExit):
        main([*shlex.split(time)[1:], "--dry-run", "--json"])
    keys = [row["key"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert cell(settings={"rank": 6}).key in keys


@pytest.mark.parametrize(
    ("keep", "settings", "match"),
    [(0.2, {"rank": 6}, "0.2"), (0.1, {}, "320")],  # rank 3 is nearest to 0.1, but 9 % above it
)
def test_what_is_proposed_fits(store, capsys, keep, settings, match):
    document = ask(store, keep)
    command = gap(document, "not timed")["command"]
    assert command.endswith(f"--match-parameters {match}")
    assert f"--match-parameters {keep}" in gap(document, "not trained")["command"]
    with pytest.raises(SystemExit):
        main([*shlex.split(command)[1:], "--dry-run", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["settings"] for r in rows if r["baseline"] == "ToyLayer"] == [settings]


@pytest.mark.parametrize(
    ("facts", "doubt"),
    [
        ({"noisy": ["the ratios spread by 30%"]}, "noisy (the ratios spread by 30%)"),
        ({"stale": True}, "stale"),
        ({"rounds": 7}, "7 rounds"),
    ],
)
def test_a_doubtful_time_is_shown_and_measured_again(store, facts, doubt):
    store.publish(timed(cell(settings={"rank": 6}), **facts))
    document = ask(store)
    (row,) = document["fits"]
    assert row["times"][0]["median"] == pytest.approx(1e-3, rel=0.01)
    assert gap(document, doubt)["command"] == document["commands"][0]
    assert not [g for g in document["not_measured"] if "not timed" in g["reason"]]
    text = "\n".join(advise_lines(document))
    assert doubt in text


def test_a_failure_is_told_and_proposed_again_only_where_it_may_go_away(store):
    store.publish_failure(timing.make_failure(cell(settings={"rank": 6})))
    found = gap(ask(store), "out of memory: needs 48 GiB")
    assert found["command"] is None
    store.publish_failure(timing.make_failure(cell(settings={"rank": 6}), "crashed", "by SIGKILL"))
    assert gap(ask(store), "crashed: by SIGKILL")["command"].startswith("slt-bench time")


def test_baselines_that_need_the_same_command_share_one(store):
    slowed, sloppy = (f"{PLUGINS / 'timed_layers.py'}:{name}" for name in ("Slowed", "Sloppy"))
    document = ask(store, 0.999, slowed, sloppy)
    assert len(document["not_measured"]) == 4
    assert len(document["commands"]) == 2
    assert all(f"{slowed},{sloppy}" in command for command in document["commands"])


def test_a_time_of_an_unknown_class_is_named(store):
    store.publish(timed(replace(cell(), baseline="Mine")))
    assert ask(store)["unknown"] == ["Mine"]


# What training came to -----------------------------------------------------------------------


def train(store, baseline, values, *, floor="Removed", control=False, kept=100, **more):
    for seed, value in enumerate(values):
        trial = training.make_trial(baseline, seed, **more)
        record = training.make_record(trial, value)
        record["facts"] |= {"floor": floor, "control": control, "slot_parameter_count": kept}
        if not trial.slots:
            record["facts"] |= {"slots": {}, "slot_parameter_count": 0}
        store.publish(record)


def test_training_stands_beside_dense_and_the_floor(store):
    store.publish(timed(cell(settings={"rank": 6})))
    train(store, "ToyLayer", [1.0, 1.1, 1.2], settings={"rank": 6, "gain": None}, kept=800)
    train(store, "ToyLayer", [2.0], settings={"rank": 1}, budget="quick", kept=80)
    train(store, "dense", [0.7, 0.8, 0.9])
    train(store, "Removed", [3.0], control=True, slots=("fc1",))
    long, short = ask(store)["trained"]["ToyLayer"]
    assert (long["task"], long["budget"], long["slots"]) == ("mnist", "paper", ["fc1"])
    assert long["value"]["mean"] == pytest.approx(1.1)
    assert long["value"]["low"] == pytest.approx(1.1 - 4.3027 * 0.1 / 3**0.5, abs=1e-3)
    assert long["dense"]["mean"] == pytest.approx(0.8)
    assert (long["floor"]["baseline"], long["floor"]["mean"]) == ("Removed", 3.0)
    assert (long["share"], long["timed"]) == (0.2, True)  # gain changes no time
    assert (short["budget"], short["timed"], short["share"]) == ("quick", False, 0.02)
    assert short["value"]["low"] is None
    assert short["dense"] is short["floor"] is None


def test_tasks_without_a_value_are_proposed_where_dense_has_one(store, monkeypatch):
    tasks = dict.fromkeys(("mnist", "chess", "go"))
    real = registry.entries
    monkeypatch.setattr(registry, "entries", lambda k: tasks if k == "tasks" else real(k))
    train(store, "ToyLayer", [1.0])
    train(store, "dense", [1.0], task="chess", budget="quick", slots=())
    train(store, "dense", [1.0], task="chess", budget="third", slots=())
    commands = ask(store)["commands"][1:]
    assert [c.partition("-t ")[2] for c in commands] == [
        "chess --match-parameters 0.2 --budget third",
        "go --match-parameters 0.2",
    ]
    failed = training.make_trial("ToyLayer", task="go")
    store.publish_failure(training.make_failure(failed))
    assert gap(ask(store), "no value on go: diverged: loss is NaN")["command"] is None


# The command line ----------------------------------------------------------------------------


@pytest.fixture
def cli(capsys):
    def cli(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["advise", *map(str, arguments)])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return cli


def test_the_verb_prints_what_the_document_has(store, cli):
    store.publish(timed(cell(settings={"rank": 6}), 1.5))
    store.publish(timed(cell("dense"), 2.0))
    train(store, "ToyLayer", [1.0, 1.1, 1.2], settings={"rank": 8}, kept=800)
    train(store, "dense", [0.7, 0.8, 0.9])
    where = ["-b", TOY, "--shape", 64, "--batch", 8, "--results", store.reports]
    code, out, _ = cli(*where, "--keep", 0.2)
    assert code == 0
    for part in (
        "64 -> 64, batch 8, forward, float32, 1 thread, on ",
        "Budget: 819 weights, 0.2 of dense's 4,096; up to 5% more counts as on budget.",
        "1  ToyLayer rank=6  1.50 ms [1.49 ms, 1.51 ms]  ratio 0.750 [0.748, 0.752]  faster",
        "832 weights (20.3 %)",
        "does not fit: for reference",
        "mnist, error (%): 1.10 [0.85, 1.35], 3 seeds; dense 0.80 [0.55, 1.05]; floor no record",
        "fc1 keeps 20 % of its weights; rank=8; budget paper, data set mnist; not the settings",
        "To measure it:\n  slt-bench run -b ",
    ):
        assert part in out, (part, out)
    document = json.loads(cli(*where, "--keep", 0.2, "--json")[1])
    assert document["fits"][0]["key"] == cell(settings={"rank": 6}).key
    assert document["exit_code"] == 0
    code, out, _ = cli(*where, "--keep", 0.01)
    assert code == 0
    assert "Nothing that fits has been timed here." in out
    assert "Cannot fit:\n  ToyLayer: its smallest at rank=1" in out


def test_without_names_every_baseline_but_controls_and_dense_is_judged(store, cli):
    code, out, _ = cli("--shape", "64x32", "--keep", 0.5, "--results", store.reports, "--json")
    assert code == 0
    document = json.loads(out)
    told = {entry["baseline"] for entry in document["not_measured"] + document["cannot_fit"]}
    assert told == {*registry.without_controls()} - {"dense"}
    assert all("--shapes 64x32" in c for c in document["commands"] if "slt-bench time" in c)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "64"], "Missing option '--keep'"),
        (["--shape", "64y3", "--keep", "0.1"], "give a size (1024) or IN x OUT"),
        (["--shape", "64,128", "--keep", "0.1"], "give a size (1024) or IN x OUT"),
        (["--shape", "64", "--keep", "1"], "give the share of dense's weights"),
        (["--shape", "64", "--keep", "a tenth"], "give the share of dense's weights"),
        (["--shape", "64", "--keep", "0.1", "--mode", "forwards"], "did you mean 'forward'"),
        (["--shape", "64", "--keep", "0.1", "-b", "dnese"], "did you mean 'dense'"),
        (["--shape", "64x32", "--keep", "0.1", "--mode", "sequence"], "needs a square shape"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, store, arguments, message):
    code, out, err = cli(*arguments, "--results", store.reports)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
