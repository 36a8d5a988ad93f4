"""Data sets: bytes, counts, splits, where they are looked for, and what is said without them."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_bench import datasets
from slt_bench.datasets import DataFile, Dataset, DataUnavailable, WrongHash
from slt_bench.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
TEXTS = {
    "ptb.train.txt": b" a b <unk> \n b a \n",
    "ptb.valid.txt": b" b \n",
    "ptb.test.txt": b" a \n",
}
NOWHERE = "http://127.0.0.1:9/"  # the discard port: refuses at once


def declared(contents: dict[str, bytes]) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(name, len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in contents.items()
    )


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in contents.items():
        (folder / name).write_bytes(raw)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no SLT_BENCH_DATA, offline."""
    monkeypatch.setattr("slt_bench.datasets.finding._cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("SLT_BENCH_DATA", raising=False)
    monkeypatch.setenv("SLT_BENCH_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def tiny(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Both readings of the Penn Treebank, over three tiny files; on no mirror."""
    for name in ("ptb-eos", "ptb-raw"):
        fake = replace(datasets.describe(name), files=declared(TEXTS), mirrors=(NOWHERE,))
        monkeypatch.setitem(datasets.DATASETS, name, fake)
    return TEXTS


Serve = Callable[[dict[str, bytes]], str]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a web server over some files on this machine; returns its address."""
    monkeypatch.setenv("SLT_BENCH_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[ThreadingHTTPServer] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    def start(contents: dict[str, bytes]) -> str:
        folder = write(tmp_path / f"server{len(servers)}", contents)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    fake = replace(datasets.describe("ptb-raw"), mirrors=mirrors)
    monkeypatch.setitem(datasets.DATASETS, "ptb-raw", fake)


# The table


def test_names_and_descriptions() -> None:
    assert datasets.names() == ("mnist", "mnist-5k", "ptb-eos", "ptb-raw", "kjv")
    for name in datasets.names():
        data = datasets.describe(name)
        assert data.name == name
        assert data.licence
        assert data.shipped == (name in ("mnist-5k", "kjv"))
        for file in data.files:
            assert len(file.sha256) == 64
        assert all(
            mirror.startswith("https://") and mirror.endswith("/") for mirror in data.mirrors
        )


def test_the_package_holds_what_is_shipped_and_no_other_data() -> None:
    shipped = [data for data in datasets.DATASETS.values() if data.shipped]
    files = {file.name for data in shipped for file in data.files}
    folder = ROOT / "slt_bench" / "data"
    assert {path.name for path in folder.iterdir() if path.is_file()} == files | {
        "__init__.py",
        "NOTICE.md",
    }
    notice = (folder / "NOTICE.md").read_text(encoding="utf-8")
    for data in shipped:
        for file in data.files:
            assert file.size == (folder / file.name).stat().st_size
            assert file.name in notice
            assert file.sha256 in notice
    for words in ("Sebastian Raschka", "ShareAlike 3.0", "LDC99T42", "public domain"):
        assert words in notice


# What is shipped


def test_mnist_5k_without_any_environment(cache: Path) -> None:
    data = datasets.load_images("mnist-5k")
    assert data.name == "mnist-5k"
    assert data.train_images.shape == (4000, 28, 28)
    assert data.test_images.shape == (1000, 28, 28)
    assert data.train_images.dtype == data.test_images.dtype == torch.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert torch.bincount(data.train_labels).tolist() == [400] * 10
    assert torch.bincount(data.test_labels).tolist() == [100] * 10
    assert data.train_labels[:20].tolist() == [*range(10), *range(10)], "not sorted by class"
    assert data.train_images.max() == 255
    both = torch.cat([data.train_images, data.test_images]).reshape(5000, -1)
    assert len(torch.unique(both, dim=0)) == 5000, "no image is in both parts"
    assert not cache.exists()


def test_kjv_without_any_environment(cache: Path) -> None:
    data = datasets.load_text("kjv")
    assert data.name == "kjv"
    assert [len(part) for part in (data.train, data.validation, data.test)] == [
        3_723_704,
        206_872,
        206_873,
    ]
    assert len(data.alphabet) == 63
    assert list(data.alphabet) == sorted(set(data.alphabet))
    text = [
        "".join(data.alphabet[i] for i in part.tolist())
        for part in (data.train[:54], data.train[-6:], data.validation[:6], data.test[-6:])
    ]
    assert text[0] == "In the beginning God created the heaven and the earth."
    assert text[1] + text[2] == "brethren, an", "the parts are contiguous"
    assert text[3] == "Amen.\n"
    assert not cache.exists()


@pytest.mark.parametrize("name", ["mnist-5k", "kjv"])
def test_a_damaged_package_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.describe(name)
    other = replace(data.files[0], sha256="0" * 64)
    monkeypatch.setitem(datasets.DATASETS, name, replace(data, files=(other,)))
    with pytest.raises(WrongHash, match="package data"):
        datasets.fetch(name)


# What is not shipped, byte for byte


@pytest.mark.data("mnist")
def test_mnist_counts() -> None:
    data = datasets.load_images("mnist")
    assert data.name == "mnist"
    assert data.train_images.shape == (60000, 28, 28)
    assert data.test_images.shape == (10000, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert torch.bincount(data.test_labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    pixels = data.train_images.numpy()
    assert pixels.mean() / 255 == pytest.approx(0.13066, abs=5e-6)
    assert pixels.std() / 255 == pytest.approx(0.30811, abs=5e-6)


@pytest.mark.data("mnist")
def test_mnist_5k_is_the_first_500_of_each_class_of_mnist() -> None:
    mnist, sample = datasets.load_images("mnist"), datasets.load_images("mnist-5k")
    for digit in range(10):
        first = mnist.train_images[mnist.train_labels == digit][:500]
        assert torch.equal(sample.train_images[sample.train_labels == digit], first[:400])
        assert torch.equal(sample.test_images[sample.test_labels == digit], first[400:])


@pytest.mark.data("ptb-eos", "ptb-raw")
@pytest.mark.parametrize(
    ("name", "lengths", "symbols"),
    [
        ("ptb-eos", [5_269_890, 413_262, 464_989], 49),
        ("ptb-raw", [5_101_618, 399_782, 449_945], 50),
    ],
)
def test_ptb_counts(name: str, lengths: list[int], symbols: int) -> None:
    data = datasets.load_text(name)
    assert data.name == name
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == lengths
    assert all(part.dtype == torch.uint8 for part in parts)
    assert len(data.alphabet) == symbols
    assert torch.unique(data.train).tolist() == list(range(symbols))
    start = "".join(data.alphabet[i] for i in data.validation[:22].tolist())
    assert start == " consumers may want to"


@pytest.mark.data("ptb-eos", "ptb-raw")
def test_the_two_readings_of_ptb_hold_the_same_text() -> None:
    eos, raw = datasets.load_text("ptb-eos"), datasets.load_text("ptb-raw")
    codes = [np.frombuffer(data.alphabet.encode("ascii"), np.uint8) for data in (eos, raw)]
    text = [codes[0][eos.test.numpy()].tobytes(), codes[1][raw.test.numpy()].tobytes()]
    assert text[0] == text[1].replace(b"\n", b"<eos>")
    assert text[1].count(b"\n") == 3761


# Reading


def test_readings_of_a_text(tiny: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path / "data", tiny)
    eos, raw = datasets.load_text("ptb-eos", folder), datasets.load_text("ptb-raw", folder)
    assert "".join(eos.alphabet[i] for i in eos.train) == " a b <unk> <eos> b a <eos>"
    assert eos.alphabet == " <>abeknosu"
    assert "".join(raw.alphabet[i] for i in raw.train) == " a b <unk> \n b a \n"
    assert raw.alphabet == "\n <>abknu"
    assert "".join(raw.alphabet[i] for i in raw.test) == " a \n"


def test_idx_files(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.arange(3 * 784, dtype=np.int64).astype(np.uint8)
    parts = [bytes(16) + images.tobytes(), bytes(8) + bytes([7, 0, 9])] * 2
    names = [file.name for file in datasets.describe("mnist").files]
    contents = {name: gzip.compress(part) for name, part in zip(names, parts, strict=True)}
    fake = replace(datasets.describe("mnist"), files=declared(contents))
    monkeypatch.setitem(datasets.DATASETS, "mnist", fake)
    data = datasets.load_images("mnist", write(tmp_path / "data", contents))
    assert data.train_images.tolist() == images.reshape(3, 28, 28).tolist()
    assert data.test_labels.tolist() == [7, 0, 9]


@settings(max_examples=30, deadline=None)
@given(st.text(st.sampled_from("ab\n~ "), min_size=20, max_size=300))
def test_one_file_is_cut_in_90_5_5(text: str) -> None:
    contents = {"tiny.txt": text.encode("ascii")}
    fake = Dataset("tiny", "text", declared(contents), "none", "tiny", (NOWHERE,))
    cuts = int(len(text) * 0.90 + 1e-9), int(len(text) * 0.95 + 1e-9)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.DATASETS, "tiny", fake)
        write(Path(folder), contents)
        if set(text) - set(text[: cuts[0]]):
            with pytest.raises(ValueError, match="lacks a symbol"):
                datasets.load_text("tiny", folder)
            return
        data = datasets.load_text("tiny", folder)
    read = ["".join(data.alphabet[i] for i in part) for part in (data.train, data.validation)]
    assert read == [text[: cuts[0]], text[cuts[0] : cuts[1]]]
    assert "".join(data.alphabet[i] for i in data.test) == text[cuts[1] :]


# Where files are looked for


def test_search_order(
    tiny: dict[str, bytes], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argument, environment = tmp_path / "argument", tmp_path / "environment"
    # From first to last; a wrong file shows by its path which place was read.
    places = [argument / "ptb", argument, environment / "ptb", environment, cache / "ptb"]
    for place in places:
        write(place, dict.fromkeys(tiny, b"wrong"))
    monkeypatch.setenv("SLT_BENCH_DATA", str(environment))
    for place in places:
        with pytest.raises(WrongHash) as caught:
            datasets.fetch("ptb-raw", argument)
        assert str(place / "ptb.train.txt") in str(caught.value)
        write(place, tiny)
        datasets.fetch("ptb-raw", argument)
        for name in tiny:
            (place / name).unlink()


def test_files_may_lie_in_different_places(
    tiny: dict[str, bytes], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in zip(
        (tmp_path / "a", tmp_path / "b" / "ptb", cache / "ptb"), tiny, strict=True
    ):
        write(place, {name: tiny[name]})
    monkeypatch.setenv("SLT_BENCH_DATA", str(tmp_path / "b"))
    assert len(datasets.load_text("ptb-raw", tmp_path / "a").train) == len(tiny["ptb.train.txt"])


def test_wrong_hash_is_named_and_never_used(tiny: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path, tiny)
    (folder / "ptb.valid.txt").write_bytes(b" b!\n")
    with pytest.raises(WrongHash) as caught:
        datasets.load_text("ptb-eos", folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder / "ptb.valid.txt") in message
    for raw in (tiny["ptb.valid.txt"], b" b!\n"):
        assert hashlib.sha256(raw).hexdigest() in message
    assert "CRLF" not in message


def test_crlf_is_recognised(tiny: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path, {name: raw.replace(b"\n", b"\r\n") for name, raw in tiny.items()})
    with pytest.raises(WrongHash, match="line ends are CRLF"):
        datasets.load_text("ptb-eos", folder)


# Nothing stands in for anything


def test_no_data_set_stands_in_for_another(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match="'mnist' is not on this machine"):
        datasets.load_images("mnist")
    with pytest.raises(DataUnavailable, match="'ptb-eos' is not on this machine"):
        datasets.load_text("ptb-eos")
    shipped = (ROOT / "slt_bench" / "data" / "mnist-5k.npz").read_bytes()
    names = [file.name for file in datasets.describe("mnist").files]
    with pytest.raises(WrongHash):
        datasets.load_images("mnist", write(tmp_path, dict.fromkeys(names, shipped)))


@pytest.mark.parametrize("load", [datasets.load_images, datasets.load_text, datasets.fetch])
def test_unknown_name(load: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match=r"no data set 'ptb'.*ptb-eos"):
        load("ptb")


def test_the_wrong_kind() -> None:
    with pytest.raises(
        UsageError, match=r"'kjv' holds text, not images \(allowed: mnist, mnist-5k\)"
    ):
        datasets.load_images("kjv")
    with pytest.raises(UsageError, match=r"'mnist-5k' holds images, not text \(allowed: ptb-eos"):
        datasets.load_text("mnist-5k")


# Downloads


@pytest.mark.parametrize("name", ["mnist", "ptb-eos"])
def test_the_error_says_what_to_do(name: str, cache: Path, tmp_path: Path) -> None:
    data = datasets.describe(name)
    with pytest.raises(DataUnavailable) as caught:
        datasets.fetch(name, tmp_path / "typing-error")
    message = str(caught.value)
    for file in data.files:
        assert f"{file.name}  {file.size:,} bytes  sha256 {file.sha256}" in message
    for mirror in data.mirrors:
        assert f"{mirror}  not tried, since SLT_BENCH_OFFLINE is set" in message
    assert f"put them into DIR/{data.subfolder}/ and set SLT_BENCH_DATA=DIR" in message
    assert f"{tmp_path / 'typing-error'}  (no such folder)" in message
    assert str(cache / data.subfolder) in message
    assert not cache.exists()


def test_only_what_is_missing_is_named(tiny: dict[str, bytes], tmp_path: Path) -> None:
    folder = write(tmp_path, {"ptb.train.txt": tiny["ptb.train.txt"]})
    with pytest.raises(DataUnavailable, match="2 of its 3 files are missing") as caught:
        datasets.fetch("ptb-raw", folder)
    missing = str(caught.value).split("missing:\n")[1].split("looked in:")[0]
    assert [line.split()[0] for line in missing.splitlines()] == ["ptb.valid.txt", "ptb.test.txt"]


def test_mirrors_in_turn(
    tiny: dict[str, bytes], cache: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = serve(dict.fromkeys(tiny, b"an error page"))
    half = serve({"ptb.train.txt": tiny["ptb.train.txt"]})
    use_mirrors(monkeypatch, NOWHERE, altered, half, serve(tiny))
    data = datasets.load_text("ptb-raw")
    assert len(data.train) == len(tiny["ptb.train.txt"])
    assert {path.name: path.read_bytes() for path in (cache / "ptb").iterdir()} == tiny
    monkeypatch.setenv("SLT_BENCH_OFFLINE", "1")
    assert torch.equal(datasets.load_text("ptb-raw").train, data.train), "now from the cache"


def test_no_mirror_has_it(
    tiny: dict[str, bytes], cache: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = serve(dict.fromkeys(tiny, b"an error page"))
    half = serve({"ptb.train.txt": tiny["ptb.train.txt"]})
    use_mirrors(monkeypatch, NOWHERE, altered, half)
    with pytest.raises(DataUnavailable, match="2 of its 3 files are missing") as caught:
        datasets.fetch("ptb-raw")
    message = str(caught.value)
    assert f"{NOWHERE}  failed on ptb.valid.txt (ConnectionError" in message
    assert f"{altered}  failed on ptb.valid.txt (ValueError: SHA256" in message
    assert f"{half}  failed on ptb.valid.txt (HTTPError: 404" in message
    assert [path.name for path in (cache / "ptb").iterdir()] == ["ptb.train.txt"], "nothing partial"


def test_a_cache_that_cannot_be_written(
    tiny: dict[str, bytes], cache: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_bytes(b"a file where the folder should be")
    use_mirrors(monkeypatch, serve(tiny))
    with pytest.raises(DataUnavailable, match=r"failed on ptb\.train\.txt"):
        datasets.fetch("ptb-raw")


# Fresh processes


def test_import_needs_no_downloader() -> None:
    code = "import sys, slt_bench.datasets; sys.exit('pooch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_tests_without_data_are_skipped_loudly(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SLT_BENCH_DATA"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "data",
        "-p",
        "no:cacheprovider",
        __file__,
    ]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" not in run.stdout
    assert "tests were SKIPPED for want of data: set SLT_BENCH_DATA" in run.stdout
    assert "needs data set mnist: set SLT_BENCH_DATA" in run.stdout
