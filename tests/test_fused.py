"""Whole sequences in compiled code: they equal the plain loop for every mix of maps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from gru_cases import (
    FASTFOOD,
    MIXED,
    RECURRENT,
    SUBSETS,
    WAVELET,
    assert_agree,
    build,
    draw,
    loss_of,
    maker,
    needs_kernels,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slt_bench import kernels, registry
from slt_bench.kernels import _measured, _workspace
from slt_bench.recurrent import GRU, Factory, only_picking

pytestmark = [needs_kernels, pytest.mark.usefixtures("poison")]

BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "wavelet": ("wavelet", {"scales": 3, "init": "random", "gain": 1.0}),
    "legacy": ("wavelet", {"scales": 3, "init": "random", "slicing": "legacy", "gain": 1.0}),
    "periodization": (
        "wavelet",
        {"scales": 2, "mode": "periodization", "init": "random", "gain": 1.0},
    ),
    "fastfood": ("fastfood", {"gain": 1.0}),
    "low_rank": ("low_rank", {"rank": 9}),
    "rank 12": ("low_rank", {"rank": 12}),  # no kernel at this size: a dense matrix
    "diagonal": ("diagonal", {}),
    "identity": ("identity", {}),
    "zero": ("zero", {}),
}
MAPS: dict[str, Factory] = {"dense": nn.Linear} | {
    kind: maker(name, **options)
    for kind, (name, options) in BASELINES.items()
    if name in registry.entries("baselines")
}
DROPPED: dict[str, Factory] = {
    "wavelet": maker("wavelet", scales=2, dropout=0.3, gain=1.0),
    "legacy": maker("wavelet", scales=2, dropout=0.5, slicing="legacy", gain=1.0),
    "fastfood": maker("fastfood", dropout=0.3, gain=1.0),
    "dense": nn.Linear,
}


# Agreement with the plain loop


@pytest.mark.parametrize("through", ["states", "last", "both"])
@pytest.mark.parametrize("kind", sorted(set(MAPS) - {"dense", "identity", "zero"}))
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_fused_equals_eager_for_every_subset_of_slots(
    subset: tuple[str, ...], kind: str, through: str
) -> None:
    gru = build(2, 59, dict.fromkeys(subset, MAPS[kind]))
    x, h0 = draw(19, 7, 2, 59)
    assert_agree(run(gru, "fused", x, h0, through), run(gru, "eager", x, h0, through))


@settings(max_examples=50, deadline=None)
@given(
    batch=st.one_of(st.integers(0, 3), st.integers(15, 50)),
    time=st.integers(1, 12),
    hidden=st.one_of(st.sampled_from([1, 2, 5, 16]), st.integers(59, 80)),
    input_size=st.integers(1, 6),
    kinds=st.lists(st.sampled_from(sorted(MAPS)), min_size=3, max_size=3),
    input_maps=st.booleans(),
    through=st.sampled_from(["states", "last", "both"]),
    with_h0=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_fused_equals_eager(
    batch: int,
    time: int,
    hidden: int,
    input_size: int,
    kinds: list[str],
    input_maps: bool,
    through: str,
    with_h0: bool,
    seed: int,
) -> None:
    if hidden < 59:  # too small for a wavelet layer to have fewer weights than a dense one
        kinds = [k if k in ("fastfood", "diagonal", "zero") else "dense" for k in kinds]
    maps = {slot: MAPS[k] for slot, k in zip(RECURRENT, kinds, strict=True)}
    if input_maps:
        maps["input_reset"] = FASTFOOD
    gru = build(input_size, hidden, maps, seed)
    x, h0 = draw(batch, time, input_size, hidden)
    start = h0 if with_h0 else None
    got, expected = (run(gru, s, x, start, through) for s in ("fused", "eager"))
    assert_agree(got, expected)


@pytest.mark.parametrize("limit", [0, 256])
@pytest.mark.parametrize("input_size", [5, 16, 37, 64, 100])
@pytest.mark.parametrize("kind", [WAVELET, nn.Linear], ids=["wavelet", "dense"])
def test_many_inputs(
    kind: Factory, input_size: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to the gradients of input weights: in rows at each step, and one product."""
    monkeypatch.setattr("slt_bench.kernels.sequence._SOME_INPUTS", limit)
    gru = build(input_size, 59, dict.fromkeys(RECURRENT, kind))
    x, h0 = draw(19, 4, input_size, 59)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))


@pytest.mark.parametrize("kinds", [*itertools.product(sorted(DROPPED), repeat=3)], ids="+".join)
def test_dropout_draws_the_same_masks_as_the_plain_loop(kinds: tuple[str, ...]) -> None:
    gru = build(2, 64, {s: DROPPED[k] for s, k in zip(RECURRENT, kinds, strict=True)})
    x, h0 = draw(17, 5, 2, 64)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))
    gru.eval()
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))


@pytest.mark.parametrize("kind", ["wavelet", "fastfood"])
def test_dropout_draws_a_new_mask_at_each_step(kind: str) -> None:
    gru = build(1, 64, {"state": DROPPED[kind]})
    for slot in ("update", "reset", "input_update", "input_reset", "input_state"):
        for parameter in gru.get_submodule(slot).parameters():
            nn.init.zeros_(parameter)
    gru.strategy = "fused"
    h0 = torch.zeros(1, 64, dtype=torch.float64)
    torch.manual_seed(0)
    states, _ = gru(torch.zeros(1, 6, 1, dtype=torch.float64), h0 + 1)
    previous = torch.cat([h0[:, None] + 1, states[:, :-1]], 1)
    moved = states - previous / 2  # z c with z = 1/2
    zeros = {tuple((moved[0, t] == 0).tolist()) for t in range(6)}
    assert len(zeros) == 6


# A kernel that a stranger brings


FLIP = """
#include "lanes.h"
EXPORT void flip_forward(const slt_map *map, int64_t blocks, const vec *x, vec *y) {
    int64_t n = map->sizes[0];
    for (int64_t b = 0; b < blocks; b++, x += n, y += n)
        for (int64_t i = 0; i < n; i++) y[i] = map->parameters[0][i] * x[n - 1 - i];
}
EXPORT void flip_backward(const slt_map *map, int64_t blocks, const vec *x, const vec *dy,
                          vec *dx) {
    int64_t n = map->sizes[0];
    for (int64_t b = 0; b < blocks; b++, x += n, dy += n, dx += n)
        for (int64_t i = 0; i < n; i++) {
            map->gradients[i] += dy[i] * x[n - 1 - i];
            dx[n - 1 - i] = map->parameters[0][i] * dy[i];
        }
}
"""


class Flip(nn.Module):
    """y_i = w_i x_(n - 1 - i), as somebody outside this repository would write it."""

    source: Path

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.weights = nn.Parameter(torch.randn(in_features))

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1) * self.weights

    def kernel(self) -> kernels.Kernel:
        return kernels.Kernel(
            source=self.source,
            forward="flip_forward",
            backward="flip_backward",
            in_features=self.in_features,
            out_features=self.in_features,
            parameters=(self.weights,),
            constants=(),
            sizes=(self.in_features,),
            scratch=0,
        )


@pytest.mark.parametrize("subset", SUBSETS[1:], ids="+".join)
def test_any_layer_may_bring_a_kernel(
    subset: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    Flip.source = tmp_path_factory.getbasetemp() / "flip.c"
    Flip.source.write_text(FLIP, encoding="utf-8")
    gru = build(3, 37, dict.fromkeys(subset, Flip))
    x, h0 = draw(19, 6, 3, 37)
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))
    Flip.source = Flip.source.with_name("broken.c")
    Flip.source.write_text("not C", encoding="utf-8")
    assert_agree(run(gru, "fused", x, h0), run(gru, "eager", x, h0))  # as a dense matrix


# Memory


def test_training_uses_its_workspace_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gru = build(2, 64, MIXED)
    gru.strategy = "fused"
    x, _ = draw(20, 30, 2, 64)
    made: list[int] = []
    monkeypatch.setattr(kernels.workspace, "_free", [])
    new_block = _workspace._new_block
    monkeypatch.setattr(_workspace, "_new_block", lambda size: made.append(size) or new_block(size))
    for _ in range(2):  # the first graph lives on while the second is made
        loss = loss_of(*gru(x))
        loss.backward()
    assert made
    made.clear()
    for _ in range(4):
        loss = loss_of(*gru(x))
        loss.backward()
    assert not made


def test_inference_keeps_no_history() -> None:
    leased: list[int] = []
    lease = kernels.Workspace.lease
    gru = build(2, 64, MIXED)
    gru.strategy = "fused"
    x, _ = draw(16, 200, 2, 64)

    def sizes() -> int:
        leased.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                kernels.Workspace,
                "lease",
                lambda self, n, dtype: leased.append(n) or lease(self, n, dtype),
            )
            states, _ = gru(x)
        return max(leased) // (states.numel() // 200)

    assert sizes() >= 4 * 200
    with torch.no_grad():
        assert sizes() < 50


# Which strategy runs


def test_auto_takes_fused_for_small_sequences() -> None:
    gru = GRU(2, 64, MIXED)
    gru(torch.randn(3, 8, 2))
    assert gru.last_strategy == "fused"


def test_auto_takes_what_was_quickest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru = GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    gru(x)
    (case,) = kernels.measured()
    assert case.startswith("GRU training, batch 20, torch.float32, reset Fastfood(64, 64")
    assert kernels.measured()[case].keys() == {"fused", "scan", "eager"}
    assert all(p.grad is None for p in gru.parameters())
    for strategy in ("eager", "scan", "fused"):
        kernels.measured()[case] = dict.fromkeys(("fused", "scan", "eager"), 1.0) | {strategy: 0.5}
        gru(x)
        assert gru.last_strategy == strategy
    gru.eval()
    with torch.inference_mode():
        gru(x)
    assert [c.split(",")[0] for c in kernels.measured()] == ["GRU training", "GRU inference"]
    _measured._known.clear()


def test_measuring_leaves_the_run_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gru = GRU(2, 64, dict.fromkeys(RECURRENT, DROPPED["wavelet"]))
    x = torch.randn(20, 24, 2)
    gru.strategy = "fused"
    torch.manual_seed(1)
    expected, _ = gru(x)
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru.strategy = "auto"
    torch.manual_seed(1)
    got, _ = gru(x)
    (case,) = kernels.measured()
    assert kernels.measured()[case].keys() == {"fused", "eager"}  # a matrix would hold one mask
    torch.testing.assert_close(got, expected)
    _measured._known.clear()


def test_what_was_picked_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru, again = GRU(2, 64, MIXED), GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    gru(x)
    with torch.inference_mode():
        gru(x[:3])
    (training, milliseconds), (inference, _) = (
        (case, pick["milliseconds"]) for case, pick in gru.picks.items()
    )
    assert (training, inference) == ("training, 24 steps x 20", "inference, 24 steps x 3")
    assert milliseconds is not None
    (measured, _) = kernels.measured().values()
    assert milliseconds == {name: pytest.approx(1e3 * s, abs=1e-4) for name, s in measured.items()}
    for strategy in ("eager", "scan", "fused"):  # whatever would be quickest now
        for case in kernels.measured():
            kernels.measured()[case] |= dict.fromkeys(("fused", "scan", "eager"), 2.0)
            kernels.measured()[case]["scan"] = 1.0
        again.keep({training: {"strategy": strategy, "milliseconds": None}})
        again(x)
        assert again.last_strategy == strategy
        again(x[:3])  # another case goes by the rule
        assert again.picks["training, 24 steps x 3"]["strategy"] == again.last_strategy
    again.strategy = "fused"  # what a user sets comes first
    again.keep({training: {"strategy": "eager", "milliseconds": None}})
    again(x)
    assert again.last_strategy == "fused"
    _measured._known.clear()


def test_only_picking_runs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr("slt_bench.recurrent._WORTH_MEASURING", 0)
    gru = GRU(2, 64, MIXED)
    x = torch.randn(20, 24, 2)
    with only_picking():
        states, last = gru(x)
    assert (states.shape, last.shape) == ((20, 24, 64), (20, 64))
    assert not states.any()
    assert not last.any()
    assert len(kernels.measured()) == 1
    measured = dict(kernels.measured())
    states, _ = gru(x)
    assert states.any()
    assert kernels.measured() == measured
    _measured._known.clear()


@pytest.mark.parametrize(
    ("maps", "prepare", "reason"),
    [
        ({}, lambda gru: gru.bfloat16(), "bfloat16"),
        ({}, lambda gru: gru.state.register_forward_hook(lambda *_: None), "has hooks"),
        (
            {"state": lambda i, o, b: nn.Sequential(nn.Dropout(0.5), nn.Linear(i, o, b))},
            lambda gru: gru,
            "'state' draws random numbers",
        ),
    ],
)
def test_what_fused_cannot_run(maps: dict[str, Factory], prepare: Any, reason: str) -> None:
    gru = GRU(2, 16, maps, strategy="fused")
    prepare(gru)
    with pytest.raises(ValueError, match=reason):
        gru(torch.randn(3, 8, 2, dtype=next(gru.parameters()).dtype))


def test_without_kernels_auto_takes_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLT_BENCH_KERNELS", "0")
    gru = GRU(2, 64, MIXED)
    x = torch.randn(3, 8, 2)
    gru(x)
    assert gru.last_strategy == "scan"
    gru.strategy = "fused"
    with pytest.raises(ValueError, match="SLT_BENCH_KERNELS=0"):
        gru(x)
