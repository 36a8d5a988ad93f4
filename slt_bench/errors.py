"""Errors that are the user's to mend, in one line: what is wrong, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(ValueError):
    """Wrong usage or configuration. The command line prints the message and exits with code 2."""


def unknown(what: str, name: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(allowed)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UsageError(f"no {what} {name!r}{hint} (allowed: {', '.join(names) or 'none'})")
