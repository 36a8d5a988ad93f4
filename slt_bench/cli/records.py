"""The verbs ``list``, ``report``, ``show`` and ``merge``: what there is, and the records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import click

from slt_bench.cli._shared import json_option, print_json, results_option, words
from slt_bench.errors import unknown

_FORMATS = ("md", "tex", "html", "csv")
_AGAINST = ("published", "dense", "floor")


@click.command("list")
@click.argument("what", required=False, default="all")
@results_option
@json_option
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
        print_json(found)
        return
    for name, rows in found.items():
        click.echo(f"{name} ({len(rows)})")
        for line in listing.lines(rows):
            click.echo(f"  {line}")


@click.command()
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
@results_option
@json_option
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
    from slt_bench.commands import report as verb
    from slt_bench.commands.values import open_store

    for what, names, allowed in (
        ("format", words(formats), _FORMATS),
        ("comparison", words(against), _AGAINST),
    ):
        for name in names:
            if name not in allowed:
                raise unknown(what, name, allowed)
    with redirect_stdout(sys.stderr):
        reported = verb.report(
            pages,
            open_store(results),
            formats=words(formats) or _FORMATS,
            against=words(against),
            budget=budget,
            seeds=seeds,
        )
    if as_json:
        print_json(reported["document"])
    else:
        click.echo(reported["text"])


@click.command()
@click.argument("key")
@results_option
@json_option
def show(key: str, results: str | None, as_json: bool) -> None:
    """Print the record behind a table's cell: KEY as the table prints it."""
    from slt_bench import listing

    record = listing.record(key, results)
    if as_json:
        print_json(record)
    else:
        for line in listing.record_lines(record):
            click.echo(line)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FOLDER|ARCHIVE|FILE.json...")
@click.option("--replace", is_flag=True, help="Take a different record of the same key.")
@results_option
@json_option
def merge(sources: Sequence[str], replace: bool, results: str | None, as_json: bool) -> int:
    """Take records from a folder, an archive or a pytest-benchmark file into the results."""
    from slt_bench.commands import merge as verb
    from slt_bench.commands.values import open_store

    document = verb.merge(sources, open_store(results), replace=replace)
    if as_json:
        print_json(document)
    else:
        for line in verb.lines(document):
            click.echo(line)
    return int(document["exit_code"])
