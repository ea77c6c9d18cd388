"""Comparisons of rows: what is counted, over which samples, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lantern_probe.analysis.comparison import CompareSettings, Comparison, compare
from lantern_probe.analysis.format import points
from lantern_probe.analysis.verdict import read_pair
from lantern_probe.errors import LanternError
from lantern_probe.plots.comparison import comparison_figure
from lantern_probe.records.json_files import to_plain
from lantern_probe.stats import (
    accuracy_equivalence,
    detectable_difference,
    holm,
    mcnemar,
    sign_flip_test,
)

QUICK = CompareSettings(resamples=400)


def row(sample: int, correct: bool | None, **more: Any) -> dict[str, Any]:
    """A right, wrong or (None) unparsed answer."""
    return {
        "sample": str(sample),
        "condition": "any",
        "status": "ok",
        "gold": "A",
        "answer": {True: "A", False: "B", None: None}[correct],
        "correct": bool(correct),
        "emitted": True,
        "cluster": f"{sample}.png",
        "logprobs": None,
        **more,
    }


def rows(outcomes: str, **more: Any) -> list[dict[str, Any]]:
    """`+`, `-` and `?` for right, wrong and unparsed; a blank is a sample that is not there."""
    meaning = {"+": True, "-": False, "?": None}
    return [row(i, meaning[sign], **more) for i, sign in enumerate(outcomes) if sign != " "]


def reading(comparison: Comparison, index: int = 0) -> str:
    return read_pair(comparison.pairs[index], comparison)


def test_counts_by_hand() -> None:
    own = "+" * 30 + "-" * 6 + "?" * 4
    zeros = "+" * 18 + "-" * 10 + "?" * 2 + "+" * 3 + "-" * 3 + "+" + "?" * 3
    found = compare({"own": rows(own), "zeros": rows(zeros)}, settings=QUICK)
    first, second = found.conditions
    assert (first.n, first.accuracy.count, first.unparsed) == (40, 30, 4)
    assert (second.n, second.accuracy.count, second.unparsed) == (40, 22, 5)
    assert (first.jointly_parsed.count, first.jointly_parsed.n) == (28, 34)
    assert (second.jointly_parsed.count, second.jointly_parsed.n) == (21, 34)
    assert first.likelihood.n == 0 and first.emitted == 40
    (pair,) = found.pairs
    assert pair.mcnemar == mcnemar(12, 4) and pair.holm_p == pair.p == pair.mcnemar.p
    assert pair.outcomes.counts == ((18, 10, 2), (3, 3, 0), (1, 0, 3))
    assert pair.parse_failure == mcnemar(1, 2)
    assert pair.joint_n == 34 and pair.joint == mcnemar(10, 3)
    assert pair.difference.estimate == pytest.approx(8 / 40)
    assert pair.joint_difference.estimate == pytest.approx(7 / 34)
    assert pair.equivalence == accuracy_equivalence(
        [c == "+" for c in own], [c == "+" for c in zeros], margin=0.02
    )
    assert pair.detectable == detectable_difference(40, 16 / 40)
    assert pair.clustered is None and pair.log_odds is None and found.notes == ()


def test_holm_is_over_the_pairs_asked_for() -> None:
    conditions = {
        "a": rows("+" * 20), "b": rows("-" * 7 + "+" * 13), "c": rows("-" * 9 + "+" * 11)
    }  # fmt: skip
    every = compare(conditions, settings=QUICK)
    assert [(p.first, p.second) for p in every.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = [pair.mcnemar.p for pair in every.pairs]
    assert [pair.holm_p for pair in every.pairs] == holm(raw)
    two = compare(conditions, [("a", "b"), ("a", "c")], QUICK)
    assert [pair.holm_p for pair in two.pairs] == holm(raw[:2])


def test_missing_samples_are_said_and_left_out_of_their_pairs_only() -> None:
    conditions = {"a": rows("+++-"), "b": rows("+-  "), "c": rows("---+")}
    found = compare(conditions, settings=QUICK)
    assert [pair.n for pair in found.pairs] == [2, 4, 2]
    assert [c.n for c in found.conditions] == [4, 2, 4]
    assert [c.jointly_parsed.n for c in found.conditions] == [2, 2, 2]
    (note,) = found.notes
    assert note.startswith("b lacks 2 of 4 samples (2, 3)")


def test_a_server_that_got_another_prompt_is_said() -> None:
    found = compare({"own": rows("++--"), "served:m": rows("+-+-", prompt_mismatch=True)})
    (note,) = [note for note in found.notes if "--allow-prompt-mismatch" in note]
    assert note.startswith("served:m") and "4 of 4 prompts" in note


def test_failed_and_unlabelled_rows_are_counted() -> None:
    broken = [*rows("++"), {"sample": "2", "condition": "x", "status": "failed", "error": "gone"}]
    broken.append(row(3, True) | {"correct": None, "gold": None})
    found = compare({"a": broken, "b": rows("+++")}, settings=QUICK)
    assert [(c.n, c.failed) for c in found.conditions] == [(2, 2), (3, 0)]
    assert "a lacks 1 of 3" in found.notes[0]


def test_repeated_images_decide() -> None:
    # Ten of one image are lost together: 10:0 for McNemar, one event for the clusters.
    images = ["same.png"] * 10 + [f"{i}.png" for i in range(40)]
    conditions = {
        name: [r | {"cluster": image} for r, image in zip(rows(signs), images, strict=True)]
        for name, signs in (("own", "+" * 50), ("zeros", "-" * 10 + "+" * 40))
    }
    found = compare(conditions, settings=QUICK)
    (pair,) = found.pairs
    assert pair.mcnemar.p < 0.01 and pair.clustered is not None
    assert pair.clustered == sign_flip_test([1] * 10 + [0] * 40, images, resamples=400)
    assert pair.clustered.p == 1 == pair.p
    assert reading(found).startswith("no difference shown")
    assert pair.equivalence.design_effect > 5
    by_sample = compare(conditions, settings=replace(QUICK, cluster="sample"))
    assert by_sample.pairs[0].clustered is None
    assert reading(by_sample).startswith("own is right more often than zeros, by 20.0 pp")
    few = [r | {"half": i % 2} for i, r in enumerate(rows("+-" * 10))]
    found = compare({"a": few, "b": few}, settings=replace(QUICK, cluster="half"))
    assert "only 2 clusters by half" in found.notes[0]


def test_log_odds_and_likelihood() -> None:
    rng = np.random.default_rng(0)

    def scored(shift: float) -> list[dict[str, Any]]:
        values = rng.normal(shift, 1, size=30)
        return [
            row(i, value > 0, logprobs={"A": value, "B": 0.0}) for i, value in enumerate(values)
        ]

    own, zeros = scored(2), scored(0)
    zeros[0]["logprobs"] = None
    zeros[1]["logprobs"] = {"A": None, "B": -1.0}
    found = compare({"own": own, "zeros": zeros}, settings=QUICK)
    (pair,) = found.pairs
    assert pair.log_odds is not None and pair.log_odds_test is not None
    assert pair.log_odds.n == 28 and pair.log_odds_test.p < 0.05
    expected = np.mean(
        [a["logprobs"]["A"] - b["logprobs"]["A"] for a, b in zip(own[2:], zeros[2:], strict=True)]
    )
    assert pair.log_odds.estimate == pytest.approx(expected)
    assert [c.likelihood.n for c in found.conditions] == [28, 28]  # those scored under both
    assert found.conditions[0].likelihood.count == sum(r["correct"] for r in own[2:])


def test_in_words() -> None:
    base = "+" * 700 + "-" * 300
    conditions = {
        "own": rows(base),
        "same": rows("-" + base[1:-1] + "+"),
        "noisy": rows("-" * 200 + base[200:-200] + "+" * 200),
        "worse": rows("-" * 70 + base[70:]),
        "bit": rows("-" * 12 + base[12:]),
        "mute": rows("?" * 90 + base[90:]),
        "hint": rows("-" * 10 + base[10:-1] + "+"),
    }
    pairs = [("own", name) for name in conditions if name != "own"]
    found = compare(conditions, pairs, replace(QUICK, margin=0.03))
    same, noisy, worse, bit, mute, _ = (reading(found, i) for i in range(6))
    assert same.startswith("no difference shown, and the two are equivalent within 3.0 pp (90 %")
    assert "equivalence within 3.0 pp not shown either" in noisy
    one, every = found.pairs[1].detectable, found.pairs[1].detectable_in_family
    assert one is not None and every is not None and every.difference > one.difference
    larger = (
        f"one larger than {points(every.difference)} pp would have been seen with 80 % power among "
        f"6 comparisons (one test at 0.05 / 6; {points(one.difference)} pp for a single test at"
    )
    assert larger in noisy
    assert worse.startswith("own is right more often than worse, by 7.0 pp (95 % interval ")
    assert "yet by less than 3.0 pp" in bit
    assert "Parse failures differ (0 and 90): among the 910 parsed under both" in mute
    assert "0.0 pp" in mute
    backwards = compare(conditions, [("worse", "own")], QUICK)
    text = reading(backwards)
    assert text.startswith("own is right more often than worse, by 7.0 pp (95 % interval ")
    assert "-" not in text
    assert "alone" in reading(compare(conditions, [("own", "hint")] + pairs[:3] * 4, QUICK))
    tiny = compare({"a": rows("+++"), "b": rows("++-")}, settings=QUICK)
    assert "n is too small to see any" in reading(tiny)
    silent = compare({"a": rows("+" * 20), "b": rows("?" * 20)}, settings=QUICK)
    assert "none is parsed under both" in reading(silent)


def test_no_reading_contradicts_its_interval() -> None:
    base = "+" * 191
    found = compare({"own": rows(base), "five": rows("-" * 5 + base[5:]), "same": rows(base)})
    for pair in found.pairs:
        assert (pair.p <= 0.05) == (pair.difference.low > 0 or pair.difference.high < 0)
    assert reading(found).startswith("no difference shown, ")
    assert "0 discordant of 191; at most 2.0 points" in reading(found, 1)
    raw = [pair.equivalence.p for pair in found.pairs]
    assert [pair.equivalence_holm_p for pair in found.pairs] == holm(raw)


def test_parse_failures_of_one_image_are_one_observation() -> None:
    images = ["same.png"] * 10 + [f"{i}.png" for i in range(40)]
    found = compare(
        {
            name: [r | {"cluster": image} for r, image in zip(rows(signs), images, strict=True)]
            for name, signs in (("own", "-" * 50), ("zeros", "?" * 10 + "-" * 40))
        },
        settings=QUICK,
    )
    (pair,) = found.pairs
    assert pair.parse_failure.p < 0.01 and pair.parse_failure_test.p == 1
    assert pair.parse_failure_holm_p == 1


def test_points() -> None:
    assert [points(x, signed=True) for x in (0.0213, -0.0213, -1e-5)] == ["+2.1", "-2.1", "0.0"]


def test_it_can_be_written_and_drawn() -> None:
    found = compare({"own": rows("+-?" * 10), "zeros": rows("?+-" * 10)}, settings=QUICK)
    plain = to_plain(found, "comparison")
    assert plain["pairs"][0]["mcnemar"]["b"] == 10 and plain["settings"]["margin"] == 0.02
    figure = comparison_figure(found)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["own − zeros"]
    estimates = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert estimates == [pytest.approx(100 * found.pairs[0].difference.estimate)]
    assert not math.isnan(estimates[0])
    assert [line.get_marker() for line in ax.lines].count("D") == 1


@pytest.mark.parametrize(
    ("conditions", "options", "message"),
    [
        ({"a": rows("+"), "b": rows("+", gold="B")}, {}, "labelled 'A' in a and 'B' in b"),
        ({"a": rows("+ "), "b": rows(" +")}, {}, "a and b have no sample in common: '0' .* '1'"),
        ({"a": [*rows("+"), *rows("-")], "b": rows("+")}, {}, "a: two rows for sample '0'"),
        ({"a": rows("+"), "b": []}, {}, "b: no sample has both"),
        ({"a": rows("+"), "b": rows("+")}, {"cluster": "scene"}, "no 'scene' to cluster by; its"),
        ({"a": rows("+"), "b": rows("+")}, {"margin": 0.0}, "margin"),
        ({"a": rows("+"), "b": rows("+")}, {"alpha": 0.7}, "alpha"),
        ({"a": rows("+"), "b": rows("+")}, {"power": 1.0}, "power"),
    ],
)
def test_refused(conditions: dict, options: dict, message: str) -> None:
    with pytest.raises(LanternError, match=message):
        compare(conditions, settings=replace(QUICK, **options))
