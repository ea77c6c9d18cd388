"""Coverage, size and power by simulation, and the cases in which interval and test once parted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multinomial, norm

from lantern_probe.stats import (
    accuracy_difference,
    accuracy_equivalence,
    accuracy_test,
    clustered_share,
    detectable_difference,
    difference_of_differences,
    equivalence_of_counts,
    mcnemar,
    mcnemar_power,
    mean_difference,
    paired_score,
    proportion,
    score_interval,
    sign_flip_test,
    wilson,
)


def outcomes(b: int, c: int, n: int) -> tuple[list[int], list[int]]:
    """Two conditions of n samples, b and c of them discordant."""
    return [1] * b + [0] * (n - b), [0] * b + [1] * c + [0] * (n - b - c)


# --- Single cases ---


@pytest.mark.parametrize(("b", "n"), [(3, 60), (5, 191), (4, 191), (5, 20), (1, 256)])
def test_an_interval_holds_zero_where_the_exact_test_does_not_reject(b: int, n: int) -> None:
    found = accuracy_difference(*outcomes(b, 0, n))
    plain = score_interval(b, 0, n)
    assert mcnemar(b, 0).p > 0.05 and found.method == "tango" and found.discordant == b
    assert (found.low, found.high) == (min(plain[0], 0.0), plain[1])
    assert found.low <= 0 < found.high


def test_the_interval_is_tangos_and_that_of_the_equivalence_test() -> None:
    for b, c, n in ((12, 3, 191), (20, 5, 256), (3, 3, 60), (0, 0, 256)):
        found = accuracy_difference(*outcomes(b, c, n), level=0.9)
        same = accuracy_equivalence(*outcomes(b, c, n), margin=0.02, alpha=0.05)
        assert (found.low, found.high) == pytest.approx((same.low, same.high))
    # Its ends are where the score is the normal quantile.
    z = norm.isf(0.025)
    assert paired_score(12, 3, 191, [*score_interval(12, 3, 191)]) == pytest.approx([z, -z])


def test_no_discordant_sample_excludes_no_more_than_one_does() -> None:
    """In the order 0:0, 1:0, 2:0 both ends move up, at every level."""
    for n in (5, 20, 60, 256, 1000):
        for level in (0.8, 0.9, 0.95, 0.99):
            ends = [accuracy_difference(*outcomes(b, 0, n), level=level) for b in range(5)]
            assert np.all(np.diff([one.low for one in ends]) >= 0)
            assert np.all(np.diff([one.high for one in ends]) > 0)
    nothing, one = (accuracy_difference(*outcomes(b, 0, 256)) for b in (0, 1))
    assert (nothing.method, nothing.discordant) == ("exact bound", 0)
    assert nothing.high == -nothing.low == pytest.approx(0.0148, abs=1e-4)
    assert nothing.high >= 1 - 0.025 ** (1 / 256)
    assert one.low < 0 < one.high and one.high > nothing.high


def test_twenty_discordant_samples_of_five_images_are_five_observations() -> None:
    images = [i // 4 for i in range(20)] + list(range(5, 105))
    first, second = outcomes(20, 0, 120)
    test = accuracy_test(first, second, images)
    assert (test.b, test.c, test.p, test.method) == (20, 0, 0.0625, "clustered sign flip")
    assert mcnemar(20, 0).p < 2e-6
    assert accuracy_difference(first, second, images).low <= 0
    alone = accuracy_test(first, second)
    assert (alone.p, alone.method) == (mcnemar(20, 0).p, "exact McNemar")


def test_without_repeats_the_clustered_test_is_mcnemars() -> None:
    for b, c in ((8, 22), (5, 12), (0, 0), (9, 1)):
        values = np.repeat([1, -1, 0], [b, c, 30])
        assert sign_flip_test(values).p == pytest.approx(mcnemar(b, c).p, rel=1e-12)
        # One image without a discordant sample repeats: the flips are the same.
        images = [*range(b + c + 29), b + c + 28]
        assert accuracy_test(values > 0, values < 0, images).p == pytest.approx(mcnemar(b, c).p)


def test_fractions_of_repeated_images_have_fewer_samples() -> None:
    right, images = np.tile([1, 1, 1, 0], 30), np.arange(120) // 4
    assert proportion(right, np.arange(120)) == proportion(right) == wilson(90, 120)
    together = np.repeat([1, 1, 1, 0, 1, 1, 1, 0, 1, 1] * 3, 4)
    wide, narrow = proportion(together, images), proportion(together)
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)
    share = clustered_share(together, images)
    assert (share.low, share.high, share.method) == (wide.low, wide.high, "wilson")


@pytest.mark.parametrize(
    ("n", "discordance", "family", "one", "every"),
    [(191, 0.1, 10, 0.065, 0.081), (256, 0.1, 13, 0.057, 0.073), (1200, 0.04, 10, 0.017, 0.021)],
)
def test_what_would_have_been_seen_in_a_family(
    n: int, discordance: float, family: int, one: float, every: float
) -> None:
    alone = detectable_difference(n, discordance)
    among = detectable_difference(n, discordance, family=family)
    assert alone is not None and among is not None
    assert (round(alone.difference, 3), round(among.difference, 3)) == (one, every)
    assert among.alpha == 0.05 / family and among.power >= 0.8 - 1e-9
    # The smallest p value of the family must be alpha / family: what one test sees is too little.
    assert mcnemar_power(n, discordance, alone.difference, alpha=0.05 / family) < 0.55


def test_a_difference_of_differences_with_one_reference_is_that_of_the_two() -> None:
    rng = np.random.default_rng(0)
    own, erased, control = (rng.random(80) < share for share in (0.9, 0.3, 0.7))
    images = np.arange(80) // 2
    found = difference_of_differences(erased.astype(int) - own, control.astype(int) - own, images)
    assert found.difference == accuracy_difference(erased, control, images)
    assert found.test.p == accuracy_test(erased, control, images).p
    twofold = difference_of_differences([1, 1, 0, -1, 1, 0], [-1, 0, 0, 1, 0, 0])
    assert (
        twofold.difference.method == "studentised"
        and twofold.difference.estimate == pytest.approx(1 / 3)
    )


def test_few_values_that_differ_from_zero_do_not_bound_a_mean() -> None:
    found = mean_difference([0.0] * 18 + [1.0, 2.0])
    assert found.method == "studentised" and np.isinf(found.high) and found.low < 0
    assert np.isfinite(mean_difference([0.0] * 14 + [1.0, 2.0, 1.5, 0.5, 3.0, 1.0]).high)


# --- Coverage and size, without simulation where counts can be enumerated ---


def tables(n: int, discordance: float, difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Discordant counts that have any probability to speak of, and that probability."""
    shares = np.array([(discordance + difference) / 2, (discordance - difference) / 2])
    most = [int(binom.isf(1e-7, n, share)) + 1 if share > 0 else 0 for share in shares]
    grid = np.stack(np.meshgrid(*(np.arange(m + 1) for m in most)), -1).reshape(-1, 2)
    grid = grid[grid.sum(1) <= n]
    rest = n - grid.sum(1, keepdims=True)
    chance = multinomial.pmf(np.hstack([grid, rest]), n, [*shares, 1 - shares.sum()])
    keep = chance > 1e-7
    return grid[keep], chance[keep]


CELLS = [
    (20, 0.05, 0.025), (20, 0.1, 0.0), (60, 0.02, 0.01), (60, 0.1, 0.0), (60, 0.1, 0.05),
    (191, 0.02, 0.0), (191, 0.02, 0.01), (191, 0.05, 0.025), (191, 0.05, 0.05),
]  # fmt: skip


@pytest.mark.parametrize(("n", "discordance", "difference"), CELLS)
def test_the_interval_of_a_difference_covers_and_does_not_contradict_the_test(
    n: int, discordance: float, difference: float
) -> None:
    covered = contradicted = 0.0
    for (b, c), chance in zip(*tables(n, discordance, difference), strict=True):
        found = accuracy_difference(*outcomes(int(b), int(c), n))
        covered += chance * (found.low <= difference <= found.high)
        excludes = found.low > 0 or found.high < 0
        contradicted += chance * (excludes != (mcnemar(int(b), int(c)).p <= 0.05))
    assert covered >= 0.945
    assert contradicted == 0


@pytest.mark.extra
@pytest.mark.parametrize("margin", [0.02, 0.05])
def test_equivalence_is_claimed_too_often_by_little_whatever_n(margin: float) -> None:
    """All discordant samples one way: the case in which the score test errs most."""
    sizes = []
    for n in range(40, 300):
        most = -1
        while equivalence_of_counts(most + 1, 0, n, margin=margin).p_upper <= 0.05:
            most += 1
        sizes.append(binom.cdf(most, n, margin))
    assert 0.05 < max(sizes) <= 0.065


def clustered(sizes: np.ndarray, shares: list[float], alike: float, rng) -> np.ndarray:
    """Differences -1, 0, 1; two samples of an image have a correlation of `alike`."""
    image = rng.choice([1, -1, 0], p=shares, size=len(sizes))
    own = rng.choice([1, -1, 0], p=shares, size=sizes.sum())
    return np.where(rng.random(sizes.sum()) < np.sqrt(alike), np.repeat(image, sizes), own)


LAYOUTS = {"60 of 4": (60, 4, 4), "60 of 1 to 10": (60, 1, 10), "191 of 1 to 5": (191, 1, 5)}


@pytest.mark.extra
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("discordance", [0.05, 0.2])
@pytest.mark.parametrize("alike", [0.5, 1.0])
@pytest.mark.parametrize("side", [0.0, 1.0])
def test_by_image_the_interval_covers_and_both_tests_hold_their_size(
    layout: str, discordance: float, alike: float, side: float
) -> None:
    groups, least, most = LAYOUTS[layout]
    rng, repetitions = np.random.default_rng(3), 400
    difference = side * discordance
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    covered = rejected = claimed = 0
    for _ in range(repetitions):
        sizes = rng.integers(least, most + 1, groups)
        values, images = clustered(sizes, shares, alike, rng), np.repeat(np.arange(groups), sizes)
        first, second = values > 0, values < 0
        found = accuracy_difference(first, second, images)
        covered += found.low <= difference <= found.high
        if side:
            same = accuracy_equivalence(first, second, images, margin=discordance)
            claimed += same.equivalent
        else:
            rejected += accuracy_test(first, second, images).p <= 0.05
    error = 3 * np.sqrt(0.05 * 0.95 / repetitions)
    assert covered / repetitions >= 0.95 - error
    assert rejected / repetitions <= 0.05 + error
    assert claimed / repetitions <= 0.05 + error


DRAWS = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "t3": (lambda rng, n: rng.standard_t(3, n), 0.0),
    "lognormal": (lambda rng, n: rng.lognormal(size=n), np.exp(0.5)),
    "sparse": (lambda rng, n: np.where(rng.random(n) < 0.05, rng.normal(1, 1, n), 0.0), 0.05),
}


@pytest.mark.extra
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("n", [20, 60])
def test_the_interval_of_a_mean_covers_with_few_samples(name: str, n: int) -> None:
    draw, truth = DRAWS[name]
    rng, repetitions, covered = np.random.default_rng(4), 800, 0
    for seed in range(repetitions):
        found = mean_difference(draw(rng, n), resamples=1_000, seed=seed)
        covered += found.low <= truth <= found.high
    assert covered / repetitions >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / repetitions)
