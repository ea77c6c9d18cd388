"""How far the latents move when the input changes, against how far they differ anyway.

z(X) and z(X') of one sample under two inputs: cosine distance per slot, and the same as a share of
the mean distance between different samples (METHODS: input -> latent sensitivity). A share near 0
says that the slots do not see the change, near 1 that it makes them another sample's. Other sites
of the same runs, such as text and image tokens, are the reference curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.records.rows import Row
from lantern_probe.stats import Difference, Ratio, mean_difference, ratio_of_means


@dataclass(frozen=True)
class Sensitivity:
    """How far one site moves under one change.

    Attributes:
        model: Name of the model.
        change: What was done to the input.
        site: Label of the site.
        slot: 0-based; None for the mean over the site's slots.
        moved: Mean cosine distance, with its 95 % bootstrap interval clustered by image.
        share: The same over the mean distance between samples.
    """

    model: str
    change: str
    site: str
    slot: int | None
    moved: Difference
    share: Ratio


def summarize(rows: Sequence[Row], *, model: str, resamples: int = 2_000) -> list[Sensitivity]:
    """One line per change, site and slot.

    Args:
        rows: With `moved` and `between` by site (lists over slots) under each change; rows that
            failed, and sites a sample lacks, are left out.
        model: Its name.
        resamples: Bootstrap resamples.
    """
    good = [row for row in rows if row["status"] == "ok"]
    found = []
    for change in dict.fromkeys(row["condition"] for row in good):
        some = [row for row in good if row["condition"] == change]
        for site in dict.fromkeys(site for row in some for site in row["moved"]):
            used = [row for row in some if row["moved"].get(site) is not None]
            images = [row["cluster"] for row in used]
            slots = len(used[0]["moved"][site])
            for slot in [None, *(range(slots) if slots > 1 else ())]:
                moved = [_of(row["moved"], site, slot) for row in used]
                apart = [_of(row["between"], site, slot) for row in used]
                found.append(
                    Sensitivity(
                        model,
                        change,
                        site,
                        slot,
                        mean_difference(moved, images, resamples=resamples),
                        ratio_of_means(moved, apart, images, resamples=resamples),
                    )
                )
    return found


def _of(values: Mapping[str, Any], site: str, slot: int | None) -> float:
    series = values[site]
    return float(sum(series) / len(series) if slot is None else series[slot])
