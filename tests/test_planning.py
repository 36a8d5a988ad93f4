"""What there is to do: done, stale, failed, missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slt_bench import registry
from slt_bench.planning import due, matched, parameter_counts, plan
from slt_bench.runner import attempt, run
from slt_bench.store import Store
from slt_bench.trial import Trial

FAULTY = Path(__file__).parent / "plugins" / "faulty_layers.py"


@pytest.fixture
def trial(toy_task, toy_layer):
    def trial(baseline=toy_layer, **given):
        return Trial.create(toy_task, baseline, **given)

    return trial


def state(one, store):
    return plan([one], store)[0].status


def test_the_state_of_a_trial(trial, tmp_path):
    store = Store(tmp_path)
    assert state(trial(), store) == "missing"
    run(trial(), tmp_path)
    assert state(trial(), store) == "done"
    for fault, expected in (("Raising", "failed"), ("Exploding", "diverged"),
                            ("Refusing", "unsupported")):  # fmt: skip
        attempt(trial(f"{FAULTY}:{fault}"), store)
        found = plan([trial(f"{FAULTY}:{fault}")], store)[0]
        assert found.status == expected
        assert found.message


def test_an_edited_formula_makes_a_record_stale(trial, tmp_path, monkeypatch):
    store = Store(tmp_path)
    run(trial(), tmp_path)
    attempt(trial(f"{FAULTY}:Exploding"), store)
    monkeypatch.setattr("slt_bench.provenance.source_digest", lambda cls: "another")
    assert state(trial(), store) == "stale"
    assert state(trial(f"{FAULTY}:Exploding"), store) == "failed"  # worth another attempt


def test_what_is_due(trial, tmp_path, monkeypatch):
    store = Store(tmp_path)
    run(trial(), tmp_path)
    attempt(trial(f"{FAULTY}:Raising"), store)
    attempt(trial(f"{FAULTY}:Exploding"), store)
    trials = [trial(), trial(f"{FAULTY}:Raising"), trial(f"{FAULTY}:Exploding"), trial(seed=1)]
    planned = plan(trials, store)
    assert due(planned) == [trials[1], trials[3]]
    assert due(planned, force=True) == trials
    monkeypatch.setattr("slt_bench.provenance.source_digest", lambda cls: "another")
    assert due(plan(trials, store), stale="keep") == trials[1:]
    assert due(plan(trials, store), stale="rerun") == trials


@pytest.mark.parametrize("group", ["settings", "options"])
def test_a_value_that_has_changed_since_makes_a_record_stale(trial, tmp_path, group):
    store = Store(tmp_path)
    run(trial(), tmp_path)
    path = store.path(trial().identity, trial().key)
    record = json.loads(path.read_text())
    name = {"settings": "rank", "options": "width"}[group]
    record["facts"][group][name] += 1
    path.write_text(json.dumps(record))
    assert state(trial(), store) == "stale"
    del record["facts"][group][name]  # a value that was added later
    path.write_text(json.dumps(record))
    assert state(trial(), store) == "done"


def test_a_record_without_digest_is_stale_not_lost(trial, tmp_path):
    store = Store(tmp_path)
    run(trial(), tmp_path)
    path = store.path(trial().identity, trial().key)
    record = json.loads(path.read_text())
    del record["provenance"]["source"]
    path.write_text(json.dumps(record))
    assert state(trial(), store) == "stale"


def test_parameter_counts_are_those_of_the_records(trial, tmp_path):
    trials = [trial(), trial(settings={"rank": 4}), trial("dense"), trial(f"{FAULTY}:Refusing")]
    counts = parameter_counts(trials)
    for one in trials[:3]:
        assert counts[one.key] == run(one, tmp_path)["parameter_count"]
    assert counts[trials[3].key] is None


def test_models_that_differ_in_the_seed_alone_are_built_once(trial, monkeypatch):
    built = []

    class Counted:
        parameter_count = 1

    monkeypatch.setattr("slt_bench.planning.build", lambda t: built.append(t) or Counted)
    assert set(parameter_counts([trial(seed=s) for s in range(5)]).values()) == {1}
    assert len(built) == 1


def test_sizes_are_matched_over_the_filled_slots(trial):
    (solved, other), match = matched(trial(slots=["all"]), 0.5)
    # first: 6 -> 6 with bias, second: 6 -> 6 without; rank r has 12 r + 6 and 12 r weights
    assert match.target == 36
    assert (match.value, match.count) == (1, 30)
    assert solved.settings == {"rank": 1}
    assert other.settings == {}  # rank 2, the default, stands on the other side of the target
    assert matched(trial("dense"), 0.5) is None
    assert matched(trial(f"{FAULTY}:Refusing"), 0.5) is None
    assert registry.resolve("baselines", solved.baseline_source).name == "ToyLayer"
