"""What every baseline must satisfy: checks for any layer with ``nn.Linear``'s signature.

A *violation* would falsify a comparison; a *limit* names what the layer cannot do. Layers are
checked at a few small sizes that ``supports`` allows, in evaluation mode except where training is
the point. What a layer raises becomes a finding with the error's text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slt_bench.conformance import declared, function, limits, state
from slt_bench.conformance.isolation import isolated, seed_all
from slt_bench.conformance.subject import Check, Subject, describe, trouble
from slt_bench.errors import UsageError, unknown
from slt_bench.registry import load_baseline

__all__ = ["Finding", "check", "checks"]

#: The check that stands before all others: what cannot be built has no other finding.
_CONSTRUCTION = Check(
    "construction",
    "violation",
    "A layer can be built and called, at one size at least",
    "build it like nn.Linear: (in_features, out_features, bias=True, *, settings)",
    lambda subject: iter(filter(None, [trouble(subject.find_sizes)])),
)
#: Every check starts from it; no seed that a layer would set, which could then go unseen.
_SEED = 1_618_033_988
_CHECKS = {
    each.name: each for group in (function, state, declared, limits) for each in group.CHECKS
}


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: name of the check, see :func:`checks`.
        kind: ``violation``: a comparison with this layer would be false; ``limit``: something it
            cannot do; ``exempt``: the class declares that it cannot meet this check, and why.
        message: what is wrong, in one line.
        advice: what to do, in one line; empty where nothing is.
    """

    check: str
    kind: Literal["violation", "limit", "exempt"]
    message: str
    advice: str


def checks() -> dict[str, str]:
    """Name of each check -> what it asks for, in one line; violations first, then limits."""
    return {each.name: each.description for each in (_CONSTRUCTION, *_CHECKS.values())}


def check(
    baseline: str | type[Any],
    settings: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> list[Finding]:
    """Everything that is wrong with a baseline, in the order of :func:`checks`.

    Args:
        baseline: a class, a name, ``FILE.py:Class`` or ``package.module:Class``.
        settings: the baseline's own arguments; what is left out has its default.
        only: names of the checks to run (default: all). ``construction`` always runs.

    An exemption is listed, with its reason, even where its check passes. Random generators and
    other global state are the same after it as before, and nothing is printed.

    Raises:
        UsageError: there is no such baseline or no such check.
    """
    cls = load_baseline(baseline) if isinstance(baseline, str) else baseline
    if not isinstance(cls, type):
        raise UsageError(f"a baseline is a class or the name of one, not {cls!r}")
    for name in only or ():
        if name not in checks():
            raise unknown("check", name, checks())
    subject = Subject(cls, settings or {}, _CHECKS)
    findings = list(_findings(_CONSTRUCTION, subject))
    if not findings:
        for each in _CHECKS.values():
            if only is None or each.name in only:
                findings += _findings(each, subject)
    return findings


def _findings(each: Check, subject: Subject) -> Iterator[Finding]:
    problems: list[str] = []
    with isolated():
        seed_all(_SEED)
        try:
            problems += each.run(subject)
        except (Exception, SystemExit) as error:
            problems.append(describe(error))
    reason = subject.exempt.get(each.name)
    if reason is None or each is _CONSTRUCTION:
        for problem in problems:
            yield Finding(each.name, each.kind, problem, each.advice)
    elif problems:
        yield Finding(each.name, "exempt", f"{reason} ({'; '.join(problems)})", "")
    else:
        yield Finding(
            each.name, "exempt", reason, "the check passes: drop the exemption if it always does"
        )
