"""Estimands on which a conclusion about a model's latents rests, from rows.

The rows are those of an ablation on pairs of twins (`tasks.twins`). Every estimand is a share of
pairs, or of samples, or the difference of two such shares on the same ones; the definitions are in
docs/methods.md, The conclusion. The pair is the unit: its two directions are averaged first, since
intervals that count them as two observations are too narrow.

A *gold pair* is one whose edit changes the right answer, an *answer pair* one whose two own-run
answers differ. The sham, a sample's own latents put back, is subtracted where an answer could
change without a cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lantern_probe.analysis.exchange import OWN
from lantern_probe.analysis.pair_units import Unit, pair_units
from lantern_probe.records.rows import Row
from lantern_probe.stats.clusters import outcome_effect
from lantern_probe.stats.fractions import fraction_interval, mean_interval
from lantern_probe.stats.looks import look_levels

FEWEST = 20
"""Pairs below which an estimand has no value."""

STATEMENTS = 10
"""Number of estimands that readings use, over which simultaneous intervals hold together."""

ABOUT = {
    "sees": "gold pairs whose two own-run answers differ",
    "follows": "answer pairs that give the donor's own answer when all slots are exchanged",
    "carries over": "gold pairs that give the donor's right answer when exchanged, minus the sham",
    "could carry": "gold pairs that give it under the donor's oracle latents",
    "gap": "gold pairs: could carry minus the same share under own exchange",
    "depends": "gold pairs that change their answer when exchanged, minus the sham",
    "depends-oracle": "the same under the donor's oracle latents",
    "needed": "samples that change their answer when the slots are masked, minus the sham",
    "block": "samples that change their answer without the block, minus the sham",
    "markers": "samples that change their answer without the block's markers, minus the sham",
    "headroom": "samples that oracle latents make right, minus those they make wrong",
}
"""Every estimand with the words for a table, in the order in which they are shown."""


@dataclass(frozen=True)
class Estimate:
    """An estimand with its intervals.

    Attributes:
        name: Name of the estimand, one of `ABOUT`.
        value: Share, or difference of two shares; None with fewer than `FEWEST` units.
        low: Lower end of its own interval, at the level asked for (.95 by default).
        high: Upper end of that interval.
        simultaneous_low: Lower end of the interval that holds together with those of all others.
        simultaneous_high: Upper end of that interval.
        n: Number of units: pairs, or samples without a twin.
        gains: Fraction of each unit that gains, [n].
        losses: Fraction of each unit that loses, [n].
        clusters: Image of each unit, [n].
    """

    name: str
    value: float | None
    low: float
    high: float
    simultaneous_low: float
    simultaneous_high: float
    n: int
    gains: tuple[float, ...] = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)
    clusters: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True)
class Look:
    """Moment at which rows are looked at, which decides the level of simultaneous intervals.

    Attributes:
        alpha: Two-sided error that all intervals of all looks share, in (0, 1); default 0.05.
        number: 1 for half of the pairs, 2 (default) for all of them.
        of: Number of looks, 1 or 2 (default).
    """

    alpha: float = 0.05
    number: int = 2
    of: int = 2

    @property
    def tail(self) -> float:
        """Probability beyond either end of one simultaneous interval."""
        shared = self.alpha / STATEMENTS
        return (shared if self.of == 1 else look_levels(shared)[self.number - 1]) / 2


def estimates(
    rows: Sequence[Row], look: Look | None = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimate everything on which a conclusion rests.

    Args:
        rows: Rows of one run on pairs of twins, with the conditions of `CONDITIONS`; without some
            of these, their estimands have no units.
        look: Moment of the look; all pairs after an earlier look by default.
        level: Level of each interval by itself, default 0.95.

    Returns:
        Estimates by name, in the order of `ABOUT`.

    Raises:
        LanternError: none of the own rows has a block.
    """
    units = pair_units(rows)
    some = {name: list(found.values()) for name, found in units.items()}
    return from_units(some, look, level=level)


def from_units(
    units: Mapping[str, Sequence[Unit]], look: Look | None = None, *, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimate everything from the contributions of pairs.

    Args:
        units: Contributions by estimand.
        look: Moment of the look; all pairs after an earlier look by default.
        level: Level of each interval by itself, default 0.95.
    """
    tails = (1 - level) / 2, (look or Look()).tail
    return {name: _estimate(name, units.get(name, ()), *tails) for name in ABOUT}


def by_category(
    rows: Sequence[Row], look: Look | None = None, *, level: float = 0.95
) -> dict[str, dict[str, Estimate]]:
    """Estimate everything within each category of questions.

    The arguments are those of `estimates`. Categories none of whose own rows has a block are left
    out. Simultaneous intervals hold together within a category.
    """
    names = sorted({str(row["category"]) for row in rows if row.get("category") is not None})
    found = {}
    for name in names:
        some = [row for row in rows if str(row.get("category")) == name]
        if any(row["condition"] == OWN and row.get("emitted") for row in some):
            found[name] = estimates(some, look, level=level)
    return found


SHARES = ("sees", "follows", "could carry")
"""Estimands that are a share of units, with nothing subtracted."""


def _estimate(name: str, units: Sequence[Unit], tail: float, together: float) -> Estimate:
    gains = [unit.gain for unit in units]
    losses = [unit.loss for unit in units]
    clusters = [unit.cluster for unit in units]
    lost = None if name in SHARES else losses
    value, low, high = fraction_interval(gains, lost, clusters, tail=tail)
    _, lowest, highest = fraction_interval(gains, lost, clusters, tail=together)
    n = len(units)
    return Estimate(
        name,
        value if n >= FEWEST else None,
        low,
        high,
        lowest,
        highest,
        n,
        tuple(gains),
        tuple(losses),
        tuple(clusters),
    )


def scaled(estimate: Estimate, factor: float, look: Look | None = None) -> Estimate:
    """The estimate as it would be with more units of the same shares.

    Args:
        estimate: The estimate.
        factor: Number of times as many units, at least 1.
        look: Moment of the look; all pairs by default.
    """
    if not estimate.n:  # no shares to hold on to
        return estimate
    gain, loss = sum(estimate.gains), sum(estimate.losses)
    differences = [g - c for g, c in zip(estimate.gains, estimate.losses, strict=True)]
    effect, _ = outcome_effect(np.array(differences), list(estimate.clusters))
    tail, n = (look or Look()).tail, estimate.n * factor
    low, high = mean_interval(
        gain * factor, loss * factor, n, effect, tail, share=estimate.name in SHARES
    )
    value = (gain - loss) / estimate.n if n >= FEWEST else None
    return replace(estimate, value=value, simultaneous_low=low, simultaneous_high=high, n=int(n))
