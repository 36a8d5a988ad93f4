"""The verbs ``time``, ``compare`` and ``advise``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from slt_bench.cli._shared import json_option, print_json, results_option, words

_MODES = ("forward", "training", "sequence")  # as timing.cell.MODES


#: What is measured, and how: of ``time``, and of ``compare`` where it measures revisions.
_MEASURING = (
    click.option(
        "-b",
        "--baseline",
        "baselines",
        multiple=True,
        metavar="NAME|FILE.py[:CLASS]",
        help="Baselines beside dense (default: all that are no controls).",
    ),
    click.option(
        "--shapes", multiple=True, metavar="N|INxOUT,...", help="e.g. 256,1024,1024x4096."
    ),
    click.option("--batch", multiple=True, metavar="N,...", help="Vectors a call (default: 64)."),
    click.option("--mode", multiple=True, metavar="MODE,...", help=f"Of {', '.join(_MODES)}."),
    click.option("--device", multiple=True, metavar="cpu,cuda", help="Default: cpu."),
    click.option("--dtype", multiple=True, metavar="NAME,...", help="Default: float32."),
    click.option("--threads", multiple=True, metavar="N|all,...", help="Default: 1."),
    click.option(
        "--steps",
        type=click.IntRange(1),
        default=150,
        show_default=True,
        help="Time steps of mode sequence.",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(7),
        default=10,
        show_default=True,
        help="Rounds of fresh processes; verdicts need 10.",
    ),
    click.option(
        "--cap",
        metavar="TIME",
        help="Sample each process for at most so long, where samples do not agree (default: 3s).",
    ),
    click.option("--compile", "compiled", is_flag=True, help="Through torch.compile."),
    click.option(
        "--match-parameters",
        "match",
        metavar="N|RATIO",
        help="Size each baseline to N weights, or to a ratio of dense's.",
    ),
    click.option(
        "--wait",
        default="60s",
        show_default=True,
        metavar="TIME",
        help="How long to wait for a quiet machine before a round.",
    ),
    click.option("--allow-noisy", is_flag=True, help="Publish noisy rows too, with their mark."),
)


def _measuring(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of ``_MEASURING``."""
    for option in reversed(_MEASURING):
        command = option(command)
    return command


@click.command("time")
@_measuring
@click.option(
    "--stop-after",
    type=click.IntRange(1),
    metavar="N",
    help="Stop once N rounds are complete; the same command goes on from there.",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the cells and how long they take; measure nothing."
)
@results_option
@json_option
def time_command(**given: Any) -> int:
    """Time layers against dense: forward, training, or a GRU over a sequence."""
    from slt_bench.commands import time as verb
    from slt_bench.commands.cells import TimeRequest, expand
    from slt_bench.commands.values import open_store, seconds

    request = TimeRequest(
        baselines=words(given["baselines"]),
        shapes=words(given["shapes"]),
        batches=words(given["batch"]),
        modes=words(given["mode"]),
        devices=words(given["device"]),
        dtypes=words(given["dtype"]),
        threads=words(given["threads"]),
        steps=given["steps"],
        match=given["match"],
        compiled=given["compiled"],
    )
    cells, notes = expand(request)
    cap = None if given["cap"] is None else seconds(given["cap"])
    if given["dry_run"]:
        document = verb.describe(cells, given["rounds"], cap=cap)
    else:
        document = verb.time_cells(
            cells,
            open_store(given["results"]),
            rounds=given["rounds"],
            patience=seconds(given["wait"]),
            allow_noisy=given["allow_noisy"],
            match=given["match"],
            stop_after=given["stop_after"],
            cap=cap,
        )
    document["notes"] = notes
    if given["as_json"]:
        print_json(document)
    else:
        for line in (*notes, *verb.time_lines(document)):
            click.echo(line)
    return int(document["exit_code"])


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--fail-if", multiple=True, metavar="CHANGE", help="Exit code 1 where a row is worse."
)
@_measuring
@click.option("--results", metavar="DIR", help="Keep here what the revisions measure.")
@json_option
def compare(before: str, after: str, **given: Any) -> int:
    """Compare times, A before and B after: better, worse, same or ambiguous.

    A and B are results folders, or git revisions of the checkout that this is: a revision is
    checked out aside and measures itself, with the options of time.
    """
    from slt_bench.commands import compare as verb

    document = verb.compare_sides(
        before,
        after,
        fail_if=words(given["fail_if"]),
        measuring=_explicit(but=("before", "after", "fail_if", "results", "as_json")),
        rounds=given["rounds"],
        results=given["results"],
    )
    if given["as_json"]:
        print_json(document)
    else:
        for line in verb.compare_lines(document):
            click.echo(line)
    return int(document["exit_code"])


@click.command()
@click.option(
    "-b",
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME|FILE.py[:CLASS]",
    help="Baselines to judge (default: all that are no controls).",
)
@click.option("--shape", required=True, metavar="N|INxOUT", help="e.g. 1024 or 1024x4096.")
@click.option("--batch", default="64", show_default=True, metavar="N", help="Vectors a call.")
@click.option(
    "--keep", required=True, metavar="SHARE", help="Weights at most, as a share of dense's: 0.1."
)
@click.option("--mode", default="forward", show_default=True, help=f"One of {', '.join(_MODES)}.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--dtype", default="float32", show_default=True)
@click.option("--threads", default="1", show_default=True, metavar="N|all")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=150,
    show_default=True,
    help="Time steps of mode sequence.",
)
@click.option("--compile", "compiled", is_flag=True, help="Through torch.compile.")
@results_option
@json_option
def advise(**given: Any) -> int:
    """Say which baselines fit a size and a budget, by the records of this machine.

    Fastest first, with what training came to; what has not been measured, and the commands that
    would measure it. It measures nothing itself.
    """
    from slt_bench.commands import advise as verb
    from slt_bench.commands.cells import TimeRequest
    from slt_bench.commands.values import open_store

    request = TimeRequest(
        baselines=words(given["baselines"]),
        shapes=[given["shape"]],
        batches=[given["batch"]],
        modes=[given["mode"]],
        devices=[given["device"]],
        dtypes=[given["dtype"]],
        threads=[given["threads"]],
        steps=given["steps"],
        compiled=given["compiled"],
    )
    document = verb.advise(request, given["keep"], open_store(given["results"]))
    if given["as_json"]:
        print_json(document)
    else:
        for line in verb.advise_lines(document):
            click.echo(line)
    return int(document["exit_code"])


def _explicit(but: Sequence[str]) -> list[tuple[str, str]]:
    """The options that were given, as (name, value) for another command line; flags have ""."""
    context = click.get_current_context()
    found = []
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if name in but or source is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        values = value if option.multiple else [value]
        found += [(option.opts[-1], "" if one is True else str(one)) for one in values]
    return found
