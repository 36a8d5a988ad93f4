"""Ways timed in turns: samples, paired ratios, and the record they make."""

from __future__ import annotations

import json

import pytest
import torch

from slt_bench.store import Store
from slt_bench.timing import turns as module
from slt_bench.timing.turns import instruction_set, speed_record, speedup, turns


def test_every_way_runs_once_a_turn_after_two_calls_that_do_not_count():
    calls = []
    before = torch.get_num_threads()
    samples = turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, 0.0)
    assert calls == ["a", "a", "b", "b", *"ababab"]
    assert {name: len(found) for name, found in samples.items()} == {"a": 3, "b": 3}
    assert torch.get_num_threads() == before


def test_quick_ways_are_repeated_and_the_clock_is_processor_time(monkeypatch):
    now = 0.0

    def way():
        nonlocal now
        now += 0.25

    monkeypatch.setattr(module.time, "process_time", lambda: now)
    assert turns({"quick": way}, 2, at_least=1.0) == {"quick": (0.25, 0.25)}
    assert now == 0.25 * (2 + 2 * 4)


def test_a_speedup_is_paired_turn_by_turn():
    found = speedup([1.0, 2.0, 4.0], [3.0, 6.0, 12.0])
    assert (found.median, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
    one_slow_turn = speedup([1.0, 1.0, 1.0, 1.0, 9.0], [3.0] * 5)
    assert one_slow_turn.median == 3.0
    assert one_slow_turn.low < 1 < 3 < one_slow_turn.high
    assert speedup([1.0], [2.0]).low is None


def test_a_lesser_processor_is_named(monkeypatch):
    monkeypatch.setattr(module.kernels, "instruction_set", lambda: "AVX-512")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert instruction_set() == "AVX2 (AVX-512 switched off)"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert instruction_set() == "AVX-512"


def test_the_record_is_filed_by_group_and_instruction_set(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "instruction_set", lambda: "AVX2 (AVX-512 switched off)")
    samples = {"a": [1.0, 2.0, 3.0], "b": [1.123456789]}
    record = speed_record("adding, training", {"batch": 2}, samples, headline=["a"])
    path = Store(tmp_path).publish(record)
    folder = "results/speed/adding-training/AVX2-AVX-512-switched-off"
    assert path == tmp_path / folder / f"{record['key']}.json"
    assert list(Store(tmp_path).records("speed")) == [json.loads(json.dumps(record))]
    assert record["timing"]["ways"]["a"] == {"median": 2.0, "samples": [1.0, 2.0, 3.0]}
    assert record["timing"]["ways"]["b"]["samples"] == [1.1235]
    again = speed_record("adding, training", {"batch": 2}, {"a": [9.0]})
    assert again["key"] == record["key"]
    assert speed_record("adding, training", {"batch": 3}, samples)["key"] != record["key"]
