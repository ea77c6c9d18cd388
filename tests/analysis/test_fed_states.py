"""Norms and cosines of fed states, from made-up rows."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis.fed_states import MEASURES, summarize


def row(sample: int, **more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "emitted": True,
        "condition": "own",
        "sample": str(sample),
        "cluster": str(sample),
        "text_norm": 2.0,
        "image_norm": 4.0,
        "latent_norms": [8.0 + sample, 2.0],
        "end_cosines": [0.5, None],
        "correct": None,
        **more,
    }


def test_each_measure_is_averaged_over_samples_by_slot_and_over_slots() -> None:
    found = {
        (item.measure, item.slot): item.mean for item in summarize([row(0), row(2)], model="m")
    }
    text, image, cosine = MEASURES
    assert found[text, 0].estimate == pytest.approx((4 + 5) / 2)
    assert found[text, 1].estimate == 1 and found[image, 1].estimate == 0.5
    assert found[image, None].estimate == pytest.approx((2.25 + 0.5) / 2)
    assert found[text, 0].n == 2 and found[text, 0].low <= 4.5 <= found[text, 0].high
    # A state without length has no direction: its slot is missing, and the mean is of the others.
    assert found[cosine, 0].estimate == found[cosine, None].estimate == 0.5
    assert (cosine, 1) not in found


def test_what_was_not_measured_is_left_out() -> None:
    without = row(1, emitted=False)
    older = {k: v for k, v in row(2).items() if "norm" not in k and k != "end_cosines"}
    assert summarize([without, older], model="m") == []
    blind = [item.measure for item in summarize([row(0, image_norm=None)], model="m")]
    assert MEASURES[1] not in blind and MEASURES[0] in blind
    other = summarize([row(0, condition="zeros")], model="m", conditions=("own", "zeros"))
    assert {item.condition for item in other} == {"zeros"}
