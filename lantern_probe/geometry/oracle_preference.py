"""Preference of own latents for their oracle over the own latents of unrelated samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from lantern_probe.geometry.row import GeometryRow, mean_row, undefined
from lantern_probe.geometry.vectors import (
    VectorSet,
    check_pairing,
    directions,
    in_space,
)
from lantern_probe.stats import design_effect, wilson
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.resampling import bootstrap_counts, permute_images
from lantern_probe.stats.ties import SINGLE_TIE

TO_ORACLE, TO_OTHERS, SLOT_TO_ORACLE = (
    "cosine to own oracle",
    "cosine to others' oracle",
    "slot cosine to own oracle",
)
USP, USP_CHANCE = "USP", "USP at random pairing"


def preference_rows(
    own: VectorSet,
    oracle: VectorSet,
    *,
    permutations: int = 999,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[GeometryRow]:
    """Measure cosines to the oracle, and the unrelated self-generated preference (USP).

    All measures are taken raw and centred, per slot and (slot None) for each sample's mean over the
    slots. `cosine to own oracle` is the cosine to the oracle of the same sample, and `cosine to
    others' oracle` to those of other images. `slot cosine to own oracle` is the first for each pair
    of own slot (slot) and oracle slot (index). `USP` is the fraction of samples whose own latent
    has a higher mean cosine to the own latents of other images than to its own oracle; a tie, of
    cosines that float32 cannot tell apart, does not count.

    USP has no fixed chance. In the raw space own latents and oracles lie in two narrow cones, and
    USP is near 1 whenever the cones are further apart than they are wide, whatever the latents
    say. `USP at random pairing` is therefore its value if each latent is given a random sample's
    oracle. The p of `USP` is one-sided: the fraction of random pairings (`permute_images`) with a
    USP as low as the one seen, small if own latents know their own oracle. The p of `cosine to own
    oracle` is the fraction of pairings with a mean cosine as high. In the centred space (each set's
    slot mean removed) there are no cones, and USP of unrelated vectors is near 1/2.

    USP has Wilson's interval, with n divided by the design effect where images repeat. The other
    intervals are bootstraps over images, as in `cosine_rows`.

    Args:
        own: Own latents of n samples.
        oracle: Oracle latents of the same samples.
        permutations: Number of random pairings, default 999.
        resamples: Number of bootstrap resamples, default 1,000.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the bootstrap and of the pairings, default 0.

    Raises:
        LanternError: the sets are not of the same samples, or an option is out of range.
    """
    check_pairing(own, oracle)
    check_level(level)
    counts = bootstrap_counts(own.images, resamples, seed)
    partners = permute_images(own.images, permutations, seed)
    rows: list[GeometryRow] = []
    for space in ("raw", "centred"):
        units = [directions(in_space(vectors, space)[0]) for vectors in (own, oracle)]
        for place, slot in enumerate(own.slots):
            at = [(u[:, place], known[:, place]) for u, known in units]
            rows += _slot_rows(own, oracle, space, slot, at, counts, partners, level)
        if own.slotted:
            pooled = [vectors.mean_over_slots() for vectors in (own, oracle)]
            at = [
                (u[:, 0], k[:, 0]) for u, k in (directions(in_space(v, space)[0]) for v in pooled)
            ]
            rows += _slot_rows(own, oracle, space, None, at, counts, partners, level)
            rows += _slot_matrix(own, oracle, space, units, counts, level)
    return rows


def _slot_rows(
    own: VectorSet,
    oracle: VectorSet,
    space: str,
    slot: int | None,
    units: Sequence[tuple[Float32[np.ndarray, "n dim"], Bool[np.ndarray, " n"]]],
    counts: Float[np.ndarray, "resamples g"],
    partners: Int[np.ndarray, "permutations n"],
    level: float,
) -> list[GeometryRow]:
    (u, known), (v, oracle_known) = units
    place: dict[str, Any] = {"name": f"{own.name}, {oracle.name}", "space": space, "slot": slot}
    usable = known & oracle_known
    if len(np.unique(own.images[usable])) < 2:
        why = "fewer than two images with a latent and an oracle that are not zero in this space"
        measures = (TO_ORACLE, TO_OTHERS, USP, USP_CHANCE)
        return [undefined(own, why, **place, measure=measure) for measure in measures]
    cosines = u @ v.T
    unrelated = (own.images[:, None] != own.images) & usable
    others = np.full(own.n, np.nan)
    above, below = (cosines * unrelated).sum(1, dtype=np.float64), unrelated.sum(1)
    np.divide(above, below, out=others, where=usable)
    itself = np.where(usable, np.diagonal(cosines), np.nan)
    preferred = _mean_to_others(u, own.images, known)
    # With a random partner's oracle in place of the sample's own; NaN never counts.
    drawn = cosines[np.arange(own.n), partners]
    valid = usable[partners] & usable
    size = np.maximum(valid.sum(1), 1)
    means = np.where(valid, drawn, 0).sum(1, dtype=np.float64) / size
    preferred = preferred - SINGLE_TIE
    shares = (valid & (preferred > drawn)).sum(1) / size
    seen = (preferred > itself)[usable]
    mean = float(np.nanmean(itself, dtype=np.float64))
    p_cosine = permutation_p(mean, means, scale=1.0, tie=SINGLE_TIE)
    p_share = permutation_p(float(seen.mean()), shares, tail="lower", scale=1.0)
    note = f"; p: one-sided, {len(partners)} random pairings"
    effect, images = design_effect(seen.astype(np.int64), own.images[usable])
    ends = wilson(int(seen.sum()), len(seen), level, effect=effect)
    how = "Wilson" + (f", n divided by the design effect {effect:.2f}" if effect > 1 else "")
    common: dict[str, Any] = {**place, "n": len(seen), "images": images}
    return [
        mean_row(
            own, itself[:, None], counts, level, note=note, **place, measure=TO_ORACLE, p=p_cosine
        ),
        mean_row(own, others[:, None], counts, level, **place, measure=TO_OTHERS),
        GeometryRow(
            **common,
            measure=USP,
            estimate=float(seen.mean()),
            low=ends.low,
            high=ends.high,
            p=p_share,
            how=how + note,
        ),
        GeometryRow(
            **common,
            measure=USP_CHANCE,
            estimate=float((preferred[:, None] > cosines)[np.ix_(usable, usable)].mean()),
            how="exact mean over all pairings",
        ),
    ]


def _mean_to_others(
    units: Float32[np.ndarray, "n dim"],
    images: Int[np.ndarray, " n"],
    known: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Mean cosine of each sample to the samples of other images, [n]; NaN without a direction."""
    sums = np.zeros((int(images.max()) + 1, units.shape[1]))
    np.add.at(sums, images, units)
    sizes = np.bincount(images, weights=known)
    above = units @ sums.sum(0) - np.einsum("nd,nd->n", units, sums[images])
    below = known.sum() - sizes[images]
    return np.divide(above, below, out=np.full(len(units), np.nan), where=known & (below > 0))


def _slot_matrix(
    own: VectorSet,
    oracle: VectorSet,
    space: str,
    units: Sequence[tuple[Float32[np.ndarray, "n slots dim"], Bool[np.ndarray, "n slots"]]],
    counts: Float[np.ndarray, "resamples g"],
    level: float,
) -> list[GeometryRow]:
    (u, known), (v, oracle_known) = units
    cosines = np.matmul(u, v.transpose(0, 2, 1)).astype(np.float64)
    cosines[~(known[:, :, None] & oracle_known[:, None, :])] = np.nan
    place: dict[str, Any] = {
        "name": f"{own.name}, {oracle.name}",
        "measure": SLOT_TO_ORACLE,
        "space": space,
    }
    return [
        mean_row(own, cosines[:, one, two, None], counts, level, **place, slot=one, index=two)
        for one in range(u.shape[1])
        for two in range(u.shape[1])
    ]
