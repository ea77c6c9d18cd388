"""Runs that are compared as one family, and those that cannot belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def chosen_conditions(
    name: str, conditions: Mapping[str, Sequence[Row]], chosen: Sequence[str], reference: str
) -> dict[str, list[Row]]:
    """The chosen conditions of a run and the reference, without the twins of its samples.

    Args:
        name: Name of the run.
        conditions: Rows of each condition.
        chosen: Labels of conditions; all by default.
        reference: Label of the reference.

    Raises:
        LanternError: the run has none of the chosen conditions.
    """
    kept = {
        label: [row for row in rows if row.get("pair", row["sample"]) == row["sample"]]
        for label, rows in conditions.items()
        if not chosen
        or label in chosen
        or label == reference
        or (label.startswith(f"{reference}@") and any(c.endswith(label[3:]) for c in chosen))
    }
    if chosen and not {*kept} & {*chosen}:
        raise LanternError(
            f"the run '{name}' has none of the --conditions {', '.join(chosen)}; it has "
            f"{named(list(conditions), 6)}"
        )
    return kept


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
        if _content(one) != _content(two):
            continue
        twice = [
            label
            for label, rows in one.conditions.items()
            if label.partition("@")[0] != "own"
            and {row["sample"] for row in rows}
            & {row["sample"] for row in two.conditions.get(label, ())}
        ]
        if twice:
            raise LanternError(
                f"'{one.folder}' and '{two.folder}' both hold {named(twice)} of "
                f"{one.about('model')} on the same samples of {one.about('data')}: one comparison "
                "cannot be two members of a family; leave one run out, or name other --conditions"
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
        later = [
            label
            for label in run.conditions
            if label != "own" and (plan is None or label not in plan.conditions)
        ]
        if planned and later:
            notes.append(
                f"{run.name}: exploratory, because not in the preregistration: {', '.join(later)}"
            )
    return notes


def size_note(folder: Path, rows: Sequence[Row]) -> list[str]:
    """Say that the planned and the run number of samples of a run differ, if they do.

    Args:
        folder: Folder of the run.
        rows: Its rows.
    """
    return note_of_sizes(str(folder), read_manifest(folder).get(PLANNED), ran_of(rows))
