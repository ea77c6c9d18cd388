"""Rows of a condition that draws at random, under several seeds: pooled, and paired with others.

A label names the seed of its condition and that of its corruption (`swap:seed=1`,
`own@swap-image:seed=2`); a label without one has seed 0. Labels that differ in seeds alone are one
condition, whose measures are means over samples and seeds. Their intervals are two-way
(`stats.two_way`): they count that other seeds would have been drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from statistics import fmean
from typing import Any

from lantern_probe.records.rows import Row, pass_of
from lantern_probe.stats import Difference, SignFlip, mean_difference, sign_flip_test
from lantern_probe.stats.two_way import TwoWayTest, two_way_mean

Seeds = tuple[int, int]
"""Seed of a condition and seed of its corruption; 0 where the label names none."""

Unit = tuple[Any, int, Seeds]
"""Sample, pass and seeds of one text of a condition."""


@cache
def split_seeds(label: str) -> tuple[str, Seeds]:
    """A label without its seeds, and the seeds.

    >>> split_seeds("swap:seed=1")
    ('swap', (1, 0))
    >>> split_seeds("noise:scale=2@swap-image:seed=3")
    ('noise:scale=2@swap-image', (0, 3))
    """
    condition, at, corruption = label.partition("@")
    first, one = _without_seed(condition)
    second, two = _without_seed(corruption)
    return f"{first}{at}{second}", (one, two)


def _without_seed(text: str) -> tuple[str, int]:
    name, _, settings = text.partition(":")
    kept, seed = [], 0
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        if key == "seed" and value.isdecimal():
            seed = int(value)
        else:
            kept.append(setting)
    return (f"{name}:{','.join(kept)}" if kept else name), seed


def seeds_of(row: Row) -> Seeds:
    """The seeds that a row's label names."""
    return split_seeds(row["condition"])[1]


def pools(labels: Iterable[str]) -> dict[str, list[str]]:
    """Put labels that differ in seeds alone together, in the order in which they come.

        >>> pools(["own", "swap", "swap:seed=1", "noise:seed=3"])
        {'own': ['own'], 'swap': ['swap', 'swap:seed=1'], 'noise:seed=3': ['noise:seed=3']}

    Returns:
        The labels of each condition, by the label without seeds; a condition of one seed keeps its
        label as it is.
    """
    found: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        found.setdefault(split_seeds(label)[0], []).append(label)
    return {name if len(some) > 1 else some[0]: some for name, some in found.items()}


def by_pool(rows: Iterable[Row], labels: Mapping[str, Sequence[str]]) -> dict[str, dict[Unit, Row]]:
    """Sort rows by condition and unit.

    Args:
        rows: Rows of one model.
        labels: Labels of each condition, as `pools` gives them.
    """
    pool_of = {label: name for name, some in labels.items() for label in some}
    found: dict[str, dict[Unit, Row]] = {name: {} for name in labels}
    for row in rows:
        name = pool_of.get(row["condition"])
        if name is not None:
            found[name][row["sample"], pass_of(row), seeds_of(row)] = row
    return found


def matched(rows: Mapping[Unit, Row], others: Mapping[Unit, Row]) -> dict[Unit, Row]:
    """The rows of another condition that texts of a condition are compared with.

    They are those of the same sample and pass. A seed that varies in both must be the same, such as
    that of the image under which both were run; a condition of one seed is held against all.

    Args:
        rows: Rows of a condition, by unit.
        others: Rows of the other condition, of one seed or of those that `rows` has.

    Returns:
        Rows of `others` by the unit of `rows`; units without one are missing.
    """
    same = [place for place in (0, 1) if _varies(rows, place) and _varies(others, place)]
    known = {(sample, number, tuple(seeds[p] for p in same)): row
             for (sample, number, seeds), row in others.items()}  # fmt: skip
    found = {}
    for sample, number, seeds in rows:
        row = known.get((sample, number, tuple(seeds[p] for p in same)))
        if row is not None:
            found[sample, number, seeds] = row
    return found


def _varies(rows: Iterable[Unit], place: int) -> bool:
    return len({unit[2][place] for unit in rows}) > 1


def by_seed(rows: Iterable[Row]) -> dict[Seeds, float]:
    """Share of right answers under each seed.

    Args:
        rows: Rows of one condition that count.
    """
    found: dict[Seeds, list[bool]] = {}
    for row in rows:
        found.setdefault(seeds_of(row), []).append(bool(row["correct"]))
    return {seeds: sum(some) / len(some) for seeds, some in sorted(found.items())}


def units_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Sample, cluster and seeds of each row, as the functions of `stats.passes` take them."""
    return {
        "samples": [row["sample"] for row in rows],
        "clusters": [row["cluster"] for row in rows],
        "seeds": [seeds_of(row) for row in rows],
    }


def mean_of_rows(
    values: Sequence[tuple[Row, float]],
) -> tuple[Difference, SignFlip | TwoWayTest]:
    """Mean of a measure of rows, with its interval and the test that it is 0.

    Under one seed the interval is the studentised bootstrap of `mean_difference`, and the test
    flips the signs of whole clusters. Under several both are two-way (`two_way_mean`), and p is no
    less than that of the flipped means over seeds.

    Args:
        values: Rows of one condition, at least one, and the value of each.
    """
    unit, numbers = units_of([row for row, _ in values]), [value for _, value in values]
    if len(set(unit["seeds"])) > 1:
        found = two_way_mean(numbers, **unit)
        means: dict[Any, list[float]] = {}
        for row, value in values:
            means.setdefault((row["sample"], row["cluster"]), []).append(value)
        flips = sign_flip_test([fmean(some) for some in means.values()], [c for _, c in means])
        return found.difference, replace(found.test, p=max(found.test.p, flips.p))
    images = unit["clusters"]
    return mean_difference(numbers, images), sign_flip_test(numbers, images)
