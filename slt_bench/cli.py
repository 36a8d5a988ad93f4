"""The command line, ``slt-bench``: parse and print, nothing else.

Exit codes: 0 all that was asked for is there; 1 some trials failed, or ``compare --fail-if`` found
such a change; 2 wrong usage or configuration; 3 refused (``check`` found a violation, ``time`` a
noisy machine); 4 stopped by ``--time-limit``, resumable; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

import slt_bench
from slt_bench.errors import UsageError, unknown

_BUDGETS = ("smoke", "quick", "screen", "third", "paper")  # as task.BUDGETS, which imports torch
_MODES = ("forward", "training", "sequence")  # as timing.cell.MODES
_FORMATS = ("md", "tex", "html", "csv")
_AGAINST = ("published", "dense", "floor")


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; ends the process with one of the exit codes above."""
    warnings.showwarning = _warn
    try:
        code = cli.main(args=arguments, prog_name="slt-bench", standalone_mode=False)
    except (UsageError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"slt-bench: {text}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("slt-bench: interrupted; the same command goes on from here", err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _warn(message: Warning | str, *rest: object, **more: object) -> None:
    click.echo(f"slt-bench: warning: {message}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(slt_bench.__version__, prog_name="slt-bench")
def cli() -> None:
    """Compare structured linear transforms: layers that stand in for nn.Linear."""


_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_results = click.option(
    "--results",
    metavar="DIR",
    help="The reports folder (default: SLT_BENCH_RESULTS, reports/ at or above the working "
    "directory, else ./slt-bench-reports).",
)


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=1, default=str))


def _words(values: Sequence[str]) -> list[str]:
    """Options that may be repeated or hold a comma list."""
    return [word for value in values for word in value.split(",") if word]


@cli.command("list")
@click.argument("what", required=False, default="all")
@_results
@_json
def list_command(what: str, results: str | None, as_json: bool) -> None:
    """List baselines, tasks, suites or recorded trials."""
    from slt_bench import listing

    sections: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "baselines": listing.baselines,
        "tasks": listing.tasks,
        "suites": listing.suites,
        "trials": lambda: listing.trials(results),
    }
    if what != "all" and what not in sections:
        raise unknown("list", what, sections)
    names = [what] if what != "all" else ["baselines", "tasks", "suites"]
    found = {name: sections[name]() for name in names}
    if as_json:
        _print_json(found)
        return
    for name, rows in found.items():
        click.echo(f"{name} ({len(rows)})")
        for line in listing.lines(rows):
            click.echo(f"  {line}")


@cli.command()
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
@click.option("--dry-run", is_flag=True, help="Print the trials and their parameter counts.")
@_results
@_json
def run(**given: Any) -> int:
    """Run trials: those of SUITES, or a matrix of -b and -t. Running again resumes."""
    with redirect_stdout(sys.stderr):  # what layers print must not mix with our own output
        document = _run(**given)
    if given["as_json"]:
        _print_json(document)
        return int(document["exit_code"])
    from slt_bench import commands

    for line in commands.lines(document):
        click.echo(line)
    return int(document["exit_code"])


def _run(**given: Any) -> dict[str, Any]:
    from slt_bench import commands

    request = commands.Request(
        suites=given["suites"],
        baselines=_words(given["baselines"]),
        tasks=_words(given["tasks"]),
        slots=given["slots"],
        changes=given["changes"],
        match=given["match"],
        seeds=given["seeds"],
        budget=given["budget"],
        dtype=given["dtype"],
        shard=given["shard"],
    )
    times = {
        name: None if given[name] is None else commands.seconds(given[name])
        for name in ("timeout", "time_limit")
    }
    every = commands.seconds(given["checkpoint_every"])
    trials, notes = commands.expand(request)
    store = commands.open_store(given["results"])
    planned = commands.plan(trials, store)
    if given["dry_run"]:
        return commands.describe(planned, notes)
    for note in notes:
        click.echo(note, err=True)
    return commands.execute(
        planned,
        store,
        engine=given["engine"],
        device=given["device"],
        data=given["data"],
        jobs=given["jobs"],
        threads=given["threads"],
        **times,
        checkpoint_seconds=every,
        retries=given["retries"],
        force=given["force"],
        stale=given["stale"],
    )


@cli.command()
@click.argument("pages", nargs=-1)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT",
    help=f"Files to write: {', '.join(_FORMATS)} (default: all).",
)
@click.option(
    "--against",
    multiple=True,
    metavar="WHAT",
    help=f"Comparisons to show: {', '.join(_AGAINST)} (default: all that apply).",
)
@click.option("--budget", metavar="NAME", help="Budget (default: the longest with records).")
@click.option("--seeds", metavar="COUNT|LIST", help="Seeds (default: the suite's).")
@_results
@_json
def report(
    pages: Sequence[str],
    formats: Sequence[str],
    against: Sequence[str],
    budget: str | None,
    seeds: str | None,
    results: str | None,
    as_json: bool,
) -> None:
    """Write the tables and figures of suites from the records, and print them."""
    from slt_bench import commands

    for what, names, allowed in (
        ("format", _words(formats), _FORMATS),
        ("comparison", _words(against), _AGAINST),
    ):
        for name in names:
            if name not in allowed:
                raise unknown(what, name, allowed)
    with redirect_stdout(sys.stderr):
        reported = commands.report(
            pages,
            commands.open_store(results),
            formats=_words(formats) or _FORMATS,
            against=_words(against),
            budget=budget,
            seeds=seeds,
        )
    if as_json:
        _print_json(reported["document"])
    else:
        click.echo(reported["text"])


@cli.command("time")
@click.option(
    "-b",
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME|FILE.py[:CLASS]",
    help="Baselines beside dense (default: all that are no controls).",
)
@click.option("--shapes", multiple=True, metavar="N|INxOUT,...", help="e.g. 256,1024,1024x4096.")
@click.option("--batch", multiple=True, metavar="N,...", help="Vectors a call (default: 64).")
@click.option("--mode", multiple=True, metavar="MODE,...", help=f"Of {', '.join(_MODES)}.")
@click.option("--device", multiple=True, metavar="cpu,cuda", help="Default: cpu.")
@click.option("--dtype", multiple=True, metavar="NAME,...", help="Default: float32.")
@click.option("--threads", multiple=True, metavar="N|all,...", help="Default: 1.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=150,
    show_default=True,
    help="Time steps of mode sequence.",
)
@click.option(
    "--rounds",
    type=click.IntRange(7),
    default=10,
    show_default=True,
    help="Rounds of fresh processes; verdicts need 10.",
)
@click.option("--compile", "compiled", is_flag=True, help="Through torch.compile.")
@click.option(
    "--match-parameters",
    "match",
    metavar="N|RATIO",
    help="Size each baseline to N weights, or to a ratio of dense's.",
)
@click.option(
    "--wait",
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for a quiet machine before a round.",
)
@click.option("--allow-noisy", is_flag=True, help="Publish noisy rows too, with their mark.")
@click.option("--dry-run", is_flag=True, help="Print the cells and measure nothing.")
@_results
@_json
def time_command(**given: Any) -> int:
    """Time layers against dense: forward, training, or a GRU over a sequence."""
    from slt_bench import commands, commands_timing

    request = commands_timing.TimeRequest(
        baselines=_words(given["baselines"]),
        shapes=_words(given["shapes"]),
        batches=_words(given["batch"]),
        modes=_words(given["mode"]),
        devices=_words(given["device"]),
        dtypes=_words(given["dtype"]),
        threads=_words(given["threads"]),
        steps=given["steps"],
        match=given["match"],
        compiled=given["compiled"],
    )
    cells, notes = commands_timing.expand(request)
    if given["dry_run"]:
        document = commands_timing.describe(cells)
    else:
        document = commands_timing.time_cells(
            cells,
            commands.open_store(given["results"]),
            rounds=given["rounds"],
            patience=commands.seconds(given["wait"]),
            allow_noisy=given["allow_noisy"],
            match=given["match"],
        )
    document["notes"] = notes
    if given["as_json"]:
        _print_json(document)
    else:
        for line in (*notes, *commands_timing.time_lines(document)):
            click.echo(line)
    return int(document["exit_code"])


@cli.command()
@click.argument("before")
@click.argument("after")
@click.option(
    "--fail-if", multiple=True, metavar="CHANGE", help="Exit code 1 where a row is worse."
)
@_json
def compare(before: str, after: str, fail_if: Sequence[str], as_json: bool) -> int:
    """Compare the times in two results folders: better, worse, same or ambiguous."""
    from slt_bench import commands, commands_timing

    document = commands_timing.compare(
        commands.open_store(before), commands.open_store(after), fail_if=_words(fail_if)
    )
    if as_json:
        _print_json(document)
    else:
        for line in commands_timing.compare_lines(document):
            click.echo(line)
    return int(document["exit_code"])


@cli.command()
@click.argument("key")
@_results
@_json
def show(key: str, results: str | None, as_json: bool) -> None:
    """Print the record behind a table's cell: KEY as the table prints it."""
    from slt_bench import listing

    record = listing.record(key, results)
    if as_json:
        _print_json(record)
    else:
        for line in listing.record_lines(record):
            click.echo(line)


@cli.command()
@click.argument("baselines", nargs=-1, metavar="[NAME|FILE.py[:CLASS]|MODULE:CLASS]...")
@_json
def check(baselines: Sequence[str], as_json: bool) -> int:
    """Check that baselines are what a fair comparison needs (default: all of them)."""
    from slt_bench import commands

    with redirect_stdout(sys.stderr):
        document = commands.check(baselines)
    if as_json:
        _print_json(document)
    else:
        for line in commands.check_lines(document):
            click.echo(line)
    return int(document["exit_code"])


@cli.command()
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
