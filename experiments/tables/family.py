"""A family of comparisons over several runs on the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.family import Family
from lantern_probe.records.run_size import PLANNED

from ..console import print_caption, print_table, titled_table
from ..families import FamilyRun

COLUMNS = ("run", "model", "experiment", "data")


def print_family(runs: Sequence[FamilyRun], family: Family, console: Console) -> None:
    """Print the runs of a family, and how many comparisons each brings."""
    settings = family.comparison.settings
    table = titled_table(f"one family of {family.size} comparisons, from {len(runs)} runs")
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for name in ("samples", "planned", "comparisons"):
        table.add_column(name, justify="right", no_wrap=True)
    for record, member in zip(family_records(runs), family.members, strict=True):
        table.add_row(
            *(escape(str(record[name])) for name in COLUMNS),
            str(record["samples"]),
            "-" if record["planned"] is None else str(record["planned"]),
            str(member.comparisons),
        )
    print_table(table, console)
    print_caption(
        f"Every condition minus the reference of its own run. All {family.size} p values of a kind "
        f"(test, parse failure, equivalence, log-odds) are after Holm over the {family.size}, so "
        f"that the chance of any false claim of a kind in all runs is at most {settings.alpha:g}; "
        f"fam. is computed at {settings.alpha:g} / {family.size}.",
        console,
    )


def family_records(runs: Sequence[FamilyRun]) -> list[dict[str, Any]]:
    """The runs of a family as plain objects, for `comparison.json`."""
    return [
        {
            "run": run.name,
            "folder": str(run.folder),
            **{name: run.about(name) for name in COLUMNS[1:]},
            "samples": run.samples,
            "planned": run.manifest.get(PLANNED),
            "conditions": list(run.conditions),
            "preregistration": run.plan and run.plan.sha256,
        }
        for run in runs
    ]
