"""What the tests of tables and pages share: three rows of LeNet-5, and how a page is read."""

from __future__ import annotations

from typing import Any

from records import make_cell, publish

from slt_bench.reporting.pages import Page
from slt_bench.reporting.tables import Table
from slt_bench.store import Store
from slt_bench.suites import Cell

WAVELET, DENSE, IDENTITY = [0.80, 0.81, 0.83], [0.65, 0.66, 0.63], [0.90, 0.85, 0.95]


def lenet_cells(store: Store) -> list[Cell]:
    """Dense, wavelet, and identity as the floor: three seeds each, published in ``store``."""
    published = {
        "error": 0.74,
        "loss": 0.03,
        "parameter_count": 36030,
        "printed_parameters": "36K",
    }
    row = {"label": "LeNet-Wavelet", "published": published, "known": "One run of many."}
    wavelet = make_cell("wavelet", settings={"scales": 6}, row=row)
    dense = make_cell("dense", row={"label": "LeNet-5"})
    identity = make_cell("identity", row={"label": "removed"})
    publish(store, wavelet, WAVELET)
    publish(store, dense, DENSE, step_ms=4.0)
    publish(store, identity, IDENTITY)
    return [dense, wavelet, identity]


def line(page: Page, label: str) -> dict[str, Any]:
    (found,) = page.summary[page.summary["label"] == label].to_dict("records")
    return dict(found)


def table(page: Page, name: str) -> Table:
    (found,) = (table for table in page.tables if table.name == name)
    return found


def shown(page: Page, name: str, label: str) -> dict[str, str]:
    frame = table(page, name).shown
    (found,) = frame[frame["row"] == label].to_dict("records")
    return dict(found)
