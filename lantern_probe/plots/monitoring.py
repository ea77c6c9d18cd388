"""Figures of a monitored training: the card's numbers over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from lantern_probe.analysis.monitoring import PREFIX, log_key
from lantern_probe.errors import LanternError, named
from lantern_probe.plots.style import SERIES, axes_or_new, bare, legend_below, whole_ticks


def plot_monitor(
    history: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    *,
    names: Sequence[str] = ("follows", "sees", "needed"),
) -> Axes:
    """Draw estimates over the steps of a training, each with the band of its 95 % interval.

    A look at which an estimate had too few pairs leaves a gap in its line.

        >>> look = {"monitor/follows": 0.5, "monitor/follows_low": 0.3, "monitor/follows_high": 0.7}
        >>> history = [{"step": step, "monitor/follows_n": 64, **look} for step in (0, 20)]
        >>> ax = plot_monitor([*history, {"step": 20, "loss": 1.0}], names=["follows"])
        >>> ax.lines[0].get_xdata().tolist()
        [0, 20]

    Args:
        history: Entries of a trainer's log, `trainer.state.log_history`; those without numbers of
            a monitor are passed over.
        ax: Axes to draw on; those of a new figure by default.
        names: Names of the estimates to draw, as on the card.

    Raises:
        LanternError: no entry has any numbers of a monitor, or a name is none of an estimate.
    """
    looks = [entry for entry in history if any(key.startswith(PREFIX) for key in entry)]
    if not looks:
        raise LanternError(
            "no entry of this history has numbers of a monitor; pass trainer.state.log_history of "
            "a training with a MonitorCallback"
        )
    keys = {name: log_key(name) for name in names}
    unknown = [name for name, key in keys.items() if not any(f"{key}_n" in e for e in looks)]
    if unknown:
        raise LanternError(f"the monitor logs no {named(unknown)}; names are those of the card")
    ax = axes_or_new(ax)
    steps = [look["step"] for look in looks]
    for index, (name, key) in enumerate(keys.items()):
        color = SERIES[index % len(SERIES)]
        middle, low, high = (
            [look.get(f"{key}{end}", float("nan")) for look in looks]
            for end in ("", "_low", "_high")
        )
        ax.plot(steps, middle, "o-", color=color, lw=1.6, ms=4, clip_on=False, label=name)
        ax.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
    ax.set_xlabel("step")
    ax.set_ylabel("share (95 % interval)")
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), 1.0)
    whole_ticks(ax)
    legend_below(ax, ncols=len(keys))
    return bare(ax)
