"""Two looks at the data, at n/2 and n, that together keep a level (O'Brien & Fleming 1979)."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from lantern_probe.errors import LanternError


@cache
def look_levels(alpha: float) -> tuple[float, float]:
    """Two-sided levels of the two looks at which their union has the level alpha.

    The bound on z falls as 1 / sqrt(fraction of the data), so that the first look decides only on
    strong evidence and the last costs almost nothing: at .05 the levels are .0052 and .0480.

    Args:
        alpha: Two-sided level of both looks together, in (0, 1).

    Raises:
        LanternError: the level is out of range.

    Examples:
        >>> from lantern_probe.stats.looks import look_levels
        >>> first, last = look_levels(0.05)
        >>> print(f"{first:.4f} {last:.4f}")
        0.0052 0.0480
    """
    if not 0 < alpha < 1:
        raise LanternError(f"a level lies between 0 and 1, not at {alpha}")
    correlated = multivariate_normal(cov=np.array([[1.0, np.sqrt(0.5)], [np.sqrt(0.5), 1.0]]))

    def excess(z: float) -> float:
        upper = np.array([z * np.sqrt(2), z])
        inside = correlated.cdf(upper, lower_limit=-upper)
        return float(1 - inside - alpha)

    usual = float(norm.isf(alpha / 2))
    last = float(brentq(excess, usual, usual + 1, xtol=1e-8))
    return float(2 * norm.sf(last * np.sqrt(2))), float(2 * norm.sf(last))
