"""Where a number comes from, also where there is no checkout and packages are missing."""

from __future__ import annotations

import subprocess

import pytest
import torch

import slt_bench
from slt_bench import provenance


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the code as far as ``commit`` looks: the folder above the package."""
    package = tmp_path / "slt_bench"
    package.mkdir()
    monkeypatch.setattr(slt_bench, "__file__", str(package / "__init__.py"))
    return tmp_path


def commit():
    return provenance.commit.__wrapped__()  # not what another test left


def test_the_environment_names_the_commit_of_a_copy_without_git(tree, monkeypatch):
    monkeypatch.delenv("SLT_BENCH_COMMIT", raising=False)
    assert commit() == {"commit": None, "dirty": None}
    monkeypatch.setenv("SLT_BENCH_COMMIT", "0123abc")
    assert commit() == {"commit": "0123abc", "dirty": None}


def test_in_a_checkout_the_environment_is_not_asked(tree, monkeypatch):
    monkeypatch.setenv("SLT_BENCH_COMMIT", "0123abc")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tree)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    found = commit()
    assert len(found["commit"]) == 40
    assert found["dirty"] is False


def test_a_package_that_is_missing_has_no_version(monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGES", ("torch", "nothing-of-that-name"))
    found = provenance.environment(torch.device("cpu"))
    assert found["torch"] == torch.__version__
    assert found["nothing-of-that-name"] is None
