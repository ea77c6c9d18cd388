"""Facts about replaced latents: how far from real ones, how much erased, how near the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lantern_probe.records.rows import Row


@dataclass(frozen=True)
class Replaced:
    """Facts about the latents of one condition, over the rows that state them.

    Attributes:
        condition: Label of the condition.
        distance: Mean over samples and slots of the distance from the fed latent to the nearest own
            latent of another image, divided by the mean of the same distance of the own latents;
            None where it is not known. 1 is as near as real latents are to each other.
        removed: Mean fraction of the slots' variance that an eraser removes from latents that it
            was not fitted on; None for other conditions.
        changed: Own latents that were changed, `stored` or `re-rolled`; None for a condition that
            changes none.
        drawn: Number of samples with a crop drawn to avoid the evidence.
        overlapping: Number of these whose crop holds some of an evidence crop.
        overlap: Mean over these samples of the largest fraction of an evidence crop inside; None
            without any.
    """

    condition: str
    distance: float | None
    removed: float | None
    changed: str | None
    drawn: int
    overlapping: int
    overlap: float | None


def replaced(rows: Sequence[Row], conditions: Sequence[str] | None = None) -> list[Replaced]:
    """Collect the facts about replaced latents of every condition that states any.

    Args:
        rows: Rows of an ablation.
        conditions: Labels to keep, in this order; all by default, in the order of the rows.
    """
    known = dict.fromkeys(r["condition"] for r in rows) if conditions is None else conditions
    good: dict[str, list[Row]] = {label: [] for label in known}
    for row in rows:
        if row["status"] == "ok" and row["condition"] in good:
            good[row["condition"]].append(row)
    found = [_replaced(label, some) for label, some in good.items()]
    facts = [(f.distance, f.removed, f.changed, f.overlap) for f in found]
    return [f for f, stated in zip(found, facts, strict=True) if any(x is not None for x in stated)]


def _replaced(label: str, rows: Sequence[Row]) -> Replaced:
    near = [d for row in rows for d in row.get("nearest", ())]
    own = [d for row in rows for d in row.get("nearest_own", ())]
    removed = [d for row in rows for d in row.get("removed", ())]
    held = [max(row["overlap"]) for row in rows if row.get("overlap")]
    return Replaced(
        condition=label,
        distance=fmean(near) / fmean(own) if near and own and fmean(own) > 0 else None,
        removed=fmean(removed) if removed else None,
        changed=next((row["changed"] for row in rows if "changed" in row), None),
        drawn=len(held),
        overlapping=sum(share > 0 for share in held),
        overlap=fmean(held) if held else None,
    )


def replaced_notes(facts: Sequence[Replaced]) -> list[str]:
    """One line for each condition that erases, draws a crop, or changes own latents.

    Args:
        facts: Facts by condition.
    """
    notes = []
    for f in facts:
        said = []
        if f.changed is not None:
            said.append(f"{f.changed} own latents changed")
        if f.removed is not None:
            said.append(f"{f.removed:.2f} of their variance removed, out of sample")
        if f.overlap is not None:
            said.append(
                f"{f.overlapping} of {f.drawn} crops overlap an evidence crop (mean {f.overlap:.2f}"
                " of it)"
            )
        if said:
            notes.append(f"{f.condition}: {'; '.join(said)}")
    far = [f"{f.condition} {f.distance:.1f}" for f in facts if f.distance is not None]
    if far:
        notes.append(
            "distance to the nearest own latent of another image, over that of own latents: "
            + ", ".join(far)
        )
    return notes
