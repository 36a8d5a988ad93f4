"""The verbs ``check`` and ``new``: for authors of a layer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from slt_bench.cli._shared import json_option, print_json


@click.command()
@click.argument("baselines", nargs=-1, metavar="[NAME|FILE.py[:CLASS]|MODULE:CLASS]...")
@json_option
def check(baselines: Sequence[str], as_json: bool) -> int:
    """Check that baselines are what a fair comparison needs (default: all of them)."""
    from slt_bench.commands import check as verb

    with redirect_stdout(sys.stderr):
        document = verb.check(baselines)
    if as_json:
        print_json(document)
    else:
        for line in verb.check_lines(document):
            click.echo(line)
    return int(document["exit_code"])


@click.command()
@click.argument("what", type=click.Choice(["baseline"]))
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to write it (default: baselines/ in a checkout, else the working directory).",
)
def new(what: str, name: str, folder: Path | None) -> None:
    """Start a new baseline from a short working file."""
    from slt_bench import scaffold

    for line in scaffold.new_baseline(name, folder):
        click.echo(line)
