"""One family of comparisons over several runs: several models, several experiments.

Adjusting p values within every table leaves an error in one of twenty tables. Here every condition
is compared with the reference of its own run, on that run's samples, and all comparisons of all
runs are one family of Holm's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lantern_probe.analysis.ablation import OWN
from lantern_probe.analysis.ablation import reference as own_reference
from lantern_probe.analysis.comparison import adjust_family, compare
from lantern_probe.analysis.comparison_results import CompareSettings, Comparison, ConditionReport
from lantern_probe.errors import LanternError, named
from lantern_probe.records.rows import Row


@dataclass(frozen=True)
class FamilyMember:
    """The comparisons of one run in a family.

    Attributes:
        run: Name of the run.
        reports: One report per condition of the run.
        comparisons: Number of its comparisons in the family.
    """

    run: str
    reports: tuple[ConditionReport, ...]
    comparisons: int


@dataclass(frozen=True)
class Family:
    """Comparisons of several runs, adjusted together.

    Attributes:
        members: One entry per run, in the order given.
        comparison: All comparisons, with p values adjusted over all of them; conditions are named
            `run/condition`.
    """

    members: tuple[FamilyMember, ...]
    comparison: Comparison

    @property
    def size(self) -> int:
        """Number of comparisons in the family."""
        return len(self.comparison.pairs)


def own_pairs(labels: Sequence[str], reference: str = OWN) -> list[tuple[str, str]]:
    """Pair every condition of a run with the reference, under the same corruption if it is `own`.

        >>> own_pairs(["own", "zeros", "own@black-box", "zeros@black-box"])[-1]
        ('own@black-box', 'zeros@black-box')

    Args:
        labels: Labels of the conditions.
        reference: Label of the reference, default `own`.
    """
    pairs = [
        (own_reference(label) if reference == OWN else reference, label)
        for label in labels
        if label != reference
    ]
    return [(one, two) for one, two in pairs if one in labels]


def compare_family(
    runs: Mapping[str, Mapping[str, Sequence[Row]]],
    reference: str = OWN,
    settings: CompareSettings | None = None,
    chosen: Mapping[str, Sequence[str]] | None = None,
) -> Family:
    """Compare every condition with the reference of its run, as one family over all runs.

    Args:
        runs: Rows of each condition, by name of the run and label of the condition.
        reference: Label of the condition that the others are compared with, default `own`.
        settings: Margin, levels, clusters and bootstrap; the defaults of `CompareSettings` if None.
        chosen: Labels of the conditions to compare, by name of the run; all of them if None.

    Raises:
        LanternError: a run lacks the reference or any other condition, or its rows cannot be
            compared.
    """
    settings = settings or CompareSettings()
    pairs = {
        name: _pairs(name, list(rows), reference, None if chosen is None else chosen[name])
        for name, rows in runs.items()
    }
    size = sum(map(len, pairs.values()))
    found = {}
    for name, rows in runs.items():
        wanted = [(f"{name}/{one}", f"{name}/{two}") for one, two in pairs[name]]
        conditions = {f"{name}/{label}": some for label, some in rows.items()}
        found[name] = compare(conditions, wanted, settings, size)
    return Family(
        tuple(
            FamilyMember(name, comparison.conditions, len(pairs[name]))
            for name, comparison in found.items()
        ),
        Comparison(
            settings,
            tuple(report for one in found.values() for report in one.conditions),
            tuple(adjust_family([pair for one in found.values() for pair in one.pairs])),
            tuple(note for one in found.values() for note in one.notes),
        ),
    )


def _pairs(
    name: str, labels: Sequence[str], reference: str, chosen: Sequence[str] | None
) -> list[tuple[str, str]]:
    if reference not in labels:
        raise LanternError(
            f"the run '{name}' has no condition {reference!r} to compare the others with, and "
            f"cannot belong to the family; it has {named(labels, 6)}"
        )
    pairs = own_pairs(labels, reference)
    if chosen is not None:
        pairs = [pair for pair in pairs if pair[1] in chosen]
    if not pairs:
        raise LanternError(
            f"the run '{name}' has nothing to compare with {reference} but itself, so that it adds "
            "nothing to the family; leave it out"
        )
    return pairs
