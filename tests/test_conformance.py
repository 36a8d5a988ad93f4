"""The conformance suite bites: the check meant for it catches each broken layer, and no other."""

from __future__ import annotations

import inspect
import json
import random
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import broken_layers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slt_bench
from slt_bench.conformance import Finding, check, checks
from slt_bench.errors import UsageError

LAYERS: list[type[Any]] = [
    cls
    for _, cls in inspect.getmembers(broken_layers, inspect.isclass)
    if cls.__module__ == broken_layers.__name__ and hasattr(cls, "caught_by")
    if cls not in (broken_layers.Scaled, broken_layers.SideEffect)
]
LIMITS = {
    "one_dimensional",
    "empty_batch",
    "non_contiguous",
    "bfloat16",
    "autocast",
    "compile",
    "bias",
}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda cls: cls.__name__)
def test_caught_by_the_check_meant_for_it(layer: type[Any]) -> None:
    # Compiling takes most of the time, and says nothing about most faults.
    names = set(checks()) - {"compile"} if "compile" not in layer.caught_by else set(checks())
    findings = check(layer, only=names)
    assert {f.check for f in findings} == layer.caught_by, findings
    for finding in findings:
        assert finding.kind == ("limit" if finding.check in LIMITS else "violation")
        assert finding.message
        assert finding.advice
        assert "\n" not in finding.message + finding.advice


@pytest.mark.parametrize("layer", [broken_layers.Sound, nn.Linear, "torch.nn:Linear"])
def test_sound_layers_have_no_findings(layer: Any) -> None:
    assert check(layer) == []


def test_each_check_catches_something() -> None:
    caught = set[str]().union(*(layer.caught_by for layer in LAYERS))
    assert caught == set(checks())


def test_checks_are_named_and_described() -> None:
    assert set(checks()) > LIMITS
    for name, description in checks().items():
        assert name.isidentifier()
        assert description
        assert "\n" not in description


def test_public_names() -> None:
    assert slt_bench.check is check


def test_files_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch import nn\n"
        "class Mine(nn.Linear):\n"
        "    def __init__(self, in_features, out_features, bias=True, *, factor=1.0):\n"
        "        super().__init__(in_features, out_features, bias)\n"
        "        self.weight.data *= factor\n"
    )
    only = ["output_scale", "restore"]
    assert check(f"{path}:Mine", only=only) == []
    (finding,) = check(str(path), {"factor": 5.0}, only=only)
    assert finding.check == "output_scale"
    assert "5" in finding.message
    (finding,) = check(str(path), {"facter": 5.0}, only=only)
    assert finding.check == "construction"
    assert "facter" in finding.message


def test_what_cannot_be_checked_is_one_violation() -> None:
    (finding,) = check(broken_layers.Unbuildable)
    assert finding == Finding(
        "construction",
        "violation",
        "RuntimeError: needs (at 16 -> 16)",
        "build it like nn.Linear: (in_features, out_features, bias=True, *, settings)",
    )
    assert json.dumps(asdict(finding))


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no check 'liner'; did you mean 'linear'"):
        check(nn.Linear, only=["liner"])
    with pytest.raises(UsageError, match="no baseline"):
        check("no_such_baseline")
    with pytest.raises(UsageError, match="a class or the name of one"):
        check(nn.Linear(3, 3))  # type: ignore[arg-type]


class ExemptFromScale(broken_layers.TooLarge):
    exempt = {"output_scale": "is large by design"}


class ExemptWithoutNeed(broken_layers.Bare):
    exempt = {"restore": "draws a permutation at each call"}


def test_an_exemption_is_printed_with_its_reason() -> None:
    (finding,) = check(ExemptFromScale, only=["output_scale", "linear"])
    assert finding.kind == "exempt"
    assert re.match(r"is large by design \(\d+ times the output of nn.Linear", finding.message)
    (finding,) = check(ExemptWithoutNeed, only=["restore", "linear"])
    assert (finding.check, finding.kind) == ("restore", "exempt")
    assert finding.message == "draws a permutation at each call"
    assert "passes" in finding.advice


def test_exempt_from_one_check_only() -> None:
    class Other(ExemptFromScale):
        def forward(self, x: Tensor) -> Tensor:
            return self.map(x).relu()

    found = {f.check: f.kind for f in check(Other, only=["output_scale", "linear"])}
    assert found == {"output_scale": "exempt", "linear": "violation"}


@pytest.mark.parametrize(
    "layer",
    [broken_layers.SetsDefaultDtype, broken_layers.SetsGradMode, broken_layers.NumpyDraws],
    ids=lambda cls: cls.__name__,
)
def test_leaves_global_state_alone(layer: type[Any]) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    check(layer, only=set(checks()) - {"compile"})
    after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(broken_layers.Prints, only=["prints", "linear"])
    assert capsys.readouterr() == ("", "")


def test_sizes_follow_supports() -> None:
    """A layer that is only ever 81 x 81 is checked there."""

    class Only81(broken_layers.Bare):
        @classmethod
        def supports(cls, in_features: int, out_features: int) -> str | None:
            return None if in_features == out_features == 81 else "only 81"

    class Only81TooLarge(Only81):
        def forward(self, x: Tensor) -> Tensor:
            return 5 * self.map(x)

    names = set(checks()) - {"compile", "restore"}
    assert check(Only81, only=names) == []
    (finding,) = check(Only81TooLarge, only=names)
    assert finding.check == "output_scale"
    assert "81 -> 81" in finding.message


@pytest.mark.parametrize(
    "name", ["BatchNorm1d", "GRUCell", "LayerNorm", "LazyLinear", "Bilinear", "Conv1d", "ReLU"]
)
def test_any_class_gets_findings_and_never_a_crash(name: str) -> None:
    findings = check(getattr(nn, name), only=set(checks()) - {"compile"})
    assert any(f.kind == "violation" for f in findings)
