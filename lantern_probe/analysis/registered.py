"""Planned and exploratory conditions: which p values are adjusted over which family.

The planned conditions of a preregistration are the family of their tests, and one that was not run
counts as not rejected. A condition that is not in the plan was chosen later: its p value is
adjusted over the plan and all such conditions, and it is called exploratory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lantern_probe.records.preregistration import Preregistration
from lantern_probe.stats import holm

Role = Literal["primary", "planned", "exploratory"]


def role_of(label: str, plan: Preregistration | None, reference: str = "own") -> Role | None:
    """The part of a condition in a plan; None without a plan, and for the reference.

    Args:
        label: Label of the condition.
        plan: The plan; None if there is none.
        reference: Label of what it is compared with, default `own`.
    """
    if plan is None or label == reference:
        return None
    if label == plan.primary:
        return "primary"
    return "planned" if label in plan.conditions else "exploratory"


def planned_label(name: str, labels: Sequence[str], plan: Preregistration | None) -> str:
    """The label by which a plan knows a condition that was run under several seeds.

    Args:
        name: Name of the condition.
        labels: Labels of its rows, which differ in their seeds alone.
        plan: The plan; None if there is none.
    """
    known = () if plan is None else plan.conditions
    return name if name in known else next((one for one in labels if one in known), name)


def adjusted(
    labels: Sequence[str], pvalues: Sequence[float | None], plan: Preregistration | None
) -> list[tuple[float | None, int]]:
    """Adjust the p values of conditions by Holm, each over its family.

    Args:
        labels: Labels of the conditions.
        pvalues: p value of each; None for one without a test, which is no member of a family.
        plan: The plan; without one (None) all conditions are one family.

    Returns:
        Adjusted p value and size of the family of each, in the order given.
    """
    tested = sum(p is not None for p in pvalues)
    if plan is None:
        return [(p, tested) for p in holm(pvalues)]
    known = dict(zip(labels, pvalues, strict=True))
    lacking = [label for label in plan.conditions if known.get(label) is None]
    padding: list[float | None] = [1.0] * len(lacking)
    planned = [p if label in plan.conditions else None for label, p in known.items()]
    narrow = holm([*planned, *padding])[: len(labels)]
    wide = holm([*pvalues, *padding])[: len(labels)]
    return [
        (inside, plan.family) if label in plan.conditions else (outside, tested + len(lacking))
        for label, inside, outside in zip(labels, narrow, wide, strict=True)
    ]


def plan_notes(
    model: str, labels: Sequence[str], plan: Preregistration | None, reference: str = "own"
) -> list[str]:
    """Say which conditions were planned, which were not, and which were not run.

    Args:
        model: Name of the model.
        labels: Labels of the conditions that ran.
        plan: The plan; nothing is said without one (None).
        reference: Label of what they are compared with, default `own`.
    """
    if plan is None:
        return []
    later = [label for label in labels if role_of(label, plan, reference) == "exploratory"]
    lacking = [label for label in plan.conditions if label not in labels]
    notes = [
        f"{model}: preregistered in {plan.file} (sha256 {plan.sha256[:12]}, {plan.created}): "
        f"primary {plan.primary}, a family of {plan.family}, {plan.samples} samples, margin "
        f"{plan.margin:g}"
    ]
    if later:
        notes.append(
            f"{model}: exploratory, because not in the preregistration: {', '.join(later)}; their "
            "p values are after Holm over the plan and these"
        )
    if lacking:
        notes.append(
            f"{model}: planned and not run: {', '.join(lacking)}; they count in the family as not "
            "rejected"
        )
    return notes
