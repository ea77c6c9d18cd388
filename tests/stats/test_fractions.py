"""Intervals of mean fractions: exact where they are counts, and true to their level."""

import numpy as np
import pytest
from scipy.stats import beta

from lantern_probe.errors import LanternError
from lantern_probe.stats.fractions import exact_share, fraction_interval


def share(values, clusters=None, *, tail):
    return fraction_interval(values, None, clusters, tail=tail)


def test_a_share_of_counts_has_the_interval_of_clopper_and_pearson():
    mean, low, high = share([1] * 7 + [0] * 13, tail=0.025)
    assert mean == pytest.approx(0.35)
    assert (low, high) == pytest.approx((beta.ppf(0.025, 7, 14), beta.isf(0.025, 8, 13)))


@pytest.mark.parametrize(("count", "n"), [(0, 128), (128, 128)])
def test_without_a_rare_outcome_the_bound_is_exact(count, n):
    low, high = exact_share(count, n, 0.0025)
    assert high - low == pytest.approx(1 - 0.0025 ** (1 / n))


def test_no_gain_and_no_loss_leave_the_exact_bound_on_both_sides():
    mean, low, high = fraction_interval([0] * 128, [0] * 128, tail=0.0025)
    bound = 1 - 0.0025 ** (1 / 128)
    assert (mean, low, high) == pytest.approx((0, -bound, bound))


def test_gains_and_losses_change_places_with_the_sign():
    gains, losses = [1, 0.5, 0, 0, 1, 0], [0, 0, 0.5, 1, 0, 0]
    mean, low, high = fraction_interval(gains, losses, tail=0.025)
    assert fraction_interval(losses, gains, tail=0.025) == pytest.approx((-mean, -high, -low))


def test_units_of_one_image_count_as_one():
    values = [1, 1, 0, 0] * 10
    images = [index // 2 for index in range(40)]
    _, low, high = share(values, images, tail=0.025)
    _, alone, _ = share([1, 0] * 10, tail=0.025)
    assert low == pytest.approx(alone, abs=0.02)
    assert high - low > 1.3 * np.diff(share(values, tail=0.025)[1:])[0]


@pytest.mark.parametrize(
    ("gains", "losses"), [([1.2], [0]), ([np.nan], [0]), ([0.7], [0.7]), ([1, 0], [0])]
)
def test_what_is_no_fraction_is_refused(gains, losses):
    with pytest.raises(LanternError, match="fraction"):
        fraction_interval(gains, losses, tail=0.025)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.85, 0.98])
@pytest.mark.parametrize("n", [32, 128])
def test_the_interval_of_a_share_of_pairs_holds_its_level(rate, n):
    # Two directions of a pair that agree three times in four: pairs are the units.
    stream = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        first = stream.random(n) < rate
        second = np.where(stream.random(n) < 0.75, first, stream.random(n) < rate)
        _, low, high = share(np.mean([first, second], axis=0), tail=0.025)
        covered.append(low <= rate <= high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize(("gain", "loss"), [(0.05, 0), (0.3, 0.1), (0.9, 0.02), (0.02, 0.02)])
def test_the_interval_of_a_difference_of_pairs_holds_its_level(gain, loss):
    stream = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        drawn = stream.random((64, 2))
        drawn[:, 1] = np.where(stream.random(64) < 0.75, drawn[:, 0], drawn[:, 1])
        gains = (drawn < gain).mean(1)
        losses = ((drawn >= gain) & (drawn < gain + loss)).mean(1)
        _, low, high = fraction_interval(gains, losses, tail=0.025)
        covered.append(low <= gain - loss <= high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("alike", [0.3, 1.0])
def test_intervals_hold_their_level_where_pairs_share_images(rate, alike):
    stream = np.random.default_rng(2)
    images = np.repeat(np.arange(30), 3).tolist()
    covered = []
    for _ in range(300):
        common = stream.random(30) < rate
        drawn = stream.random((30, 3)) < rate
        same = stream.random((30, 3)) < alike
        values = np.where(same, common[:, None], drawn).ravel()
        ends = [
            share(values, images, tail=0.025),
            fraction_interval(values, 0 * values, images, tail=0.025),
        ]
        covered.append([low <= rate <= high for _, low, high in ends])
    assert (np.mean(covered, axis=0) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)).all()
