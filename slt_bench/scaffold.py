"""``slt-bench new baseline NAME``: a short layer that works, to be made into a new one."""

from __future__ import annotations

import keyword
from pathlib import Path

from slt_bench import registry
from slt_bench.errors import UsageError

_TEMPLATE = '''\
from torch import nn


class {name}(nn.Module):
    """y = B A x + bias with A (rank x in), B (out x rank): replace this with your structure."""

    def __init__(self, in_features, out_features, bias=True, *, rank=8):
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)
        nn.init.normal_(self.down.weight, std=in_features**-0.5)  # keeps the size of white noise
        nn.init.normal_(self.up.weight, std=(3 * rank) ** -0.5)  # then 1/sqrt 3, as nn.Linear

    def forward(self, x):
        return self.up(self.down(x))
'''


def new_baseline(name: str, folder: Path | None = None) -> list[str]:
    """Write the file; returns what to tell the user. Never overwrites.

    Raises:
        UsageError: a name that is no Python identifier, or that is taken.
    """
    stem = registry.snake_case(name.replace("-", "_"))
    if not stem.isidentifier() or stem.startswith("_") or keyword.iskeyword(stem):
        raise UsageError(f"{name!r} cannot name a baseline: use letters, digits and underscores")
    if stem in registry.entries("baselines"):
        raise UsageError(f"the baseline {stem!r} exists: choose another name")
    if folder is None:
        built_in = registry.folder("baselines")
        inside = built_in.parent in (Path.cwd(), *Path.cwd().parents)
        folder = built_in if inside and (built_in.parent / "pyproject.toml").is_file() else Path()
    path = folder / f"{stem}.py"
    if path.exists():
        raise UsageError(f"{path} exists: choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_TEMPLATE.format(name=registry.camel_case(stem)), encoding="utf-8")
    known = folder.resolve() == registry.folder("baselines").resolve()
    reference = stem if known else str(path)
    return [
        f"wrote {path}",
        f"check it:       slt-bench check {reference}",
        f"train it:       slt-bench run everything -b {reference} --budget smoke",
        "see the table:  slt-bench report everything",
    ]
