"""Axes to draw on, and results with made-up numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.stats import Difference, Ratio


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture
def difference() -> Callable[[float], Difference]:
    """A difference whose interval reaches 0.1 down and 0.2 up."""

    def make(estimate: float, n: int = 40) -> Difference:
        return Difference(n, n, estimate, estimate - 0.1, estimate + 0.2, 0.95, "bca", 2000, 0)

    return make


@pytest.fixture
def ratio() -> Callable[..., Ratio]:
    """A ratio whose interval reaches 0.1 down and 0.2 up, or one that is not defined."""

    def make(estimate: float, defined: bool = True, n: int = 40) -> Ratio:
        ends = (estimate - 0.1, estimate + 0.2) if defined else (-float("inf"), float("inf"))
        value = estimate if defined else float("nan")
        whole = (1.0, 0.5, 1.5) if defined else (0.0, -0.5, 0.5)
        return Ratio(n, n, value, *ends, 0.95, estimate, *whole, 9.0, defined)

    return make
