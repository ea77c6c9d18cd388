"""Planned and run numbers of samples: they differ where a run was stopped, or went on."""

from __future__ import annotations

from collections.abc import Iterable

from lantern_probe.records.rows import Row

PLANNED, RAN = "planned_samples", "ran_samples"
"""Names of the facts in `run.json`: samples planned before the first row, and samples that ran.

A sample and its twin count once.
"""


def ran_of(rows: Iterable[Row]) -> int:
    """Number of samples that ran under any condition, a sample and its twin counted once.

    Args:
        rows: Rows of a run.
    """
    return len({row.get("pair", row["sample"]) for row in rows if row.get("status") != "failed"})


def note_of_sizes(name: str, planned: int | None, ran: int) -> list[str]:
    """Say that the planned and the run number of samples differ; nothing if they do not.

    Args:
        name: Name of the run or its model.
        planned: Planned number of samples; None if it was not recorded.
        ran: Number of samples that ran.
    """
    if planned is None or planned == ran:
        return []
    return [
        f"{name}: {planned} samples were planned and {ran} ran; p values and intervals hold only "
        "if their results did not decide that (stopping early on the outcome, or going on because "
        "of it, invalidates p)"
    ]
