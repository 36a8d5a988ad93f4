"""The page of speed, from records made by hand: targets, ways, crossovers, what did not pay."""

from __future__ import annotations

import pytest
from timing_records import make_cell, make_record

from slt_bench.commands.report import report
from slt_bench.reporting.rendering import render, write_report
from slt_bench.reporting.speed import speed_page
from slt_bench.store import Store
from slt_bench.trial import key_of

SIZES = (256, 1024, 4096)


def target(name="ours against theirs", ratio=3.0, reach=2.0, **more) -> dict:
    return {"name": name, "ours": "ours", "peer": "theirs", "ratio": ratio, "low": ratio - 0.1,
            "high": ratio + 0.1, "reach": reach, "aim": 5.0, "limit": "", **more}  # fmt: skip


def speed_record(group="adding, training", hardware="Chip", instructions="AVX2", **facts) -> dict:
    trial = {"schema": 1, "kind": "speed", "group": group, "sizes": {"steps": 3, "batch": 2},
             "dtype": "float32", "threads": 1, "hardware": hardware,
             "instruction_set": instructions}  # fmt: skip
    seconds = {"ours": [0.001, 0.002, 0.001], "theirs": [0.003, 0.006, 0.003]}
    ways = {name: {"median": sorted(s)[1], "samples": s} for name, s in seconds.items()}
    software = {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": False, "torch": "2.13.0"}
    return {"schema": 1, "key": key_of(trial), "kind": "speed", "trial": trial, "status": "done",
            "timing": {"ways": ways}, "facts": facts, "provenance": software}  # fmt: skip


def timed(store, baseline, law, dense=lambda n: 1e-9 * n**2, sizes=SIZES, **more):
    """Records of a layer whose time is ``law(n)``, in ten rounds."""
    for n in sizes:
        cell = make_cell(baseline, n, **more)
        against = () if cell.is_dense else [dense(n)] * 10
        store.publish(make_record(cell, [law(n)] * 10, against, floor_seconds=1e-8 * n))


@pytest.fixture
def store(tmp_path):
    """Dense (n^2) and two layers that cross it and one another."""
    store = Store(tmp_path)
    timed(store, "dense", lambda n: 1e-9 * n**2)
    timed(store, "flat", lambda n: 5e-7 * n)  # crosses dense at 500
    timed(store, "steep", lambda n: 1e-8 * n**1.5)  # crosses flat at 2500, dense at 100
    timed(store, "slow", lambda n: 1e-8 * n**2)
    return store


def table(page, start):
    return next(t for t in page.tables if t.title.startswith(start))


def rows(page, start, key="row"):
    return {row[key]: row for row in table(page, start).shown.to_dict("records")}


# Ways ----------------------------------------------------------------------------------------


def test_targets_say_whether_they_are_met_and_why_not(tmp_path):
    store = Store(tmp_path)
    targets = [
        target("met"),
        target("aimed", ratio=6.0),
        target("missed", ratio=1.5, limit="the products take 7 of the 9 ms"),
        target("missed without a reason", ratio=1.5),
        target("growth", ratio=1.2, reach=1.25, aim=1.1, peer=None, smaller_is_better=True),
        target("too steep", ratio=1.3, reach=1.25, aim=1.1, peer=None, smaller_is_better=True),
    ]
    store.publish(speed_record(targets=targets))
    page = speed_page(store)
    shown = rows(page, "Targets, Chip, AVX2")
    assert {name: row["verdict"] for name, row in shown.items()} == {
        "met": "met",
        "aimed": "met, and the aim",
        "missed": "below: the products take 7 of the 9 ms",
        "missed without a reason": "below",
        "growth": "met",
        "too steep": "below",
    }
    assert shown["met"]["times as fast"] == "3.00 [2.90, 3.10]"
    assert (shown["met"]["against"], shown["growth"]["against"]) == ("theirs", "(exponent)")
    assert shown["met"]["time"] == "1.00 ms"


def test_sequences_are_held_against_their_peers(tmp_path):
    store = Store(tmp_path)
    store.publish(speed_record(headline=["theirs", "absent"], parameter_counts={"ours": 12}))
    shown = rows(speed_page(store), "Whole sequences, Chip, AVX2")
    assert shown["ours"]["times theirs"].startswith("3.00 [3.00, 3.00]")
    assert shown["theirs"]["times theirs"] == "—"
    assert "times absent" not in shown["ours"]
    assert shown["ours"]["weights"] == "12"
    assert shown["ours"]["range"] == "1.00 ms to 2.00 ms"
    assert shown["ours"]["sizes"] == "steps 3, batch 2"


def test_what_did_not_pay_has_its_ratio_and_its_reason(tmp_path):
    store = Store(tmp_path)
    tried = [
        {"way": "theirs", "instead": "ours", "why": "too many copies"},
        {"way": "compiled", "instead": "ours", "why": "no matter"},
    ]
    missing = {"compiled": "not ready after 60 s"}
    setup = {"theirs": 12.0}
    store.publish(speed_record("tried", tried=tried, missing=missing, setup_seconds=setup))
    page = speed_page(store)
    shown = rows(page, "What was tried")
    assert shown["theirs"]["times as slow"] == "3.00 [3.00, 3.00]"
    assert (shown["theirs"]["why"], shown["theirs"]["made ready"]) == ("too many copies", "12.0 s")
    assert shown["compiled"]["why"] == "not timed: not ready after 60 s"
    assert shown["compiled"]["time"] == "—"
    assert [t.title for t in page.tables] == ["What was tried and did not pay, Chip, AVX2"]


def test_processors_have_tables_of_their_own(tmp_path):
    store = Store(tmp_path)
    for instructions in ("AVX2", "AVX-512"):
        store.publish(speed_record("layers", instructions=instructions, targets=[target()]))
    titles = [t.title for t in speed_page(store).tables]
    assert titles == ["Targets, Chip, AVX-512", "Layers, Chip, AVX-512",
                      "Targets, Chip, AVX2", "Layers, Chip, AVX2"]  # fmt: skip


# Sizes ---------------------------------------------------------------------------------------


def test_crossovers_with_dense(store):
    shown = rows(speed_page(store), "Where a structure becomes faster than dense")
    assert {name: row["faster from n"] for name, row in shown.items()} == {
        "flat": "500", "steep": "below 256", "slow": "not up to 4,096",
    }  # fmt: skip
    assert shown["flat"]["ratio at the smallest"] == "1.953"
    assert shown["slow"]["at the largest"] == "10.000"
    assert shown["flat"]["timed"] == "forward, batch 8, float32, 1 thread"


def test_crossovers_of_pairs(store):
    shown = table(speed_page(store), "Where one structure").shown.to_dict("records")
    pairs = {(row["quicker below"], row["quicker above"]): row["n"] for row in shown}
    # slow and flat cross at 50, slow and steep never: neither was timed there
    assert pairs == {("steep", "flat"): "2,500"}


def test_time_over_floor_and_growth(store):
    page = speed_page(store)
    assert rows(page, "Time over floor")["flat"] == {
        "row": "flat", "timed": "forward, batch 8, float32, 1 thread",
        "256": "50.0", "1,024": "50.0", "4,096": "50.0",
    }  # fmt: skip
    growth = rows(page, "Growth with n")
    assert growth["dense"]["exponent of time"].startswith("2.00")
    assert growth["steep"]["exponent of time"].startswith("1.50")


def test_modes_are_not_mixed(store):
    timed(store, "steep", lambda n: 1.0, lambda n: 0.5, mode="training")
    shown = table(speed_page(store), "Where a structure").shown.to_dict("records")
    found = {row["timed"]: row["faster from n"] for row in shown if row["row"] == "steep"}
    assert found == {
        "forward, batch 8, float32, 1 thread": "below 256",
        "training, batch 8, float32, 1 thread": "not up to 4,096",
    }
    page = speed_page(store)
    pairs = table(page, "Where one structure").shown
    assert list(pairs["timed"]) == ["forward, batch 8, float32, 1 thread"]


def test_settings_solved_for_a_budget_are_one_layer(tmp_path):
    store = Store(tmp_path)
    for n, rank in ((256, 12), (1024, 51)):
        cell = make_cell("low_rank", n, settings={"rank": rank})
        store.publish(make_record(cell, [1e-3], [2e-3 if n > 256 else 5e-4], match="0.1"))
    assert rows(speed_page(store), "Where a structure")["low_rank at 0.1"]["faster from n"] == "512"


def test_copies_other_protocols_and_rectangles_stay_out(store):
    before = [t.shown.to_dict("records") for t in speed_page(store).tables]
    timed(store, "dense", lambda n: 1.0, copy=True)
    store.publish(make_record(make_cell("flat", shape=(256, 512)), [1.0], [1.0]))
    record = make_record(make_cell("flat", 512), [1.0], [1.0])
    record["trial"] = {**record["trial"], "protocol": "pytest-benchmark"}
    store.publish({**record, "key": key_of(record["trial"])})
    assert [t.shown.to_dict("records") for t in speed_page(store).tables] == before


# The page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["md", "tex", "html", "csv"])
def test_it_is_rendered(store, format):
    facts = {"targets": [target(limit="why", ratio=1.0)], "headline": ["theirs"]}
    store.publish(speed_record(**facts))
    text = render(speed_page(store), format)
    assert "ours" in text
    assert "nan" not in text.lower()


def test_it_is_written_beside_the_tables(store):
    store.publish(speed_record(targets=[target()]))
    written = report(["speed"], store, formats=("md", "csv"))["document"]["pages"][0]["files"]
    assert written == [str(store.reports / name) for name in ("speed.md", "tables/speed.csv")]
    text = (store.reports / "speed.md").read_text()
    assert "Written by: slt-bench report speed" in text
    assert "slt\\_bench 0.1.0" in text or "slt_bench 0.1.0" in text


def test_without_records_it_says_what_to_run(tmp_path):
    page = speed_page(Store(tmp_path))
    text = render(page, "md")
    assert "run python -m pytest tests/benchmarks" in text
    assert "slt-bench merge" in text
    assert "run slt-bench time" in text
    for format in ("md", "tex", "html", "csv"):
        write_report(page, tmp_path, [format])
