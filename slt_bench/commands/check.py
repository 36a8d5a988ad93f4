"""The verb ``check``: what a fair comparison needs of a baseline."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from slt_bench import registry
from slt_bench.commands.values import Document
from slt_bench.conformance import check as findings_of


def check(references: Sequence[str]) -> Document:
    """The findings on each baseline; exit code 3 where one is a violation."""
    names = list(references) or list(registry.entries("baselines"))
    found = {name: [dataclasses.asdict(f) for f in findings_of(name)] for name in names}
    refused = any(f["kind"] == "violation" for each in found.values() for f in each)
    return {"baselines": found, "exit_code": 3 if refused else 0}


def check_lines(document: Document) -> Iterator[str]:
    for name, findings in document["baselines"].items():
        kinds = Counter(f["kind"] for f in findings)
        verdict = "refused" if kinds["violation"] else "passes"
        count = ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in kinds.items())
        yield f"{name}: {verdict}" + (f" ({count})" if count else "")
        for f in findings:
            advice = f" -> {f['advice']}" if f["advice"] else ""
            yield f"  {f['kind']:<9}  {f['check']}: {f['message']}{advice}"
