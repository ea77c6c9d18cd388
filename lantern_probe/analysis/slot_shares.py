"""Slot shares from rows: how much of an exchange's effect each slot carries.

The rows are those of an ablation in which every set of slots was exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from lantern_probe.analysis.exchange import OWN, by_condition
from lantern_probe.analysis.scores import margin_of
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row
from lantern_probe.stats import Difference, mean_difference
from lantern_probe.stats.accuracy import outcome_difference
from lantern_probe.vocabulary import freezes


@dataclass(frozen=True)
class SlotShare:
    """Effect of exchanging one slot, measured in three ways, in the unit of the measure.

    Intervals are 95 %, clustered by pair: Tango's of `alone` and `left_out` of `donor`, else the
    studentised bootstrap.

    Attributes:
        model: Name of the model.
        slot: 0-based slot.
        measure: `donor` (fraction of answers that are the donor's) or `margin` (nats).
        alone: Effect of exchanging this slot alone.
        left_out: Effect of exchanging all slots minus that of all but this one (leave-one-out).
        shapley: Mean gain from exchanging this slot over all orders of exchanging them one by
            one (Shapley 1953; exact, from all 2^K subsets). The shares of all slots add up to
            the effect of exchanging all.
        frozen: True if later slots kept their own values; False (default) if they were generated
            from the exchanged ones, so that a share includes what later slots copy.
        category: Category of the questions; None (default) for all of them.
    """

    model: str
    slot: int
    measure: str
    alone: Difference
    left_out: Difference
    shapley: Difference
    frozen: bool = False
    category: str | None = None


def later_slots(frozen: bool) -> str:
    """Words on the slots after an exchanged one, for titles and tables."""
    return "later slots frozen" if frozen else "later slots re-rolled"


def subset_label(condition: str, subset: Sequence[int], size: int, *, frozen: bool) -> str:
    """The label of an exchange of some of the slots; without a scope if it is all of them."""
    settings = [] if len(subset) == size else [f"slots={'+'.join(map(str, subset))}"]
    settings += ["frozen=1"] if frozen and freezes(subset, size) else []
    return ":".join([condition, ",".join(settings)]) if settings else condition


def subsets(size: int) -> list[tuple[int, ...]]:
    """All non-empty sets of slots, small ones first."""
    return [s for count in range(1, size + 1) for s in combinations(range(size), count)]


def summarize(
    rows: Sequence[Row], *, model: str, size: int, condition: str = "twin", frozen: bool = False
) -> list[SlotShare]:
    """Compute the leave-one-out, keep-one and Shapley shares of every slot.

    Args:
        rows: Rows of a run with `own` and every subset of slots (`subset_label`).
        model: Name of the model.
        size: Number of slots in a block.
        condition: Label of the exchange; default `twin`.
        frozen: True if slots out of scope kept their own values; default False.

    Raises:
        LanternError: a subset was not run on any sample.
    """
    table = by_condition(rows)
    labels = {(): OWN} | {
        subset: subset_label(condition, subset, size, frozen=frozen) for subset in subsets(size)
    }
    for label in labels.values():
        if label not in table:
            raise LanternError(f"the run has no rows of {label!r}, so there are no Shapley shares")
    whole = labels[tuple(range(size))]
    donors = {key: row.get("donor_answer") for key, row in table[whole].items()}
    keys = [
        key
        for key in table[whole]
        if all(key in table[label] for label in labels.values())
        and donors[key] not in (None, table[OWN][key]["gold"])
    ]
    clusters = [table[OWN][key]["cluster"] for key in keys]
    found = []
    for measure in ("donor", "margin"):
        value: dict[tuple[int, ...], list[float]] = {}
        used = keys
        if measure == "margin":
            used = [
                k
                for k in keys
                if all(
                    _value(measure, table[lb][k], donors[k]) is not None for lb in labels.values()
                )
            ]
        groups = [c for c, k in zip(clusters, keys, strict=True) if k in set(used)]
        for subset, label in labels.items():
            found_here = [_value(measure, table[label][k], donors[k]) for k in used]
            value[subset] = [one for one in found_here if one is not None]
        # Two outcomes differ by -1, 0 or 1; a Shapley share is a mean of such differences.
        paired = outcome_difference if measure == "donor" else mean_difference
        for slot in range(size):
            everything = tuple(range(size))
            rest = tuple(s for s in everything if s != slot)
            found.append(
                SlotShare(
                    model,
                    slot,
                    measure,
                    alone=paired(_minus(value[(slot,)], value[()]), groups),
                    left_out=paired(_minus(value[everything], value[rest]), groups),
                    shapley=mean_difference(_shapley(value, slot, size), groups),
                    frozen=frozen,
                )
            )
    return found


def by_category(
    rows: Sequence[Row], *, model: str, size: int, condition: str = "twin", frozen: bool = False
) -> dict[str, list[SlotShare]]:
    """Compute the shares of every slot within each category of questions.

    Where a model reads some questions from some slots and others from others, the shares over all
    questions are a mean of the two, and describe neither. The arguments are those of `summarize`.

    Returns:
        Shares by category, sorted; categories without a pair are left out. Empty where there are
        fewer than two.
    """
    names = sorted({str(row["category"]) for row in rows if row.get("category") is not None})
    found = {}
    for name in names if len(names) > 1 else ():
        some = [row for row in rows if row.get("category") == name]
        if not any(row["condition"] == OWN and row.get("emitted") for row in some):
            continue
        shares = summarize(some, model=model, size=size, condition=condition, frozen=frozen)
        if shares[0].shapley.n:
            found[name] = [replace(share, category=name) for share in shares]
    return found


def _value(measure: str, row: Row, donor: str | None) -> float | None:
    if measure == "donor":
        return float(row["answer"] == donor)
    return margin_of(row, donor, row["gold"])


def _minus(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=True)]


def _shapley(value: Mapping[tuple[int, ...], list[float]], slot: int, size: int) -> list[float]:
    """Per sample: the weighted mean gain from adding the slot to each set without it."""
    total = [0.0] * len(value[()])
    for subset in [(), *subsets(size)]:
        if slot in subset:
            continue
        weight = math.factorial(len(subset)) * math.factorial(size - len(subset) - 1)
        gains = _minus(value[tuple(sorted((*subset, slot)))], value[subset])
        for index, gain in enumerate(gains):
            total[index] += weight * gain / math.factorial(size)
    return total


def first_samples(rows: Sequence[Row], size: int, frozen: bool) -> list[Row]:
    """The rows of the samples on which all sets of slots were run."""
    one = subset_label("twin", (0,), size, frozen=frozen)
    names = {row["sample"] for row in rows if row["condition"] == one}
    return [row for row in rows if row["sample"] in names]


def rates_by_count(
    rows: Sequence[Row], size: int, frozen: bool
) -> tuple[list[int], list[np.ndarray]]:
    """The donor rate of every set of slots, grouped by the number of exchanged slots."""
    table = by_condition(rows)
    rates: dict[int, list[float]] = {}
    for subset in subsets(size):
        moved = [
            row["answer"] == row["donor_answer"]
            for row in table[subset_label("twin", subset, size, frozen=frozen)].values()
            if row["donor_answer"] not in (None, row["gold"])
        ]
        rates.setdefault(len(subset), []).append(float(np.mean(moved)) if moved else np.nan)
    return list(rates), [np.array(values) for values in rates.values()]
