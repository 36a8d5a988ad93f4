"""The store: atomic records, failures, look-up."""

from __future__ import annotations

import json

import pytest

from slt_bench.errors import UsageError
from slt_bench.store import Store, find_reports, load_records, write_atomically


def record(key: str, **changes) -> dict:
    trial = {"kind": "train", "task": "adding", "baseline": "dense", "slots": [], "seed": 0}
    body = {"timing": {}, "parameter_count": 1, "facts": {}, "provenance": {}}
    metrics = {"final": {"loss": 0.1}}
    return {"schema": 1, "key": key, "kind": "train", "trial": trial, "status": "done",
            "metrics": metrics, "curves": {"validation": []}, **body, **changes}  # fmt: skip


def test_a_record_is_found_again(tmp_path):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))
    assert path == tmp_path / "results/train/adding/dense/abc1.json"
    assert store.read(record("abc1")["trial"], "abc1") == record("abc1")
    assert store.read(record("abc1")["trial"], "abc2") is None


def test_a_failure_is_never_read_as_a_result_and_goes_away_with_success(tmp_path):
    store = Store(tmp_path)
    store.publish_failure(record("abc1", status="crashed"))
    assert list(store.records()) == []
    assert [f["status"] for f in store.failures()] == ["crashed"]
    assert store.read(record("abc1")["trial"], "abc1") is None
    store.publish(record("abc1"))
    assert list(store.failures()) == []
    assert len(list(store.records())) == 1


def test_a_write_that_fails_leaves_the_old_record_and_no_debris(tmp_path, monkeypatch):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.publish(record("abc1", status="other"))
    assert json.loads(path.read_text())["status"] == "done"
    assert [p.name for p in path.parent.iterdir()] == ["abc1.json"]


def test_no_number_that_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).publish(record("abc1", metrics={"loss": float("nan")}))


def test_records_are_found_by_the_start_of_their_key(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abcd1"))
    store.publish(record("abcd2"))
    store.publish_failure(record("ffff3", status="timeout"))
    assert store.find("abcd1")["key"] == "abcd1"
    assert store.find("ffff")["status"] == "timeout"
    with pytest.raises(UsageError, match="2 records match 'abcd': abcd1, abcd2"):
        store.find("abcd")
    with pytest.raises(UsageError, match="no record's key starts with '7777'"):
        store.find("7777")
    for wrong in ("", "*", "abc", "../x"):
        with pytest.raises(UsageError, match="is no key"):
            store.find(wrong)


def test_a_record_stands_before_a_later_failure_of_its_trial(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abcd1"))
    store.publish_failure(record("abcd1", status="timeout"))
    assert store.find("abcd1")["status"] == "done"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "Expecting property name"),
        ("[1]", "it has no head"),
        (json.dumps(record("abcd1", schema=99)), "its schema is 99, not 1"),
        (json.dumps({k: v for k, v in record("abcd1").items() if k != "facts"}), "it lacks facts"),
    ],
)
def test_a_damaged_record_is_named_and_left_out(tmp_path, content, why):
    store = Store(tmp_path)
    store.publish(record("abcd2"))
    store.publish(record("abcd1")).write_text(content)
    with pytest.warns(UserWarning, match=f"abcd1.json: {why}.*delete it"):
        assert [r["key"] for r in store.records()] == ["abcd2"]
    with pytest.warns(UserWarning, match="left out"):
        assert store.read(record("abcd1")["trial"], "abcd1") is None


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    Store(tmp_path).check_writable()
    assert list(Store(tmp_path).results.iterdir()) == []

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device; give another --results"):
        Store(tmp_path).check_writable()


def test_half_written_files_are_no_records(tmp_path):
    store = Store(tmp_path)
    path = store.publish(record("abc1"))
    (path.parent / ".abc2.json.123.tmp").write_text("{")
    assert len(list(store.records())) == 1


def test_records_as_a_table(tmp_path):
    store = Store(tmp_path)
    store.publish(record("abc1"))
    store.publish(record("abc2"))
    frame = load_records(tmp_path)
    assert list(frame["key"]) == ["abc1", "abc2"]
    assert list(frame["metrics.final.loss"]) == [0.1, 0.1]
    assert list(frame["task"]) == ["adding", "adding"]
    assert frame["curves"][0] == {"validation": []}
    assert load_records(tmp_path / "nowhere").empty


def test_where_the_reports_are(tmp_path, monkeypatch):
    monkeypatch.delenv("SLT_BENCH_RESULTS", raising=False)
    inside = tmp_path / "checkout" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert find_reports() == inside / "slt-bench-reports"
    (tmp_path / "checkout/reports/suites").mkdir(parents=True)
    assert find_reports() == tmp_path / "checkout/reports"
    monkeypatch.setenv("SLT_BENCH_RESULTS", str(tmp_path / "elsewhere"))
    assert find_reports() == tmp_path / "elsewhere"
    assert find_reports(tmp_path / "given") == tmp_path / "given"


def test_a_file_is_no_reports_folder(tmp_path):
    write_atomically(tmp_path / "file", "")
    with pytest.raises(UsageError, match="is a file"):
        Store(tmp_path / "file")
