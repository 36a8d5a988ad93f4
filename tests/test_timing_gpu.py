"""The timing of a GPU as far as it goes without one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from slt_bench.engines import _fresh
from slt_bench.timing import gpu, worker

STEADY = "1980, 2619, 34, 71.35, 0x0000000000000000, GPU-aaaa-1\n"
IDLE = "345, 2619, 30, 60.00, 0x0000000000000001, GPU-aaaa-1\n"
HOT = "1500, 2619, 90, [N/A], 0x0000000000000020, GPU-bbbb-2\n"


def test_the_state_of_a_card_is_read():
    found = gpu.parse_state(STEADY)
    assert found == {"clocks.sm": 1980.0, "clocks.mem": 2619.0, "temperature.gpu": 34.0,
                     "power.draw": 71.35, "throttled": False, "idle": False}  # fmt: skip
    hot = gpu.parse_state(HOT)
    assert hot["throttled"]
    assert hot["power.draw"] is None
    assert gpu.parse_state(IDLE)["idle"]
    assert not gpu.parse_state(IDLE)["throttled"]


def test_of_several_cards_the_one_that_computes_is_read():
    assert gpu.parse_state(STEADY + HOT, "bbbb-2") == gpu.parse_state(HOT)
    assert gpu.parse_state(STEADY + HOT, "cccc-3") is None
    assert gpu.parse_state(STEADY + HOT) is None
    assert gpu.parse_state(STEADY, "MIG-part-of-it") == gpu.parse_state(STEADY)


@pytest.mark.parametrize("text", ["", "\n", "No devices were found\n"])
def test_an_answer_without_a_card_is_no_state(text):
    assert gpu.parse_state(text) is None


def test_what_a_card_does_not_say_is_none():
    found = gpu.parse_state("[N/A], [N/A], [N/A], [N/A], [N/A], GPU-aaaa-1\n")
    assert set(found.values()) == {None}
    assert gpu.reasons(found, found) == []


def test_throttling_and_a_drifting_clock_are_noise():
    steady, idle, hot = map(gpu.parse_state, (STEADY, IDLE, HOT))
    assert gpu.reasons(steady, steady) == gpu.reasons(None, steady) == []
    assert gpu.reasons(idle, steady) == []  # an idle card lowers its clock
    throttled, drifted = gpu.reasons(steady, hot)
    assert throttled == "the GPU was throttled"
    assert drifted == "the GPU's clock drifted from 1980 to 1500 MHz"
    rounds = [
        {"measures": {"call": {}, "kernel": {"card": [steady, hot]}}},
        {"measures": {"call": {}, "kernel": {"card": [steady, hot]}}},
        {"measures": {"call": {}, "kernel": {"card": None}}},
        {"measures": {"call": {}}},
    ]
    assert gpu.reasons_of(rounds) == [throttled, drifted]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts a script in place of nvidia-smi."""

    def nvidia_smi(script):
        file = tmp_path / "nvidia-smi"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return nvidia_smi


def test_an_older_driver_calls_the_reasons_otherwise(nvidia_smi):
    nvidia_smi(f'case "$1" in *throttle*) printf "{STEADY.strip()}" ;; *) exit 2 ;; esac')
    assert gpu.state() == gpu.parse_state(STEADY)


def test_an_nvidia_smi_without_an_answer_is_no_state(nvidia_smi, monkeypatch):
    nvidia_smi("exit 9")
    assert gpu.state() is gpu.other_processes() is None
    monkeypatch.setattr(gpu, "_PATIENCE", 0.05)
    nvidia_smi("exec sleep 60")
    assert gpu.other_processes() is None


def test_this_process_is_no_other(nvidia_smi):
    nvidia_smi('echo "$PPID, GPU-aaaa-1"; echo "4242, GPU-aaaa-1"')
    assert gpu.other_processes() == 1


def test_samples_are_thinned_evenly_and_all_of_them_count(monkeypatch):
    """Where there is no triton the Timer of torch measures, as on a CPU."""
    monkeypatch.setitem(sys.modules, "triton.testing", None)
    monkeypatch.setattr(gpu, "_captured", lambda call: (call, "graph"))
    monkeypatch.setattr(gpu, "state", lambda meanwhile: None)
    monkeypatch.setattr(gpu, "SECONDS", 0.01)
    monkeypatch.setattr(gpu, "KEPT_SAMPLES", 3)
    found = gpu.kernel_time(lambda: sum(range(1000)))
    assert found["how"] == "graph, warm cache"
    assert found["card"] is None
    assert found["count"] >= len(found["samples"]) > 0
    assert len(found["samples"]) <= 3


CODE = """
import importlib, torch
touched = []
def note(name, answer):
    return lambda *a, **k: touched.append(name) or answer
torch.cuda._lazy_init = note("torch.cuda._lazy_init", None)
torch.accelerator.device_count = note("torch.accelerator.device_count", 0)
for module in MODULES:
    importlib.import_module(module)
print(*touched)
"""


def test_the_servers_that_fork_leave_cuda_alone():
    """A process that has started CUDA can fork none that uses it."""
    modules = [*worker._PRELOAD, *_fresh._PRELOAD]
    done = subprocess.run(
        [sys.executable, "-c", f"MODULES = {modules}\n{CODE}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def asked():
    return {"asked": os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]}


def test_whether_there_is_a_gpu_is_asked_without_cuda(monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    with worker.Worker() as server:
        assert server.run(asked) == {"asked": "1"}
