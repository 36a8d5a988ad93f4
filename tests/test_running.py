"""Locks between processes: they hold while the other lives, and end with it however it ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from slt_bench import running
from slt_bench.engines import Order, load_engine
from slt_bench.trial import Trial

HOLD = (
    "from slt_bench import running\nwith running.{}():\n    print('held', flush=True)\n    input()"
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    tempfile.tempdir = None


class Holder:
    """A process that holds a lock until it is killed."""

    def __init__(self, what):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "held\n"

    def kill(self):
        self.process.kill()
        self.process.communicate()


def test_a_matrix_is_seen_until_it_is_killed():
    assert not running.matrix_runs()
    first, second = Holder("matrix"), Holder("matrix")  # any number at a time
    assert running.matrix_runs()
    first.kill()
    assert running.matrix_runs()
    second.kill()
    assert not running.matrix_runs()


def test_there_is_one_timing_at_a_time():
    other = Holder("timing")
    with pytest.raises(running.Busy, match="another 'slt-bench time'"), running.timing():
        pass
    other.kill()
    with running.timing():
        assert not running.matrix_runs()


def test_a_matrix_runs_where_no_lock_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(running, "_folder", lambda: tmp_path / "file" / "folder")
    with running.matrix():
        pass
    with pytest.raises(KeyError), running.matrix():
        raise KeyError


def test_the_local_engine_says_that_it_runs(tmp_path, toy_task):
    seen = []

    class Watcher:
        def preparing(self, text): ...

        def log(self, text): ...

        def started(self, trial):
            seen.append(running.matrix_runs())

        def progress(self, *_): ...

        def finished(self, *_): ...

    trial = Trial.create(toy_task, "dense", budget="smoke")
    load_engine("local")([trial], Order(tmp_path), Watcher())
    assert seen == [True]
    assert not running.matrix_runs()
