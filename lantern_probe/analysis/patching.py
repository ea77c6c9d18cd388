"""What each patch does on average, from the rows of a sweep."""

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
"""Clean patched into corrupted (is the place sufficient?), and corrupted into clean (is it
necessary?)."""

RESAMPLES = 2_000
"""Of every bootstrap here: a sweep has hundreds of cells."""

DRAWS_PER_CELL = 200
"""Sign patterns drawn for every cell of a family. The smallest p value after Holm is then 1/200,
however many cells there are; with a fixed number no cell of a large sweep could ever stand out."""

FEWEST_DRAWS, MOST_DRAWS = 10_000, 1_000_000
"""Ends of their number. Beyond 5,000 cells the smallest p value after Holm grows again."""

_CHUNK = 1_000_000
"""Signed sums held at once."""

_SEED = 0


@dataclass(frozen=True)
class PatchEffect:
    """One cell in one direction.

    Attributes:
        model: Name of the model.
        condition: The cell's label.
        direction: Of `DIRECTIONS`.
        component, layer, role, slot, sham: Of the cell.
        n: Samples.
        left_out: Samples that could not be compared.
        shift: By how many nats the logit difference, target's answer minus donor's, moved; its
            95 % bootstrap interval is clustered by pair.
        shift_test: Sign-flip test that it is 0, whole pairs flipped together; None for a sham,
            which changes nothing but rounding, and without samples.
        shift_holm_p: Its p value after Holm over all cells of the direction, single slots too.
        recovery: Mean shift over the mean difference between donor's and target's own runs: 0 as
            if nothing had been patched, 1 as if everything had. A ratio of means, since the ratio
            of one sample can be anything; not defined where the two runs may not differ.
        flips: Share of samples whose most probable candidate became the donor's answer, among all
            that did not prefer it before.
        largest: Largest absolute shift of one sample, nats.
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
    """One summary per cell and direction, in the order of the rows.

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
    """The sign-flip test of every cell's shifts, exact for up to `EXACT_UP_TO` pairs.

    Beyond that all cells are tested under the same sign patterns, one sign per pair, so that a
    family of thousands takes a few matrix products. Holm holds however its tests depend on each
    other.
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
    """The p value of every cell; as in `sign_flip_test`, the pattern seen counts as drawn."""
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
        recovery=ratio_of_means(shifts, wholes, pairs, resamples=RESAMPLES),
        flips=clustered_share(
            [row["answer"] == row["foil"] for row in free],
            [row["cluster"] for row in free],
            resamples=RESAMPLES,
        ),
        largest=max(map(abs, shifts), default=0.0),
    )
