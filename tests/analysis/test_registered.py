"""Families of planned and of exploratory conditions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.analysis.ablation import as_records, summarize
from lantern_probe.analysis.registered import adjusted, plan_notes, role_of
from lantern_probe.records.preregistration import Preregistration
from lantern_probe.stats import holm

PLAN = Preregistration(
    "swap", ("swap", "zeros", "mask"), 40, 0.05, 0.05, 0.8, 0.1, 1.0, 0.2, "", "ab" * 32, "plan"
)
LABELS = ["own", "swap", "zeros", "noise"]


def test_planned_conditions_are_one_family_and_later_ones_widen_theirs() -> None:
    found = adjusted(LABELS, [None, 0.01, 0.02, 0.001], PLAN)
    # mask was planned and not run: its p counts as 1.
    assert [p for p, _ in found[1:3]] == holm([0.01, 0.02, 1.0])[:2]
    assert found[3] == (4 * 0.001, 4) and found[0][0] is None
    assert [size for _, size in found[1:]] == [3, 3, 4]


def test_without_a_plan_all_conditions_are_one_family() -> None:
    pvalues = [None, 0.01, 0.02, 0.001]
    assert [p for p, _ in adjusted(LABELS, pvalues, None)] == holm(pvalues)
    assert {size for _, size in adjusted(LABELS, pvalues, None)} == {3}


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_no_later_condition_lowers_or_raises_the_p_of_a_planned_one(pvalues: list[float]) -> None:
    """Adding exploratory conditions can neither buy nor cost a planned claim."""
    labels = ["swap", "zeros", "mask", "noise"]
    alone = adjusted(labels[:3], pvalues[:3], PLAN)
    assert adjusted(labels, pvalues, PLAN)[:3] == alone
    assert all(p is not None and p >= raw for (p, _), raw in zip(alone, pvalues, strict=False))
    ((later, _),) = adjusted(["noise"], pvalues[3:], PLAN)
    assert later is not None and later >= pvalues[3]


def test_roles_are_those_of_the_plan() -> None:
    assert [role_of(label, PLAN) for label in LABELS] == [None, "primary", "planned", "exploratory"]
    assert role_of("swap", None) is None
    assert role_of("own@black-box", PLAN) == "exploratory"
    notes = plan_notes("m", LABELS, PLAN)
    assert "primary swap, a family of 3, 40 samples" in notes[0]
    assert notes[1].startswith("m: exploratory, because not in the preregistration: noise")
    assert notes[2].startswith("m: planned and not run: mask")
    assert plan_notes("m", LABELS, None) == []


def test_summaries_say_the_role_and_the_family() -> None:
    rows = [
        {
            "sample": str(i),
            "condition": label,
            "status": "ok",
            "gold": "a",
            "answer": "a",
            "correct": label == "own" or i % 3 > 0,
            "candidates": 4,
            "emitted": True,
            "cluster": str(i),
            "logprobs": None,
            "finish": "closed",
        }
        for i in range(40)
        for label in LABELS
    ]
    found = summarize(rows, model="m", margin=0.05, plan=PLAN)
    records = {record["condition"]: record for record in as_records(found)}
    assert [records[label]["role"] for label in LABELS] == [
        None, "primary", "planned", "exploratory"
    ]  # fmt: skip
    assert [records[label]["exploratory"] for label in LABELS] == [None, False, False, True]
    assert [records[label]["family"] for label in LABELS[1:]] == [3, 3, 4]
    assert records["swap"]["detectable_alpha"] == 0.05 / 3
    assert records["noise"]["detectable_alpha"] == 0.05 / 4
    plain = as_records(summarize(rows, model="m"))
    assert {record["exploratory"] for record in plain} == {None} and plain[1]["family"] == 3
