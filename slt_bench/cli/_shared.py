"""What several verbs take and print."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
results_option = click.option(
    "--results",
    metavar="DIR",
    help="The reports folder (default: SLT_BENCH_RESULTS, reports/ at or above the working "
    "directory, else ./slt-bench-reports).",
)


def print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=1, default=str))


def words(values: Sequence[str]) -> list[str]:
    """Options that may be repeated or hold a comma list."""
    return [word for value in values for word in value.split(",") if word]
