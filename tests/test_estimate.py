"""How long a run will take: the arithmetic with made-up numbers, and once for real."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from slt_bench.engines import NAMES, Order, Prepared, engine
from slt_bench.estimate import Estimate, estimate, makespan
from slt_bench.rehearsal import Rehearsal, rehearse
from slt_bench.runner import attempt, run
from slt_bench.store import Store
from slt_bench.trial import Trial

FAULTY = Path(__file__).parent / "plugins" / "faulty_layers.py"
PARTS = Rehearsal(
    start=1.0, first=2.0, update=0.5, updates=11, evaluation=3.0, evaluations=4, end=0.25
)


class Watch:
    def __init__(self):
        self.lines = []

    def preparing(self, text):
        pass

    def log(self, text):
        self.lines.append(text)


@pytest.fixture
def trial(toy_task, toy_layer):
    def trial(baseline=toy_layer, **given):
        return Trial.create(toy_task, baseline, **given)

    return trial


def made_up(results, *, side_by_side=1, ready=None):
    """An engine that has rehearsed; ``results`` by key of the shape. What was asked is kept."""
    asked = []

    def prepare(trials, order, watcher):
        asked.append([t.key for t in trials])
        keys = frozenset(t.key for t in trials)
        return Prepared(keys if ready is None else keys & ready, 4.0)

    def rehearse(trials, order, watcher, seconds, until):
        asked.append([t.key for t in trials])
        return {t.key: results[t.key] for t in trials if t.key in results}

    return SimpleNamespace(
        prepare=prepare,
        rehearse=rehearse,
        start_seconds=lambda: (3.0, 0.125),
        at_a_time=lambda order: side_by_side,
        asked=asked,
    )


# The arithmetic ------------------------------------------------------------------------------


def test_a_trial_is_its_parts():
    assert PARTS.seconds == 1 + 2 + 10 * 0.5 + 4 * 3 + 0.25
    assert dataclasses.replace(PARTS, updates=1, evaluations=2).seconds == 1 + 2 + 2 * 3 + 0.25


@pytest.mark.parametrize(
    ("durations", "places", "end"),
    [
        ([], 2, 0.0),
        ([3.0, 3.0, 3.0], 1, 9.0),
        ([3.0, 3.0, 3.0], 2, 6.0),
        ([1.0, 5.0, 1.0, 1.0], 2, 5.0),  # 1 + 1 + 1 beside 5
        ([1.0, 1.0, 1.0, 5.0], 2, 6.0),  # in order: the longest comes last
        ([2.0], 4, 2.0),
    ],
)
def test_trials_take_the_first_place_that_is_free(durations, places, end):
    assert makespan(durations, places) == end


def test_seeds_share_one_rehearsal_and_everything_adds_up(trial, tmp_path):
    trials = [trial(seed=s) for s in range(3)] + [trial("dense")]
    quick = dataclasses.replace(PARTS, evaluation=0.0)
    tried = made_up({trial().key: PARTS, trial("dense").key: quick}, side_by_side=2)
    found = estimate(trials, Store(tmp_path), Order(tmp_path), tried, Watch())
    assert tried.asked == [[trial().key, trial("dense").key]] * 2
    assert [found.durations[t.key].seconds for t in trials] == [20.25, 20.25, 20.25, 8.25]
    assert {d.basis for d in found.durations.values()} == {"rehearsal"}
    assert found.before == 3.0 + 4.0
    assert found.seconds == found.before + 40.5
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_rehearsed_takes_as_long_as_others_of_its_task(trial, tmp_path):
    trials = [trial(settings={"rank": r}) for r in (1, 2, 3)] + [
        trial("dense"),
        trial(f"{FAULTY}:Raising"),
        trial("dense", options={"width": 9}),
    ]
    rank_1, _, rank_3, dense, raising, wide = (t.key for t in trials)
    short, long = (dataclasses.replace(PARTS, end=e) for e in (1.0, 3.0))
    results = {rank_1: short, rank_3: long, dense: PARTS, raising: "RuntimeError: shapes differ"}
    tried = made_up(results, ready=frozenset(results))
    found = estimate(trials, Store(tmp_path), Order(tmp_path), tried, Watch()).durations
    middle = found[trials[1].key]
    assert (middle.seconds, middle.basis) == ((short.seconds + long.seconds) / 2, "alike")
    assert (found[raising].seconds, found[raising].reason) == (None, "RuntimeError: shapes differ")
    assert found[wide].basis == "none"  # another model: nothing like it was tried
    assert "no time" in found[wide].reason


def test_the_ends_are_rehearsed_first_and_stand_for_what_lies_between(trial, tmp_path):
    both, first = ["first", "second"], ["first"]
    trials = [
        *(trial(slots=both, settings={"rank": r}) for r in (2, 3)),
        *(trial(slots=first, settings={"rank": r}) for r in (2, 3)),
        trial("dense"),
        trial("dense", options={"width": 9}),
    ]
    wide_2, wide_3, narrow_2, narrow_3, dense, other = (t.key for t in trials)
    short, long = (dataclasses.replace(PARTS, end=e) for e in (1.0, 3.0))
    results = {wide_2: long, narrow_3: short, dense: PARTS, other: PARTS}
    tried = made_up(results)
    found = estimate(trials, Store(tmp_path), Order(tmp_path), tried, Watch()).durations
    # each task in turn, in it each baseline in turn, of that the most and the fewest slots
    assert tried.asked[-1] == [wide_2, other, dense, narrow_3, wide_3, narrow_2]
    assert tried.asked[:2] == [tried.asked[-1][:4], tried.asked[-1][4:]]
    assert (found[wide_3].seconds, found[narrow_2].seconds) == (long.seconds, short.seconds)
    assert {found[wide_3].basis, found[narrow_2].basis} == {"alike"}


def test_others_on_the_machine_are_told_apart(trial, tmp_path, monkeypatch):
    half = dataclasses.replace(PARTS, waited=0.5)
    monkeypatch.setattr("slt_bench.estimate.available_cores", lambda: 2)

    def found(side_by_side) -> Estimate:
        tried = made_up({trial().key: half}, side_by_side=side_by_side)
        return estimate([trial()], Store(tmp_path), Order(tmp_path), tried, Watch())

    free = found(2)
    assert free.durations[trial().key].seconds == 20.25
    assert free.busy_seconds == 2 * free.seconds
    own = found(3)  # three on two cores wait for one another: that is no load of others
    assert own.durations[trial().key].seconds == 40.5
    assert own.busy_seconds == own.seconds


def test_a_checkpoint_is_taken_off(trial, tmp_path):
    seen = []
    attempt(trial(), Store(tmp_path), stop=lambda: len(seen) >= 5,
            progress=lambda done, total, loss: seen.append(done))  # fmt: skip
    tried = made_up({trial().key: PARTS})
    found = estimate([trial(), trial(seed=1)], Store(tmp_path), Order(tmp_path), tried, Watch())
    assert found.durations[trial().key].seconds == 0.75 * 20.25
    assert found.durations[trial(seed=1).key].seconds == 20.25


# Records of other seeds ----------------------------------------------------------------------


def basis(one, tmp_path):
    tried = made_up({dataclasses.replace(one, seed=0).key: PARTS})
    order = Order(tmp_path, threads=json.loads(record_file(tmp_path).read_text())
                  ["provenance"]["threads"])  # fmt: skip
    return estimate([one], Store(tmp_path), order, tried, Watch()).durations[one.key]


def record_file(tmp_path):
    (path,) = tmp_path.glob("results/train/*/*/*.json")
    return path


def test_the_record_of_another_seed_is_enough(trial, tmp_path):
    record = run(trial(seed=4), tmp_path)
    found = basis(trial(seed=7), tmp_path)
    assert found.basis == "record"
    assert found.seconds == pytest.approx(record["timing"]["seconds"] + 0.125)
    timing = record["timing"]
    assert timing["seconds"] > timing["training_seconds"] + timing["evaluation_seconds"]
    assert basis(trial(seed=7, settings={"rank": 3}), tmp_path).basis == "rehearsal"


@pytest.mark.parametrize("fact", ["processor", "torch", "kernels", "threads"])
def test_a_record_of_another_machine_is_none(trial, tmp_path, fact):
    run(trial(), tmp_path)
    path = record_file(tmp_path)
    record = json.loads(path.read_text())
    found = record["provenance"]
    found[fact] = {"threads": found["threads"] + 1, "kernels": None}.get(fact, "another")
    order = Order(tmp_path, threads=json.loads(path.read_text())["provenance"]["threads"])
    path.write_text(json.dumps(record))
    tried = made_up({trial().key: PARTS})
    one = trial(seed=1)
    durations = estimate([one], Store(tmp_path), order, tried, Watch()).durations
    assert durations[one.key].basis == "rehearsal"


def test_a_record_of_other_code_is_none(trial, tmp_path, monkeypatch):
    run(trial(), tmp_path)
    monkeypatch.setattr("slt_bench.provenance.source_digest", lambda cls: "another")
    assert basis(trial(seed=1), tmp_path).basis == "rehearsal"


# Data ----------------------------------------------------------------------------------------


def test_missing_data_is_the_reason_and_the_rest_is_estimated(trial, tmp_path, monkeypatch):
    monkeypatch.delenv("SLT_BENCH_DATA", raising=False)
    monkeypatch.delenv("SLT_BENCH_OFFLINE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    tree = Trial.create("penn_treebank", budget="paper")
    tried = made_up({trial().key: PARTS})
    found = estimate([tree, trial()], Store(tmp_path), Order(tmp_path), tried, Watch())
    assert found.durations[trial().key].seconds == 20.25
    assert found.durations[tree.key].seconds is None
    assert "ptb" in found.durations[tree.key].reason
    assert found.known == [20.25]


# For real ------------------------------------------------------------------------------------


def test_a_rehearsal_knows_the_length_of_the_trial(trial):
    found = rehearse(trial(options={"updates": 23, "evaluate_every": 5}), seconds=0.05)
    assert (found.updates, found.evaluations) == (23, 6)  # at 0, 5, 10, 15, 20 and 23
    assert all(getattr(found, name) > 0 for name in ("start", "first", "update", "evaluation"))
    assert rehearse(trial(options={"updates": 1}), seconds=0.05).updates == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_holds(name, trial, tmp_path):
    # The task sleeps for most of the time: how busy the machine is hardly matters.
    options = {"updates": 60, "evaluate_every": 30, "pause": 0.02}
    trials = [trial(seed=s, options=options) for s in range(3)]
    order = Order(reports=tmp_path, jobs=2)
    found = estimate(trials, Store(tmp_path), order, engine(name), Watch())
    assert found.at_a_time == (2 if name == "local" else 1)
    assert list(tmp_path.iterdir()) == []
    attempt(trials[0], Store(tmp_path))
    took = Store(tmp_path).read(trials[0].identity, trials[0].key)["timing"]["seconds"]
    assert found.durations[trials[0].key].basis == "rehearsal"
    assert 1 / 1.5 < found.durations[trials[0].key].seconds / took < 1.5
    assert found.seconds > 1.9 * took / 1.5


def test_what_fails_in_a_rehearsal_is_told(trial, tmp_path):
    trials = [trial(f"{FAULTY}:{fault}") for fault in ("Killed", "Raising")]
    found = engine("local").rehearse(trials, Order(tmp_path), Watch(), 0.1, float("inf"))
    assert "SIGKILL" in found[trials[0].key]
    assert found[trials[1].key] == "RuntimeError: shapes differ"
    assert list(tmp_path.iterdir()) == []
