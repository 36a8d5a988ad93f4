"""The sequence as one function in plain torch: it equals the plain loop for every mix of maps."""

from __future__ import annotations

import pytest
from gru_cases import RECURRENT, SUBSETS, Circulant, Diagonal, assert_agree, build, draw, run
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_bench import _scan
from slt_bench.recurrent import GRU, Factory

pytestmark = pytest.mark.usefixtures("poison")

STRUCTURED: dict[str, Factory] = {"diagonal": Diagonal, "circulant": Circulant}
TOLERANCE = 1e-11


@pytest.mark.parametrize("through", ["states", "last", "both"])
@pytest.mark.parametrize("kind", STRUCTURED)
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_scan_equals_eager_for_every_subset_of_slots(
    subset: tuple[str, ...], kind: str, through: str
) -> None:
    gru = build(3, 7, dict.fromkeys(subset, STRUCTURED[kind]))
    x, h0 = draw(5, 19, 3, 7)
    got, expected = (run(gru, s, x, h0, through) for s in ("scan", "eager"))
    assert_agree(got, expected, TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(0, 5),
    time=st.integers(1, 50),
    hidden=st.integers(1, 17),
    input_size=st.integers(1, 5),
    filled=st.dictionaries(st.sampled_from(RECURRENT), st.sampled_from(sorted(STRUCTURED))),
    circulant_inputs=st.sets(st.sampled_from(GRU.slots[3:])),
    through=st.sampled_from(["states", "last", "both"]),
    chunk=st.integers(1, 20),
    with_h0=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_scan_equals_eager(
    batch: int,
    time: int,
    hidden: int,
    input_size: int,
    filled: dict[str, str],
    circulant_inputs: set[str],
    through: str,
    chunk: int,
    with_h0: bool,
    seed: int,
) -> None:
    maps = {slot: STRUCTURED[kind] for slot, kind in filled.items()}
    gru = build(input_size, hidden, maps | dict.fromkeys(circulant_inputs, Circulant), seed)
    x, h0 = draw(batch, time, input_size, hidden)
    start = h0 if with_h0 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_scan, "_CHUNK_STEPS", chunk)
        got = run(gru, "scan", x, start, through)
    assert_agree(got, run(gru, "eager", x, start, through), TOLERANCE)
