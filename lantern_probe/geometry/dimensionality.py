"""Directions that a set of vectors fills: effective rank, participation ratio, spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.special import entr
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.geometry.row import GeometryRow
from lantern_probe.geometry.vectors import ROUNDING, VectorSet, centred, members_of
from lantern_probe.stats.clusters import check_level
from lantern_probe.stats.ties import rescaled, unit_scaled

EFFECTIVE_RANK, PARTICIPATION = "effective rank", "participation ratio"
VARIANCE_SHARE = "variance share"

LARGEST = 512
"""Most vectors per draw by default, as the singular values of more take long."""

COMPONENTS = 32
"""Number of leading components whose share of the variance gets a row."""


def singular_values(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " rank"]:
    """Singular values of vectors, largest first, from the smaller Gram matrix in float64.

    Values below `ROUNDING` of the largest are rounding errors of float32, and are left out.

    Args:
        vectors: Vectors of n samples, [n, dim].
    """
    exact, exponent = unit_scaled(vectors.astype(np.float64))
    gram = exact @ exact.T if len(exact) <= exact.shape[1] else exact.T @ exact
    found = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0, None))
    return rescaled(found[found > ROUNDING * found[0]], exponent)


def effective_rank(values: Float[np.ndarray, " rank"]) -> float:
    """Effective rank: exp of the entropy of the singular values divided by their sum.

    r equal singular values give r (Roy & Vetterli 2007). None, or only zeros, as of vectors
    that are all zero, give 0.

    Args:
        values: Singular values, such as those of `singular_values`.

    Examples:
        >>> import numpy as np
        >>> from lantern_probe.geometry import effective_rank, singular_values
        >>> latents = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 0]])
        >>> print(f"{effective_rank(singular_values(latents)):.2f}")
        2.00
    """
    scaled, _ = unit_scaled(values)
    if not scaled.any():
        return 0.0
    return float(np.exp(entr(scaled / scaled.sum()).sum()))


def participation_ratio(values: Float[np.ndarray, " rank"]) -> float:
    """Participation ratio: (sum v)^2 / sum v^2 of the squared singular values v; 0 if all are 0.

    For n normal vectors with equal variance in r dimensions it is about r n / (n + r).

    Args:
        values: Singular values.
    """
    scaled, _ = unit_scaled(values)
    if not scaled.any():
        return 0.0
    variances = scaled**2
    return float(variances.sum() ** 2 / (variances**2).sum())


def rank_rows(
    sets: Sequence[VectorSet],
    *,
    size: int | None = None,
    resamples: int = 40,
    level: float = 0.95,
    seed: int = 0,
) -> list[GeometryRow]:
    """Measure effective rank and participation ratio of several sets, from equally many vectors.

    Both grow with the number of vectors, so all sets are brought to the same number. Each draw
    takes `size` images *without* replacement, and one sample of each; drawing with replacement
    would repeat vectors and lower the rank. The estimate is the mean over the draws. Its standard
    error is sd * sqrt(size / (images - size)), the delete-d jackknife (Shao & Wu 1989), with the
    normal interval. The interval is for the value at this size, and not for infinitely many
    vectors.

    `raw` counts the common mean as a direction; in `centred` it is removed, per slot. Slot None is
    the mean over the slots. `variance share` (centred) is each leading component's share of the
    variance, with `index` counted from 1. Vectors without any spread have a rank of 0.

    Args:
        sets: Sets to compare.
        size: Number of vectors per draw. None (default) takes 4/5 of the fewest images, and at most
            `LARGEST`.
        resamples: Number of draws, default 40.
        level: Confidence level of the intervals, default 0.95.
        seed: Seed of the draws, default 0.

    Raises:
        LanternError: a set has too few images to leave one out, or an option is out of range.
    """
    check_level(level)
    if resamples < 2:
        raise LanternError(f"a jackknife needs at least 2 draws, not {resamples}")
    if not sets:
        return []
    fewest = min(sets, key=lambda vectors: vectors.image_count)
    size = min(LARGEST, fewest.image_count * 4 // 5) if size is None else size
    if not 2 <= size < fewest.image_count:
        raise LanternError(
            f"ranks from {size} vectors: {fewest.name} has {fewest.image_count} images, and "
            "between 2 of them and all but one can be drawn; give more samples or another size"
        )
    rows = []
    for vectors in sets:
        rows += _rows_of(vectors, size, resamples, level, seed)
    return rows


def _rows_of(
    vectors: VectorSet, size: int, resamples: int, level: float, seed: int
) -> list[GeometryRow]:
    rng = np.random.default_rng(seed)
    members = members_of(vectors.images)
    draws = np.stack(
        [_measure(vectors.vectors[_one_of_each(members, size, rng)]) for _ in range(resamples)]
    )
    images = vectors.image_count
    inflation = np.sqrt(size / (images - size)) * norm.isf((1 - level) / 2)
    how = (
        f"delete-d jackknife: {resamples} draws of {size} of {images} images without replacement, "
        "one sample of each"
    )

    most = float(min(size, vectors.vectors.shape[2]))
    columns: list[tuple[str, str, int | None, float]] = [
        (measure, space, None, most)
        for space in ("raw", "centred")
        for measure in (EFFECTIVE_RANK, PARTICIPATION)
    ]
    columns += [
        (VARIANCE_SHARE, "centred", index, 1.0)
        for index in range(1, min(COMPONENTS, int(most)) + 1)
    ]
    places = [(slot, draws[:, place]) for place, slot in enumerate(vectors.slots)]
    if vectors.slotted:
        places.append((None, draws.mean(1)))
    rows = []
    for slot, found in places:
        for (measure, space, index, top), values in zip(columns, found.T, strict=False):
            estimate, half = float(values.mean()), float(values.std(ddof=1) * inflation)
            rows.append(
                GeometryRow(
                    name=vectors.name,
                    measure=measure,
                    space=space,
                    slot=slot,
                    index=index,
                    estimate=estimate,
                    low=max(0.0, estimate - half),
                    high=min(top, estimate + half),
                    n=size,
                    images=size,
                    how=how,
                )
            )
    return rows


def _one_of_each(
    members: Sequence[Int[np.ndarray, " members"]], size: int, rng: np.random.Generator
) -> Int[np.ndarray, " size"]:
    chosen = rng.choice(len(members), size, replace=False)
    return np.array([rng.choice(members[image]) for image in chosen])


def _measure(vectors: Float32[np.ndarray, "n slots dim"]) -> Float[np.ndarray, "slots measures"]:
    """Measures by slot: both ranks raw, both centred, then each component's share of variance."""
    away = centred(vectors)
    found = np.zeros((vectors.shape[1], 4 + COMPONENTS))
    for slot, measures in enumerate(found):
        raw = singular_values(vectors[:, slot])
        spread = singular_values(away[:, slot])
        measures[:4] = (
            effective_rank(raw),
            participation_ratio(raw),
            effective_rank(spread),
            participation_ratio(spread),
        )
        variances = spread[:COMPONENTS] ** 2
        if len(spread):
            measures[4 : 4 + len(variances)] = variances / (spread**2).sum()
    return found
