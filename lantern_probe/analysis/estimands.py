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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lantern_probe.analysis.exchange import OWN, SHAM, by_condition
from lantern_probe.records.rows import Row
from lantern_probe.stats.clusters import design_effect
from lantern_probe.stats.fractions import fraction_interval, mean_interval, share_interval
from lantern_probe.stats.looks import look_levels

FEWEST = 20
"""Pairs below which an estimand has no value."""

STATEMENTS = 10
"""Number of estimands that readings use, over which simultaneous intervals hold together."""

REMOVALS = {"needed": "mask", "block": "skip", "markers": "ban"}
"""Estimands of what happens when something is taken away, with the condition that does it."""

CONDITIONS = (OWN, SHAM, "twin", "twin-oracle", "oracle", *REMOVALS.values())
"""The conditions of the rows from which all estimands are computed."""

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


@dataclass(frozen=True)
class Direction:
    """One direction of a pair: a sample that gets its twin's latents.

    Attributes:
        own: Its row with its own latents.
        donor: The twin's row with the twin's own latents.
        sham: Its row with its own latents put back; None if it was not run.
        exchanged: Its row with the twin's latents.
        oracle: Its row with the twin's oracle latents; None if it was not run.
        donor_gold: Right answer of the twin, where the edit determines it and it differs; else
            None.
    """

    own: Row
    donor: Row
    sham: Row | None
    exchanged: Row
    oracle: Row | None
    donor_gold: str | None


Gain = tuple[float, float]
"""Gain and loss of one direction, 0 or 1 each."""


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
    table = by_condition(rows)
    moment = look or Look()
    units = _pair_units(directions(table)) | _sample_units(table)
    tails = (1 - level) / 2, moment.tail
    return {name: _estimate(name, units.get(name, []), *tails) for name in ABOUT}


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


def directions(table: Mapping[str, Mapping[str, Row]]) -> list[Direction]:
    """The directions of all pairs that ran with their own and with each other's latents.

    Args:
        table: Rows by condition and sample.
    """
    own, found = table[OWN], []
    for sample, exchanged in table.get("twin", {}).items():
        donor = own.get(str(exchanged.get("donor")))
        if sample not in own or donor is None:
            continue
        gold = exchanged.get("donor_answer")
        right = own[sample].get("gold")
        found.append(
            Direction(
                own[sample],
                donor,
                table.get(SHAM, {}).get(sample),
                exchanged,
                table.get("twin-oracle", {}).get(sample),
                gold if None not in (gold, right) and gold != right else None,
            )
        )
    return found


def _pair_units(found: Sequence[Direction]) -> dict[str, list[list[tuple[Row, Gain]]]]:
    """For every estimand of pairs, the gains of every pair's directions."""
    measures: dict[str, Callable[[Direction], Gain | None]] = {
        "sees": lambda d: _share(_differ(d.own, d.donor)) if d.donor_gold else None,
        "follows": _follows,
        "carries over": lambda d: _carries_over(d, d.exchanged),
        "could carry": lambda d: _gold_share(d, d.oracle),
        "gap": _gap,
        "depends": lambda d: _depends(d, d.exchanged),
        "depends-oracle": lambda d: _depends(d, d.oracle),
    }
    units: dict[str, list[list[tuple[Row, Gain]]]] = {}
    for name, measure in measures.items():
        pairs: dict[frozenset[str], list[tuple[Row, Gain]]] = {}
        for direction in found:
            gain = measure(direction)
            if gain is not None:
                pair = frozenset((direction.own["sample"], direction.donor["sample"]))
                pairs.setdefault(pair, []).append((direction.own, gain))
        units[name] = list(pairs.values())
    return units


def _sample_units(
    table: Mapping[str, Mapping[str, Row]],
) -> dict[str, list[list[tuple[Row, Gain]]]]:
    """For every estimand of samples, their gains, a sample and its twin together."""
    own, sham = table[OWN], table.get(SHAM, {})
    twin_of = {key: str(row.get("donor")) for key, row in table.get("twin", {}).items()}
    gains: dict[str, dict[str, Gain]] = {}
    for name, label in REMOVALS.items():
        gains[name] = {
            key: _minus(_differ(row, own[key]), _differ(sham[key], own[key]))
            for key, row in table.get(label, {}).items()
            if key in own and key in sham
        }
    gains["headroom"] = {
        key: _minus(bool(row["correct"]), bool(own[key]["correct"]))
        for key, row in table.get("oracle", {}).items()
        if key in own and row.get("correct") is not None
    }
    units: dict[str, list[list[tuple[Row, Gain]]]] = {}
    for name, values in gains.items():
        pairs: dict[frozenset[str], list[tuple[Row, Gain]]] = {}
        for key, gain in values.items():
            pair = frozenset((key, twin_of.get(key, key)))
            pairs.setdefault(pair, []).append((own[key], gain))
        units[name] = list(pairs.values())
    return units


def _differ(one: Row, other: Row) -> bool:
    return bool(one["answer"] != other["answer"])


def _minus(one: bool, other: bool) -> Gain:
    return float(one and not other), float(other and not one)


def _share(hit: bool) -> Gain:
    return float(hit), 0.0


def _follows(direction: Direction) -> Gain | None:
    given, wanted = direction.own["answer"], direction.donor["answer"]
    if None in (given, wanted) or given == wanted:
        return None
    return _share(direction.exchanged["answer"] == wanted)


def _carries_over(direction: Direction, row: Row) -> Gain | None:
    if direction.donor_gold is None or direction.sham is None:
        return None
    hit, by_itself = (one["answer"] == direction.donor_gold for one in (row, direction.sham))
    return _minus(hit, by_itself)


def _gold_share(direction: Direction, row: Row | None) -> Gain | None:
    if direction.donor_gold is None or row is None:
        return None
    return _share(row["answer"] == direction.donor_gold)


def _gap(direction: Direction) -> Gain | None:
    if direction.donor_gold is None or direction.oracle is None:
        return None
    could, did = (
        row["answer"] == direction.donor_gold for row in (direction.oracle, direction.exchanged)
    )
    return _minus(could, did)


def _depends(direction: Direction, row: Row | None) -> Gain | None:
    if direction.donor_gold is None or direction.sham is None or row is None:
        return None
    return _minus(_differ(row, direction.own), _differ(direction.sham, direction.own))


SHARES = ("sees", "follows", "could carry")
"""Estimands that are a share of units, with nothing subtracted."""


def _estimate(
    name: str, units: Sequence[Sequence[tuple[Row, Gain]]], tail: float, together: float
) -> Estimate:
    gains = [sum(gain for _, (gain, _) in unit) / len(unit) for unit in units]
    losses = [sum(loss for _, (_, loss) in unit) / len(unit) for unit in units]
    clusters = [unit[0][0]["cluster"] for unit in units]
    value, low, high = _interval(name, gains, losses, clusters, tail)
    _, lowest, highest = _interval(name, gains, losses, clusters, together)
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


def _interval(
    name: str,
    gains: Sequence[float],
    losses: Sequence[float],
    clusters: Sequence[Any],
    tail: float,
) -> tuple[float, float, float]:
    if name in SHARES:
        return share_interval(gains, clusters, tail=tail)
    return fraction_interval(gains, losses, clusters, tail=tail)


def scaled(estimate: Estimate, factor: float, look: Look | None = None) -> Estimate:
    """The estimate as it would be with more units of the same shares.

    Args:
        estimate: The estimate.
        factor: Number of times as many units, at least 1.
        look: Moment of the look; all pairs by default.
    """
    gain, loss = sum(estimate.gains), sum(estimate.losses)
    effect = 1.0
    if estimate.n:
        differences = [g - c for g, c in zip(estimate.gains, estimate.losses, strict=True)]
        effect, _ = design_effect(np.array(differences), list(estimate.clusters))
    tail, n = (look or Look()).tail, estimate.n * factor
    low, high = mean_interval(
        gain * factor, loss * factor, n, effect, tail, share=estimate.name in SHARES
    )
    value = (gain - loss) / estimate.n if n >= FEWEST else None
    return replace(estimate, value=value, simultaneous_low=low, simultaneous_high=high, n=int(n))
