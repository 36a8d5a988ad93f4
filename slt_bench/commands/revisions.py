"""Measure git revisions of this checkout: each by its own ``slt-bench time``, in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import slt_bench
from slt_bench.errors import UsageError
from slt_bench.store import Store, write_atomically

#: Options of a command line, as (name, value); a flag's value is "".
Options = Sequence[tuple[str, str]]
_ROOT = Path(slt_bench.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Revision:
    """A commit, and where what it measures is kept."""

    name: str
    commit: str
    store: Store

    @property
    def mark(self) -> Path:
        """A file that says by which command line it was measured to the end."""
        return self.store.reports / "measured.json"

    def is_measured(self, arguments: Sequence[str]) -> bool:
        return self.mark.exists() and json.loads(self.mark.read_text()) == list(arguments)


@dataclass(frozen=True)
class _Tree:
    """A revision, checked out."""

    revision: Revision
    folder: Path

    def run(self, *arguments: str, **how: Any) -> subprocess.Popen[str]:
        """Start its own command line."""
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-m", "slt_bench", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            text=True,
            **how,
        )

    def help(self) -> str:
        """What its verb ``time`` says of itself.

        Raises:
            UsageError: it has no such verb.
        """
        with self.run("time", "--help", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            text, _ = child.communicate()
        if child.returncode != 0:
            raise UsageError(
                f"revision {self.revision.name} has no 'slt-bench time': give a later one"
            )
        return text

    def measure(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Its document; its standard error passes through, line by line.

        Raises:
            UsageError: its command line refused, or ended without a document.
        """
        last = ""
        with tempfile.TemporaryFile("w+") as out:
            words = ("time", *arguments, "--results", str(self.revision.store.reports), "--json")
            with self.run(*words, stdout=out, stderr=subprocess.PIPE) as child:
                assert child.stderr is not None
                try:
                    for line in child.stderr:
                        last = line.strip() or last
                        print(f"{self.revision.name}: {line}", end="", file=sys.stderr, flush=True)
                except BaseException:  # an interrupt that need not have reached the child
                    child.terminate()
                    child.wait()
                    raise
            out.seek(0)
            text = out.read()
        try:
            document: dict[str, Any] = json.loads(text)
        except ValueError:
            why = last.removeprefix("slt-bench: ") or f"exit code {child.returncode}"
            raise UsageError(f"revision {self.revision.name}: {why}") from None
        return document


def resolve(name: str, results: Path) -> Revision:
    """The revision of this name, with a store under ``results``.

    Raises:
        UsageError: this is no git checkout, or it has no such revision.
    """
    if not (_ROOT / ".git").exists():
        raise UsageError(
            f"no folder {name!r}: give two results folders (revisions are measured from a git "
            "checkout of slt_bench alone)"
        )
    found = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found.returncode != 0:
        raise UsageError(f"{name!r} is neither a folder nor a revision of {_ROOT}")
    commit = found.stdout.strip()
    return Revision(name, commit, Store(results / commit[:12]))


def measure(
    revisions: Sequence[Revision], options: Options, rounds: int
) -> tuple[list[str], list[str]]:
    """Let every revision time the same cells into its store, a round or two at a time.

    The revisions take turns, A B B A A B B A ..., so that what drifts over minutes meets both.
    A revision that was measured to the end before an interruption is not measured again, until
    its :attr:`Revision.mark` is taken away.

    Returns notes, and why something could not be published.

    Raises:
        UsageError: a revision has no ``time``, or does not know an option.
    """
    notes: list[str] = []
    refused: list[str] = []
    arguments = [*_arguments(options), "--rounds", str(rounds)]
    cells = [word for word in arguments if word != "--allow-noisy"]
    with tempfile.TemporaryDirectory(prefix="slt-bench-") as folder, ExitStack() as stack:
        trees = [
            _Tree(revision, stack.enter_context(_worktree(revision, Path(folder) / str(i))))
            for i, revision in enumerate(revisions)
        ]
        order = turns(len(trees), rounds)
        if not all("--stop-after" in tree.help() for tree in trees):
            order = [(i, rounds) for i in range(len(trees))]
            notes.append("measured one after the other: a revision cannot stop between rounds")
        for index, last in order:
            revision = revisions[index]
            if revision.is_measured(cells):
                continue
            stop = [] if last == rounds else ["--stop-after", str(last)]
            document = trees[index].measure([*arguments, *stop])
            if document["exit_code"] == 3:
                refused.append(f"{revision.name}: {document['refused']}")
                if not document["rows"]:
                    break
            elif document["rows"]:
                write_atomically(revision.mark, json.dumps(cells))
    return notes, refused


def turns(count: int, rounds: int) -> list[tuple[int, int]]:
    """Whose turn it is, and up to which round: A B B A A B B A ..., two B as one turn.

    >>> turns(2, 3)
    [(0, 1), (1, 2), (0, 3), (1, 3)]
    """
    forth = range(count)
    single = [(i, r) for r in range(1, rounds + 1) for i in (forth if r % 2 else reversed(forth))]
    return [(i, max(r for _, r in group)) for i, group in groupby(single, key=lambda one: one[0])]


def _arguments(options: Options) -> list[str]:
    """Options as words; a baseline's file inside this checkout is that of each revision."""
    found = []
    for name, value in options:
        if name == "--baseline":
            value = ",".join(_portable(word) for word in value.split(","))
        found += [name, value] if value else [name]
    return found


def _portable(reference: str) -> str:
    """``./mine.py:Class`` -> relative to the top of the checkout, or absolute outside of it."""
    if not reference.partition(":")[0].endswith(".py"):
        return reference
    path = Path(reference).resolve()
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)


@contextmanager
def _worktree(revision: Revision, folder: Path) -> Iterator[Path]:
    made = _git("worktree", "add", "--detach", "--quiet", str(folder), revision.commit)
    try:
        if made.returncode != 0:
            raise UsageError(f"git cannot check out {revision.name}: {made.stderr.strip()}")
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True)
