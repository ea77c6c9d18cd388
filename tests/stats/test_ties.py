"""What counts as equal: ties by brute force, percentiles of any draws, p values with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lantern_probe.errors import LanternError
from lantern_probe.stats import percentile_interval, permutation_p
from lantern_probe.stats.ties import (
    TIE,
    merged,
    midranks,
    reaches,
    rescaled,
    settled,
    tied_places,
    unit_scaled,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
# Six tenths of a tolerance apart: neighbours are tied, and whole numbers of steps never are at the
# tolerance itself.
LATTICE = arrays(
    np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-4, 9)
)
STEP = 0.6e-6


@given(LATTICE)
def test_ties_are_those_of_comparing_all_with_all(steps: np.ndarray) -> None:
    values = steps * STEP
    places, shared = tied_places(values, 1e-6)
    apart = steps[:, :, None] - steps[:, None]
    np.testing.assert_array_equal(places, (apart > 1).sum(2))
    np.testing.assert_array_equal(shared, (np.abs(apart) <= 1).sum(2))
    ranks = midranks(values, 1e-6)
    np.testing.assert_allclose(ranks.mean(1), (values.shape[1] + 1) / 2)


def test_ties_do_not_form_chains() -> None:
    _, shared = tied_places(np.arange(1000)[None] * STEP, 1e-6)
    assert shared[0, 0] == shared[0, -1] == 2 and set(shared[0, 1:-1]) == {3}


@given(arrays(np.float64, st.integers(1, 20), elements=FINITE))
def test_scaling_by_powers_of_two_is_exact(values: np.ndarray) -> None:
    scaled, exponent = unit_scaled(values)
    largest = np.abs(scaled).max()
    assert 0.5 <= largest < 1 or (largest == 0 and not values.any())
    back = rescaled(scaled, exponent)
    # What is 1e-308 of the largest, and no more, may be rounded.
    np.testing.assert_allclose(back, values, rtol=0, atol=1e-307 * np.abs(values).max())
    top = int(np.abs(values).argmax())
    assert back[top] == values[top]


def test_each_row_may_have_its_own_scale() -> None:
    vectors = np.array([[3e38, 1e38], [1e-45, 0], [0, 0]], np.float32)
    scaled, exponents = unit_scaled(vectors, 1)
    assert scaled.dtype == np.float32 and exponents.shape == (3, 1)
    assert np.all(np.abs(scaled).max(1) == [scaled[0, 0], 0.5, 0]) and 0.5 <= scaled[0, 0] < 1


def test_sums_that_cancel_are_zero_and_equal_sums_are_one_number() -> None:
    terms = [0.1, 0.2, -0.3]
    assert sum(terms) != 0
    sums, sizes = np.array([sum(terms), 1e-9, 0.0]), np.array([0.6, 1e-9, 0.0])
    np.testing.assert_array_equal(settled(sums, sizes), [0, 1e-9, 0])
    equal = np.array([0.1 + 0.2 + 0.3, 1.0, 0.3 + 0.2 + 0.1, 1 + 1e-9])
    found = merged(equal, equal)
    assert found[0] == found[2] and len(set(found)) == 3
    np.testing.assert_allclose(found, equal, rtol=TIE)
    # Beside a large number small ones are not equal: each is held against its own terms.
    outlier = np.array([1e300, 1.0, 2.0])
    np.testing.assert_array_equal(merged(outlier, outlier), outlier)


def test_a_bound_is_reached_up_to_rounding() -> None:
    assert reaches(0.1 + 0.2, 0.3, TIE) and reaches(0.3, 0.1 + 0.2, TIE)
    assert not reaches(0.3, 0.1 + 0.2, 0) and not reaches(0.3 - 1e-9, 0.3, TIE)


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6)),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_percentiles_are_numpys(draws: np.ndarray, level: float) -> None:
    low, high = percentile_interval(draws, level)
    expected = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-2)
    assert draws.min() <= low <= high <= draws.max()


def test_percentiles_of_infinite_draws() -> None:
    draws = np.array([-math.inf, 0.0, 1.0, 2.0, math.inf])
    assert percentile_interval(draws, 0.5) == (0, 2)
    assert percentile_interval(draws, 0.6) == (-math.inf, math.inf)  # the outer neighbours
    assert percentile_interval(np.full(3, math.inf), 0.5) == (math.inf, math.inf)
    # The lower end is the draw at place 5. In floats .025 * 200 is a little more, which must not
    # give the infinite one after it a part.
    ends = np.r_[np.zeros(196), np.full(5, math.inf)]
    assert (1 - 0.95) / 2 * 200 != 5
    assert percentile_interval(ends, 0.95) == (0, 0)
    assert percentile_interval(-ends, 0.95) == (0, 0)


@pytest.mark.parametrize("level", [5e-324, 2.2e-308, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("draws", [[1.5], [5e-324, 2.2e-308], [-1.7e308, 0.0, 1.7e308]])
def test_percentiles_at_any_level(level: float, draws: list[float]) -> None:
    low, high = percentile_interval(np.array(draws), level)
    assert min(draws) <= low <= high <= max(draws)
    if level > 0.9:
        assert (low, high) == (min(draws), max(draws))


def test_a_permutation_p_value_by_hand() -> None:
    drawn = [1.0, 2.0, 3.0, 3.0, 4.0]
    assert permutation_p(3.0, drawn) == 4 / 6
    assert permutation_p(3.0, drawn, tail="lower") == 5 / 6
    assert permutation_p(4.0, drawn, tail="both") == 2 * 2 / 6
    assert permutation_p(3.0, drawn, tail="both") == 1
    assert permutation_p(9.0, drawn) == 1 / 6 and permutation_p(9.0, []) == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_the_order_of_a_sum_decides_no_p_value(steps: list[int], seed: int) -> None:
    """Tenths, added in a new order for every permutation: all are as extreme as the one seen."""
    terms = np.array(steps) / 10
    rng = np.random.default_rng(seed)
    drawn = [sum(rng.permutation(terms).tolist()) for _ in range(20)]
    size = float(np.abs(terms).sum())
    for tail in ("upper", "lower", "both"):
        assert permutation_p(sum(terms.tolist()), drawn, tail=tail, scale=size) == 1


@given(
    st.floats(allow_nan=False),
    st.lists(st.floats(allow_nan=False), max_size=9),
    st.sampled_from(["upper", "lower", "both"]),
)
def test_any_statistic_has_a_p_value(seen: float, drawn: list[float], tail: str) -> None:
    for scale in (1.0, None):
        assert 1 / (len(drawn) + 1) <= permutation_p(seen, drawn, tail=tail, scale=scale) <= 1


def test_what_is_not_a_number_is_refused() -> None:
    for seen, drawn in ((math.nan, [1.0]), (1.0, [math.nan])):
        with pytest.raises(LanternError, match="NaN"):
            permutation_p(seen, drawn)
    with pytest.raises(LanternError, match="'two'"):
        permutation_p(1.0, [1.0], tail="two")
