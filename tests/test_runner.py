"""One trial in this process: its record, and how it may fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model

from slt_bench.runner import Ending, attempt, build, run
from slt_bench.store import Store
from slt_bench.trial import Trial

FAULTY = Path(__file__).parent / "plugins" / "faulty_layers.py"


@pytest.fixture
def trial(toy_task, toy_layer):
    def trial(baseline=toy_layer, **given):
        return Trial.create(toy_task, baseline, **given)

    return trial


def test_a_record_says_what_was_found_and_where_it_comes_from(trial, tmp_path):
    one = trial(slots=["all"], settings={"rank": 3})
    record = run(one, tmp_path)
    assert record["key"] == one.key
    assert record["trial"] == one.identity
    assert record["status"] == "done"
    assert set(record["metrics"]["final"]) == {"loss", "accuracy"}
    assert record["metrics"]["updates"] == 20
    assert 0 <= record["metrics"]["settled"] <= 100
    assert record["timing"]["step_ms"]["n"] == 20
    first, second = 3 * 6 + 3 * 6 + 6, 3 * 6 + 3 * 6
    outside = 6 * 6 + 6 + 6 + 1
    assert record["parameter_count"] == outside + first + second
    facts = record["facts"]
    assert facts["slot_parameter_count"] == first + second
    assert facts["dense_slot_parameter_count"] == 42 + 36
    assert facts["dense_parameter_count"] == run(trial("dense"), tmp_path)["parameter_count"]
    assert facts["settings"] == {"rank": 3}
    assert facts["options"]["width"] == 6
    assert record["provenance"]["torch"] == torch.__version__
    assert len(record["provenance"]["source"]["baseline"]) == 64
    assert str(Path.home()) not in json.dumps(record)
    assert str(tmp_path) not in json.dumps(record)


def test_metrics_are_what_the_seed_determines(trial, tmp_path):
    a, b = (run(trial(seed=2), tmp_path / folder) for folder in "ab")
    assert a["metrics"] == b["metrics"]
    assert a["curves"] == b["curves"]
    assert run(trial(seed=3), tmp_path / "a")["metrics"] != a["metrics"]


def test_a_finished_trial_is_not_run_again(trial, tmp_path):
    first = run(trial(), tmp_path)
    assert run(trial(), tmp_path) == first
    assert run(trial(), tmp_path, force=True)["timing"] != first["timing"]


def test_final_weights_are_kept(trial, tmp_path):
    store = Store(tmp_path)
    attempt(trial(), store)
    model = build(trial()).model
    before = [p.clone() for p in model.parameters()]
    load_model(model, store.weights(trial().key))
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not store.checkpoint(trial().key).exists()
    assert (store.checkpoints / ".gitignore").read_text() == "*\n"


def test_the_dtype_is_that_of_the_trial(trial, tmp_path):
    built = build(trial(dtype="float64"))
    assert {p.dtype for p in built.model.parameters()} == {torch.float64}
    single = build(trial())
    for a, b in zip(built.model.parameters(), single.model.parameters(), strict=True):
        assert torch.equal(a.float(), b)
    assert run(trial(dtype="float64"), tmp_path)["status"] == "done"


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        ("Raising", "error", "RuntimeError: shapes differ"),
        ("Hungry", "out of memory", "allocate memory"),
        ("Exploding", "diverged", "the loss is nan at update 1 of 20"),
        ("Refusing", "unsupported", "6 -> 6: only sizes divisible by 1,000"),
    ],
)
def test_a_failure_is_recorded_as_what_it_is(trial, tmp_path, fault, status, message):
    store, one = Store(tmp_path), trial(f"{FAULTY}:{fault}")
    ending = attempt(one, store)
    assert ending.status == status
    assert message in ending.message
    assert "\n" not in ending.message
    failure = store.read_failure(one.identity, one.key)
    assert (failure["status"], failure["error"]) == (status, ending.message)
    assert store.read(one.identity, one.key) is None
    with pytest.raises(RuntimeError, match=status):
        run(one, tmp_path)


def test_a_stopped_trial_goes_on_where_it_was(trial, tmp_path):
    store, one = Store(tmp_path / "stopped"), trial()
    seen = []
    ending = attempt(
        one,
        store,
        stop=lambda: len(seen) >= 7,
        progress=lambda done, total, loss: seen.append(done),
    )
    assert ending == Ending("stopped")
    assert store.checkpoint(one.key).exists()
    assert attempt(one, store, progress=lambda *p: seen.append(p[0])).status == "done"
    assert seen == list(range(1, 21))
    resumed = store.read(one.identity, one.key)
    assert resumed["metrics"] == run(one, tmp_path / "straight")["metrics"]


def test_a_failure_that_cannot_be_written_is_still_told(trial, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    ending = attempt(trial(f"{FAULTY}:Raising"), Store(tmp_path))
    assert ending.status == "error"
    assert "not recorded: No space left on device" in ending.message
