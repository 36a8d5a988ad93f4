"""Reading a suite: what is refused, by file and field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from suite_cases import MINIMAL, SUITES, write

from slt_bench.errors import UsageError
from slt_bench.suites import load_suite


def test_reading_suites_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, slt_bench.suites as s\n"
        "print(len([s.load_suite(n) for n in s.suite_names()]),"
        " sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split(maxsplit=1) == [str(len(SUITES)), "[]\n"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "titel", "titel.*did you mean 'title'"),
        ('floor = "zero"', "", "field 'floor' is missing"),
        ("seeds = 2", "seeds = 0", "seeds = 0 is not a count above 0"),
        ("seeds = 2", "seeds = true", "seeds = True is not a count"),
        ("seeds = 2", "seeds = [1, 1]", r"seeds = \[1, 1\] is not"),
        ('budget = "smoke"', "budget = 3", "budget = 3 is not a text"),
        ('tasks = ["adding"]', "", "row 'one': field 'tasks' is missing"),
        ('tasks = ["adding"]', 'tasks = "adding"', "tasks = 'adding' is not a list of names"),
        ('label = "One"', 'label = ""', "row 'one': label = '' is not a text"),
        ('label = "One"', 'lable = "One"', "row 'one': no field 'lable'"),
        ('baselines = ["dense"]', "", "row 'one': field 'baselines' is missing"),
        ("[[row]]", "[margins]\naccuracy = -1\n[[row]]", "margins = .* is not a table of positive"),
        ("[[row]]", "[classes]\nsolvd = 95\n[[row]]", "classes = .* is not a table of solved"),
        ('label = "One"', 'label = "One"\npublished = {loss = "low"}', "published = .* is not"),
        ('label = "One"', 'label = "One"\nsettings = 3', "settings = 3 is not a table"),
        ("[[row]]", "[row]", "row = .* is not one or more"),
        ("[[row]]", "[[row", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MINIMAL
    with pytest.raises(UsageError, match=rf"mine\.toml.*{message}"):
        load_suite(write(tmp_path, MINIMAL.replace(old, new, 1)))


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    head, row = MINIMAL.split("[[row]]")
    with pytest.raises(UsageError, match=r"mine\.toml: two rows have the id 'one'"):
        load_suite(write(tmp_path, f"{head}[[row]]{row}[[row]]{row}"))


def test_suites_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'table1'"):
        load_suite("tabel1")
    with pytest.raises(UsageError, match=r"cannot read the suite .*none\.toml"):
        load_suite(tmp_path / "none.toml")
