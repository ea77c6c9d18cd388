"""Vectors in any unit, and cosines that are tied but for rounding."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.geometry import (
    VectorSet,
    alignment_rows,
    cosine_rows,
    debiased_cka,
    effective_rank,
    in_space,
    norm_rows,
    participation_ratio,
    path_rows,
    preference_rows,
    rank_correctness,
    rank_rows,
    retrieve,
    retrieve_alike,
    singular_values,
)
from lantern_probe.stats.resampling import interval

SEEDS = st.integers(0, 2**32 - 1)
USP = "USP"


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def lattice(seed: int, n: int = 18, slots: int = 2, dim: int = 4) -> np.ndarray:
    """Vectors of -1, 0 and 1, never zero: many cosines are equal, and many vectors alike."""
    vectors = np.random.default_rng(seed).integers(-1, 2, (n, slots, dim)).astype(float)
    vectors[..., 0] += 2 * ~vectors.any(-1)
    return vectors


def turned(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The same vectors in other coordinates and another unit: nothing is a whole number."""
    dim = vectors.shape[-1]
    rotation, _ = np.linalg.qr(gaussian(dim, dim, seed=seed))
    return 1.7 * vectors @ rotation


def agree(one: list, two: list, **tolerance: float) -> None:
    """All numbers of two lists of results are equal up to a tolerance."""
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for field in dataclasses.fields(a):
            left, right = getattr(a, field.name), getattr(b, field.name)
            if dataclasses.is_dataclass(left):
                agree([left], [right], **tolerance)
            elif isinstance(left, dict):
                assert left == pytest.approx(right, **tolerance), (field.name, a, b)
            elif isinstance(left, float | np.ndarray):
                np.testing.assert_allclose(
                    left,
                    right,
                    **{"rtol": 0, "atol": 1e-5, **tolerance},
                    err_msg=f"{field.name} {a}",
                )
            else:
                assert left == right, (field.name, a, b)


@settings(max_examples=25)
@given(SEEDS, SEEDS)
def test_retrieval_of_tied_oracles_does_not_depend_on_the_coordinates(one: int, two: int) -> None:
    own, oracle = lattice(one), lattice(two)
    sets = VectorSet.of("own", own), VectorSet.of("oracle", oracle)
    others = VectorSet.of("own", turned(own, one)), VectorSet.of("oracle", turned(oracle, one))
    labels = [i % 3 for i in range(len(own))]
    for found, again in (
        (retrieve(*sets, permutations=49), retrieve(*others, permutations=49)),
        (
            retrieve_alike(*sets, labels, permutations=49),
            retrieve_alike(*others, labels, permutations=49),
        ),
    ):
        for first, second in zip(found, again, strict=True):
            exact = [
                dataclasses.replace(view, **{"identical": 0} if hasattr(view, "identical") else {})
                for view in (first, second)
            ]
            agree([exact[0]], [exact[1]])


@settings(max_examples=25)
@given(SEEDS, SEEDS)
def test_preference_and_alignment_do_not_depend_on_the_coordinates(one: int, two: int) -> None:
    own, oracle = lattice(one), lattice(two)
    sets = VectorSet.of("own", own), VectorSet.of("oracle", oracle)
    others = VectorSet.of("own", turned(own, one)), VectorSet.of("oracle", turned(oracle, one))
    options = {"permutations": 49, "resamples": 20}
    agree(preference_rows(*sets, **options), preference_rows(*others, **options))
    agree(alignment_rows(*sets, **options), alignment_rows(*others, **options), atol=1e-4)


def test_equal_cosines_prefer_nothing() -> None:
    """Own latents and oracles all the same vector, whose cosine to itself is 1 up to rounding."""
    for seed in range(20):
        vector = gaussian(1, 2, 7, seed=seed).astype(np.float32)
        sets = [VectorSet.of(name, np.repeat(vector, 12, 0)) for name in ("own", "oracle")]
        rows = preference_rows(*sets, permutations=9, resamples=2)
        found = [row for row in rows if row.measure.startswith(USP) and row.space == "raw"]
        assert len(found) == 6 and {row.estimate for row in found} == {0.0}
        assert {row.p for row in found} == {1.0, None}


def test_distances_that_are_tied_have_one_rank() -> None:
    """The axes of a space in any coordinates: all distances are equal, so that there is no RSA."""
    for seed in range(10):
        axes = turned(np.eye(8)[:, None], seed)
        other = VectorSet.of("other", gaussian(8, 1, 8))
        rows = alignment_rows(VectorSet.of("axes", axes), other, permutations=9)
        assert all(math.isnan(row.estimate) for row in rows if row.measure == "RSA")


@pytest.mark.parametrize("power", [-120, -60, 60, 120])
def test_the_unit_of_the_vectors_changes_no_measure_of_direction(power: int) -> None:
    """Nearly down to where float32 holds fewer digits, and up to its largest numbers."""
    own, oracle = (gaussian(14, 3, 5, seed=seed).astype(np.float32) for seed in (0, 1))
    sets = VectorSet.of("own", own), VectorSet.of("oracle", oracle)
    unit = np.float32(2.0**power)
    others = VectorSet.of("own", own * unit), VectorSet.of("oracle", oracle * unit)
    options = {"permutations": 19, "resamples": 20}
    agree(cosine_rows(sets[0], resamples=20), cosine_rows(others[0], resamples=20))
    agree(rank_rows(sets), rank_rows(others))
    agree(alignment_rows(*sets, **options), alignment_rows(*others, **options))
    agree(preference_rows(*sets, **options), preference_rows(*others, **options))
    agree(retrieve(*sets, permutations=19), retrieve(*others, permutations=19))
    assert debiased_cka(*(s.vectors[:, 0] for s in others)) == pytest.approx(
        debiased_cka(*(s.vectors[:, 0] for s in sets)), abs=1e-5
    )
    np.testing.assert_allclose(
        *(in_space(s, "whitened")[0] for s in (sets[0], others[0])), atol=1e-4
    )
    for measure in (norm_rows, path_rows):
        for one, two in zip(measure(sets[0]), measure(others[0]), strict=True):
            scale = 1.0 if "cosine" in one.measure else float(unit)
            assert (two.estimate, two.low, two.high) == pytest.approx(
                (one.estimate * scale, one.low * scale, one.high * scale), rel=1e-5
            )


@pytest.mark.parametrize("value", [3e38, -3e38, 1e-45])
def test_the_largest_and_smallest_floats_have_a_direction(value: float) -> None:
    vectors = np.sign(gaussian(10, 2, 4)) * value
    own = VectorSet.of("own", vectors)
    one = VectorSet.of("own", np.sign(vectors))
    agree(cosine_rows(own, resamples=9), cosine_rows(one, resamples=9))
    assert np.all(np.abs(own.mean_over_slots().vectors) <= abs(value) * (1 + 1e-6))
    assert all(math.isfinite(row.estimate) for row in norm_rows(own) + path_rows(own))


@given(
    st.lists(
        st.floats(0, 1.7e308) | st.sampled_from([0.0, 5e-324, 2.2e-308, 1.0, 1 - 2**-53]),
        max_size=8,
    )
)
def test_ranks_of_any_spectrum(spectrum: list[float]) -> None:
    values = np.array(sorted(spectrum, reverse=True))
    for measure in (effective_rank, participation_ratio):
        found = measure(values)
        positive = int((values > 0).sum())
        assert (0.999999 <= found <= positive * 1.000001) if positive else found == 0


@given(st.integers(-1000, 1000))
def test_singular_values_in_any_unit(power: int) -> None:
    vectors = gaussian(6, 4)
    found = singular_values(vectors * 2.0**power)
    np.testing.assert_allclose(found, singular_values(vectors) * 2.0**power, rtol=1e-9)


def test_correctness_of_any_ranks() -> None:
    largest = float(np.finfo(float).max)
    ranks = [-largest, -5e-324, 0.0, 5e-324, 1.0, 1.0, largest, largest]
    correct = [1, 1, 0, 1, 1, 0, 0, 1]
    plain = rank_correctness([1, 2, 3, 4, 5, 5, 6, 6], correct, permutations=99, resamples=50)
    assert rank_correctness(ranks, correct, permutations=99, resamples=50) == plain


def test_an_interval_leaves_draws_without_a_value_out() -> None:
    draws = np.array([math.nan, 1.0, 2.0, math.inf, 3.0])
    assert interval(draws, 0.5) == interval(np.array([1.0, 2.0, 3.0]), 0.5) == (1.5, 2.5)
    assert interval(np.array([math.nan]), 0.5) == (None, None)
