"""Plans of a run against what it does: preregistration, margin, number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.records.json_files import explained
from lantern_probe.records.preregistration import (
    Preregistration,
    read_preregistration,
    refuse_contradiction,
    refuse_late,
    registered_in,
)
from lantern_probe.records.rows import MANIFEST, Row, read_manifest
from lantern_probe.records.run_size import PLANNED, RAN, note_of_sizes, ran_of

from .console import console

if TYPE_CHECKING:
    from lantern_probe.records.run import Run
    from lantern_probe.tasks import Sample

    from .inputs import RunOptions

MARGIN_FACT = "margin"
"""Name of the fact in `run.json`: the margin of equivalence when the first row was written."""


def pair_count(samples: Sequence[Sample]) -> int:
    """Number of samples, a sample and its twin counted once, those without a twin included.

    Args:
        samples: Samples, or pairs of them.
    """
    pairs = {sample.attributes.get("pair", sample.id) for sample in samples}
    return len(pairs) + len(getattr(samples, "without", ()))


def plan_for(config: RunOptions, folder: Path) -> Preregistration | None:
    """The plan of a run: that of --preregistration, or the one that the run has recorded.

    Args:
        config: Course of the run.
        folder: Folder of the run.

    Raises:
        LanternError: the file cannot be used, or comes after the first row.
    """
    if config.preregistration is not None:
        plan = read_preregistration(config.preregistration)
        if not config.explain_resume:
            refuse_late(folder, plan)
        return plan
    with explained(folder):
        there = (folder / MANIFEST).is_file()
    return registered_in(read_manifest(folder)) if there and not config.overwrite else None


def check_plan(
    config: RunOptions,
    folder: Path,
    samples: Sequence[Sample] = (),
    conditions: Iterable[str] | None = None,
) -> Preregistration | None:
    """Refuse a start that contradicts its plan, and give the plan.

    Args:
        config: Options of the command.
        folder: Folder of the run.
        samples: Samples to run; none (default) if they are not known. Of a run in shards each has
            a part of them, so that they are not counted.
        conditions: Labels of the conditions that will be compared; None (default) if none are.

    Raises:
        LanternError: naming what differs.
    """
    plan = plan_for(config, folder)
    if plan is None:
        return None
    counted = samples and getattr(config, "shard", None) is None
    refuse_contradiction(
        plan,
        samples=pair_count(samples) if counted else None,
        conditions=None if conditions is None else list(conditions),
        margin=getattr(config, "margin", None),
    )
    return plan


def chosen_margin(config: RunOptions, run: Run) -> float:
    """The margin of equivalence: that of --margin, of the preregistration, of the run, or .02.

    It is recorded before the first row; another one later is said to be none that was fixed.

    Args:
        config: Options of the command.
        run: The run.
    """
    from lantern_probe.analysis.ablation import MARGIN

    given, plan = getattr(config, "margin", None), registered_in(run.manifest)
    if given is None:
        given = run.manifest.get(MARGIN_FACT, MARGIN) if plan is None else plan.margin
    margin = float(given)
    for note in note_margin(run, margin):
        console.print(note, markup=False, highlight=False)
    return margin


def sizes_in(manifest: Row) -> dict[str, Any]:
    """The planned and the run number of samples, for a summary.

    Args:
        manifest: `run.json`.
    """
    return {name: manifest.get(name) for name in (PLANNED, RAN)}


def note_margin(run: Run, margin: float) -> list[str]:
    """Record the margin of equivalence before the first row, and say if it is another one now.

    Args:
        run: The run.
        margin: Margin of this start.
    """
    there = run.manifest.get(MARGIN_FACT)
    if there == margin:
        return []
    if there is None or not run.done():
        run.note(**{MARGIN_FACT: margin})
        return []
    return [
        f"the margin of equivalence is {margin:g} now, and was {there:g} when the first row was "
        "written: a margin that is chosen after the results makes the test of equivalence void"
    ]


def note_planned(run: Run, samples: Sequence[Sample]) -> None:
    """Record the number of samples that was planned, before the first row.

    Args:
        run: The run.
        samples: Samples to run.
    """
    plan = registered_in(run.manifest)
    if PLANNED not in run.manifest or not run.done():
        run.note(**{PLANNED: pair_count(samples) if plan is None else plan.samples})


def note_pairs(run: Run, pairs: int, name: str) -> None:
    """Record the number of pairs of a diagnosis, which may end at half of them by its own rule.

    Args:
        run: The run.
        pairs: Number of pairs at the last look.
        name: Name of the model.
    """
    plan = registered_in(run.manifest)
    planned = pairs if plan is None else plan.samples
    run.note(**{PLANNED: planned})
    for note in note_of_sizes(name, planned, pairs):
        console.print(note, markup=False, highlight=False)


def say_run(
    run: Run, samples: Sequence[Sample], wanted: Iterable[Sequence[Any]], name: str
) -> None:
    """Record the number of samples that ran, and say if it is not the planned one.

    Args:
        run: The run.
        samples: Samples of the rows.
        wanted: Keys of the wanted rows.
        name: Name of the model.
    """
    labels = {key[1] for key in wanted}
    asked = {sample.id for sample in samples}
    rows = [row for row in run.rows() if row["condition"] in labels and row["sample"] in asked]
    ran = ran_of(rows)
    run.note(**{RAN: ran})
    for note in note_of_sizes(name, run.manifest.get(PLANNED), ran):
        console.print(note, markup=False, highlight=False)
