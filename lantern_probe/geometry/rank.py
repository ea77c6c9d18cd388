"""How many directions a set of vectors fills: effective rank, participation ratio, spectrum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.special import entr
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.geometry.row import GeometryRow
from lantern_probe.geometry.vectors import ROUNDING, VectorSet, centred, members_of
from lantern_probe.stats.pairing import check_level
from lantern_probe.stats.ties import rescaled, unit_scaled

EFFECTIVE_RANK, PARTICIPATION = "effective rank", "participation ratio"
VARIANCE_SHARE = "variance share"

LARGEST = 512
"""Most vectors compared at once by default: the singular values of more take long."""

COMPONENTS = 32
"""Leading components whose share of the variance gets a row."""


def singular_values(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, " rank"]:
    """Singular values, largest first; those below `ROUNDING` of the largest are left out.

    They come from the smaller Gram matrix, in float64.
    """
    exact, exponent = unit_scaled(vectors.astype(np.float64))
    gram = exact @ exact.T if len(exact) <= exact.shape[1] else exact.T @ exact
    found = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0, None))
    return rescaled(found[found > ROUNDING * found[0]], exponent)


def effective_rank(values: Float[np.ndarray, " rank"]) -> float:
    """exp of the entropy of the singular values' shares of their sum (Roy & Vetterli 2007).

    r equal singular values give r; none, or only zeros, as of vectors that are all zero, give 0.
    """
    scaled, _ = unit_scaled(values)
    if not scaled.any():
        return 0.0
    return float(np.exp(entr(scaled / scaled.sum()).sum()))


def participation_ratio(values: Float[np.ndarray, " rank"]) -> float:
    """(sum v)^2 / sum v^2 of the variances v, the squared singular values; 0 if all are 0.

    Of n normal vectors with equal variance in r dimensions it is about r n / (n + r).
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
    """Effective rank and participation ratio of several sets, each from equally many vectors.

    Both grow with the number of vectors, so all sets are brought to the same one: `size` images
    are drawn *without* replacement, and one sample of each (drawing with replacement repeats
    vectors and lowers the rank). The estimate is the mean over the draws. Its standard error is
    sd * sqrt(size / (images - size)), the delete-d jackknife (Shao & Wu 1989), and the interval is
    the normal one; it is about the value at this size, not about that of endlessly many vectors.

    `raw` counts the common mean as a direction; `centred` has it removed, per slot. Slot None is
    the mean over the slots. `variance share` (centred) is each leading component's share of the
    variance, `index` counted from 1. Vectors without any spread have a rank of 0.

    Args:
        sets: The sets to compare.
        size: Vectors per draw; by default 4/5 of the fewest images, and at most `LARGEST`.
        resamples: Draws.
        level: Of the intervals.
        seed: Of the draws.

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
    """Both ranks, raw and centred, then the components' shares of the variance, per slot."""
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
