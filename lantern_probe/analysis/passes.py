"""Rows of sampled decoding: several texts of one sample under one condition, by pass.

Conditions are paired by sample and pass. Every measure is first averaged over the passes of a
sample, and then over samples (`stats.passes`). Rows of greedy decoding are rows of one pass. Texts
under several seeds of a condition (`analysis.seeds`) are averaged alike, and intervals and tests
count the spread between seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lantern_probe.analysis.seeds import Unit, seeds_of
from lantern_probe.records.rows import Row, pass_of
from lantern_probe.stats import Proportion, mcnemar
from lantern_probe.stats.passes import (
    mean_accuracy_difference,
    mean_accuracy_equivalence,
    mean_share,
    mean_test,
)


def unit_of(row: Row) -> tuple[Any, int]:
    """The sample and the pass of a row."""
    return row["sample"], pass_of(row)


def sample_count(rows: Iterable[Row]) -> int:
    """Number of samples among some rows."""
    return len({row["sample"] for row in rows})


def share_of(outcomes: Sequence[tuple[Row, bool]]) -> Proportion:
    """Share of texts, averaged over passes and then over samples, with a 95 % Wilson interval.

    Samples of one image are not independent, and neither are the passes of a sample.

    Args:
        outcomes: Rows of one condition, and the property of each.
    """
    images = [row.get("cluster") for row, _ in outcomes]
    return mean_share(
        [hit for _, hit in outcomes],
        [row["sample"] for row, _ in outcomes],
        None if None in images else images,
        seeds=[seeds_of(row) for row, _ in outcomes],
    )


def mean_of(values: Sequence[tuple[Row, float]]) -> float | None:
    """Mean over samples of the mean over their texts; None without any.

    Args:
        values: Rows of one condition, and the value of each.
    """
    if not values:
        return None
    means = sample_means([(row["sample"], value) for row, value in values])
    return sum(means.values()) / len(means)


def sample_means(values: Iterable[tuple[Any, float]]) -> dict[Any, float]:
    """Mean of the values of each sample.

    Args:
        values: Samples, and the value of each of their texts.
    """
    found: dict[Any, list[float]] = {}
    for sample, value in values:
        found.setdefault(sample, []).append(value)
    return {sample: sum(some) / len(some) for sample, some in found.items()}


def by_pass(rows: Iterable[Row]) -> dict[int, float]:
    """Share of right answers in each pass, by index of the pass.

    Args:
        rows: Rows of one condition that count.
    """
    found: dict[int, list[bool]] = {}
    for row in rows:
        found.setdefault(pass_of(row), []).append(bool(row["correct"]))
    return {number: sum(some) / len(some) for number, some in sorted(found.items())}


def compared(
    rows: Mapping[Unit, Row], reference: Mapping[Unit, Row], *, margin: float, alpha: float
) -> dict[str, Any]:
    """Compare right answers with those of a reference, on the texts that count in both.

    Args:
        rows: Rows of a condition that count.
        reference: Rows of its reference that count, by the same units (`seeds.matched`).
        margin: Margin of equivalence.
        alpha: Level of the claim of equivalence.

    Returns:
        `difference`, `test`, `equivalence`, and `mcnemar`, which is None for several passes or
        seeds: its counts are of samples that are right or wrong. All are None where no text counts
        in both.
    """
    shared = [unit for unit in rows if unit in reference]
    if not shared:
        return {"difference": None, "mcnemar": None}
    this = [bool(rows[unit]["correct"]) for unit in shared]
    other = [bool(reference[unit]["correct"]) for unit in shared]
    samples = [unit[0] for unit in shared]
    seeds = [(seeds_of(rows[unit]), seeds_of(reference[unit])) for unit in shared]
    images = [rows[unit]["cluster"] for unit in shared]
    test = mean_test(other, this, samples, images, seeds=seeds)
    return {
        "difference": mean_accuracy_difference(this, other, samples, images, seeds=seeds),
        "mcnemar": mcnemar(test.b, test.c) if test.n == len(shared) else None,
        "test": test,
        "equivalence": mean_accuracy_equivalence(
            this, other, samples, images, seeds=seeds, margin=margin, alpha=alpha
        ),
    }
