"""The verb ``gpu``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from slt_bench.cli._shared import json_option, print_json, results_option, words


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1), required=True, help="Time for all of it.")
@click.option("--archive", required=True, metavar="FILE.zip", help="Where the records go.")
@click.option("--data", metavar="DIR", help="Folder in which data sets are sought first.")
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu only tries out the command.",
)
@click.option(
    "--groups",
    multiple=True,
    metavar="MODE:SHAPE:BATCH,...",
    help="What to time, in this order (default: forward:1024:64 and others).",
)
@click.option(
    "--suites",
    multiple=True,
    metavar="SUITE[:BUDGET],...",
    help="What to train, in this order (default: table1:paper and others).",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Rounds of fresh processes; verdicts need 10.",
)
@results_option
@json_option
def gpu(**given: Any) -> int:
    """Run all that needs a GPU: tests, timings, trials, as many as the time allows.

    Downloads nothing. The records go into the results folder and, after each one, into one flat
    archive; 'slt-bench merge FILE.zip' takes it in elsewhere. Running again goes on.
    """
    with redirect_stdout(sys.stderr):  # what layers print must not mix with our own output
        document = _run(given)
    if given["as_json"]:
        print_json(document)
        return int(document["exit_code"])
    from slt_bench.commands.gpu import lines

    for line in lines(document):
        click.echo(line)
    return int(document["exit_code"])


def _run(given: dict[str, Any]) -> dict[str, Any]:
    from slt_bench.commands import gpu as verb
    from slt_bench.commands.values import open_store

    return verb.run(
        open_store(given["results"]),
        given["archive"],
        minutes=given["minutes"],
        device=given["device"],
        data=given["data"],
        groups=words(given["groups"]) or verb.GROUPS,
        suites=words(given["suites"]) or verb.SUITES,
        rounds=given["rounds"],
    )
