"""Power of the exact McNemar test: by full enumeration, by simulation, and its inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multinomial

from lantern_probe.errors import LanternError
from lantern_probe.stats import detectable_difference, mcnemar, mcnemar_power, required_n

RATES = st.tuples(st.floats(0.05, 1), st.floats(0, 1)).map(lambda x: (x[0], x[0] * x[1]))


@settings(max_examples=20)
@given(st.integers(0, 25), RATES, st.sampled_from([0.01, 0.05, 0.1]))
def test_power_by_going_through_every_table(
    n: int, rates: tuple[float, float], alpha: float
) -> None:
    discordance, difference = rates
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    tables = [(b, c, n - b - c) for b in range(n + 1) for c in range(n + 1 - b)]
    chance = multinomial.pmf(tables, n, np.array(shares) / sum(shares)).reshape(-1)
    reject = np.array([mcnemar(b, c).p <= alpha for b, c, _ in tables])
    expected = float(chance @ reject)
    assert mcnemar_power(n, discordance, difference, alpha=alpha) == pytest.approx(
        expected, abs=1e-9
    )


@pytest.mark.parametrize(
    ("n", "discordance", "difference"), [(265, 0.12, 0.06), (1200, 0.04, 0.01)]
)
def test_power_is_reached(n: int, discordance: float, difference: float) -> None:
    repetitions = 4000
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    counts = np.random.default_rng(0).multinomial(n, shares, size=repetitions).tolist()
    rate = np.mean([mcnemar(b, c).p <= 0.05 for b, c, _ in counts])
    stated = mcnemar_power(n, discordance, difference)
    assert rate == pytest.approx(stated, abs=3 * math.sqrt(stated * (1 - stated) / repetitions))


@pytest.mark.parametrize("n", [10, 50, 265, 5591])
def test_without_a_difference_power_is_below_the_level(n: int) -> None:
    for discordance in (0.01, 0.1, 0.5, 1):
        assert mcnemar_power(n, discordance, 0.0) <= 0.05


def test_power_of_known_extremes() -> None:
    assert mcnemar_power(0, 0.5, 0.1) == mcnemar_power(100, 0.0, 0.0) == 0
    assert mcnemar_power(6, 1.0, 1.0) == pytest.approx(1)  # 6:0, p = .031
    assert mcnemar_power(5, 1.0, 1.0) == 0  # 5:0, p = .0625
    # 5:0 at alpha .1, and both signs alike.
    assert mcnemar_power(5, 1.0, -1.0, alpha=0.1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("difference", "discordance"), [(0.02, 0.12), (0.05, 0.2), (0.3, 0.3), (0.4, 1.0), (-0.2, 1.0)]
)
def test_required_n_is_enough_and_no_more(difference: float, discordance: float) -> None:
    n = required_n(difference, discordance)
    assert mcnemar_power(n - 1, discordance, difference) < 0.8
    assert all(mcnemar_power(n + i, discordance, difference) >= 0.8 for i in range(300))


def test_required_n_is_near_the_textbook_approximation() -> None:
    # Connor (1987): the normal approximation without a continuity correction, which is too
    # optimistic for an exact test, and by little when many samples are discordant.
    z, w = 1.959964, 0.841621
    for difference, discordance in ((0.02, 0.12), (0.05, 0.3), (0.01, 0.05)):
        spread = z * math.sqrt(discordance) + w * math.sqrt(discordance - difference**2)
        approximate = (spread / difference) ** 2
        assert approximate < required_n(difference, discordance) < 1.08 * approximate


@settings(max_examples=25)
@given(st.integers(6, 2000), st.floats(0, 1), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_detectable_difference_is_detected(n: int, discordance: float, power: float) -> None:
    found = detectable_difference(n, discordance, power=power)
    assert found is not None
    assert found.discordance == max(discordance, found.difference)
    assert found.power == pytest.approx(power, abs=1e-4) and found.power >= power
    less = 0.98 * found.difference
    assert mcnemar_power(n, max(discordance, less), less) < power


def test_detectable_differences_at_the_published_sizes() -> None:
    # V* (n = 191) and VisCoT (n = 5,591) at a share of .05 and .12 discordant.
    small, large = detectable_difference(191, 0.05), detectable_difference(5591, 0.12)
    assert small is not None and small.difference == pytest.approx(0.045, abs=0.005)
    assert large is not None and large.difference == pytest.approx(0.0131, abs=0.0001)


def test_too_few_samples_detect_nothing() -> None:
    assert detectable_difference(5, 0.5) is None
    assert detectable_difference(0, 0.5) is None
    six = detectable_difference(6, 0.0)
    assert six is not None and six.difference == pytest.approx(0.8 ** (1 / 6), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcnemar_power(10, 0.1, 0.2), "cannot differ by 0.2"),
        (lambda: mcnemar_power(10, 1.5, 0.2), "share between 0 and 1"),
        (lambda: mcnemar_power(-1, 0.5, 0.2), "negative"),
        (lambda: mcnemar_power(10, 0.5, 0.2, alpha=0.0), "alpha"),
        (lambda: required_n(0.0, 0.1), "difference of 0"),
        (lambda: required_n(1e-5, 0.5), "more than 10,000,000 samples"),
        (lambda: required_n(0.1, 0.5, power=1.0), "power"),
        (lambda: detectable_difference(-1, 0.5), "negative"),
        (lambda: detectable_difference(10, -0.5), "share between 0 and 1"),
    ],
)
def test_refused(call, message: str) -> None:
    with pytest.raises(LanternError, match=message):
        call()
