"""Comparison of the geometry of two sets of latents: CKA and RSA, with permutation tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.geometry.resampling import exchanges
from lantern_probe.geometry.row import GeometryRow, undefined
from lantern_probe.geometry.vectors import VectorSet, centred, check_pairing, directions
from lantern_probe.stats.pairing import check_level
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.ties import SINGLE_TIE, midranks, unit_scaled

CKA, RSA = "debiased linear CKA", "RSA"


def alignment_rows(
    own: VectorSet,
    oracle: VectorSet,
    *,
    permutations: int = 999,
    resamples: int = 40,
    level: float = 0.95,
    seed: int = 0,
) -> list[GeometryRow]:
    """Do samples that differ in one set differ in the other? Per slot, and for the mean latents.

    CKA: linear (Kornblith et al., 1905.00414), with the unbiased HSIC_1 of Song et al. (2012) in
    place of HSIC. It is 1 up to rotation, shift and scale, and 0 on average for independent
    vectors, so a value may be negative; the plain one is about dim / (n + dim) for independent
    normal vectors, because each vector's product with itself is in the sum.

    RSA: Spearman correlation between the cosine distances of all pairs of samples, in each set
    with the mean of the slot removed. Distances that float32 cannot tell apart are ties.

    p is one-sided: the `permutation_p` of random pairings of the two sets (see `exchanges`) that
    are at least as alike. Slot None takes each sample's mean over the slots.

    The interval is that of the delete-d jackknife (Shao & Wu 1989), from draws of 4/5 of the images
    without replacement: a bootstrap repeats samples, and copies are alike in both sets.

    Time per pairing, and memory, grow with n squared.

    Args:
        own: Latents of n samples.
        oracle: Others of the same samples.
        permutations: Random pairings.
        resamples: Draws of the jackknife.
        level: Of the intervals.
        seed: Of the pairings and the draws.

    Raises:
        LanternError: the sets are not of the same samples, or an option is out of range.
    """
    check_pairing(own, oracle)
    check_level(level)
    if resamples < 2:
        raise LanternError(f"a jackknife needs at least 2 draws, not {resamples}")
    partners = exchanges(own.images, permutations, seed)
    size = own.image_count * 4 // 5
    rng = np.random.default_rng(seed)
    draws = [
        np.flatnonzero(np.isin(own.images, rng.choice(own.image_count, size, replace=False)))
        for _ in range(resamples if size > 1 else 0)
    ]
    inflation = math.sqrt(size / (own.image_count - size)) * float(norm.isf((1 - level) / 2))
    how = f"jackknife: {resamples} draws of {size} of {own.image_count} images"
    name = f"{own.name}, {oracle.name}"
    places = [(slot, own, oracle, place) for place, slot in enumerate(own.slots)]
    if own.slotted:
        places.append((None, own.mean_over_slots(), oracle.mean_over_slots(), 0))
    rows = []
    for slot, *pair, at in places:
        away = [centred(vectors.vectors[:, [at]])[:, 0] for vectors in pair]
        for measure, matrix, least in ((CKA, _u_centred, 4), (RSA, _rank_matrix, 3)):
            place: dict[str, Any] = {
                "name": name,
                "measure": measure,
                "space": "centred",
                "slot": slot,
            }
            if own.n < least:
                rows.append(undefined(own, f"{own.n} samples; it takes {least}", **place))
                continue
            one, two = (matrix(vectors) for vectors in away)
            if one is None or two is None:
                flat = own.name if one is None else oracle.name
                why = f"{flat} does not vary, or a vector equals the mean and has no direction"
                rows.append(undefined(own, why, **place))
                continue
            estimate = _product(one, two)
            found = [_alike(matrix, *(vectors[kept] for vectors in away)) for kept in draws]
            half = float(np.std(found, ddof=1)) * inflation if found else math.nan
            known = math.isfinite(half)  # a draw of too few samples has no value
            rows.append(
                GeometryRow(
                    **place,
                    estimate=estimate,
                    low=max(-1.0, estimate - half) if known else None,
                    high=min(1.0, estimate + half) if known else None,
                    p=permutation_p(
                        estimate,
                        [_product(one, two.take(order, 0).take(order, 1)) for order in partners],
                        scale=1.0,
                        tie=SINGLE_TIE,
                    ),
                    n=own.n,
                    images=own.image_count,
                    how=f"{how if known else 'too few for an interval'}; p: one-sided, "
                    f"{permutations} random pairings",
                )
            )
    return rows


def _alike(
    matrix: Callable[[Any], Any],
    one: Float32[np.ndarray, "n dim"],
    two: Float32[np.ndarray, "n other_dim"],
) -> float:
    first, second = (matrix(centred(vectors[:, None])[:, 0]) for vectors in (one, two))
    if first is None or second is None:
        return math.nan
    return _product(first, second)


def _product(one: Float32[np.ndarray, "n n"], two: Float32[np.ndarray, "n n"]) -> float:
    """Inner product of two matrices of unit length, which rounding must not take beyond 1."""
    rows = np.einsum("ij,ij->i", one, two)
    return max(-1.0, min(1.0, float(rows.sum(dtype=np.float64))))


def debiased_cka(one: Float[np.ndarray, "n dim"], two: Float[np.ndarray, "n other_dim"]) -> float:
    """Linear CKA with the unbiased HSIC_1; in [-1, 1], NaN where a set does not vary or n < 4."""
    scaled = (unit_scaled(vectors)[0].astype(np.float32) for vectors in (one, two))
    return _alike(_u_centred, *scaled)


def _u_centred(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n n"] | None:
    """The U-centred Gram matrix at unit length; the inner product of two is the debiased CKA.

    HSIC_1 of two kernels is the sum over the entries of their U-centred matrices (Székely & Rizzo
    2014) over n (n - 3), which cancels in CKA.
    """
    n = len(vectors)
    if n < 4:
        return None
    gram = (vectors @ vectors.T).astype(np.float64)
    scale = np.trace(gram)
    np.fill_diagonal(gram, 0)
    sums = gram.sum(0)
    gram -= (sums / (n - 2))[:, None]
    gram -= sums / (n - 2)
    gram += sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0)
    length = np.linalg.norm(gram)
    if length <= 1e-6 * scale:
        return None
    gram /= length
    return gram.astype(np.float32)


def _rank_matrix(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n n"] | None:
    """The ranks of all pairs' cosine distances, as a matrix, centred and at unit length."""
    units, defined = directions(vectors[:, None])
    n = len(vectors)
    if not defined.all() or n < 3:
        return None
    upper = np.triu_indices(n, 1)
    ranks = midranks(-(units[:, 0] @ units[:, 0].T)[upper][None], SINGLE_TIE)[0]
    ranks -= ranks.mean()
    length = math.sqrt(2 * float((ranks**2).sum()))
    if length == 0:
        return None
    matrix = np.zeros((n, n), np.float32)
    matrix[upper] = ranks / length
    matrix += matrix.T
    return matrix
