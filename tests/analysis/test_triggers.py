"""Triggers from made-up rows: an association without an effect, an effect without association."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis import triggers
from lantern_probe.errors import LanternError


def rows(samples: list[tuple[bool, bool, bool, bool]], per_image: int = 1) -> list[dict[str, Any]]:
    """Rows of samples given as (emitted, right under own, under force, under ban)."""
    found = []
    for index, (emitted, *right) in enumerate(samples):
        for condition, correct in zip(("own", "force", "ban"), right, strict=True):
            row = {"status": "ok", "sample": str(index), "cluster": str(index // per_image)}
            found.append({**row, "condition": condition, "emitted": emitted, "correct": correct})
    return found


def test_a_block_on_hard_questions_is_associated_with_errors_and_has_no_effect() -> None:
    """V_COT's counts: 34 of 72 right with a block, 82 of 119 without; a block changes nothing."""
    hard = [(True, i < 34, i < 34, i < 34) for i in range(72)]
    easy = [(False, i < 82, i < 82, i < 82) for i in range(119)]
    found = triggers.summarize(rows(hard + easy), model="m")
    assert (found.emission.count, found.emission.n) == (72, 191)
    assert found.with_block.estimate == pytest.approx(34 / 72)
    assert found.without_block.estimate == pytest.approx(82 / 119)
    assert round(found.association.p, 4) == 0.0037 and found.association.high < 1
    for effect, n in zip(found.effects, (191, 72, 119), strict=True):
        assert effect.n == n and effect.difference.estimate == 0
        assert effect.test is not None and effect.test.p == effect.holm_p == 1
        assert effect.difference.low < 0 < effect.difference.high


def test_a_block_that_helps_everywhere_alike_has_an_effect_and_no_association() -> None:
    """Every text with a block is right, one in two without: 20 of 20 forced, 10 of 20 banned."""
    emitting = [(True, True, True, i % 2 == 0) for i in range(20)]
    silent = [(False, i % 2 == 0, True, i % 2 == 0) for i in range(20)]
    found = triggers.summarize(rows(emitting + silent), model="m")
    assert found.effects[0].difference.estimate == pytest.approx(0.5)
    assert [e.difference.estimate for e in found.effects[1:]] == pytest.approx([0.5, 0.5])
    assert found.effects[0].holm_p is not None and found.effects[0].holm_p < 0.001
    balanced = [(bool(i % 2), i < 20, True, False) for i in range(40)]
    assert triggers.summarize(rows(balanced), model="m").association.p == 1


def test_samples_of_one_image_do_not_count_as_independent() -> None:
    """Five images of four samples, all one way: 1/16, where twenty samples would give 2e-6."""
    every = [(True, True, True, False)] * 20
    found = triggers.summarize(rows(every, per_image=4), model="m")
    assert found.images == 5
    assert found.effects[0].test is not None
    assert found.effects[0].test.p == pytest.approx(1 / 16)


def test_samples_that_lack_a_condition_or_a_right_answer_are_left_out() -> None:
    some = rows([(True, True, True, True), (False, True, True, False)])
    some[-1]["status"] = "failed"
    some[0]["correct"] = None
    with pytest.raises(LanternError, match="under all of own, force and ban"):
        triggers.summarize(some, model="m")
