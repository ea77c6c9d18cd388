"""Effective rank and participation ratio of clouds whose rank is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.geometry import (
    GeometryRow,
    VectorSet,
    effective_rank,
    participation_ratio,
    rank_rows,
    singular_values,
)

RANK, RATIO = "effective rank", "participation ratio"


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def isotropic(n: int, dim: int, rank: int, seed: int = 0) -> np.ndarray:
    """n vectors with exactly equal singular values in `rank` dimensions, turned at random."""
    left, _ = np.linalg.qr(gaussian(n, rank, seed=seed))
    right, _ = np.linalg.qr(gaussian(dim, rank, seed=seed + 1))
    return left @ right.T


def pick(rows: list[GeometryRow], name: str, measure: str, space="centred", slot=None, index=None):
    key = (name, measure, space, slot, index)
    found = [r for r in rows if (r.name, r.measure, r.space, r.slot, r.index) == key]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("n", "dim", "rank"), [(60, 100, 7), (100, 40, 40), (50, 300, 1)])
def test_an_isotropic_cloud_has_its_rank(n: int, dim: int, rank: int) -> None:
    values = singular_values(isotropic(n, dim, rank).astype(np.float32))
    assert len(values) == rank
    assert effective_rank(values) == pytest.approx(rank, rel=1e-4)
    assert participation_ratio(values) == pytest.approx(rank, rel=1e-4)


def test_singular_values_are_numpys() -> None:
    for shape in ((20, 50), (50, 20)):
        vectors = gaussian(*shape)
        expected = np.linalg.svd(vectors, compute_uv=False)
        np.testing.assert_allclose(singular_values(vectors), expected)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 12))
def test_ranks_are_bounded_and_blind_to_rotation_and_scale(seed: int, n: int, dim: int) -> None:
    vectors = gaussian(n, dim, seed=seed)
    rotation, _ = np.linalg.qr(gaussian(dim, dim, seed=seed))
    for measure in (effective_rank, participation_ratio):
        value = measure(singular_values(vectors))
        assert 1 - 1e-9 <= value <= min(n, dim) + 1e-9
        assert measure(singular_values(5 * vectors @ rotation)) == pytest.approx(value)
    # exp(entropy) of shares of singular values is never below that of their squares.
    values = singular_values(vectors)
    assert effective_rank(values) >= participation_ratio(values) - 1e-9


def test_the_participation_ratio_of_normal_vectors_has_the_stated_bias() -> None:
    rank, n = 50, 200
    rows = rank_rows([VectorSet.of("x", gaussian(500, rank))], size=n)
    assert pick(rows, "x", RATIO).estimate == pytest.approx(rank * n / (n + rank), rel=0.03)


def test_all_sets_are_compared_at_the_same_number_of_vectors() -> None:
    """From as many vectors as the small set has, both have the same rank; from all they do not."""
    large, small = gaussian(400, 30), gaussian(60, 30, seed=1)
    rows = rank_rows([VectorSet.of("large", large), VectorSet.of("small", small)])
    one, two = pick(rows, "large", RANK), pick(rows, "small", RANK)
    assert one.n == two.n == 48
    assert one.low <= two.high and two.low <= one.high
    assert effective_rank(singular_values(large)) > two.high + 1


def test_the_interval_covers_the_rank_at_that_size() -> None:
    scale = np.linspace(0.3, 2, 12)
    truth = np.mean(
        [
            effective_rank(singular_values(x - x.mean(0)))
            for x in (gaussian(40, 12, seed=10_000 + i) * scale for i in range(1000))
        ]
    )
    hits = 0
    for seed in range(100):
        vectors = VectorSet.of("x", gaussian(50, 12, seed=seed) * scale)
        row = pick(rank_rows([vectors], seed=seed), "x", RANK)
        assert row.n == 40
        hits += row.low <= truth <= row.high
    assert hits / 100 >= 0.878  # .95 and 3.3 sd


def test_copies_within_an_image_are_drawn_once() -> None:
    vectors = gaussian(40, 10)
    images = np.tile(np.arange(40), 4)
    rows = rank_rows([VectorSet.of("own", np.tile(vectors, (4, 1)), images)], size=30)
    alone = rank_rows([VectorSet.of("own", vectors)], size=30)
    assert pick(rows, "own", RANK).estimate == pytest.approx(
        pick(alone, "own", RANK).estimate, rel=0.02
    )


def test_slots_are_measured_apart_and_averaged() -> None:
    vectors = np.stack([isotropic(60, 20, 2), isotropic(60, 20, 10, seed=3)], 1)
    rows = rank_rows([VectorSet.of("own", vectors)])
    low, high = (pick(rows, "own", RATIO, slot=slot).estimate for slot in (0, 1))
    assert low < 2.001 and 7 < high < 10.001
    assert pick(rows, "own", RATIO).estimate == pytest.approx((low + high) / 2)


def test_the_mean_is_a_direction_in_the_raw_space_only() -> None:
    vectors = 50 + gaussian(100, 20)
    rows = rank_rows([VectorSet.of("tokens", vectors)])
    assert pick(rows, "tokens", RATIO, "raw").estimate < 1.01
    assert pick(rows, "tokens", RATIO).estimate > 10


def test_the_spectrum_falls_and_adds_up() -> None:
    rows = rank_rows([VectorSet.of("x", gaussian(60, 8) * [9, 4, 3, 2, 1, 1, 1, 1])])
    shares = [pick(rows, "x", "variance share", index=i).estimate for i in range(1, 9)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(81 / 114, abs=0.1)


def test_collapsed_latents_have_rank_1_raw_and_0_centred() -> None:
    rows = rank_rows([VectorSet.of("own", np.broadcast_to(gaussian(1, 2, 6), (20, 2, 6)))])
    for measure in (RANK, RATIO):
        assert pick(rows, "own", measure, "raw").estimate == pytest.approx(1)
        assert pick(rows, "own", measure).estimate == 0
    assert pick(rows, "own", "variance share", index=1).estimate == 0


def test_too_few_images_are_named() -> None:
    sets = [VectorSet.of("own", gaussian(20, 3)), VectorSet.of("few", gaussian(6, 3), [0] * 6)]
    with pytest.raises(LanternError, match="few has 1 images"):
        rank_rows(sets)
    with pytest.raises(LanternError, match="20 images"):
        rank_rows(sets[:1], size=20)
    with pytest.raises(LanternError, match="2 draws"):
        rank_rows(sets[:1], resamples=1)
    assert rank_rows([]) == []
