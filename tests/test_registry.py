"""The registry: names, files, classes and source digests."""

from __future__ import annotations

import pytest
import torch

from slt_bench import registry
from slt_bench.errors import UsageError


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


LAYER = '''\
"""A layer."""
from torch import nn


class MyLayer(nn.Linear):
    """Line one."""

    grid = {"rank": [1, 2]}

    def area(self):
        """Rows times columns."""
        return self.in_features * self.out_features
'''


@pytest.mark.parametrize(
    ("name", "stem"),
    [("LowRank", "low_rank"), ("MyLSTMCell", "my_lstm_cell"), ("Dense", "dense")],
)
def test_snake_case(name, stem):
    assert registry.snake_case(name) == stem


@pytest.mark.parametrize("kind", ["baselines", "tasks"])
def test_every_file_is_a_name_and_a_class(kind):
    for name, entry in registry.entries(kind).items():
        cls = registry.load(kind, name)
        assert cls.__name__ == registry.camel_case(name)
        line, _ = registry.describe(entry)
        assert line, f"{name} has no docstring to list"


def test_a_new_file_is_listed_by_itself(tmp_path, monkeypatch):
    write(tmp_path, "my_layer.py", LAYER)
    write(tmp_path, "_helper.py", "")
    monkeypatch.setattr(registry, "folder", lambda name: tmp_path)
    assert list(registry.entries("baselines")) == ["my_layer"]
    line, attributes = registry.describe(registry.entries("baselines")["my_layer"])
    assert line == "Line one."
    assert attributes == {"grid": {"rank": [1, 2]}}


def test_files_and_installed_classes_are_named_by_their_class(tmp_path):
    path = write(tmp_path, "mine.py", LAYER)
    assert registry.resolve("baselines", f"{path}:MyLayer").name == "MyLayer"
    assert registry.resolve("baselines", str(path)).name == "MyLayer"
    assert registry.load_baseline(str(path)).__name__ == "MyLayer"
    assert registry.resolve("baselines", "torch.nn:Linear").name == "Linear"
    assert registry.load_baseline("torch.nn:Linear") is torch.nn.Linear


def test_a_built_in_given_as_a_file_is_the_built_in():
    entry = registry.entries("baselines")["dense"]
    assert registry.resolve("baselines", entry.source) == entry


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("dnese", "did you mean 'dense'"),
        ("./nowhere.py", "no file"),
        ("torch.nn:NoSuch", "no class 'NoSuch'"),
        ("no_such_package:Layer", "cannot import"),
    ],
)
def test_wrong_references(reference, message):
    with pytest.raises(UsageError, match=message):
        registry.load_baseline(reference)


def test_a_taken_name_is_refused(tmp_path):
    path = write(tmp_path, "other.py", LAYER.replace("MyLayer", "Dense"))
    with pytest.raises(UsageError, match="takes the name of the baseline 'dense'"):
        registry.resolve("baselines", f"{path}:Dense")


def test_a_file_of_several_classes_must_say_which(tmp_path):
    path = write(tmp_path, "two.py", LAYER + "\nclass Other(nn.Linear):\n    pass\n")
    with pytest.raises(UsageError, match=r"name one as two\.py:Class"):
        registry.resolve("baselines", str(path))


def test_a_file_that_fails_on_import_says_so(tmp_path):
    path = write(tmp_path, "broken.py", "class Broken:\n    pass\nraise OSError('no disk')\n")
    with pytest.raises(UsageError, match="OSError: no disk"):
        registry.load_baseline(str(path))


def test_settings_are_what_follows_the_signature_of_linear():
    class Layer(torch.nn.Module):
        def __init__(self, in_features, out_features, bias=True, *, rank=8, gain=None):
            super().__init__()

    assert registry.settings_of(Layer) == {"rank": 8, "gain": None}
    assert registry.settings_of(torch.nn.Linear) == {}

    class Renamed(torch.nn.Module):
        def __init__(self, inputs, outputs, bias=True, rank=8):
            super().__init__()

    assert registry.settings_of(Renamed) == {"rank": 8}


class TestDigest:
    def digest(self, folder, text, helper="x = 1\n", kernel="x = 1\n"):
        """Of MyLayer in a fresh folder, whose file imports a helper and a kernel."""
        head = "from _helper import x\nfrom _fast_kernel import y\n"
        folder.mkdir()
        write(folder, "_helper.py", helper)
        write(folder, "_fast_kernel.py", kernel)
        path = write(folder, "mine.py", head + text)
        return registry._tree_digest((path,))

    def test_comments_docstrings_and_layout_do_not_count(self, tmp_path):
        edited = LAYER.replace('"""Line one."""', '"""Another line."""').replace(
            "return self.in_features * self.out_features",
            "# why\n        return (self.in_features\n                * self.out_features)",
        )
        assert self.digest(tmp_path / "a", LAYER) == self.digest(tmp_path / "b", edited)

    def test_an_edited_formula_counts(self, tmp_path):
        edited = LAYER.replace("* self.out", "+ self.out")
        assert self.digest(tmp_path / "a", LAYER) != self.digest(tmp_path / "b", edited)

    def test_helpers_count_and_kernels_do_not(self, tmp_path):
        base = self.digest(tmp_path / "a", LAYER)
        assert self.digest(tmp_path / "b", LAYER, helper="x = 2\n") != base
        assert self.digest(tmp_path / "c", LAYER, kernel="x = 2\n") == base

    def test_inherited_formulas_count(self, tmp_path):
        parent = LAYER.replace("MyLayer", "Parent")
        child = "from parent import Parent\nclass Child(Parent):\n    pass\n"

        def digest(name, text):
            folder = tmp_path / name
            folder.mkdir()
            write(folder, "parent.py", text)
            return registry._tree_digest((write(folder, "child.py", child),))

        assert digest("a", parent) != digest("b", parent.replace("* self.out", "+ self.out"))

    def test_a_subclass_has_the_files_of_its_parents(self):
        wavelet_like = type("Sub", (registry.load_baseline("dense"),), {})
        own = registry.source_digest(registry.load_baseline("dense"))
        assert registry.source_digest(wavelet_like) != own

    def test_installed_classes_have_one(self):
        digest = registry.source_digest(torch.nn.Linear)
        assert len(digest) == 64
        assert digest == registry.source_digest(torch.nn.Linear)
