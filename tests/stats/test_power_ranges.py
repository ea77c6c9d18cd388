"""Power, n and the detectable difference take any value of their range, and ties reject."""

from __future__ import annotations

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.stats import detectable_difference, mcnemar, mcnemar_power, power, required_n

SUBNORMAL, TINY, BELOW_ONE = 5e-324, 2.2e-308, 1 - 2**-53
INSIDE = [SUBNORMAL, TINY, 1e-17, 0.5, BELOW_ONE]
"""Edges of the open interval (0, 1)."""


@pytest.mark.parametrize("n", [0, 1, 6, 191, 10**6, 10**9, 10**12])
@pytest.mark.parametrize("discordance", [0.0, *INSIDE, 1.0])
def test_power_at_any_rate(n: int, discordance: float) -> None:
    for alpha in (SUBNORMAL, TINY, 0.05, BELOW_ONE):
        powers = [
            mcnemar_power(n, discordance, share * discordance, alpha=alpha)
            for share in (0.0, 0.5, 1.0)
        ]
        assert 0 <= powers[0] <= 1 and 0 <= powers[2] <= 1
        assert powers[0] <= powers[1] + 1e-4 and powers[1] <= powers[2] + 1e-4
        assert powers[0] <= alpha + 1e-4


def test_equally_spaced_numbers_of_discordant_samples_stand_for_all(monkeypatch) -> None:
    cases = [(30_000_000, 0.5, 0.0003), (30_000_000, 0.5, 0.0), (90_000_000, 0.25, 0.0002)]
    spaced = [mcnemar_power(*case) for case in cases]
    monkeypatch.setattr(power, "_SIZES", 10**9)
    assert spaced == pytest.approx([mcnemar_power(*case) for case in cases], abs=1e-4)


@pytest.mark.parametrize("toss", range(2, 12))
def test_a_p_value_equal_to_the_level_rejects(toss: int) -> None:
    """n : 0 has p = 2^(1 - n), which is alpha here, to the bit."""
    alpha = 2.0 ** (1 - toss)
    assert mcnemar(toss, 0).p == alpha
    assert mcnemar_power(toss, 1.0, 1.0, alpha=alpha) == 1
    assert required_n(1.0, 1.0, alpha=alpha) == toss
    assert mcnemar_power(toss, 1.0, 1.0, alpha=math.nextafter(alpha, 0)) == 0


def test_a_difference_that_is_the_discordance_up_to_rounding_is_allowed() -> None:
    assert mcnemar_power(100, 0.3, 0.1 + 0.2) == mcnemar_power(100, 0.3, 0.3)
    with pytest.raises(LanternError, match="cannot differ"):
        mcnemar_power(100, 0.3, 0.3001)


@settings(max_examples=25)
@given(
    st.integers(0, 20_000) | st.integers(0, 40),
    st.floats(0, 1) | st.sampled_from([0.0, *INSIDE, 1.0]),
    st.sampled_from(INSIDE),
    st.sampled_from([SUBNORMAL, 1e-9, 0.05, BELOW_ONE]),
)
def test_a_detectable_difference_at_any_rate(
    n: int, discordance: float, power: float, alpha: float
) -> None:
    found = detectable_difference(n, discordance, power=power, alpha=alpha)
    if found is None:
        assert mcnemar_power(n, 1.0, 1.0, alpha=alpha) < power
    else:
        assert 0 <= found.difference <= found.discordance <= 1
        assert power <= found.power <= 1


@pytest.mark.parametrize("power", INSIDE)
@pytest.mark.parametrize("difference", INSIDE)
def test_required_n_at_any_rate(difference: float, power: float) -> None:
    for discordance in (difference, 1.0):
        # Half a discordant sample is expected among the ten million at which the search ends.
        if difference < 1e-7:
            with pytest.raises(LanternError, match="more than 10,000,000 samples"):
                required_n(difference, discordance, power=max(power, 0.06))
        else:
            n = required_n(difference, discordance, power=power)
            assert mcnemar_power(n, discordance, difference) >= power * (1 - 1e-12)


@pytest.mark.slow
def test_the_detectable_difference_of_very_many_samples() -> None:
    found = detectable_difference(10**12, 0.5)
    assert found is not None and found.power == pytest.approx(0.8, abs=1e-6)
    z = scipy.stats.norm.isf(0.025) + scipy.stats.norm.isf(0.2)
    assert found.difference == pytest.approx(z * math.sqrt(0.5 / 10**12), rel=1e-3)


def test_required_n_at_any_level() -> None:
    assert required_n(1.0, 1.0, alpha=SUBNORMAL) == 1075
    assert required_n(1.0, 1.0, alpha=BELOW_ONE) == 2


@pytest.mark.parametrize("n", [-1, 10**12 + 1])
def test_numbers_of_samples_out_of_range_are_refused(n: int) -> None:
    for call in (lambda: mcnemar_power(n, 0.5, 0.1), lambda: detectable_difference(n, 0.5)):
        with pytest.raises(LanternError, match="n cannot be negative|at most 1,000,000,000,000"):
            call()
