"""Two looks: together they keep the level, and the published bounds come out."""

import numpy as np
import pytest
from scipy.stats import norm

from lantern_probe.errors import LanternError
from lantern_probe.stats.looks import look_levels


def test_the_bounds_are_those_of_obrien_and_fleming():
    # Jennison & Turnbull (2000), table 2.3: K = 2, alpha = .05, C_B = 1.977.
    first, last = look_levels(0.05)
    assert norm.isf(last / 2) == pytest.approx(1.977, abs=5e-4)
    assert norm.isf(first / 2) == pytest.approx(1.977 * np.sqrt(2), abs=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_both_looks_together_keep_the_level(alpha):
    stream = np.random.default_rng(0)
    half, rest = stream.standard_normal((2, 400_000))
    first, last = look_levels(alpha)
    beyond = np.abs(half) > norm.isf(first / 2)
    beyond |= np.abs((half + rest) / np.sqrt(2)) > norm.isf(last / 2)
    assert beyond.mean() == pytest.approx(alpha, abs=4 * np.sqrt(alpha / 400_000))


@pytest.mark.parametrize("alpha", [0, 1, float("nan")])
def test_a_level_out_of_range_is_refused(alpha):
    with pytest.raises(LanternError, match="between 0 and 1"):
        look_levels(alpha)
