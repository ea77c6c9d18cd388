"""Movement of the latents when the input changes, relative to their spread between samples.

z(X) and z(X') of one sample under two inputs: cosine distance per slot, and the same as a fraction
of the mean distance between different samples (docs/methods.md, Input to latent sensitivity). A
fraction near 0 says that the latents ignore the change, near 1 that they move as far as to another
sample's. Other sites of the same runs, such as text and image tokens, are the reference curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.records.rows import Row
from lantern_probe.stats import Difference, Ratio, mean_difference, ratio_of_means


@dataclass(frozen=True)
class Sensitivity:
    """Movement of one site under one change of the input.

    Attributes:
        model: Name of the model.
        change: Label of the change.
        site: Label of the site.
        slot: 0-based slot; None for the mean over the site's slots.
        moved: Mean cosine distance, with its 95 % bootstrap interval clustered by image.
        share: Mean cosine distance over the mean distance between samples, with its interval.
    """

    model: str
    change: str
    site: str
    slot: int | None
    moved: Difference
    share: Ratio


def summarize(rows: Sequence[Row], *, model: str, resamples: int = 2_000) -> list[Sensitivity]:
    """Average the distances over samples, for every change, site and slot.

    Args:
        rows: Rows of a sensitivity run, with `moved` and `between` by site (lists over slots).
            Failed rows, and sites that a sample lacks, are left out.
        model: Name of the model.
        resamples: Number of bootstrap resamples, default 2,000.
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
                        ratio_of_means(moved, apart, images),
                    )
                )
    return found


def _of(values: Mapping[str, Any], site: str, slot: int | None) -> float:
    series = values[site]
    return float(sum(series) / len(series) if slot is None else series[slot])
