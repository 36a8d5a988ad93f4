"""What is timed, the check before it, and the protocol of one process. No time is asserted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from slt_bench.registry import entries, load_baseline
from slt_bench.timing import jobs
from slt_bench.timing.cell import Cell
from slt_bench.timing.check import DENSE_ENTRIES, WrongOutput, check
from slt_bench.timing.floor import Rates, Work, measure_rates, work
from slt_bench.timing.functions import INPUT_SIZE, prepare
from slt_bench.timing.memory import available_bytes, held_bytes, peak_bytes, predicted_bytes
from slt_bench.timing.sampling import Protocol, sample, warm_up

LAYERS = Path(__file__).parent / "plugins" / "timed_layers.py"
QUICK = Protocol(warm_up_seconds=0.0, samples=3, seconds=0.0, spread=1e9, cap=0.1, window=0.0)


def cell(baseline="dense", mode="forward", shape=(12, 12), **more):
    source = f"{LAYERS}:{baseline}" if baseline[0].isupper() else ""
    steps = 3 if mode == "sequence" else None
    values = {"settings": {}, "batch": 5, "steps": steps, "baseline_source": source, **more}
    return Cell(baseline, shape=shape, mode=mode, **values)


def called(one):
    measured = prepare(one)
    with measured.context():
        return measured, measured.call()


# Cells -----------------------------------------------------------------------------------------


def test_everything_that_a_time_depends_on_is_in_the_key():
    one = cell()
    changed = [
        cell("low_rank"), cell(settings={"rank": 3}), cell(shape=(12, 13)), cell(mode="training"),
        cell(batch=6), cell(device="cuda"), cell(hardware="another"), cell(threads=2),
        cell(dtype="float64"), cell(compiled=True), cell(copy=True),
        cell(mode="sequence"), cell(mode="sequence", steps=4),
    ]  # fmt: skip
    assert len({c.key for c in (one, *changed)}) == 14
    assert dataclasses.replace(one, baseline_source="elsewhere").key == one.key
    assert one.is_dense
    assert not cell(copy=True).is_dense
    assert cell(copy=True).group_key == one.group_key == cell("low_rank").group_key


# Functions -------------------------------------------------------------------------------------


def test_forward_is_the_layer_in_inference_mode():
    measured, output = called(cell(shape=(12, 7)))
    assert output.is_inference()
    assert not measured.layer.training
    weight, bias = measured.layer.weight.double(), measured.layer.bias.double()
    torch.testing.assert_close(output.double(), measured.inputs[0].double() @ weight.T + bias)


def test_training_leaves_the_gradients_of_one_call_alone():
    measured, _ = called(cell(mode="training", shape=(12, 7)))
    measured.call()  # a second call does not add to the first
    x, upstream = measured.inputs
    torch.testing.assert_close(measured.layer.weight.grad, upstream.T @ x.detach())
    torch.testing.assert_close(measured.layer.bias.grad, upstream.sum(0))
    torch.testing.assert_close(x.grad, upstream @ measured.layer.weight.detach())


def test_training_includes_the_penalty():
    measured, _ = called(cell("Penalised", "training"))
    x, upstream = measured.inputs
    weight = measured.layer.weight.detach()
    torch.testing.assert_close(measured.layer.weight.grad, upstream.T @ x.detach() + 2 * weight)


def test_a_sequence_is_a_gru_with_the_baseline_in_its_recurrent_maps():
    measured, last = called(cell("low_rank", "sequence", steps=4))
    kinds = {type(measured.layer.get_submodule(n)) for n in ("reset", "update", "state")}
    assert kinds == {load_baseline("low_rank")}
    x, target = measured.inputs
    assert x.shape == (5, 4, INPUT_SIZE)
    expected = measured.layer(x)[1]
    torch.testing.assert_close(last, expected.detach())
    parameters = list(measured.layer.parameters())
    gradients = torch.autograd.grad((expected - target).square().mean(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_optimiser_works_and_changes_nothing():
    measured, first = called(cell("low_rank", "sequence"))
    for _ in range(20):
        again = measured.call()
    torch.testing.assert_close(again, first, rtol=0, atol=0)


def test_rounds_time_the_same_numbers_and_none_is_zero():
    (a, first), (_, second) = called(cell()), called(cell())
    assert torch.equal(first, second)
    assert all((t != 0).all() for t in (*a.inputs, *a.layer.parameters()))
    assert torch.equal(called(cell(copy=True))[1], first)


# The check -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["forward", "training", "sequence"])
@pytest.mark.parametrize("baseline", sorted(entries("baselines")))
def test_every_baseline_passes_the_check(baseline, mode):
    one = cell(baseline, mode, (16, 16))
    measured, output = called(one)
    found = check(one, measured, output)
    assert found.error is not None
    assert found.error < 1e-5
    assert found.reference == ("same layer" if mode == "sequence" else "dense matrix")


def test_a_wrong_output_or_gradient_is_not_timed():
    one = cell(mode="training")
    measured, output = called(one)
    check(one, measured, output)
    with pytest.raises(WrongOutput, match=r"output is off by 0\.01"):
        check(one, measured, output * 1.01)
    measured.layer.weight.grad *= 1.1
    with pytest.raises(WrongOutput, match=r"gradient is off by 0\.1"):
        check(one, measured, output)
    measured.layer.weight.grad = None
    with pytest.raises(WrongOutput, match="gradient"):
        check(one, measured, output)


def test_nan_is_wrong():
    measured, output = called(cell())
    with pytest.raises(WrongOutput, match="nan"):
        check(cell(), measured, output * float("nan"))


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes_have_tolerances_of_their_own(dtype):
    one = cell("low_rank", "training", dtype=dtype)
    measured, output = called(one)
    assert output.dtype == getattr(torch, dtype)
    assert 0 < check(one, measured, output).error < (1e-12 if dtype == "float64" else 5e-2)


def test_a_large_matrix_is_not_built(monkeypatch):
    monkeypatch.setattr("slt_bench.timing.check.DENSE_ENTRIES", 100)
    one = cell("low_rank", "training")
    assert check(one, *called(one)).reference == "same layer"
    assert DENSE_ENTRIES >= 4096**2


def test_chance_cannot_be_checked():
    one = cell("Chance", "training")
    assert check(one, *called(one)).reference == "none: random"
    assert check(cell("Chance"), *called(cell("Chance"))).reference == "dense matrix"


# Samples ---------------------------------------------------------------------------------------


def test_samples_end_when_they_agree_or_when_time_is_up():
    count = 0

    def call():
        nonlocal count
        count += 1

    agreed = sample(call, 1, dataclasses.replace(QUICK, samples=9, cap=5.0))
    assert (len(agreed.seconds), agreed.settled) == (9, True)
    assert count >= 9 * agreed.calls  # every sample is a mean of so many calls
    never = dataclasses.replace(QUICK, spread=-1.0)
    assert not sample(call, 1, never).settled
    document = agreed.document
    assert len(document["samples"]) == 9
    assert document["median"] == pytest.approx(sorted(agreed.seconds)[4])


def test_the_warm_up_has_its_calls_and_its_time():
    calls = []
    warm_up(lambda: calls.append(1), dataclasses.replace(QUICK, warm_up_calls=5))
    assert len(calls) == 5
    calls.clear()
    warm_up(lambda: calls.append(1), dataclasses.replace(QUICK, warm_up_seconds=0.01))
    assert len(calls) > 5


def test_the_protocol_is_the_published_one():
    assert dataclasses.asdict(Protocol()) == {
        "warm_up_calls": 3, "warm_up_seconds": 0.025, "samples": 30, "seconds": 0.5,
        "spread": 0.02, "cap": 3.0, "window": 2.0,
    }  # fmt: skip


# Floor and memory ------------------------------------------------------------------------------


def test_the_least_work_of_a_call():
    n, m, batch, weights = 12, 7, 5, 12 * 7 + 7
    forward = cell(shape=(n, m))
    moved = 4 * (batch * (n + m) + weights)
    assert work(forward, prepare(forward)) == Work(moved, batch * n * m)
    training = cell(mode="training", shape=(n, m))
    assert work(training, prepare(training)) == Work(2 * moved, 3 * batch * n * m)
    sequence = cell(mode="sequence", steps=4)
    per_step = 3 * n * n + 3 * INPUT_SIZE * n
    found = work(sequence, prepare(sequence))
    assert found.multiply_adds == 3 * 4 * batch * per_step
    assert found.moved_bytes == 4 * (batch * 4 * INPUT_SIZE + 4 * (per_step + 3 * n))
    silent = cell("Chance")
    assert work(silent, prepare(silent)).multiply_adds is None


def test_the_floor_is_the_longer_of_moving_and_multiplying():
    rates = Rates({2**15: 4e9, 2**27: 1e9}, 1e10)
    assert rates.floor(Work(40_000, 10)) == pytest.approx(1e-5)
    assert rates.floor(Work(40_000, 10**6)) == pytest.approx(1e-4)
    assert rates.floor(Work(2**27, None)) == pytest.approx(2**27 / 1e9)


def test_rates_are_measured():
    rates = measure_rates("cpu", 1, "float32", dataclasses.replace(QUICK, cap=0.01))
    assert all(rate > 1e6 for rate in (*rates.copies.values(), rates.products))


def test_peak_memory_is_exact():
    one = cell(shape=(64, 32), batch=16)
    measured = prepare(one)
    held = 4 * (64 * 32 + 32 + 16 * 64)
    assert held_bytes(measured) == held
    with measured.context():
        measured.call()
        assert peak_bytes(measured, "cpu") == held + 4 * 16 * 32
    training = prepare(cell(mode="training", shape=(64, 32), batch=16))
    training.call()
    gradients = 4 * (64 * 32 + 32 + 16 * 64)
    output = upstream = 4 * 16 * 32
    assert peak_bytes(training, "cpu") >= held + upstream + gradients
    assert peak_bytes(training, "cpu") <= held + upstream + gradients + 2 * output


def test_memory_is_predicted_without_taking_it():
    huge = cell(shape=(2**20, 2**20), mode="training")
    assert predicted_bytes(huge) > 2**40 * 8
    found = jobs.facts(huge)
    assert found["status"] == "out of memory"
    assert "by prediction" in found["message"]
    for mode in ("forward", "training", "sequence"):
        one = cell("low_rank", mode, (64, 64), batch=32)
        measured = prepare(one)
        with measured.context():
            measured.call()
            assert predicted_bytes(one) > peak_bytes(measured, "cpu")
    assert available_bytes("cpu") > 2**28
