"""The latency page: its rows, verdicts, growth, caption and formats, from records made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from timing_records import make_cell, make_failure, make_record

from slt_bench.reporting.latency import command, duration, latency_page, memory, ratio_text
from slt_bench.reporting.rendering import render, write_report
from slt_bench.store import Store
from slt_bench.trial import key_of

SIZES = (256, 1024, 4096)


@pytest.fixture
def store(tmp_path):
    """Dense (n^2), its copy and a quicker layer (n) at three sizes; dense too large at a fourth."""
    rng = np.random.default_rng(0)
    store = Store(tmp_path)

    def noisy(seconds):
        return (seconds * np.exp(rng.normal(0, 0.01, 10))).tolist()

    for n in SIZES:
        dense = noisy(1e-9 * n**2)
        store.publish(make_record(make_cell("dense", n), dense))
        store.publish(make_record(make_cell("dense", n, copy=True), noisy(1e-9 * n**2), dense))
        quick = make_record(
            make_cell("low_rank", n), noisy(2e-8 * n), dense, call_multiply_adds=16 * n
        )
        store.publish(quick)
    for copy in (False, True):
        store.publish_failure(make_failure(make_cell("dense", 65536, copy=copy)))
    store.publish(make_record(make_cell("low_rank", 65536), noisy(2e-8 * 65536),
                              call_multiply_adds=16 * 65536, noisy=["a neighbour"]))  # fmt: skip
    return store


def table(page, start):
    return next(t for t in page.tables if t.name.startswith(start))


def test_every_row_has_its_verdict(store):
    shown = table(latency_page(store, "latency_cpu"), "latency").shown
    verdicts = {(row["row"], row["shape"]): row["verdict"] for row in shown.to_dict("records")}
    for n in SIZES:
        assert verdicts["dense", str(n)] == "—"
        assert verdicts["dense (copy)", str(n)] == "same"
        assert verdicts["low_rank", str(n)] == "faster"
    assert verdicts["dense", "65536"] == "out of memory"
    assert verdicts["low_rank", "65536"] == "— (noisy)"
    assert list(shown["row"][:3]) == ["dense", "dense (copy)", "low_rank"]


def test_the_numbers_are_those_of_the_records(store):
    line = table(latency_page(store, "latency_cpu"), "latency").frame.to_dict("records")[2]
    record = store.read(make_cell("low_rank", 256).identity, make_cell("low_rank", 256).key)
    rounds = record["timing"]["rounds"]
    medians = [r["measures"]["call"]["median"] for r in rounds]
    assert (line["lowest"], line["highest"]) == (min(medians), max(medians))
    assert line["median"] == pytest.approx(np.median(medians))
    ratios = [m / r["dense"]["call"] for m, r in zip(medians, rounds, strict=True)]
    assert line["ratio"] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert line["over_floor"] == pytest.approx(np.median(medians) / 1e-6)


def test_growth_is_fitted_and_stands_beside_the_theory(store):
    growth = table(latency_page(store, "latency_cpu"), "growth").frame.set_index("label")
    assert growth.loc["dense", "exponent"] == pytest.approx(2, abs=0.05)
    assert growth.loc["dense", "theory"] == pytest.approx(2)
    assert growth.loc["low_rank", "exponent"] == pytest.approx(1, abs=0.05)
    assert growth.loc["low_rank", "theory"] == pytest.approx(1)
    assert growth.loc["low_rank", "exponent_low"] < 1 < growth.loc["low_rank", "exponent_high"]


def test_the_caption_says_where_and_how(store):
    page = latency_page(store, "latency_cpu")
    caption = table(page, "latency").caption
    for text in ("Chip; avx2", "2 physical cores", "governor unknown", "torch 2.13.0",
                 "threads 1", "rounds 10"):  # fmt: skip
        assert text in caption
    assert "slt-bench time -b low_rank --shapes 256,1024,4096,65536 --batch 8" in caption
    assert "slt-bench report latency_cpu" in page.provenance[-1]


def test_the_command_has_what_is_not_a_default(tmp_path):
    cell = make_cell(mode="sequence", steps=7, threads=2, dtype="float64", compiled=True)
    record = make_record(cell, [1.0, 1.0], [1.0, 1.0], match="0.1", noisy=["a neighbour"])
    record["timing"]["sampling"] = {"cap": 2.5}
    matched = (
        "slt-bench time -b low_rank --shapes 256 --batch 8 --mode sequence --dtype float64 "
        "--threads 2 --steps 7 --compile --match-parameters 0.1 --rounds 2 --cap 2.5s "
        "--allow-noisy"
    )
    assert command([record]) == matched
    own = make_record(make_cell("Mine", 512), [1.0] * 10, [1.0] * 10, reference="mine.py:Mine")
    dense = make_record(make_cell("dense", 512), [1.0] * 10)
    assert command([dense, record, own]) == (
        f"{matched}; slt-bench time -b mine.py:Mine --shapes 512 --batch 8 --mode forward "
        "--threads 1 --rounds 10 --cap 10s"
    )
    assert command([dense]).startswith("slt-bench time -b dense --shapes 512 ")


@pytest.mark.parametrize("format", ["md", "tex", "html", "csv"])
def test_it_is_rendered(store, format):
    text = render(latency_page(store, "latency_cpu"), format)
    assert "low" in text
    assert "out of memory" in text
    assert "nan" not in text.lower()


def test_modes_and_processors_have_tables_of_their_own(store, tmp_path):
    for cell in (make_cell(mode="training"), make_cell(hardware="Other"), make_cell(threads=2)):
        store.publish(make_record(cell, [1.0, 1.1], [1.0, 1.0]))
    page = latency_page(store, "latency_cpu")
    titles = [t.title for t in page.tables if t.name.startswith("latency")]
    assert len(titles) == 4
    assert "training, float32, 1 thread" in titles
    files = write_report(page, tmp_path)
    tables = {f.name for f in files if f.parent.name == "tables"}
    assert tables == {f"latency_cpu.{e}" for e in ("md", "tex", "html", "csv")}


def test_kernel_and_call_are_two_lines_of_a_gpu(tmp_path):
    store = Store(tmp_path)
    record = make_record(make_cell(device="cuda"), [2.0] * 10, [1.0] * 10)
    for one in record["timing"]["rounds"]:
        one["measures"]["kernel"] = {"median": 0.5, "how": "eager"}
        one["dense"]["kernel"] = 1.0
    record["provenance"]["gpu"] = {"name": "Card", "clocks.sm": 1980.0}
    store.publish(record)
    shown = latency_page(store, "latency_cuda").tables[0].shown
    assert list(shown["measure"]) == ["eager call", "kernel, cold cache (eager)"]
    assert list(shown["verdict"]) == ["slower", "faster"]
    assert latency_page(store, "latency_cpu").tables == ()


def one_process(cell, medians, dense=()):
    """The same cell by pytest-benchmark, as ``tests/benchmarks`` leaves it."""
    record = make_record(cell, medians, dense)
    identity = {**record["trial"], "protocol": "pytest-benchmark"}
    return {**record, "trial": identity, "key": key_of(identity)}


def test_one_process_stands_in_the_same_table_without_a_verdict(store):
    command_before = table(latency_page(store, "latency_cpu"), "latency").caption.split(": ")[-1]
    store.publish(one_process(make_cell("dense", 256), [2e-3]))
    store.publish(one_process(make_cell("low_rank", 256), [1e-3], [2e-3]))
    shown = table(latency_page(store, "latency_cpu"), "latency").shown
    here = shown[(shown["row"] == "low_rank") & (shown["shape"] == "256")]
    rows = {row["measure"]: row for row in here.to_dict("records")}
    assert rows["eager call"]["verdict"] == "faster"
    single = rows["one process (pytest-benchmark)"]
    assert (single["median"], single["ratio to dense"], single["verdict"], single["rounds"]) == (
        "1.00 ms", "0.500", "—", "1",
    )  # fmt: skip
    caption = table(latency_page(store, "latency_cpu"), "latency").caption
    assert "one process" in caption.lower()
    assert "--benchmark-json=FILE" in caption
    assert caption.endswith(f"To measure: {command_before}")


def test_one_process_alone_names_its_own_command(tmp_path):
    store = Store(tmp_path)
    store.publish(one_process(make_cell(), [1.0], [1.0]))
    page = latency_page(store, "latency_cpu")
    assert list(page.tables[0].shown["measure"]) == ["one process (pytest-benchmark)"]
    assert "To measure: python -m pytest tests/benchmarks" in page.tables[0].caption


def test_an_empty_page_says_what_to_do(tmp_path):
    page = latency_page(Store(tmp_path), "latency_cpu")
    assert "run slt-bench time" in render(page, "md")
    for format in ("tex", "html", "csv"):
        render(page, format)


def test_a_ratio_has_three_digits():
    line = {"ratio": 0.007761, "ratio_low": 0.00771, "ratio_high": 1.234}
    assert ratio_text(line) == "0.00776 [0.00771, 1.23]"
    assert ratio_text({"ratio": 12.0, "ratio_low": None, "ratio_high": None}) == "12.0"


def test_units():
    assert [duration(s) for s in (12.34, 0.5, 1.234e-3, 2.5e-7, None)] == [
        "12.3 s", "500 ms", "1.23 ms", "0.25 us", "—",
    ]  # fmt: skip
    assert [memory(b) for b in (512, 2**20, 3.5 * 2**30)] == ["0.50 KiB", "1.00 MiB", "3.50 GiB"]
