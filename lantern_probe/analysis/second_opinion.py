"""A second opinion on the table of an ablation: every condition against its reference by GEE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.ablation import reference
from lantern_probe.analysis.passes import unit_of
from lantern_probe.analysis.registered import Role, adjusted, role_of
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

    Samples of one image, and passes of sampled decoding, are one cluster.

    Args:
        rows: Rows of one model; failed ones and texts without a block are left out.
        model: Name of the model, for tables.
        conditions: Labels; all that occur by default.
        plan: Preregistration, whose conditions are the family; None (default) makes all conditions
            one family.
    """
    labels = list(conditions or dict.fromkeys(row["condition"] for row in rows))
    used = {
        label: {unit_of(row): row for row in rows if row["condition"] == label and counts(row)}
        for label in dict.fromkeys([*labels, *map(reference, labels)])
    }
    compared = [label for label in labels if label != reference(label)]
    found = []
    for label in compared:
        this, other = used[label], used[reference(label)]
        shared = [key for key in this if key in other]
        test, refused = None, None
        try:
            test = gee_test(
                [bool(this[key]["correct"]) for key in shared],
                [bool(other[key]["correct"]) for key in shared],
                [this[key]["cluster"] for key in shared],
                names=(label, reference(label)),
            )
        except LanternError as error:
            refused = str(error)
        role = role_of(label, plan, reference(label))
        found.append(SecondOpinion(model, label, test, refused, role=role))
    tests = adjusted(compared, [None if one.test is None else one.test.p for one in found], plan)
    return [
        replace(item, holm_p=p, family=family)
        for item, (p, family) in zip(found, tests, strict=True)
    ]
