"""Kernels of layers: they equal plain torch, in memory that was full of NaN before."""

from __future__ import annotations

import copy
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slt_bench import kernels
from slt_bench.kernels import _build, _measured
from slt_bench.layers import Unsupported
from slt_bench.registry import load_baseline

LAYER = Path(kernels.__file__).with_name("layer.c")
needs_compiler = pytest.mark.skipif(
    not kernels.enabled() or kernels.library(LAYER, torch.float64) is None,
    reason="needs a C compiler, and no SLT_BENCH_KERNELS=0",
)

#: Baselines that bring a kernel, with settings that take different ways through it.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("wavelet", {}),
    ("wavelet", {"init": "random", "scales": 3}),
    ("wavelet", {"init": "random", "scales": 3, "slicing": "legacy"}),
    ("wavelet", {"init": "haar", "scales": 2}),
    ("wavelet", {"init": "db2", "scales": 5, "blocks": 2}),
    ("wavelet", {"init": "db4", "scales": 2}),
    ("wavelet", {"init": "db5", "scales": 2, "slicing": "legacy"}),  # 10 taps: the general code
    ("wavelet", {"init": "db6", "scales": 8}),
    ("wavelet", {"init": "random", "learn_filters": False, "scales": 2}),
    ("wavelet", {"mode": "periodization", "init": "random", "scales": 2}),  # no kernel: torch
    ("fastfood", {}),
    ("fastfood", {"blocks": 3}),
]
IDS = [" ".join([name, *map(str, settings.values())]) for name, settings in CASES]
SIZES = [(64, 64), (59, 59), (37, 101), (101, 37), (128, 300), (97, 1), (512, 512)]


def build(name: str, n: int, m: int, **options: Any) -> nn.Module:
    """A float64 layer with weights drawn afresh, or a skip where its sizes are refused."""
    try:
        layer = load_baseline(name)(n, m, **options).double()
    except Unsupported as reason:
        pytest.skip(str(reason))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, 0.7, 0.4)
    return layer


def run(layer: nn.Module, x: Tensor, weights: Tensor, *, kernel: bool) -> list[Tensor]:
    """The output and the gradients of x and of all parameters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLT_BENCH_KERNELS", "1" if kernel else "0")
        x = x.detach().clone().requires_grad_()
        torch.manual_seed(5)
        y = layer(x)
        leaves = [x, *(p for p in layer.parameters() if p.requires_grad)]
        return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def assert_agree(layer: nn.Module, x: Tensor, tolerance: float = 1e-11) -> None:
    weights = torch.randn(*x.shape[:-1], int(layer.out_features), dtype=x.dtype)  # type: ignore[arg-type]
    got, expected = (run(layer, x, weights, kernel=k) for k in (True, False))
    for a, b in zip(got, expected, strict=True):
        scale = b.abs().max().clamp(min=1) if b.numel() else 1
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=tolerance)


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> Any:
    """All uninitialised memory is NaN: what a kernel leaves unwritten fails the comparison."""
    for method in ("lease", "scratch"):
        given = getattr(kernels.Workspace, method)

        def poisoned(
            self: kernels.Workspace, count: int, dtype: torch.dtype, given: Any = given
        ) -> Tensor:
            return given(self, count, dtype).fill_(torch.nan)

        monkeypatch.setattr(kernels.Workspace, method, poisoned)
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    yield
    torch.use_deterministic_algorithms(False)


# Agreement


@needs_compiler
@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_kernel_equals_torch(name: str, options: dict[str, Any], n: int, m: int) -> None:
    layer = build(name, n, m, **options)
    for rows in (19, 1, 0):
        assert_agree(layer, torch.randn(rows, n, dtype=torch.float64))


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(CASES),
    n=st.integers(1, 130),
    m=st.integers(1, 200),
    lead=st.lists(st.integers(0, 7), max_size=3),
    dropout=st.sampled_from([0.0, 0.3]),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_kernel_equals_torch_for_any_size(
    case: tuple[str, dict[str, Any]],
    n: int,
    m: int,
    lead: list[int],
    dropout: float,
    bias: bool,
    seed: int,
) -> None:
    name, options = case
    torch.manual_seed(seed)
    try:
        layer = load_baseline(name)(n, m, bias, dropout=dropout, **options).double()
    except Unsupported:
        return
    assert_agree(layer, torch.randn(*lead, n, dtype=torch.float64))


@needs_compiler
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_float32_is_within_rounding_of_float64(name: str, options: dict[str, Any]) -> None:
    """Outputs to 1e-6 of the largest; gradients to 1e-5 of their norm for filters, else 2e-6."""
    n = 512
    exact = build(name, n, n, **options).float().double()
    layer = copy.deepcopy(exact).float()
    x = torch.randn(50, n)
    weights = torch.randn(50, n)
    y, *gradients = run(layer, x, weights, kernel=True)
    expected, *exact_gradients = run(exact, x.double(), weights.double(), kernel=False)
    assert (y - expected).abs().max() < 1e-6 * expected.abs().max()
    names = ["x", *(name for name, p in layer.named_parameters() if p.requires_grad)]
    for key, a, b in zip(names, gradients, exact_gradients, strict=True):
        assert (a - b).norm() < (1e-5 if key == "filters" else 2e-6) * b.norm(), key


@needs_compiler
@pytest.mark.parametrize("name", ["wavelet", "fastfood"])
def test_gradcheck(name: str) -> None:
    layer = build(name, 16, 16, dropout=0.0, **({"scales": 1} if name == "wavelet" else {}))
    names, weights = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *weights))


@needs_compiler
@pytest.mark.parametrize("name", ["wavelet", "fastfood"])
def test_nan_in_nan_out_of_this_row_alone(name: str) -> None:
    layer = build(name, 64, 64, **({"init": "random", "scales": 2} if name == "wavelet" else {}))
    for bad in (torch.nan, torch.inf):
        x = torch.randn(33, 64)
        x[20, 7] = bad
        y = layer.float()(x)
        assert not y[20].isfinite().all()
        assert y[:20].isfinite().all()
        assert y[21:].isfinite().all()


@needs_compiler
@pytest.mark.parametrize("name", ["wavelet", "fastfood"])
def test_two_forwards_accumulation_and_a_retained_graph(name: str) -> None:
    layer = build(name, 64, 64)
    a, b = torch.randn(2, 20, 64, dtype=torch.float64)
    alone = [torch.autograd.grad(layer(x).square().sum(), layer.b)[0] for x in (a, b)]
    layer.zero_grad()
    first, second = layer(a).square().sum(), layer(b).square().sum()
    with torch.inference_mode():
        layer(b)
    first.backward(retain_graph=True)
    first.backward()
    second.backward()
    torch.testing.assert_close(layer.b.grad, 2 * alone[0] + alone[1])
    with pytest.raises(RuntimeError, match="second time"):
        second.backward()


@needs_compiler
@pytest.mark.parametrize("name", ["wavelet", "fastfood"])
def test_the_same_numbers_each_time(name: str) -> None:
    layer = build(name, 200, 200)
    x, weights = torch.randn(2, 40, 200, dtype=torch.float64)
    first, second = (run(layer, x, weights, kernel=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_compiler
@pytest.mark.parametrize("name", ["wavelet", "fastfood"])
def test_only_one_derivative(name: str) -> None:
    layer = build(name, 64, 64)
    x = torch.randn(2, 64, dtype=torch.float64, requires_grad=True)
    (d_x,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_x.sum().backward()


# Where the kernel runs, and where not


def kernel_ran(layer: nn.Module, x: Tensor) -> bool:
    """Whether the output is a view of what a kernel made."""
    step = layer(x.requires_grad_()).grad_fn.next_functions[0][0]
    return step is not None and step.name() == "_LayerBackward"


@needs_compiler
def test_the_kernel_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = load_baseline("fastfood")(32, 32)
    assert kernel_ran(layer, torch.randn(3, 32))
    assert kernel_ran(copy.deepcopy(layer).double(), torch.randn(3, 32, dtype=torch.float64))
    assert not kernel_ran(copy.deepcopy(layer).bfloat16(), torch.randn(3, 32).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kernel_ran(layer, torch.randn(3, 32))
    monkeypatch.setenv("SLT_BENCH_KERNELS", "0")
    assert not kernel_ran(layer, torch.randn(3, 32))


@needs_compiler
def test_torchs_transforms_get_plain_torch() -> None:
    layer = build("fastfood", 16, 16)
    x = torch.randn(5, 16, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    jacobian = torch.func.jacrev(layer)(x[0])
    torch.testing.assert_close(jacobian @ x[1] + layer.bias, layer(x[1]))


def outcome(tmp_path: Path, compiler: str) -> dict[str, Any]:
    """What a fresh process finds with this compiler and an empty cache."""
    code = (
        "import json, torch\n"
        "from pathlib import Path\n"
        "from slt_bench import kernels\n"
        "from slt_bench.baselines.fastfood import Fastfood\n"
        "torch.manual_seed(0)\n"
        "y = Fastfood(16, 16)(torch.ones(1, 16))\n"
        "source = Path(kernels.__file__).with_name('layer.c')\n"
        "print(json.dumps([kernels.library(source, torch.float32) is None, y.tolist()]))\n"
    )
    environment = os.environ | {"CC": compiler, "SLT_BENCH_KERNEL_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    without, y = json.loads(done.stdout)
    return {"without": without, "y": torch.tensor(y), "errors": done.stderr}


@needs_compiler
def test_without_a_working_compiler_plain_torch_computes_the_same(tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'no such language' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    built = outcome(tmp_path / "a", "cc")
    assert not built["without"]
    for compiler in ("no-such-compiler", str(broken)):
        got = outcome(tmp_path / "b", compiler)
        assert got["without"]
        torch.testing.assert_close(got["y"], built["y"])
    assert "no such language" in got["errors"]
    assert not list((tmp_path / "b").glob("*.so"))


@needs_compiler
def test_a_changed_source_or_flag_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    source = tmp_path / "three.c"
    for value in (3, 4):
        source.write_text(f'#include "lanes.h"\nEXPORT int three(void) {{ return {value}; }}\n')
        for dtype in (torch.float32, torch.float64):
            loaded = _build.library.__wrapped__(source, dtype)
            assert isinstance(loaded, ctypes.CDLL)
            assert loaded.three() == value
    assert len(list(tmp_path.glob("*.so"))) == 4
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")}
    _build.library.__wrapped__(source, torch.float32)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")} == before


@needs_compiler
def test_loading_a_kernel_leaves_the_processors_rounding_alone() -> None:
    """Code linked with -ffast-math sets numbers below 1e-38 to zero in the whole process."""
    load_baseline("wavelet")(64, 64)(torch.ones(1, 64))
    assert (torch.tensor([1e-38]) * 0.01).item() > 0


def test_facts_name_the_compiler_and_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNELS", "0")
    monkeypatch.setenv("CC", f"{sys.executable} -O3")
    facts = kernels.kernel_facts()
    assert facts == json.loads(json.dumps(facts))
    assert facts["enabled"] is False
    assert facts["instruction_set"] == kernels.instruction_set()
    assert facts["compiler"].startswith("Python 3.")
    monkeypatch.setenv("SLT_BENCH_KERNELS", "1")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert kernels.kernel_facts() == {**facts, "enabled": True, "compiler": None}


# Workspace


def test_workspace_is_used_again_but_never_twice_at_once() -> None:
    workspace = kernels.Workspace()
    first = workspace.lease(1000, torch.float32)
    address = first.data_ptr()
    assert address % 64 == 0
    second = workspace.lease(1000, torch.float32)
    assert second.data_ptr() != address
    view = first[10:]
    del first
    third = workspace.lease(1000, torch.float32)
    assert third.data_ptr() != address, "a view still holds it"
    del view
    assert workspace.lease(500, torch.float64).data_ptr() == address
    assert workspace.lease(0, torch.float32).numel() == 0


def test_workspace_serves_several_threads() -> None:
    workspace = kernels.Workspace()
    wrong: list[int] = []

    def work(mark: int) -> None:
        for count in range(1, 200):
            block = workspace.lease(count, torch.float64)
            block.fill_(mark)
            if not (block == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# What was measured


def test_the_quickest_way_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        torch.randn(300, 300).inverse()

    ways = {"slow": slow, "quick": lambda: calls.append("quick")}
    state = torch.get_rng_state()
    assert kernels.quickest("this", ways)[0] == "quick"
    assert torch.equal(torch.get_rng_state(), state)
    assert calls.count("slow") == calls.count("quick") > 1
    count = len(calls)
    _measured._known.clear()  # as in another process
    assert kernels.quickest("this", ways)[0] == "quick"
    assert len(calls) == count
    assert kernels.quickest("that", ways)[0] == "quick"
    assert len(calls) == 2 * count
    kept = json.loads(kernels.measured_file().read_text(encoding="utf-8"))
    assert [case.split(",")[0] for case in kept] == ["this", "that"]
    assert kernels.quickest("this", {"another": slow})[0] == "another"
    kernels.measured_file().write_text("not JSON", encoding="utf-8")
    _measured._known.clear()
    assert kernels.quickest("this", ways)[0] == "quick"


def test_preparation_is_counted_once_and_stops_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    before = kernels.preparation_seconds()
    start = time.perf_counter()

    def nested() -> None:
        kernels.quickest("inner", {"nap": lambda: time.sleep(0.01)})
        time.sleep(0.01)

    kernels.quickest("outer", {"nap": nested})
    took = time.perf_counter() - start
    spent = kernels.preparation_seconds() - before
    assert 0.08 <= spent <= took  # eight naps of which none counts twice
    kernels.quickest("outer", {"nap": nested})  # known: takes no time, and counts for nothing
    time.sleep(0.01)
    assert kernels.preparation_seconds() - before == spent
