"""What a run or a timing shows while it works: bars on a terminal, else plain lines."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from textwrap import shorten
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from slt_bench.reporting.published import duration
from slt_bench.runner import Ending
from slt_bench.timing.session import Watcher
from slt_bench.trial import Trial


class Watch:
    """An engine's watcher that writes to standard error; use it as a context manager."""

    def __init__(self, total: int | None) -> None:
        """``total``: how many trials will run; None: none, something is only prepared."""
        self.total = total
        self.attempts: dict[str, int] = {}
        self.bars: dict[str, TaskID] = {}
        self.display: Progress | None = None
        if sys.stderr.isatty():
            self.display = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[loss]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self.ahead = self.display.add_task("", total=None, loss="", visible=False)
            self.overall = self.display.add_task(
                "trials", total=total, loss="", visible=total is not None
            )

    def __enter__(self) -> Self:
        if self.display:
            self.display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.display:
            self.display.stop()

    def preparing(self, text: str) -> None:
        if self.display:
            short = escape(shorten(text, 72, placeholder=" ..."))
            self.display.update(self.ahead, description=short, visible=bool(text))

    def log(self, text: str) -> None:
        self._line(f"slt-bench: {text}")

    def started(self, trial: Trial) -> None:
        if self.display:
            self.bars[trial.key] = self.display.add_task(escape(trial.label), total=None, loss="")

    def progress(self, trial: Trial, done: int, total: int, loss: float) -> None:
        if self.display and trial.key in self.bars:
            bar = self.bars[trial.key]
            self.display.update(bar, completed=done, total=total, loss=f"loss {loss:.4g}")

    def finished(self, trial: Trial, ending: Ending, seconds: float) -> None:
        attempt = self.attempts[trial.key] = self.attempts.get(trial.key, 0) + 1
        again = f", attempt {attempt}" if attempt > 1 else ""
        message = f": {ending.message}" if ending.message else ""
        line = (
            f"[{len(self.attempts)}/{self.total}] {ending.status:8} {trial.key[:8]} {trial.label} "
            f"({seconds:.1f} s{again}){message}"
        )
        if self.display:
            self.display.remove_task(self.bars.pop(trial.key))
            self.display.update(self.overall, completed=len(self.attempts))
        self._line(line)

    def _line(self, line: str) -> None:
        if self.display:
            self.display.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)


class TimeWatch(Watcher):
    """Says on standard error how a timing goes on; use it as a context manager.

    ``length``: what to expect of it, said where it begins.
    The bar is drawn between two processes only: what is measured has the machine to itself.
    """

    def __init__(self, length: str) -> None:
        self.length = length
        self.display: Progress | None = None
        self.bar: TaskID | None = None
        self.begun = 0
        if sys.stderr.isatty():
            self.display = Progress(
                TextColumn("{task.fields[phase]}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self.display:
            self.display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.display:
            self.display.stop()

    def say(self, text: str) -> None:
        if self.display:
            self.display.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def resumed(self, complete: int, rounds: int, finished: str) -> None:
        after = f"round {complete} of {rounds}" if complete else "the facts"
        age = ""
        if finished:
            since = datetime.now(UTC) - datetime.fromisoformat(finished)
            age = f", measured {duration(since.total_seconds())} ago"
        self.say(f"going on after {after}{age}")

    def began(self, phase: str, processes: int) -> None:
        if phase == "facts":
            self.say(self.length)
        if self.display:
            if self.bar is not None:
                self.display.remove_task(self.bar)
            self.bar = self.display.add_task("", total=processes, phase=phase)
            self.begun = 0

    def process(self, label: str) -> None:
        if self.display and self.bar is not None:
            self.display.update(self.bar, description=label, completed=self.begun)
            self.display.refresh()
            self.begun += 1

    def ended(self, phase: str, seconds: float, remaining: float | None) -> None:
        rest = ""
        if remaining:
            end = datetime.now() + timedelta(seconds=remaining)
            rest = f"; about {duration(remaining)} to go, until {end:%H:%M}"
        self.say(f"{phase}: {duration(seconds)}{rest}")
