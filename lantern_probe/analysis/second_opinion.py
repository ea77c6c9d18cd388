"""A second opinion on the table of an ablation: every condition against its reference by GEE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.ablation import reference, reference_of
from lantern_probe.analysis.registered import Role, adjusted, planned_label, role_of
from lantern_probe.analysis.seeds import by_pool, matched, pools
from lantern_probe.errors import LanternError
from lantern_probe.records.preregistration import Preregistration
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import GeeTest, gee_test


@dataclass(frozen=True)
class SecondOpinion:
    """One condition against its reference by GEE, or the reason why not.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        test: The fit, condition against reference; None where there is none.
        refused: Reason why there is none; None where there is one.
        holm_p: p value of `test` after Holm over the family.
        family: Number of tests of the family.
        role: Part of the condition in a preregistration; None without one.
    """

    model: str
    condition: str
    test: GeeTest | None
    refused: str | None
    holm_p: float | None = None
    family: int = 0
    role: Role | None = None


def summarize(
    rows: Sequence[Row],
    *,
    model: str,
    conditions: Sequence[str] | None = None,
    plan: Preregistration | None = None,
) -> list[SecondOpinion]:
    """Compare each condition of an ablation with its reference by GEE.

    Samples of one image, their passes and their seeds are one cluster.

    Args:
        rows: Rows of one model; failed ones and texts without a block are left out.
        model: Name of the model, for tables.
        conditions: Labels; all that occur by default.
        plan: Preregistration, whose conditions are the family; None (default) makes all conditions
            one family.
    """
    pooled = pools(conditions or (row["condition"] for row in rows))
    labels = dict.fromkeys(label for some in pooled.values() for label in some)
    every = pools([*labels, *map(reference, labels)])
    used = {
        label: {unit: row for unit, row in some.items() if counts(row)}
        for label, some in by_pool(rows, every).items()
    }
    references = {label: reference_of(label, every) for label in pooled}
    compared = [label for label in pooled if label != references[label]]
    found = []
    for label in compared:
        this, other = used[label], matched(used[label], used[references[label]])
        shared = [key for key in this if key in other]
        test, refused = None, None
        try:
            test = gee_test(
                [bool(this[key]["correct"]) for key in shared],
                [bool(other[key]["correct"]) for key in shared],
                [this[key]["cluster"] for key in shared],
                names=(label, references[label]),
            )
        except LanternError as error:
            refused = str(error)
        role = role_of(planned_label(label, pooled[label], plan), plan, references[label])
        found.append(SecondOpinion(model, label, test, refused, role=role))
    known = [planned_label(label, pooled[label], plan) for label in compared]
    tests = adjusted(known, [None if one.test is None else one.test.p for one in found], plan)
    return [
        replace(item, holm_p=p, family=family)
        for item, (p, family) in zip(found, tests, strict=True)
    ]
