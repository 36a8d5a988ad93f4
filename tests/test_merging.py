"""Merging records: nothing finished is lost, nothing is trusted."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import pytest
import timing_records
from records import make_failure, make_record, make_trial

from slt_bench import merging
from slt_bench.cli import main
from slt_bench.merging import merge, records_in
from slt_bench.store import Store
from slt_bench.trial import key_of

TRIAL = make_trial("low_rank")
RECORD = make_record(TRIAL, 1.5)
OTHER = make_record(TRIAL, 2.5)
FAILURE = make_failure(TRIAL)
TIMED = timing_records.make_record(timing_records.make_cell(), [1e-3], [2e-3])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "here")


@pytest.fixture
def source(tmp_path):
    """Writes records (or texts) into a folder of their own, flat, and returns it."""

    def source(*contents, name="there"):
        folder = tmp_path / name
        folder.mkdir()
        for number, content in enumerate(contents):
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / f"{number}.json").write_text(text)
        return folder

    return source


def outcomes(store, *sources, **options):
    return [outcome.what for outcome in merge(store, sources, **options)]


def forged(record, **identity):
    """A record with a changed identity and the key that belongs to it."""
    changed = {**record["trial"], **identity}
    return {**record, "trial": changed, "key": key_of(changed)}


def stored(store):
    return sorted(str(p.relative_to(store.results)) for p in store.results.rglob("*.json"))


# Where records come from -----------------------------------------------------------------------


def test_a_folder_is_searched_and_each_record_finds_its_place(store, tmp_path):
    there = Store(tmp_path / "there")
    for record in (RECORD, TIMED):
        there.publish(record)
    there.publish_failure(make_failure(make_trial("fastfood")))
    (there.reports / "notes.json").write_text('{"what": "no record"}')
    (there.reports / "readme.txt").write_text("no record")
    assert outcomes(store, there.reports) == ["added"] * 3
    assert stored(store) == stored(there)
    assert store.read(TRIAL.identity, TRIAL.key) == RECORD
    assert outcomes(store, there.reports) == ["already there"] * 3


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def tarred(path, entries):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_is_read_and_no_path_in_it_is_used(pack, store, tmp_path):
    entries = {
        f"{TRIAL.key}.json": json.dumps(RECORD).encode(),
        "../../escaped.json": json.dumps(TIMED).encode(),
        "/absolute/tests.txt": b"12 passed",
        "environment.json": b'{"python": "3.12"}',
    }
    before = set(tmp_path.iterdir())
    archive = pack(tmp_path / "records", entries)
    assert outcomes(store, archive) == ["added", "added"]
    assert set(tmp_path.iterdir()) == before | {archive, store.reports}
    assert stored(store) == sorted([
        f"train/mnist/low_rank/{TRIAL.key}.json", f"time/forward/low_rank/{TIMED['key']}.json",
    ])  # fmt: skip


def test_pytest_benchmark_holds_records_in_its_extra_information(store, source):
    benchmarks = [{"extra_info": {"record": TIMED}}, {"extra_info": {}}, {"stats": {}}]
    benchmarks.append({"extra_info": {"record": {**TIMED, "key": "0" * 64}}})
    folder = source({"machine_info": {}, "benchmarks": benchmarks})
    added, refused = merge(store, [folder / "0.json"])
    assert (added.what, added.key, added.label) == ("added", TIMED["key"], "time forward low_rank")
    assert (refused.what, refused.message) == (
        "refused", "its key is not the digest of its identity",
    )  # fmt: skip
    assert "benchmarks[3]" in refused.where


def test_a_record_of_speed_is_taken_too(store, source):
    identity = {"schema": 1, "kind": "speed", "group": "GRU, 150 steps", "instruction_set": "avx2"}
    record = {"schema": 1, "key": key_of(identity), "kind": "speed", "trial": identity,
              "status": "done", "timing": {"ways": {}}, "facts": {}, "provenance": {}}  # fmt: skip
    assert outcomes(store, source(record)) == ["added"]
    assert store.read(identity, record["key"]) == record


# What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({**RECORD, "key": TIMED["key"]}, "its key is not the digest of its identity"),
        ({**RECORD, "trial": {**TRIAL.identity, "seed": 7}}, "not the digest of its identity"),
        ({**RECORD, "schema": 2}, "its schema is 2, not 1"),
        ({k: v for k, v in RECORD.items() if k != "metrics"}, "it lacks metrics"),
        ({k: v for k, v in TIMED.items() if k != "timing"}, "it lacks timing"),
        ({k: v for k, v in RECORD.items() if k != "status"}, "it has no head"),
        ({k: v for k, v in FAILURE.items() if k != "error"}, "a failure that does not say why"),
        ({**RECORD, "kind": "time"}, "its identity is of another kind"),
        ({**RECORD, "kind": ["train"]}, "its identity is of another kind"),
        ({**RECORD, "trial": "train"}, "its identity is of another kind"),
        (forged(RECORD, invented=1), "its identity is not one of this version"),
        (forged(RECORD, slots=None), "its identity is not one of this version"),
        (json.dumps(RECORD)[:-40], "it is damaged"),
        (json.dumps(RECORD).replace("1.5", "NaN"), "it is damaged: NaN is no number"),
        ("[" * 100_000, "it is damaged"),
    ],
)
def test_a_record_that_is_not_whole_is_refused_and_the_rest_go_on(content, reason, store, source):
    refused, added = merge(store, [source(content, TIMED)])
    assert refused.what == "refused"
    assert reason in refused.message
    assert added.what == "added"


@pytest.mark.parametrize(
    "identity",
    [{"baseline": name} for name in ("..", ".", "", "/", None)] + [{"task": ["mnist"]}],
)
def test_an_identity_that_names_no_place_is_refused(identity, store, source):
    (refused,) = merge(store, [source(forged(RECORD, **identity))])
    assert refused.what == "refused"
    assert "names no kind, task and baseline" in refused.message
    assert not stored(store)


@pytest.mark.parametrize("name", ["../../../../escaped", "/tmp/escaped", "a/escaped", "a\0escaped"])
@pytest.mark.parametrize("part", ["task", "baseline"])
def test_no_identity_leads_out_of_the_results(part, name, store, source, tmp_path):
    folder = source(forged(RECORD, **{part: name}))
    before = set(tmp_path.rglob("*"))
    assert outcomes(store, folder) == ["added"]
    new = set(tmp_path.rglob("*")) - before
    (written,) = [path for path in new if path.is_file()]
    assert written.resolve().relative_to(store.results.resolve()).parts[0] == "train"
    assert len(written.relative_to(store.results).parts) == 4


def test_a_kind_that_is_not_known_is_refused(store, source):
    (refused,) = merge(store, [source({**forged(RECORD, kind="magic"), "kind": "magic"})])
    assert (refused.what, stored(store)) == ("refused", [])


def test_a_damaged_archive_gives_what_it_still_can(store, tmp_path):
    archive = zipped(
        tmp_path / "a.zip",
        {f"{TRIAL.key}.json": json.dumps(RECORD), "b.json": json.dumps(TIMED)},
    )
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b'"metrics"', b'"metrisc"', 1))  # its checksum is off
    assert outcomes(store, archive) == ["refused", "added"]
    tape = tarred(tmp_path / "a.tar.gz", {"b.json": json.dumps(RECORD).encode()})
    tape.write_bytes(tape.read_bytes()[:-200])
    assert set(outcomes(store, tape)) == {"refused"}


def test_a_file_too_large_for_a_record_is_refused(store, source, monkeypatch):
    monkeypatch.setattr(merging, "LARGEST", 100)
    (refused,) = merge(store, [source(RECORD)])
    assert refused.message == "it has more than 100 bytes"


def test_what_is_named_like_a_record_must_be_one(tmp_path):
    (tmp_path / f"{TRIAL.key}.json").write_text("[]")
    (tmp_path / "anything.json").write_text("[]")
    (found,) = records_in(tmp_path)
    assert found.problem == "it is no record"


# Two records of one key ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "what", "replaced"),
    [
        (RECORD, RECORD, "already there", "already there"),
        (RECORD, OTHER, "kept", "replaced"),
        (RECORD, FAILURE, "kept", "kept"),
        (FAILURE, RECORD, "added", "added"),
        (FAILURE, FAILURE, "already there", "already there"),
        (FAILURE, make_failure(TRIAL, "error", "another"), "kept", "replaced"),
    ],
)
def test_nothing_finished_is_lost(ours, theirs, what, replaced, source, tmp_path):
    folder = source(theirs)
    for number, (options, expected) in enumerate([({}, what), ({"replace": True}, replaced)]):
        store = Store(tmp_path / str(number))
        (store.publish if ours["status"] == "done" else store.publish_failure)(ours)
        assert outcomes(store, folder, **options) == [expected]
        winner = theirs if expected in ("added", "replaced") else ours
        found = store.read(TRIAL.identity, TRIAL.key)
        failed = store.read_failure(TRIAL.identity, TRIAL.key)
        assert (found or failed) == winner
        assert (found is None) != (failed is None)


# The verb --------------------------------------------------------------------------------------


@pytest.fixture
def cli(capsys, tmp_path):
    def cli(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(["merge", "--results", str(tmp_path / "here"), *map(str, arguments)])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return cli


def test_the_verb_says_what_was_kept_and_refused(cli, store, source):
    store.publish(RECORD)
    folder = source(OTHER, TIMED, {**RECORD, "schema": 9})
    code, out, _ = cli(folder)
    assert code == 1
    kept, refused, total = out.splitlines()
    assert kept == (
        f"{TRIAL.key[:8]}  kept: train mnist low_rank: another record of the same key is here: "
        "--replace takes theirs"
    )
    assert refused == f"refused: {folder}: 2.json: its schema is 9, not 1"
    assert total == f"3 records: 1 kept, 1 added, 1 refused; in {store.results}"
    code, out, _ = cli(folder / "0.json", "--replace", "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 0
    assert [row["what"] for row in document["records"]] == ["replaced"]


def test_a_source_that_is_not_there_is_wrong_usage_and_nothing_is_merged(cli, store, source):
    code, _, err = cli(source(RECORD), "nowhere.zip")
    assert code == 2
    assert "there is no nowhere.zip" in err
    assert not stored(store)
