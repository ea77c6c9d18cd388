"""The posterior of a difference: exact, symmetric, calibrated."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betainc
from scipy.stats import beta

from lantern_probe.errors import LanternError
from lantern_probe.stats import (
    accuracy_equivalence,
    equivalence_of_counts,
    posterior_difference,
    posterior_of,
    posterior_of_counts,
)
from lantern_probe.stats.posterior import DifferenceLaw


def integrated(first: float, second: float, rest: float, difference: float) -> float:
    """P(x - y <= difference) by another route: over the quantiles of y, x given y being beta."""

    def given_y(u: float) -> float:
        y = float(beta.ppf(u, second, first + rest))
        part = min(max((y + difference) / (1 - y), 0.0), 1.0) if y < 1 else 1.0
        return float(betainc(first, rest, part))

    edges = [
        *(0.0, 1.0),
        *(float(beta.cdf(p, second, first + rest)) for p in (-difference, (1 - difference) / 2)),
    ]
    edges = sorted({min(max(edge, 0.0), 1.0) for edge in edges})
    return sum(
        quad(given_y, low, high, epsabs=1e-11, epsrel=1e-10, limit=400)[0]
        for low, high in pairwise(edges)
    )


@pytest.mark.parametrize("prior", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 256), (1, 0, 60), (12, 3, 191), (0, 0, 0)])
def test_the_distribution_is_that_of_numerical_integration(
    b: int, c: int, n: int, prior: float
) -> None:
    parameters = (prior + b, prior + c, 2 * prior + n - b - c)
    law = DifferenceLaw(*parameters)
    for difference in (-0.3, -0.02, 0.0, 0.01, 0.05, 0.6):
        assert law.below(difference) == pytest.approx(integrated(*parameters, difference), abs=2e-7)


def test_the_distribution_is_that_of_drawn_cells() -> None:
    drawn = np.random.default_rng(0).dirichlet([12.5, 3.5, 177], 400_000)
    differences = drawn[:, 0] - drawn[:, 1]
    found = posterior_of_counts(12, 3, 191, margin=0.05)
    assert found.mean == pytest.approx(float(differences.mean()), abs=2e-4)
    assert found.within == pytest.approx(float((abs(differences) < 0.05).mean()), abs=0.003)
    ends = np.quantile(differences, [0.025, 0.975])
    assert [found.low, found.high] == pytest.approx(ends.tolist(), abs=3e-4)


counts = st.integers(0, 40)


@settings(deadline=None, max_examples=40)
@given(counts, counts, counts, st.floats(0.01, 0.3), st.sampled_from([0.1, 0.5, 1.0]))
def test_exchanging_the_conditions_turns_the_sign(
    b: int, c: int, same: int, margin: float, prior: float
) -> None:
    one = posterior_of_counts(b, c, b + c + same, margin=margin, prior=prior)
    two = posterior_of_counts(c, b, b + c + same, margin=margin, prior=prior)
    assert one.mean == pytest.approx(-two.mean) and one.within == pytest.approx(two.within)
    assert one.low == pytest.approx(-two.high, abs=1e-9)
    assert one.positive == pytest.approx(1 - two.positive, abs=1e-9)
    assert -1 <= one.low <= one.mean <= one.high <= 1 and 0 <= one.within <= 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 60))
def test_quantiles_turn_the_distribution_round(b: int, c: int, same: int) -> None:
    law = DifferenceLaw(b + 0.5, c + 0.5, same + 1)
    points = [law.quantile(chance) for chance in (0.025, 0.3, 0.5, 0.9)]
    assert points == sorted(points)
    assert [law.below(point) for point in points] == pytest.approx([0.025, 0.3, 0.5, 0.9], abs=1e-6)


def test_intervals_and_masses_are_calibrated_under_the_prior() -> None:
    """Truths drawn from the prior lie in the interval as often as it says, at every mass."""
    rng = np.random.default_rng(1)
    draws, inside, within, stated = 1_500, 0, 0, 0.0
    for _ in range(draws):
        cells = rng.dirichlet([1.0, 1.0, 2.0])  # the four cells of count 1, two of them together
        truth = cells[0] - cells[1]
        b, c, _ = rng.multinomial(40, cells).tolist()
        found = posterior_of_counts(b, c, 40, margin=0.1, prior=1.0, level=0.9)
        inside += found.low <= truth <= found.high
        within += abs(truth) < 0.1
        stated += found.within
    error = 3 * math.sqrt(0.25 / draws)
    assert abs(inside / draws - 0.9) < error and abs((within - stated) / draws) < error


@pytest.mark.parametrize("cells", [(0.05, 0.05), (0.02, 0.02), (0.1, 0.02)])
def test_the_interval_covers_fixed_truths_about_as_often(cells: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    table = rng.multinomial(200, [*cells, 1 - sum(cells)], size=600)
    known: dict[tuple[int, int], bool] = {}
    hits = 0
    for b, c, _ in table.tolist():
        if (b, c) not in known:
            found = posterior_of_counts(b, c, 200, margin=0.02)
            known[b, c] = found.low <= cells[0] - cells[1] <= found.high
        hits += known[b, c]
    assert hits / 600 > 0.92


def test_repeated_images_count_for_less_and_an_equivalence_test_gives_the_same() -> None:
    own, other = [1] * 120, [1] * 112 + [0] * 8
    images = [i // 8 for i in range(120)]
    plain = posterior_difference(own, other, margin=0.05)
    wide = posterior_difference(own, other, images, margin=0.05)
    assert wide.design_effect > 1 and wide.high - wide.low > plain.high - plain.low
    same = accuracy_equivalence(own, other, images, margin=0.05)
    assert posterior_of(same) == wide
    few = equivalence_of_counts(0, 0, 10, margin=0.05)
    assert posterior_of(few, 1.0).prior == 1.0


def test_more_samples_without_discordance_put_more_mass_within() -> None:
    masses = [posterior_of_counts(0, 0, n, margin=0.02).within for n in (0, 10, 50, 256, 10**6)]
    assert masses == sorted(masses) and masses[-1] == 1.0
    assert posterior_of_counts(0, 0, 0, margin=0.02).prior_within == masses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0}, "the margin lies between 0 and 1"),
        ({"margin": 0.02, "prior": 0}, "between 0.001 and 1000, not at 0"),
        ({"margin": 0.02, "prior": math.nan}, "between 0.001 and 1000, not at nan"),
        ({"margin": 0.02, "level": 1}, "the level of an interval"),
        ({"margin": 0.02, "effect": 0.5}, "the design effect is at least 1"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(LanternError, match=message):
        posterior_of_counts(1, 2, 10, **options)
    with pytest.raises(LanternError, match="discordant samples among only 2"):
        posterior_of_counts(1, 2, 2, margin=0.02)


def test_counts_of_several_passes_may_be_worth_more_samples_than_there_are() -> None:
    same = replace(equivalence_of_counts(4, 2, 50, margin=0.05), design_effect=0.5)
    worth = posterior_of(same)
    assert (worth.b, worth.c, worth.n, worth.design_effect) == (8, 4, 100, 1.0)
    assert worth.within == posterior_of_counts(8, 4, 100, margin=0.05).within
