"""Mean effect of every patch, from the rows of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row
from lantern_probe.stats import (
    Difference,
    Ratio,
    SignFlip,
    clustered_share,
    holm,
    mean_difference,
    ratio_of_means,
    sign_flip_test,
)
from lantern_probe.stats.permutation import EXACT_UP_TO, hits_p
from lantern_probe.stats.ties import TIE, reaches

DIRECTIONS = ("denoise", "noise")
"""Directions of a patch.

`denoise` patches clean into corrupted (is the place sufficient?), `noise` corrupted into clean (is
it necessary?).
"""

RESAMPLES = 2_000
"""Number of resamples of every bootstrap in this module; a sweep has hundreds of cells."""

DRAWS_PER_CELL = 200
"""Number of sign patterns drawn per cell of a family.

The smallest p value after Holm is then 1/200 for any number of cells. With a fixed total, no cell
of a large sweep could ever be significant.
"""

FEWEST_DRAWS, MOST_DRAWS = 10_000, 1_000_000
"""Bounds of the number of sign patterns; beyond 5,000 cells the smallest p after Holm grows."""

_CHUNK = 1_000_000
"""Number of signed sums held in memory at once."""

_SEED = 0


@dataclass(frozen=True)
class PatchEffect:
    """Mean effect of one cell in one direction.

    Attributes:
        model: Name of the model.
        condition: Label of the cell.
        direction: One of `DIRECTIONS`.
        component: Patched component.
        layer: 0-based layer; None for a component without layers.
        role: Role of the patched positions.
        slot: 0-based slot that is patched alone; None for all positions of the role.
        sham: True if the target's own activations are put back.
        n: Number of samples compared.
        left_out: Number of samples that could not be compared.
        shift: Mean shift, in nats, of the logit difference (target's answer minus donor's), with
            its 95 % bootstrap interval clustered by pair.
        shift_test: Sign-flip test that the shift is 0, whole pairs flipped together. None for a
            sham, which changes rounding only, and without samples.
        shift_holm_p: p value of `shift_test` after Holm over all cells of the direction.
        recovery: Mean shift over the mean difference between the donor's and the target's own
            runs: 0 for no effect, 1 for the whole difference. A ratio of means, since the ratio
            of a single sample is unbounded. Not defined if the two runs may not differ.
        flips: Fraction of samples whose top candidate becomes the donor's answer, among those
            whose top candidate was another one.
        largest: Largest absolute shift of one sample, in nats.
    """

    model: str
    condition: str
    direction: str
    component: str
    layer: int | None
    role: str
    slot: int | None
    sham: bool
    n: int
    left_out: int
    shift: Difference
    shift_test: SignFlip | None
    shift_holm_p: float | None
    recovery: Ratio
    flips: Difference
    largest: float


def summarize(rows: Sequence[Row], *, model: str) -> list[PatchEffect]:
    """Summarize a sweep: one effect per cell and direction, in the order of the rows.

    Raises:
        LanternError: there are no rows.
    """
    if not rows:
        raise LanternError("there are no rows of a sweep to sum up")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["condition"], row["direction"]), []).append(row)
    good = {key: [row for row in some if row["status"] == "ok"] for key, some in groups.items()}
    tested: dict[tuple[str, str], tuple[SignFlip, float | None]] = {}
    for direction in DIRECTIONS:
        family = [k for k in good if k[1] == direction and good[k] and not good[k][0]["sham"]]
        tests = _sign_flip_tests([good[key] for key in family])
        adjusted = holm([test.p for test in tests])
        tested |= zip(family, zip(tests, adjusted, strict=True), strict=True)
    return [
        _effect(model, *key, some, good[key], *tested.get(key, (None, None)))
        for key, some in groups.items()
    ]


def _sign_flip_tests(cells: Sequence[Sequence[Row]]) -> list[SignFlip]:
    """Test every cell's shifts by sign flips, exactly for up to `EXACT_UP_TO` pairs.

    Cells with more pairs are tested under shared sign patterns, one sign per pair, so that a
    family of thousands takes a few matrix products. Holm is valid for dependent tests.
    """
    pairs: dict[str, int] = {}
    for rows in cells:
        for row in rows:
            pairs.setdefault(row["cluster"], len(pairs))
    sums = np.zeros((len(pairs), len(cells)))
    for column, rows in enumerate(cells):
        for row in rows:
            sums[pairs[row["cluster"]], column] += row["patched"] - row["base"]
    large = np.flatnonzero(np.count_nonzero(sums, axis=0) > EXACT_UP_TO)
    draws = min(MOST_DRAWS, max(FEWEST_DRAWS, DRAWS_PER_CELL * len(cells))) - 1
    drawn = dict(zip(large.tolist(), _drawn(sums[:, large], draws), strict=True))
    tests = []
    for column, rows in enumerate(cells):
        images = [row["cluster"] for row in rows]
        if column not in drawn:
            tests.append(sign_flip_test([row["patched"] - row["base"] for row in rows], images))
            continue
        estimate, p = float(sums[:, column].sum()) / len(rows), drawn[column]
        tests.append(
            SignFlip(len(rows), len(set(images)), estimate, p, "monte carlo", draws, _SEED)
        )
    return tests


def _drawn(sums: Float[np.ndarray, "pairs cells"], draws: int) -> list[float]:
    """The p value of every cell; as in `sign_flip_test`, the observed pattern counts as drawn."""
    if not sums.size:
        return []
    seen, slack = np.abs(sums.sum(0)), TIE * np.abs(sums).sum(0)
    rng = np.random.default_rng(_SEED)
    chunk = max(1, _CHUNK // max(sums.shape))
    hits = np.zeros(sums.shape[1], np.int64)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        signs = 2.0 * rng.integers(0, 2, size=(size, len(sums)), dtype=np.int8) - 1.0
        hits += np.sum(reaches(np.abs(signs @ sums), seen, slack), axis=0)
    return [float(p) for p in hits_p(hits, draws)]


def _effect(
    model: str,
    condition: str,
    direction: str,
    rows: Sequence[Row],
    good: Sequence[Row],
    test: SignFlip | None,
    holm_p: float | None,
) -> PatchEffect:
    pairs = [row["cluster"] for row in good]
    shifts = [row["patched"] - row["base"] for row in good]
    wholes = [row["donor_value"] - row["base"] for row in good]
    free = [row for row in good if row["base_answer"] != row["foil"]]
    return PatchEffect(
        model=model,
        condition=condition,
        direction=direction,
        **{name: rows[0][name] for name in ("component", "layer", "role", "slot", "sham")},
        n=len(good),
        left_out=len(rows) - len(good),
        shift=mean_difference(shifts, pairs, resamples=RESAMPLES),
        shift_test=test,
        shift_holm_p=holm_p,
        recovery=ratio_of_means(shifts, wholes, pairs),
        flips=clustered_share(
            [row["answer"] == row["foil"] for row in free],
            [row["cluster"] for row in free],
            resamples=RESAMPLES,
        ),
        largest=max(map(abs, shifts), default=0.0),
    )
