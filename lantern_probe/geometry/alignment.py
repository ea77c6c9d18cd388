"""Comparison of the geometry of two sets of latents: CKA and RSA, with permutation tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.geometry.row import GeometryRow, undefined
from lantern_probe.geometry.vectors import VectorSet, centred, check_pairing, directions
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.permutation import permutation_p
from lantern_probe.stats.resampling import permute_images
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
    """Measure whether samples that differ in one set also differ in the other, by CKA and RSA.

    There is a row for each slot, and one (slot None) for each sample's mean over the slots.

    CKA is linear (Kornblith et al., arXiv 1905.00414), with the unbiased HSIC_1 of Song et al.
    (2012) in place of HSIC. It is 1 for sets that are equal up to rotation, shift and scale, and 0
    on average for independent vectors, so a value may be negative. The biased CKA of independent
    normal vectors is about dim / (n + dim), because it sums each vector's product with itself.

    RSA is the Spearman correlation between the cosine distances of all pairs of samples
    (Kriegeskorte et al. 2008), in each set with the mean of the slot removed.
    Distances that float32 cannot tell apart are ties.

    p is one-sided: the fraction of random pairings of the two sets (`permute_images`) that are at
    least as alike, the pairing seen counted in.

    The interval is that of the delete-d jackknife (Shao & Wu 1989), from draws of 4/5 of the images
    without replacement. A bootstrap would not do, as it repeats samples, and copies are alike in
    both sets.

    Time per pairing, and memory, grow with n squared.

    Args:
        own: Latents of n samples.
        oracle: Other latents of the same samples.
        permutations: Number of random pairings, default 999.
        resamples: Number of draws of the jackknife, default 40.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the pairings and of the draws, default 0.

    Raises:
        LanternError: the sets are not of the same samples, or an option is out of range.
    """
    check_pairing(own, oracle)
    check_level(level)
    if resamples < 2:
        raise LanternError(f"a jackknife needs at least 2 draws, not {resamples}")
    partners = permute_images(own.images, permutations, seed)
    jackknife = _Jackknife.of(own, resamples, level, seed)
    places = [(slot, own, oracle, place) for place, slot in enumerate(own.slots)]
    if own.slotted:
        places.append((None, own.mean_over_slots(), oracle.mean_over_slots(), 0))
    rows = []
    for slot, *pair, at in places:
        away = [centred(vectors.vectors[:, [at]])[:, 0] for vectors in pair]
        for measure in (CKA, RSA):
            rows.append(_slot_row(own, oracle, (measure, slot), away, partners, jackknife))
    return rows


@dataclass(frozen=True, eq=False)
class _Jackknife:
    """Draws of images without replacement, for the intervals of all rows.

    Attributes:
        draws: Samples of the images in each draw; no draws where there are too few images.
        inflation: Factor from the standard deviation over the draws to half of the interval.
        how: The draws in words.
    """

    draws: list[Int[np.ndarray, " kept"]]
    inflation: float
    how: str

    @classmethod
    def of(cls, vectors: VectorSet, resamples: int, level: float, seed: int) -> _Jackknife:
        """Draw 4/5 of the images `resamples` times."""
        images = vectors.image_count
        size = images * 4 // 5
        rng = np.random.default_rng(seed)
        draws = [
            np.flatnonzero(np.isin(vectors.images, rng.choice(images, size, replace=False)))
            for _ in range(resamples if size > 1 else 0)
        ]
        inflation = math.sqrt(size / (images - size)) * float(norm.isf((1 - level) / 2))
        return cls(draws, inflation, f"jackknife: {resamples} draws of {size} of {images} images")


def _slot_row(
    own: VectorSet,
    oracle: VectorSet,
    at: tuple[str, int | None],
    away: list[Float32[np.ndarray, "n _"]],
    partners: Int[np.ndarray, "permutations n"],
    jackknife: _Jackknife,
) -> GeometryRow:
    """Make the row of one measure at one slot.

    Args:
        own: Latents of n samples.
        oracle: Other latents of the same samples.
        at: Measure and slot.
        away: Both sets' vectors at the slot, centred.
        partners: Random pairings of the samples.
        jackknife: Draws for the interval.
    """
    measure, slot = at
    place: dict[str, Any] = {
        "name": f"{own.name}, {oracle.name}",
        "measure": measure,
        "space": "centred",
        "slot": slot,
    }
    matrix, least = (_u_centred, 4) if measure == CKA else (_rank_matrix, 3)
    if own.n < least:
        return undefined(own, f"{own.n} samples; it takes {least}", **place)
    one, two = (matrix(vectors) for vectors in away)
    if one is None or two is None:
        flat = own.name if one is None else oracle.name
        why = f"{flat} does not vary, or a vector equals the mean and has no direction"
        return undefined(own, why, **place)
    estimate = _product(one, two)
    found = [_alike(matrix, *(vectors[kept] for vectors in away)) for kept in jackknife.draws]
    half = float(np.std(found, ddof=1)) * jackknife.inflation if found else math.nan
    known = math.isfinite(half)  # a draw of too few samples has no value
    return GeometryRow(
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
        how=f"{jackknife.how if known else 'too few for an interval'}; p: one-sided, "
        f"{len(partners)} random pairings",
    )


def _alike(
    matrix: Callable[[Any], Any],
    one: Float32[np.ndarray, "n dim"],
    two: Float32[np.ndarray, "n other_dim"],
) -> float:
    """Inner product of the two sets' matrices; NaN where one has none."""
    first, second = (matrix(centred(vectors[:, None])[:, 0]) for vectors in (one, two))
    if first is None or second is None:
        return math.nan
    return _product(first, second)


def _product(one: Float32[np.ndarray, "n n"], two: Float32[np.ndarray, "n n"]) -> float:
    """Inner product of two matrices of unit length, which rounding must not take beyond 1."""
    rows = np.einsum("ij,ij->i", one, two)
    return max(-1.0, min(1.0, float(rows.sum(dtype=np.float64))))


def debiased_cka(one: Float[np.ndarray, "n dim"], two: Float[np.ndarray, "n other_dim"]) -> float:
    """Linear CKA (arXiv 1905.00414) with the unbiased HSIC_1 of Song et al. (2012).

    Args:
        one: Vectors of n samples, [n, dim].
        two: Other vectors of the same samples, [n, other_dim].

    Returns:
        A number in [-1, 1], 0 on average for independent vectors; NaN if a set does not vary, or
        for n < 4.

    Examples:
        Rotating, shifting and scaling vectors leaves their geometry as it is:

        >>> import numpy as np
        >>> from lantern_probe.geometry import debiased_cka
        >>> rng = np.random.default_rng(0)
        >>> latents, others = rng.normal(size=(2, 100, 8))
        >>> print(f"{debiased_cka(latents, 3 * latents[:, ::-1] + 1):.3f}")
        1.000
        >>> abs(debiased_cka(latents, others)) < 0.1
        True
    """
    scaled = (unit_scaled(vectors)[0].astype(np.float32) for vectors in (one, two))
    return _alike(_u_centred, *scaled)


def _u_centred(vectors: Float32[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n n"] | None:
    """U-centred Gram matrix at unit length; the inner product of two is the debiased CKA.

    HSIC_1 of two kernels is the inner product of their U-centred matrices (Székely & Rizzo 2014)
    divided by n (n - 3), which cancels in CKA. None where the vectors do not vary or n < 4.
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
    """Ranks of all pairs' cosine distances as a matrix, centred and at unit length.

    None where a vector has no direction, all distances are equal, or n < 3.
    """
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
