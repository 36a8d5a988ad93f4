"""The training loop: penalties, curve, divergence, and resuming bit for bit."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
import torch
from torch import nn

from slt_bench import kernels
from slt_bench.registry import load_task
from slt_bench.task import Streams, fill_slots
from slt_bench.training import Checkpoint, Diverged, Stopped, evaluate, picks, train


@pytest.fixture
def make(toy_task):
    """Builds the toy task and its model."""
    cls = load_task(toy_task)

    def make(layer=nn.Linear, seed=0, **options):
        task = cls(dataclasses.replace(cls.budgets["quick"], **options))
        return task, fill_slots(task, Streams(seed), ("second",), layer)

    return make


class Penalised(nn.Linear):
    def penalty(self):
        return self.weight.square().sum()

    def summary(self):
        return {"norm": float(self.weight.detach().norm())}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_learns_and_keeps_its_curve(make):
    task, model = make(updates=200, evaluate_every=50)
    state = train(task, model, Streams(0))
    assert [p["update"] for p in state.curve] == [0, 50, 100, 150, 200]
    assert state.curve[-1]["loss"] < 0.2 * state.curve[0]["loss"]
    assert state.curve[-1]["loss"] < 0.5 * task.trivial()["loss"]
    assert [p["update"] for p in state.training_curve] == [50, 100, 150, 200]
    assert len(state.step_seconds) == 200


def test_the_last_update_is_always_evaluated(make):
    task, model = make(updates=7, evaluate_every=5)
    assert [p["update"] for p in train(task, model, Streams(0)).curve] == [0, 5, 7]


@pytest.mark.parametrize("stops", [[1], [3, 4, 11], [19]])
def test_a_stopped_run_ends_in_the_same_weights(make, tmp_path, stops):
    task, straight = make()
    expected = train(task, straight, Streams(0))

    checkpoint = Checkpoint(tmp_path / "trial.pt")
    for stop_at in stops:
        task, model = make()
        seen = [0]

        def progress(done, total, loss, seen=seen):
            seen[0] = done

        with pytest.raises(Stopped):
            train(task, model, Streams(0), checkpoint=checkpoint, progress=progress,
                  stop=lambda seen=seen, at=stop_at: seen[0] >= at)  # fmt: skip
    task, model = make()
    state = train(task, model, Streams(0), checkpoint=checkpoint)
    assert torch.equal(weights(model), weights(straight))
    assert state.curve == expected.curve
    assert state.training_curve == expected.training_curve


def test_checkpoints_are_written_while_training_goes_on(make, tmp_path):
    task, model = make()
    checkpoint = Checkpoint(tmp_path / "trial.pt", every_seconds=0.0)
    train(task, model, Streams(0), checkpoint=checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["trial.pt"]
    saved = torch.load(checkpoint.path, weights_only=True)
    assert saved["state"]["update"] == task.updates


def test_dropout_draws_from_the_trials_own_stream(make):
    task, first = make()
    train(task, first, Streams(0))
    torch.manual_seed(99)
    task, second = make()
    train(task, second, Streams(0))
    assert torch.equal(weights(first), weights(second))


def test_penalties_join_the_loss_with_their_weight(make):
    def norm(weight):
        task, model = make(Penalised, penalty_weight=weight, updates=60)
        state = train(task, model, Streams(0))
        assert [s["update"] for s in state.summary] == [p["update"] for p in state.curve]
        assert state.training_curve[-1]["penalty"] > 0
        return model[3].penalty().item()

    assert norm(10.0) < 0.1 * norm(0.0)


def test_gradients_are_clipped_over_all_weights(make, monkeypatch):
    task, model = make(updates=1)
    task.clip_norm = 1e-3
    norms = []
    clip = nn.utils.clip_grad_norm_

    def spy(parameters, limit):
        parameters = list(parameters)
        clip(parameters, limit)
        norms.append(torch.cat([p.grad.flatten() for p in parameters]).norm().item())

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", spy)
    train(task, model, Streams(0))
    assert norms == [pytest.approx(1e-3, rel=1e-3)]


def test_a_loss_that_is_not_finite_ends_the_trial(make):
    class Exploding(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (float("nan") if self.training else 1.0)

    task, model = make(Exploding)
    with pytest.raises(Diverged, match="nan at update 1 of 20"):
        train(task, model, Streams(0))


def test_the_rate_follows_the_task(make):
    task, model = make(updates=3)
    rates = []
    task.learning_rate = lambda update, curve: 0.1 / (1 + update)
    build = task.optimizer

    def spied(parameters):
        optimizer = build(parameters)
        optimizer.register_step_pre_hook(
            lambda o, args, kwargs: rates.append(o.param_groups[0]["lr"])
        )
        return optimizer

    task.optimizer = spied
    train(task, model, Streams(0))
    assert rates == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_evaluation_is_the_mean_over_all_items_without_dropout(make):
    task, model = make()
    model.train()
    found = evaluate(task, model, "test")
    assert model.training
    model.eval()
    with torch.no_grad():
        parts = [task.measure(model, *batch) for batch in task.evaluation_batches("test")]
    for name in ("loss", "accuracy"):
        assert found[name] == pytest.approx(torch.cat([p[name] for p in parts]).mean().item())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_batches_follow_the_dtype_of_the_model(make, dtype):
    task, model = make(updates=2)
    train(task, model.to(dtype), Streams(0))
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_data_that_is_first_read_for_an_evaluation_can_be_trained_on(make):
    task, model = make(updates=2)
    draw, kept = task._draw, []

    def once(count, generator):
        kept.append(draw(count, generator))
        return kept[0][0][:8], kept[0][1][:8]

    task._draw = once
    train(task, model, Streams(0))
    assert not kept[0][0].is_inference()


@pytest.mark.parametrize("damage", ["cut", "empty", "other code"])
def test_a_checkpoint_that_cannot_be_trusted_is_thrown_away(make, tmp_path, damage):
    task, straight = make()
    train(task, straight, Streams(0))
    checkpoint = Checkpoint(tmp_path / "trial.pt", source="today")
    task, model = make()
    train(task, model, Streams(0), checkpoint=dataclasses.replace(checkpoint, every_seconds=0.0))
    if damage == "other code":
        checkpoint = dataclasses.replace(checkpoint, source="tomorrow")
    else:
        content = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    task, model = make()
    seen = []
    train(task, model, Streams(0), checkpoint=checkpoint, progress=lambda *p: seen.append(p[0]))
    assert seen[0] == 1
    assert torch.equal(weights(model), weights(straight))


class Choosing(nn.Linear):
    """Before its first product in each mode it compares two ways, which takes a while."""

    def forward(self, x):
        way = {"nap": lambda: time.sleep(0.05)}
        kernels.quickest(f"{'training' if self.training else 'evaluation'}", way)
        return super().forward(x)


def test_no_timing_holds_what_was_built_or_measured(make, tmp_path, monkeypatch):
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    before = kernels.preparation_seconds()
    start = time.perf_counter()
    task, model = make(Choosing, updates=3)
    state = train(task, model, Streams(0))
    took = time.perf_counter() - start
    spent = kernels.preparation_seconds() - before
    assert spent >= 8 * 0.05  # four times each, in both modes
    assert state.seconds <= took - spent
    assert sum(state.step_seconds) + state.evaluation_seconds <= state.seconds
    plain, reference = make(updates=3)
    train(plain, reference, Streams(0))
    assert torch.equal(weights(model), weights(reference))


def recurrent(seed=0):
    """A task whose GRU may run by several strategies, and its model."""
    cls = load_task("adding")
    options = dataclasses.replace(cls.budgets["smoke"], updates=6, evaluate_every=2)
    task = cls(options)
    return task, fill_slots(task, Streams(seed), (), nn.Linear)


def test_a_resumed_run_picks_what_it_picked_before(tmp_path, monkeypatch):
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)

    def quickest(first):
        return lambda case, ways: (first[case.split(",")[0]], dict.fromkeys(ways, 0.001))

    chosen = {"GRU training": "scan", "GRU inference": "eager"}
    monkeypatch.setattr("slt_bench.recurrent.quickest", quickest(chosen))
    task, straight = recurrent()
    expected = train(task, straight, Streams(0))
    checkpoint, (task, model), seen = Checkpoint(tmp_path / "trial.pt"), recurrent(), []
    with pytest.raises(Stopped):
        train(task, model, Streams(0), checkpoint=checkpoint, stop=lambda: len(seen) >= 3,
              progress=lambda *p: seen.append(p))  # fmt: skip
    # The machine is another one now, on which other strategies would be quickest.
    swapped = {"GRU training": "eager", "GRU inference": "scan"}
    monkeypatch.setattr("slt_bench.recurrent.quickest", quickest(swapped))
    task, model = recurrent()
    state = train(task, model, Streams(0), checkpoint=checkpoint)
    assert model.gru.last_strategy == "scan"
    assert torch.equal(weights(model), weights(straight))
    assert state.curve == expected.curve
    found = picks(model)
    assert found == picks(straight)
    assert {case.split(",")[0]: p["strategy"] for case, p in found["gru"].items()} == {
        "inference": "eager",
        "training": "scan",
    }
    assert json.loads(json.dumps(found)) == found


def test_how_far_a_checkpoint_has_come(make, tmp_path):
    checkpoint = Checkpoint(tmp_path / "trial.pt", every_seconds=0.0, source="today")
    assert checkpoint.updates() == 0
    task, model = make()
    seen = []
    with pytest.raises(Stopped):
        train(task, model, Streams(0), checkpoint=checkpoint, stop=lambda: len(seen) >= 5,
              progress=lambda *p: seen.append(p))  # fmt: skip
    assert checkpoint.updates() == 5
    assert dataclasses.replace(checkpoint, source="tomorrow").updates() == 0
