"""The verb ``run``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

import click

from slt_bench.cli._shared import json_option, print_json, results_option, words

_BUDGETS = ("smoke", "quick", "screen", "third", "paper")  # as task.BUDGETS, which imports torch


@click.command()
@click.argument("suites", nargs=-1)
@click.option(
    "-b",
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME|FILE.py[:CLASS]",
    help="Baselines to run; with a suite: only these of it.",
)
@click.option(
    "-t",
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME|FILE.py[:CLASS]",
    help="Tasks to run; with a suite: only these of it.",
)
@click.option("--slots", metavar="SLOT+SLOT", help="Slots to fill (all: the task's whole group).")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME.SETTING=VALUE[,VALUE]",
    help="Values of a baseline's setting or a task's option.",
)
@click.option(
    "--match-parameters",
    "match",
    metavar="N|RATIO",
    help="Size each baseline to N weights, or to a ratio of the dense maps'.",
)
@click.option("--seeds", metavar="COUNT|LIST", help="5 means 0 to 4; 0,3,4 means those.")
@click.option("--budget", metavar="NAME", help=f"One of {', '.join(_BUDGETS)}.")
@click.option("--dtype", default="float32", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--data", metavar="DIR", help="Folder in which data sets are sought first.")
@click.option("--engine", default="local", show_default=True, help="local or inline.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Trials at a time (default: cores).")
@click.option("--threads", type=click.IntRange(1), help="Threads a trial (default: cores / jobs).")
@click.option("--shard", metavar="I/N", help="Only part I of N of the trials.")
@click.option("--timeout", metavar="TIME", help="Kill one attempt at a trial after 90s, 15m, 2h.")
@click.option("--time-limit", metavar="TIME", help="Stop everything at a checkpoint after 9m.")
@click.option("--retries", type=click.IntRange(0), default=0, show_default=True)
@click.option("--checkpoint-every", default="30s", show_default=True, metavar="TIME")
@click.option("--force", is_flag=True, help="Run again what has a record.")
@click.option(
    "--stale",
    type=click.Choice(["keep", "rerun"]),
    default="keep",
    show_default=True,
    help="What to do with records of an edited baseline.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the trials, their parameter counts and how long they will take; run none.",
)
@results_option
@json_option
def run(**given: Any) -> int:
    """Run trials: those of SUITES, or a matrix of -b and -t. Running again resumes."""
    with redirect_stdout(sys.stderr):  # what layers print must not mix with our own output
        document = _run(**given)
    if given["as_json"]:
        print_json(document)
        return int(document["exit_code"])
    from slt_bench.commands.trials import lines

    for line in lines(document):
        click.echo(line)
    return int(document["exit_code"])


def _run(**given: Any) -> dict[str, Any]:
    from slt_bench.commands.request import Request, expand
    from slt_bench.commands.trials import Settings, describe, execute
    from slt_bench.commands.values import open_store, seconds
    from slt_bench.planning import plan

    request = Request(
        suites=given["suites"],
        baselines=words(given["baselines"]),
        tasks=words(given["tasks"]),
        slots=given["slots"],
        changes=given["changes"],
        match=given["match"],
        seeds=given["seeds"],
        budget=given["budget"],
        dtype=given["dtype"],
        shard=given["shard"],
    )
    settings = Settings(
        engine=given["engine"],
        device=given["device"],
        data=given["data"],
        jobs=given["jobs"],
        threads=given["threads"],
        timeout=None if given["timeout"] is None else seconds(given["timeout"]),
        time_limit=None if given["time_limit"] is None else seconds(given["time_limit"]),
        retries=given["retries"],
        force=given["force"],
        stale=given["stale"],
        checkpoint_seconds=seconds(given["checkpoint_every"]),
    )
    trials, notes = expand(request)
    store = open_store(given["results"])
    planned = plan(trials, store)
    if given["dry_run"]:
        return describe(planned, store, settings, notes)
    for note in notes:
        click.echo(note, err=True)
    return execute(planned, store, settings)
