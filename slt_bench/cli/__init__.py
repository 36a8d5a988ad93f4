"""The command line, ``slt-bench``: parse and print, nothing else.

Exit codes: 0 all that was asked for is there; 1 some trials failed, ``merge`` refused a record, or
``compare --fail-if`` found such a change; 2 wrong usage or configuration; 3 refused (``check``
found a violation, ``time`` a noisy machine); 4 stopped by ``--time-limit``, resumable; 130
interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import click

import slt_bench
from slt_bench.cli import gpu, layers, records, timing, trials
from slt_bench.errors import UsageError


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


for command in (
    *(records.list_command, trials.run, records.report, records.show, records.merge),
    *(timing.time_command, timing.compare, timing.advise, gpu.gpu, layers.check, layers.new),
):
    cli.add_command(command)
