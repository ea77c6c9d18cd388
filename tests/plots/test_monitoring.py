"""A monitored training is drawn from what the trainer logged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.plots.monitoring import plot_monitor


def entry(step: int, value: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {"step": step, "monitor/carries_over_n": 20}
    if value is not None:
        key = "monitor/carries_over"
        found |= {key: value, f"{key}_low": value - 0.1, f"{key}_high": value + 0.1}
    return found


def test_a_curve_has_its_band_and_gaps_without_a_value(ax) -> None:
    history = [entry(0, -0.1), {"step": 0, "loss": 1.0}, entry(5, None), entry(10, 0.5)]
    assert plot_monitor(history, ax, names=["carries over"]) is ax
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [0, 5, 10]
    assert np.asarray(line.get_ydata(), float)[[0, 2]].tolist() == [-0.1, 0.5]
    assert np.isnan(np.asarray(line.get_ydata(), float)[1])
    assert len(ax.collections) == 1
    assert ax.get_ylim()[0] <= -0.2 and ax.get_ylim()[1] == 1.0
    assert ax.get_legend().get_texts()[0].get_text() == "carries over"


def test_a_history_without_a_monitor_is_refused() -> None:
    with pytest.raises(LanternError, match="log_history"):
        plot_monitor([{"step": 1, "loss": 1.0}])


def test_a_name_that_is_no_estimate_is_refused() -> None:
    with pytest.raises(LanternError, match="no folows"):
        plot_monitor([entry(0, 0.5)], names=["folows"])
