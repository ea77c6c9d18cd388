"""A run as a page: its card, tables and figures, and a browser of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.report.page import Report, write_report

__all__ = [
    "Report",
    "write_report",
]

__getattr__ = lazily(
    __name__,
    page="Report write_report",
)
