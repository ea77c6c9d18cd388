"""Cosines between samples and between slots, against planted ones and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.geometry import (
    GeometryRow,
    VectorSet,
    cosine_rows,
)

BETWEEN, WITHIN = "cosine between samples", "cosine between slots"
ALIKE = "cosine between samples alike"
SEEDS = st.integers(0, 2**32 - 1)


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def pick(rows: list[GeometryRow], measure: str, space: str = "raw", slot: int | None = None):
    found = [r for r in rows if (r.measure, r.space, r.slot) == (measure, space, slot)]
    assert len(found) == 1
    return found[0]


def planted(n: int, dim: int, cosine: float, seed: int = 0) -> np.ndarray:
    """A mean of length c^.5 and deviations of length (1 - c)^.5: cosines of c on average."""
    deviations = gaussian(n, dim - 1, seed=seed)
    deviations *= math.sqrt(1 - cosine) / np.linalg.norm(deviations, axis=1, keepdims=True)
    return np.concatenate([np.full((n, 1), math.sqrt(cosine)), deviations], 1)


@settings(max_examples=25)
@given(seed=SEEDS)
def test_samples_alike_are_pairs_of_one_label_and_two_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 14
    vectors, images = rng.standard_normal((n, 2, 5)), rng.integers(0, 9, n).tolist()
    labels = rng.integers(0, 4, n).tolist()
    vectors[0, 0] = 0  # without a direction
    rows = cosine_rows(VectorSet.of("own", vectors, images), labels=labels, spaces=["raw"])
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-12)
    for slot in (0, 1):
        there = [i for i in range(n) if i or slot]
        pairs = [
            (i, j)
            for i in there
            for j in there
            if i < j and labels[i] == labels[j] and images[i] != images[j]
        ]
        row = pick(rows, ALIKE, slot=slot)
        if not pairs:
            assert math.isnan(row.estimate) and row.how.startswith("undefined")
            continue
        cosines = [units[i, slot] @ units[j, slot] for i, j in pairs]
        assert row.estimate == pytest.approx(np.mean(cosines), abs=1e-5)
        assert row.sd == pytest.approx(np.std(cosines), abs=1e-4)
        assert row.n == len({sample for pair in pairs for sample in pair})


def test_a_collapse_onto_the_label_shows_among_samples_alike_only() -> None:
    labels = np.repeat(np.arange(12), 10)
    vectors = gaussian(12, 300)[labels] + 0.1 * gaussian(120, 300, seed=1)
    rows = cosine_rows(VectorSet.of("own", vectors), labels=labels.tolist(), seed=2)
    between, alike = pick(rows, BETWEEN), pick(rows, ALIKE)
    assert between.high is not None and between.high < 0.2
    # Unit noise of .1 on both sides: 1 / (1 + .01) on average.
    assert alike.estimate == pytest.approx(1 / 1.01, abs=0.01)
    assert alike.low is not None and alike.high is not None
    assert alike.low <= alike.estimate <= alike.high < 1
    assert alike.n == between.n == 120
    with pytest.raises(LanternError, match="own: 3 labels for 120 samples"):
        cosine_rows(VectorSet.of("own", vectors), labels=[1, 2, 3])


def test_the_interval_of_samples_alike_is_that_of_all_where_all_are_alike() -> None:
    sample = VectorSet.of("own", gaussian(30, 2, 8), [i // 2 for i in range(30)][::-1])
    rows = cosine_rows(sample, labels=["x"] * 30, seed=3)
    for row in rows:
        if row.measure == BETWEEN:
            other = pick(rows, ALIKE, row.space, row.slot)
            assert (row.low, row.high, row.n, row.how) == (
                other.low,
                other.high,
                other.n,
                other.how,
            )


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.99])
def test_a_planted_cosine_between_samples_is_found(cosine: float) -> None:
    n, dim = 200, 400
    rows = cosine_rows(VectorSet.of("tokens", planted(n, dim, cosine)))
    raw = pick(rows, BETWEEN)
    # The mean of n (n - 1) / 2 uncorrelated products with sd (1 - c) / dim^.5.
    error = 4 * (1 - cosine) / math.sqrt(dim * n * (n - 1) / 2)
    assert raw.estimate == pytest.approx(cosine, abs=error + 1e-6)
    assert raw.low is not None and raw.high is not None and raw.sd is not None
    assert raw.low <= raw.estimate <= raw.high
    assert raw.sd == pytest.approx((1 - cosine) / math.sqrt(dim), rel=0.05)
    # Centring leaves -1 / (n - 1) of any mean.
    assert pick(rows, BETWEEN, "centred").estimate == pytest.approx(-1 / (n - 1), rel=0.05)
    assert not [row for row in rows if row.slot is not None or row.measure != BETWEEN]


def test_cosines_and_their_spread_are_those_of_brute_force() -> None:
    vectors, images = gaussian(30, 3, 5) + 0.5, np.arange(30) // 2
    rows = cosine_rows(VectorSet.of("own", vectors, images))
    units = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    pairs = [(i, j) for i in range(30) for j in range(i) if images[i] != images[j]]
    every = []
    for slot in range(3):
        between = [units[i, slot] @ units[j, slot] for i, j in pairs]
        row = pick(rows, BETWEEN, slot=slot)
        assert (row.estimate, row.sd) == pytest.approx((np.mean(between), np.std(between)))
        assert (row.n, row.images) == (30, 15)
        every.append(between)
        others = [t for t in range(3) if t != slot]
        within = [units[i, slot] @ units[i, t] for i in range(30) for t in others]
        row = pick(rows, WITHIN, slot=slot)
        assert (row.estimate, row.sd) == pytest.approx((np.mean(within), np.std(within)), abs=1e-6)
    assert pick(rows, BETWEEN).estimate == pytest.approx(np.mean(every))
    assert pick(rows, BETWEEN).sd == pytest.approx(np.std(every))
    matrix = {(r.slot, r.index): r.estimate for r in rows
              if r.measure == "slot cosine" and r.space == "raw"}  # fmt: skip
    assert len(matrix) == 9 and matrix[1, 1] == pytest.approx(1)
    assert matrix[0, 2] == pytest.approx((units[:, 0] * units[:, 2]).sum(1).mean(), abs=1e-6)


def test_repeating_every_sample_of_an_image_changes_nothing() -> None:
    """Copies are no pairs, and no evidence: the interval must not shrink."""
    vectors = gaussian(40, 2, 6) + 0.6
    once = cosine_rows(VectorSet.of("own", vectors))
    images = np.tile(np.arange(40), 3)
    thrice = cosine_rows(VectorSet.of("own", np.tile(vectors, (3, 1, 1)), images))
    naive = cosine_rows(VectorSet.of("own", np.tile(vectors, (3, 1, 1))))
    for measure in (BETWEEN, WITHIN):
        one, three, wrong = (pick(rows, measure) for rows in (once, thrice, naive))
        assert (one.estimate, one.low, one.high) == pytest.approx(
            (three.estimate, three.low, three.high), abs=1e-5
        )
        assert wrong.high - wrong.low < 0.7 * (one.high - one.low)


def test_the_interval_of_the_cosine_between_samples_covers() -> None:
    """Mean (1, 0, …) and unit deviations; the true value from one large sample."""
    shift = np.eye(8)[0]
    large = gaussian(4000, 8, seed=99) + shift
    truth = pick(cosine_rows(VectorSet.of("x", large), spaces=["raw"], resamples=2), BETWEEN)
    hits = 0
    for seed in range(200):
        vectors = VectorSet.of("x", gaussian(50, 8, seed=seed) + shift)
        row = pick(cosine_rows(vectors, spaces=["raw"], resamples=400, seed=seed), BETWEEN)
        hits += row.low <= truth.estimate <= row.high
    assert 0.9 <= hits / 200 <= 0.99


def test_slots_that_share_the_sample_are_seen_after_centring() -> None:
    """z_it = a large common mean + something of the sample + noise; cosine 1/2 once centred."""
    sample, noise = gaussian(300, 1, 64), gaussian(300, 4, 64, seed=1)
    rows = cosine_rows(VectorSet.of("own", 20 + sample + noise), spaces=["raw", "centred"])
    assert pick(rows, BETWEEN).estimate > 0.99
    assert pick(rows, WITHIN, "centred").estimate == pytest.approx(0.5, abs=0.02)


def test_whitening_takes_the_weight_off_a_dominant_direction() -> None:
    """One direction holds 99 % of the variance: cosines near +-1, until whitened."""
    vectors = gaussian(400, 1, 100)
    vectors[..., 0] *= 100
    rows = cosine_rows(VectorSet.of("own", vectors))
    assert pick(rows, BETWEEN, "centred").sd > 0.8
    assert pick(rows, BETWEEN, "whitened").sd == pytest.approx(1 / math.sqrt(100), abs=0.05)


@settings(max_examples=20)
@given(SEEDS)
def test_rotation_scale_and_order_change_no_cosine(seed: int) -> None:
    vectors = gaussian(12, 2, 5, seed=seed)
    rotation, _ = np.linalg.qr(gaussian(5, 5, seed=seed))
    order = np.random.default_rng(seed).permutation(12)
    before = cosine_rows(VectorSet.of("own", vectors), resamples=5)
    after = cosine_rows(VectorSet.of("own", 7 * (vectors @ rotation)[order]), resamples=5)
    for one, two in zip(before, after, strict=True):
        assert (one.estimate, one.sd) == pytest.approx((two.estimate, two.sd), abs=1e-4)


def test_collapsed_latents_have_no_value_where_there_is_none_and_say_why() -> None:
    own = VectorSet.of("own", np.broadcast_to(gaussian(1, 4, 6), (20, 4, 6)))
    rows = cosine_rows(own)
    assert pick(rows, BETWEEN).estimate == pytest.approx(1)
    for row in rows:
        if row.space == "raw":
            assert math.isfinite(row.estimate)
        else:
            assert math.isnan(row.estimate) and row.low is None and "zero" in row.how


def test_some_zero_vectors_are_left_out_and_counted() -> None:
    vectors = gaussian(30, 2, 6) + 1
    vectors[:5, 0] = 0
    rows = cosine_rows(VectorSet.of("own", vectors), spaces=["raw"])
    row = pick(rows, BETWEEN, slot=0)
    assert row.n == 25 and "5 samples without a direction left out" in row.how
    alone = pick(cosine_rows(VectorSet.of("own", vectors[5:]), spaces=["raw"]), BETWEEN, slot=0)
    assert row.estimate == pytest.approx(alone.estimate)
    assert pick(rows, WITHIN).n == 25


def test_one_image_has_no_interval() -> None:
    rows = cosine_rows(VectorSet.of("own", gaussian(6, 2, 4), ["a"] * 6), spaces=["raw"])
    assert pick(rows, BETWEEN).how.startswith("undefined")
    row = pick(rows, WITHIN)
    assert math.isfinite(row.estimate) and row.low is None and "one image" in row.how


def test_options_out_of_range_are_refused() -> None:
    own = VectorSet.of("own", gaussian(5, 2, 3))
    with pytest.raises(LanternError, match="'whitened'"):
        cosine_rows(own, spaces=["white"])
    with pytest.raises(LanternError, match="resample"):
        cosine_rows(own, resamples=0)
    with pytest.raises(LanternError, match="level"):
        cosine_rows(own, level=95)
