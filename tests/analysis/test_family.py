"""One family over runs: each run by itself, all p values together."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis.comparison import compare
from lantern_probe.analysis.family import compare_family, own_pairs
from lantern_probe.errors import LanternError
from lantern_probe.stats import holm


def rows(answers: str, gold: str = "A") -> list[dict[str, Any]]:
    return [
        {
            "sample": str(i),
            "status": "ok",
            "gold": gold,
            "answer": answer,
            "correct": answer == gold,
            "emitted": True,
            "cluster": str(i),
            "logprobs": None,
        }
        for i, answer in enumerate(answers)
    ]


ONE = {"own": rows("A" * 30), "zeros": rows("A" * 22 + "B" * 8), "swap": rows("A" * 28 + "BB")}
TWO = {"own": rows("C" * 24, "C"), "zeros": rows("C" * 17 + "D" * 7, "C")}
"""Another model on other data, whose samples bear the same ids."""


def test_all_comparisons_of_all_runs_are_one_family() -> None:
    family = compare_family({"a": ONE, "b": TWO})
    pairs = family.comparison.pairs
    assert [(p.first, p.second) for p in pairs] == [
        ("a/own", "a/zeros"), ("a/own", "a/swap"), ("b/own", "b/zeros")
    ]  # fmt: skip
    assert family.size == 3 and [m.comparisons for m in family.members] == [2, 1]
    alone = [*compare(ONE, own_pairs(list(ONE))).pairs, *compare(TWO, own_pairs(list(TWO))).pairs]
    assert [p.mcnemar for p in pairs] == [p.mcnemar for p in alone]
    assert [p.holm_p for p in pairs] == holm([p.mcnemar.p for p in alone])
    assert [p.equivalence_holm_p for p in pairs] == holm([p.equivalence.p for p in alone])
    for pair in pairs:
        assert pair.detectable_in_family is not None
        assert pair.detectable_in_family.alpha == 0.05 / 3


def test_corrupted_conditions_are_compared_under_the_same_corruption() -> None:
    labels = ["own", "zeros", "own@blur", "zeros@blur", "zeros@black-box"]
    assert own_pairs(labels) == [
        ("own", "zeros"), ("own", "own@blur"), ("own@blur", "zeros@blur")
    ]  # fmt: skip
    assert own_pairs(["own", "zeros", "mask"], "zeros") == [("zeros", "own"), ("zeros", "mask")]


def test_chosen_conditions_alone_are_the_family() -> None:
    family = compare_family({"a": ONE, "b": TWO}, chosen={"a": ["swap"], "b": ["zeros"]})
    assert [pair.second for pair in family.comparison.pairs] == ["a/swap", "b/zeros"]
    assert [pair.holm_p for pair in family.comparison.pairs] == holm(
        [pair.mcnemar.p for pair in family.comparison.pairs]
    )
    with pytest.raises(LanternError, match="'a' has nothing to compare"):
        compare_family({"a": ONE, "b": TWO}, chosen={"a": ["own"], "b": ["zeros"]})


def test_runs_that_have_nothing_to_compare_are_refused_by_name() -> None:
    with pytest.raises(LanternError, match="'b' has no condition 'own' .* it has zeros"):
        compare_family({"a": ONE, "b": {"zeros": TWO["zeros"]}})
    with pytest.raises(LanternError, match="'b' has nothing to compare with own but itself"):
        compare_family({"a": ONE, "b": {"own": TWO["own"]}})
