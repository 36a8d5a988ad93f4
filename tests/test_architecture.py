"""Who may import whom, what stays out of a quick start, and what the text must not say."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import slt_bench

ROOT = Path(slt_bench.__file__).parent.parent
HARNESS = sorted((ROOT / "slt_bench").rglob("*.py"))

# Layers from the bottom up; a module imports only from layers below its own, or its own.
LAYERS = [
    {"errors", "evidence", "processes", "running"},
    {"registry", "layers", "datasets", "store", "kernels"},
    {"_scan"},
    {"task", "recurrent"},
    {"trial", "training", "matching"},
    {"provenance"},
    {"runner", "rehearsal", "suites", "timing"},
    {"planning", "engines", "conformance", "scaffold", "merging", "archive"},
    {"reporting", "progress", "listing", "estimate"},
    {"advice"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CONTRACTS = {"task", "layers", "recurrent", "datasets", "kernels"}


def imported(path: Path) -> set[str]:
    """Modules of slt_bench that a file imports, under TYPE_CHECKING or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "slt_bench":
            found |= {f"slt_bench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.split(".")[1] for name in found if name.startswith("slt_bench.")} - {"__version__"}


def module_of(path: Path) -> str:
    return path.relative_to(ROOT / "slt_bench").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", HARNESS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_below(path):
    name = module_of(path)
    if name in ("__init__", "data"):
        return
    assert name in RANK, f"{name} has no place in the layers: give it one"
    above = {other for other in imported(path) if other in RANK and RANK[other] > RANK[name]}
    assert not above
    assert imported(path) <= RANK.keys() | {"data"}


@pytest.mark.parametrize("kind", ["baselines", "tasks"])
def test_baselines_and_tasks_see_the_contracts_alone(kind):
    for path in sorted((ROOT / kind).glob("*.py")):
        assert imported(path) <= CONTRACTS | {kind}, path.name


def test_the_harness_names_no_baseline_but_dense_and_no_task():
    names = {p.stem for kind in ("baselines", "tasks") for p in (ROOT / kind).glob("[!_]*.py")}
    for path in HARNESS:
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        # data sets and baselines may share a name: mnist is both
        named = strings & (names - {"dense", "mnist"})
        assert not named, f"{path.name} names {named}"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "trials"], ["run", "-h"]])
def test_help_and_list_import_neither_torch_nor_pandas(arguments, tmp_path):
    where = ["--results", str(tmp_path)] if "trials" in arguments else []
    code = (
        f"from slt_bench.cli import main\ntry: main({arguments + where})\nexcept SystemExit: pass"
    )
    assert not loaded_by(code) & {"torch", "pandas", "scipy", "numpy", "matplotlib"}


def test_the_wheel_holds_every_package():
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(configuration["tool"]["setuptools"]["packages"])
    found = {p.parent.relative_to(ROOT) for p in HARNESS if p.name == "__init__.py"}
    assert {".".join(folder.parts) for folder in found} <= listed


def test_importing_the_package_is_quick():
    assert not loaded_by("import slt_bench") & {"torch", "numpy", "click"}


def test_every_public_name_can_be_had():
    for name in slt_bench.__all__:
        assert getattr(slt_bench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = slt_bench.nothing
