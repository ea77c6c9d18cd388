"""Contribution of each pair of twins to each estimand: its gain and its loss.

A pair's two directions are averaged: one that gains in one direction only has a gain of 1/2. The
rows are those of one run on pairs of twins (`analysis.estimands`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.analysis.battery import REMOVALS
from lantern_probe.analysis.exchange import OWN, SHAM, by_condition
from lantern_probe.records.rows import Row


@dataclass(frozen=True)
class Unit:
    """Contribution of one pair to one estimand.

    Attributes:
        gain: Fraction of its directions that gain, in [0, 1].
        loss: Fraction of its directions that lose, in [0, 1].
        cluster: Key shared by pairs of one image.
        category: Category of its questions; None without one.
    """

    gain: float
    loss: float
    cluster: Any
    category: str | None = None


Pair = tuple[str, ...]
"""Ids of a sample and its twin, sorted; of a sample without a twin, its own."""

Units = Mapping[str, Mapping[Pair, Unit]]
"""Contributions by estimand and pair."""


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

    @property
    def pair(self) -> Pair:
        """The key of its pair."""
        return tuple(sorted((self.own["sample"], self.donor["sample"])))


Gain = tuple[float, float]
"""Gain and loss of one direction, 0 or 1 each."""


def pair_units(rows: Sequence[Row]) -> dict[str, dict[Pair, Unit]]:
    """Compute what every pair contributes to every estimand.

    Args:
        rows: Rows of one run on pairs of twins.

    Raises:
        LanternError: none of the own rows has a block.
    """
    table = by_condition(rows)
    gains = _gains_of_pairs(directions(table)) | _gains_of_samples(table)
    units: dict[str, dict[Pair, Unit]] = {}
    for name, found in gains.items():
        pairs: dict[Pair, list[tuple[Row, Gain]]] = {}
        for pair, row, gain in found:
            pairs.setdefault(pair, []).append((row, gain))
        units[name] = {
            pair: Unit(
                sum(gain for _, (gain, _) in both) / len(both),
                sum(loss for _, (_, loss) in both) / len(both),
                both[0][0]["cluster"],
                both[0][0].get("category"),
            )
            for pair, both in pairs.items()
        }
    return units


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


Gains = dict[str, list[tuple[Pair, Row, Gain]]]


def _gains_of_pairs(found: Sequence[Direction]) -> Gains:
    measures: dict[str, Callable[[Direction], Gain | None]] = {
        "sees": lambda d: _share(_differ(d.own, d.donor)) if d.donor_gold else None,
        "follows": _follows,
        "carries over": _carries_over,
        "could carry": _could_carry,
        "gap": _gap,
        "depends": lambda d: _depends(d, d.exchanged),
        "depends-oracle": lambda d: _depends(d, d.oracle),
    }
    gains: Gains = {}
    for name, measure in measures.items():
        each = [(d, measure(d)) for d in found]
        gains[name] = [(d.pair, d.own, gain) for d, gain in each if gain is not None]
    return gains


def _gains_of_samples(table: Mapping[str, Mapping[str, Row]]) -> Gains:
    own, sham = table[OWN], table.get(SHAM, {})
    twins = {key: str(row.get("donor")) for key, row in table.get("twin", {}).items()}

    def pair_of(key: str) -> Pair:
        return tuple(sorted({key, twins.get(key, key)}))

    gains: Gains = {}
    for name, label in REMOVALS.items():
        gains[name] = [
            (pair_of(key), own[key], _minus(_differ(row, own[key]), _differ(sham[key], own[key])))
            for key, row in table.get(label, {}).items()
            if key in own and key in sham
        ]
    gains["headroom"] = [
        (pair_of(key), own[key], _minus(bool(row["correct"]), bool(own[key]["correct"])))
        for key, row in table.get("oracle", {}).items()
        if key in own and row.get("correct") is not None
    ]
    return gains


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


def _carries_over(direction: Direction) -> Gain | None:
    if direction.donor_gold is None or direction.sham is None:
        return None
    hit, by_itself = (
        row["answer"] == direction.donor_gold for row in (direction.exchanged, direction.sham)
    )
    return _minus(hit, by_itself)


def _could_carry(direction: Direction) -> Gain | None:
    if direction.donor_gold is None or direction.oracle is None:
        return None
    return _share(direction.oracle["answer"] == direction.donor_gold)


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
