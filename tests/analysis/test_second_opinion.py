"""The second opinion takes the rows of an ablation, and refuses condition by condition."""

from __future__ import annotations

from typing import Any

from lantern_probe.analysis.second_opinion import summarize
from lantern_probe.stats import gee_test, holm


def rows(label: str, answers: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "sample": str(i),
            "condition": label,
            "status": "ok",
            "gold": "A",
            "answer": answer,
            "correct": answer == "A",
            "emitted": True,
            "cluster": str(i // 2),
            **more,
        }
        for i, answer in enumerate(answers)
    ]


OWN = "AAAAAAB" * 8
WORSE = "AAABBAB" * 8


def test_every_condition_is_fitted_against_its_reference_and_adjusted() -> None:
    every = [
        *rows("own", OWN),
        *rows("zeros", WORSE),
        *rows("mask", "AB" * 28),
        *rows("own@black-box", WORSE),
        *rows("zeros@black-box", OWN),
    ]
    found = {item.condition: item for item in summarize(every, model="m")}
    assert list(found) == ["zeros", "mask", "own@black-box", "zeros@black-box"]
    images = [str(i // 2) for i in range(56)]
    alone = gee_test([c == "A" for c in WORSE], [c == "A" for c in OWN], images)
    assert found["zeros"].test == alone and found["zeros"].family == 4
    opposite = found["zeros@black-box"].test
    assert opposite is not None and opposite.odds_ratio > 1 > alone.odds_ratio
    tests = [item.test.p for item in found.values() if item.test is not None]
    assert [item.holm_p for item in found.values()] == holm(tests)


def test_a_condition_that_cannot_be_fitted_says_why_and_is_in_no_family() -> None:
    every = [*rows("own", OWN), *rows("zeros", "A" * 56), *rows("swap", WORSE)]
    zeros, swap = summarize(every, model="m")
    assert zeros.test is None and zeros.holm_p is None
    assert zeros.refused is not None and "the accuracy of zeros is 1" in zeros.refused
    assert swap.test is not None and swap.holm_p == swap.test.p and swap.family == 1


def test_samples_without_a_block_are_left_out() -> None:
    every = [*rows("own", OWN, emitted=False), *rows("zeros", WORSE)]
    (zeros,) = summarize(every, model="m")
    assert zeros.test is None and zeros.refused is not None and "there are 0" in zeros.refused
