"""On a CUDA device: what is computed there, and how it is timed. No time is asserted.

Imports no plugin of pytest and nothing that only tables need: a bare machine can run it.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from slt_bench import registry
from slt_bench.engines import Order, load_engine
from slt_bench.layers import Unsupported
from slt_bench.runner import attempt, run
from slt_bench.store import Store
from slt_bench.timing import gpu
from slt_bench.timing.cell import MODES, Cell
from slt_bench.timing.functions import Measured, build, prepare
from slt_bench.timing.sampling import Protocol
from slt_bench.timing.session import Plan, measure
from slt_bench.trial import Trial

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
TOY_LAYER = f"{Path(__file__).parent / 'plugins' / 'toy_layer.py'}:ToyLayer"
QUICK = Protocol(warm_up_seconds=0.0, samples=3, seconds=0.0, spread=1e9, cap=0.01, window=0.01)
BASELINES = list(registry.entries("baselines"))


def cell(baseline="dense", mode="forward", **more):
    source = TOY_LAYER if baseline == "toy_layer" else ""
    steps = 12 if mode == "sequence" else None
    values = {"settings": {}, "shape": (256, 256), "batch": 8, "steps": steps, "device": DEVICE}
    return Cell(baseline, mode=mode, baseline_source=source, **{**values, **more})


def prepared(one: Cell) -> Measured:
    try:
        return prepare(one)
    except Unsupported as error:
        pytest.skip(str(error))


def assert_near(found, expected, tolerance):
    """Norm of the difference over the norm; a gradient that autograd left out is zero."""
    if found is None or expected is None:
        assert all(t is None or not t.any() for t in (found, expected))
        return
    error = (found.cpu().double() - expected.cpu().double()).norm()
    assert error <= tolerance * expected.cpu().double().norm()


# What is computed ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_layer_computes_the_same_as_on_the_cpu(baseline, mode):
    """Alone and in a GRU, with the gradients of weights and input."""
    here = prepared(cell(baseline, mode, dtype="float64"))
    there = prepared(cell(baseline, mode, dtype="float64", device="cpu"))
    with here.context(), there.context():
        assert_near(here.call(), there.call(), 1e-9)
    assert len(here.leaves) == len(there.leaves)
    for own, other in zip(here.leaves, there.leaves, strict=True):
        assert_near(own.grad, other.grad, 1e-8)


@pytest.mark.parametrize("baseline", BASELINES)
def test_scan_equals_eager(baseline):
    gru = build(cell(baseline, "sequence", dtype="float64")).to(DEVICE)
    x = torch.randn(5, 37, 2, dtype=torch.float64, device=DEVICE)
    found = {}
    for strategy in ("eager", "scan"):
        gru.strategy = strategy
        gru.zero_grad()
        states, last = gru(x)
        (states.square().mean() + last.sum()).backward()
        found[strategy] = [states, *(p.grad for p in gru.parameters())]
    for own, other in zip(found["scan"], found["eager"], strict=True):
        assert_near(own, other, 1e-9)


@pytest.mark.parametrize("task", list(registry.entries("tasks")))
def test_every_task_trains(task, tmp_path):
    """The curve starts where it starts on the CPU; then rounding may lead it elsewhere."""
    trial = Trial.create(task, TOY_LAYER, budget="smoke")
    record = run(trial, tmp_path / "here", device=DEVICE)
    there = run(trial, tmp_path / "there")
    assert record["provenance"]["device"] == DEVICE
    assert record["provenance"]["gpu"]["name"] == torch.cuda.get_device_name()
    (split, curve), *_ = record["curves"].items()
    start, other = curve[0], there["curves"][split][0]
    assert start["loss"] == pytest.approx(other["loss"], rel=1e-2)
    assert all(map(math.isfinite, record["metrics"]["final"].values()))


def test_a_trial_that_was_stopped_ends_as_one_that_was_not(toy_task, tmp_path):
    trial = Trial.create(toy_task, TOY_LAYER)
    whole = run(trial, tmp_path / "whole", device=DEVICE)
    store, calls = Store(tmp_path / "parts"), iter(range(1000))
    stopped = attempt(trial, store, device=DEVICE, stop=lambda: next(calls) == 7)
    assert stopped.status == "stopped"
    parts = run(trial, store.reports, device=DEVICE)
    assert parts["metrics"] == whole["metrics"]
    assert parts["curves"] == whole["curves"]


class Silent:
    def preparing(self, text): ...
    def log(self, text): ...
    def started(self, trial): ...
    def progress(self, trial, done, total, loss): ...
    def finished(self, trial, ending, seconds): ...


def test_a_process_of_its_own_reaches_the_device(toy_task, tmp_path):
    """Forked from a server that must not have touched CUDA."""
    trials = [Trial.create(toy_task, TOY_LAYER, seed=seed) for seed in (0, 1)]
    order = Order(reports=tmp_path, device=DEVICE, jobs=2)
    endings = load_engine("local")(trials, order, Silent())
    assert [endings[t.key].message for t in trials] == ["", ""]
    assert [endings[t.key].status for t in trials] == ["done", "done"]


# How it is timed -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["training", "sequence"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_training_call_is_captured_and_its_replay_computes_the_same(baseline, mode):
    measured = prepared(cell(baseline, mode))
    replay, how = gpu._captured(measured.call)
    assert how == "graph"
    replayed = [leaf.grad for leaf in measured.leaves]
    for gradient in replayed:
        if gradient is not None:
            gradient.zero_()
    replay()
    torch.cuda.synchronize()
    measured.call()
    for own, leaf in zip(replayed, measured.leaves, strict=True):
        assert_near(own, leaf.grad, 1e-4)


def test_what_no_graph_can_hold_is_timed_as_it_is():
    x = torch.randn(64, device=DEVICE)
    found = gpu.kernel_time(lambda: x.sum().item())  # waits for the device
    assert found["how"].startswith("eager")
    assert found["median"] > 0
    assert float(torch.ones(8, device=DEVICE).sum()) == 8  # the failed capture did no harm


def test_more_work_takes_longer():
    found = []
    for n in (256, 8192):
        measured = prepare(cell(shape=(n, n), batch=256))
        with measured.context():
            found.append(gpu.kernel_time(measured.call))
    small, large = found
    assert small["how"].startswith("graph")
    assert small["median"] < large["median"]
    assert len(small["samples"]) <= gpu.KEPT_SAMPLES
    assert small["count"] >= gpu.SAMPLES


def test_the_card_is_read_while_it_works():
    x = torch.randn(2048, 2048, device=DEVICE)
    found = gpu.state(meanwhile=lambda: x @ x)
    if found is None:
        pytest.skip("nvidia-smi does not answer for this card")
    assert found["clocks.sm"] is None or found["clocks.sm"] > 0
    assert found["idle"] is not True


def test_a_session_publishes_both_times(tmp_path):
    cells = [
        cell(name, mode, copy=copy, hardware=torch.cuda.get_device_name())
        for mode in MODES
        for name, copy in (("dense", False), ("toy_layer", False))
    ]
    plan = Plan(rounds=1, patience=0.0, allow_noisy=True, protocol=QUICK)
    rows = measure(cells, Store(tmp_path), plan)
    assert [row.record.get("error") for row in rows] == [None] * len(cells)
    for row in rows:
        assert row.published
        assert row.record["facts"]["peak_bytes"] > row.record["facts"]["parameter_bytes"]
        (one,) = row.record["timing"]["rounds"]
        assert one["measures"].keys() == {"call", "kernel"}
        assert one["measures"]["kernel"]["how"].startswith("graph")
        assert one["measures"]["kernel"]["median"] > 0
