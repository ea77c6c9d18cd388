"""Runs that are compared as one family, and those that cannot belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError, named
from lantern_probe.records.json_files import fingerprint
from lantern_probe.records.preregistration import Preregistration, registered_in
from lantern_probe.records.rows import Row, read_manifest
from lantern_probe.records.run_size import PLANNED, note_of_sizes, ran_of

_NOT_CONTENT = (
    *("experiment", "samples", "sample_set", "sample_ids", "parser", "gpu", "image_root"),
    *("extensions", "edit", "chunk"),
)
"""Settings by which two runs of the same answers may differ."""

_NAMES = ("model", "revision", "commit", "adapter", "latent_size", "attn_implementation")
"""Settings that name a checkpoint, whose content counts where it is recorded."""


@dataclass(frozen=True)
class FamilyRun:
    """A run that is to belong to a family."""

    name: str
    """Name that tells it from the others."""
    folder: Path
    """Folder of the run."""
    manifest: Row
    """Its `run.json`."""
    conditions: Mapping[str, Sequence[Row]]
    """Rows of each condition."""
    compared: Sequence[str]
    """Labels of the conditions that are compared with the reference."""

    @property
    def plan(self) -> Preregistration | None:
        """Preregistration of the run; None without one."""
        return registered_in(self.manifest)

    @property
    def samples(self) -> int:
        """Number of samples that ran."""
        return ran_of(row for rows in self.conditions.values() for row in rows)

    def about(self, setting: str) -> str:
        """A setting of the run as text; - where it has none.

        Args:
            setting: Name of the setting.
        """
        return str(self.manifest["config"].get(setting) or "-")


Load = Callable[[Path], tuple[list[Row], list[str]]]
"""Function that reads the rows of a run, and notes on them."""


def load_family(
    folders: Sequence[Path], reference: str, chosen: Sequence[str], load: Load
) -> tuple[list[FamilyRun], list[str]]:
    """Read several runs that are to be one family, and notes on them.

    Args:
        folders: Folders of the runs.
        reference: Label of the condition that the others are compared with.
        chosen: Chosen conditions, by label or as `run/label`; all if there are none.
        load: Reads the rows of a run.

    Raises:
        LanternError: a run cannot be read, or cannot belong to the family.
    """
    from lantern_probe.records.official import condition_names

    runs, notes = [], []
    for folder, name in zip(folders, condition_names(folders), strict=True):
        rows, more = load(folder)
        by: dict[str, list[Row]] = {}
        for row in rows:
            by.setdefault(str(row["condition"]), []).append(row)
        wanted = chosen_labels(name, list(by), chosen)
        compared = [label for label in wanted if label != reference]
        runs.append(FamilyRun(name, folder, read_manifest(folder), without_twins(by), compared))
        notes += more
    refuse_unknown(runs, chosen)
    refuse_strangers(runs)
    return runs, [*notes, *notes_of(runs)]


def chosen_labels(name: str, labels: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The conditions of a run that were chosen, by label or as `run/label`.

    Args:
        name: Name of the run.
        labels: Labels of its conditions.
        chosen: Chosen conditions; all if there are none.

    Raises:
        LanternError: the run has none of the chosen conditions.
    """
    found = [one for one in labels if not chosen or one in chosen or f"{name}/{one}" in chosen]
    if not found:
        raise LanternError(
            f"the run '{name}' has none of the --conditions {', '.join(chosen)}; it has "
            f"{named(labels, 6)}"
        )
    return found


def refuse_unknown(runs: Sequence[FamilyRun], chosen: Sequence[str]) -> None:
    """Refuse a chosen condition that no run has.

    Args:
        runs: The runs.
        chosen: Chosen conditions, by label or as `run/label`.

    Raises:
        LanternError: naming it.
    """
    known = {name for run in runs for one in run.conditions for name in (one, f"{run.name}/{one}")}
    for condition in chosen:
        if condition not in known:
            raise LanternError(f"--conditions: no run has {condition!r}")


def without_twins(conditions: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The rows of the samples from which twins were made, and of those without a twin.

    Args:
        conditions: Rows of each condition.
    """
    return {
        label: [row for row in rows if row.get("pair", row["sample"]) == row["sample"]]
        for label, rows in conditions.items()
    }


def refuse_strangers(runs: Sequence[FamilyRun]) -> None:
    """Refuse runs that cannot belong to one family.

    Args:
        runs: The runs.

    Raises:
        LanternError: two runs hold the same comparison, or follow different preregistrations.
    """
    plans = [(run, run.plan) for run in runs]
    registered = [(run, plan) for run, plan in plans if plan is not None]
    for (one, first), (two, second) in combinations(registered, 2):
        if first.sha256 != second.sha256:
            raise LanternError(
                f"'{one.folder}' and '{two.folder}' follow different preregistrations "
                f"('{first.file}', sha256 {first.sha256[:12]}; '{second.file}', "
                f"{second.sha256[:12]}): two plans are two families; compare them apart"
            )
    for one, two in combinations(runs, 2):
        twice = [label for label in one.compared if label in two.compared]
        if twice and _content(one) == _content(two):
            raise LanternError(
                f"'{one.folder}' and '{two.folder}' both hold {named(twice)} of "
                f"{one.about('model')} on {one.about('data')} with the same settings: one "
                "comparison, or its parts, cannot be two members of a family; leave one run out, "
                f"or name other --conditions, such as '{one.name}/{twice[0]}'"
            )


def _content(run: FamilyRun) -> str:
    """Fingerprint of all that decides an answer, and its sample, under one condition."""
    config: Mapping[str, Any] = run.manifest["config"]
    left = (*_NOT_CONTENT, *(_NAMES if config.get("checkpoint") else ()))
    return fingerprint({name: value for name, value in config.items() if name not in left})


def notes_of(runs: Sequence[FamilyRun]) -> list[str]:
    """Say what was planned: numbers of samples that differ, and conditions chosen later.

    Args:
        runs: The runs.
    """
    notes = []
    planned = any(run.plan is not None for run in runs)
    for run in runs:
        plan = run.plan
        later = [label for label in run.compared if plan is None or label not in plan.conditions]
        if planned and later:
            notes.append(
                f"{run.name}: exploratory, because not in the preregistration: {', '.join(later)}"
            )
    return notes


def plan_notes(folder: Path, rows: Sequence[Row], margin: float) -> list[str]:
    """Say where a comparison is not what was planned: numbers of samples, margin.

    Args:
        folder: Folder of the run.
        rows: Its rows.
        margin: Margin of equivalence of the comparison.

    Raises:
        LanternError: the margin is not that of the run's preregistration.
    """
    manifest = read_manifest(folder)
    plan = registered_in(manifest)
    if plan is not None and plan.margin != margin:
        raise LanternError(
            f"'{folder}' follows the preregistration '{plan.file}', which fixes the margin of "
            f"equivalence at {plan.margin:g}, and --margin is {margin:g}; give --margin "
            f"{plan.margin:g}"
        )
    notes = note_of_sizes(str(folder), manifest.get(PLANNED), ran_of(rows))
    there = manifest.get("margin")
    if there not in (None, margin):
        notes.append(
            f"{folder}: the margin of equivalence was {there:g} when the first row was written, "
            f"and is {margin:g} here"
        )
    return notes
