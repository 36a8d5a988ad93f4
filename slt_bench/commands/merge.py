"""The verb ``merge``: take records from elsewhere, and say what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from slt_bench import merging
from slt_bench.commands.values import Document
from slt_bench.store import Store


def merge(sources: Sequence[str], store: Store, *, replace: bool = False) -> Document:
    """Exit codes: 0; 1 something was refused."""
    paths = [Path(source).expanduser() for source in sources]
    rows = [asdict(outcome) for outcome in merging.merge(store, paths, replace=replace)]
    refused = any(row["what"] == "refused" for row in rows)
    return {"records": rows, "results": str(store.results), "exit_code": int(refused)}


def lines(document: Document) -> Iterator[str]:
    """A document of :func:`merge` for people: what was not simply taken, then counts."""
    for row in document["records"]:
        if row["what"] == "refused":
            yield f"refused: {row['where']}: {row['message']}"
        elif row["message"]:
            yield f"{row['key'][:8]}  {row['what']}: {row['label']}: {row['message']}"
    counts = Counter(row["what"] for row in document["records"])
    total = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield f"{len(document['records'])} records: {total or 'none'}; in {document['results']}"
