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

import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.records import Row
from lantern_probe.stats import Difference, Ratio, mean_difference, ratio_of_means


def distances(
    one: Float[Tensor, "samples slots dim"], two: Float[Tensor, "samples slots dim"]
) -> Float[Tensor, "samples slots"]:
    """Cosine distance, 1 - cosine, of the same sample and slot under two inputs, in [0, 2]."""
    cosine = (_unit(one) * _unit(two)).sum(-1)
    return (1 - cosine).clamp(min=0)  # rounding takes the cosine of equal vectors above 1


def between(clean: Float[Tensor, "samples slots dim"]) -> Float[Tensor, "samples slots"]:
    """Every sample's mean cosine distance to all other samples at the same slot.

    Raises:
        LanternError: there are fewer than two samples.
    """
    count = len(clean)
    if count < 2:
        raise LanternError(f"distances between samples need two of them, not {count}")
    unit = _unit(clean)
    # The mean cosine to the others, without the sample itself.
    to_all = torch.einsum("nsd,sd->ns", unit, unit.sum(0))
    return 1 - (to_all - unit.square().sum(-1)) / (count - 1)


def _unit(vectors: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
    """Vectors of length 1, zero where they are zero; the shortest have a direction as well."""
    largest = vectors.double().abs().amax(-1, keepdim=True)
    scaled = vectors.double() / largest.where(largest > 0, 1.0)
    return torch.nn.functional.normalize(scaled, dim=-1)


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


def sensitivities(rows: Sequence[Row], *, model: str, resamples: int = 2_000) -> list[Sensitivity]:
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
            images = [row["image"] for row in used]
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
