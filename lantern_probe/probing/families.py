"""Families of probes at several sites: p values under shared permutations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from lantern_probe.stats import permutation_p
from lantern_probe.stats.ties import SINGLE_TIE


def score_p(score: float, null: Sequence[float]) -> float:
    """`permutation_p` of a score out of fold, which is computed in float32.

    Args:
        score: Accuracy, R^2 or mean log-likelihood of the true labels.
        null: The same score under every permutation.
    """
    return permutation_p(score, null, scale=max(1.0, abs(score)), tie=SINGLE_TIE)


def family_p(rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Compute each row's p over the family of all sites with its target (Westfall & Young 1993).

    Every site of a family saw the same permutations of the same samples, so the largest score over
    the sites has a null distribution too. A site's p is the fraction of permutations whose largest
    score reaches the site's own, itself counted in. It holds for correlated sites, where Holm's
    correction loses power. Sites of another capture, such as those with oracle latents, are a
    family of their own, since a permutation of other samples is another permutation. Permutations
    that some site of the family lacks are left out.

    Args:
        rows: Rows of `probe_row`, of any targets.

    Returns:
        One p per row; None for a row without permutations.
    """
    found: list[float | None] = [None] * len(rows)
    families: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        if row["null"]:
            families.setdefault(_family(row), []).append(index)
    for places in families.values():
        nulls = {i: by_permutation(rows[i]) for i in places}
        shared = set.intersection(*(set(null) for null in nulls.values()))
        largest = [max(null[k] for null in nulls.values()) for k in sorted(shared)]
        for i in places:
            found[i] = score_p(rows[i]["tested"], largest)
    return found


def _family(row: Mapping[str, Any]) -> Hashable:
    """Target, capture and size, which rows of the same permuted samples share."""
    source, colon, _ = str(row.get("site", "")).partition(":")
    return row["target"], source if colon else "", row.get("n"), row.get("images")


def by_permutation(row: Mapping[str, Any]) -> dict[int, float]:
    """Score under each permutation, by its index; rows of older runs hold all in order."""
    null = row["null"]
    return dict(zip(row.get("drawn") or range(len(null)), null, strict=True))
