"""Tables come from rows alone, paired, with no-ops and failures counted and left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.console import Console

from experiments.tables.ablation import print_condition_table
from lantern_probe.analysis.ablation import as_records, length_notes, summarize
from lantern_probe.analysis.format import interval, number, p_value
from lantern_probe.plots.ablation import ablation_figure
from lantern_probe.stats import accuracy_equivalence, mcnemar, wilson


def row(sample: int, condition: str, correct: bool | None, **more: Any) -> dict[str, Any]:
    return {
        "sample": str(sample),
        "condition": condition,
        "status": "ok",
        "gold": "a",
        "answer": {True: "a", False: "b", None: None}[correct],
        "correct": bool(correct),
        "candidates": 4,
        "emitted": True,
        "cluster": str(sample),
        "logprobs": {"a": -0.1 if correct else -3.0, "b": -2.0},
        **more,
    }


def test_counts_pairs_and_tests_by_hand():
    own = [True] * 30 + [False] * 10
    zeros: list[bool | None] = [True] * 15 + [False] * 12 + [None] * 3 + [True] * 5 + [False] * 5
    rows = [row(i, "own", value) for i, value in enumerate(own)]
    rows += [row(i, "zeros", value) for i, value in enumerate(zeros)]
    rows += [row(40 + i, c, True, emitted=False) for i in range(10) for c in ("own", "zeros")]
    rows += [{"sample": "x", "condition": "zeros", "status": "failed", "error": "gone"}]
    first, second = summarize(rows, model="m")
    assert (first.condition, first.samples, first.n, first.failed) == ("own", 50, 40, 0)
    assert first.accuracy.estimate == 0.75
    assert first.accuracy_all.estimate == first.emission.estimate == 0.8
    assert first.mcnemar is None and first.difference is None
    assert (second.samples, second.n, second.failed) == (50, 40, 1)
    assert second.accuracy == wilson(20, 40) and second.unparsed == 3 and second.chance == 0.25
    assert second.mcnemar == mcnemar(15, 5) and second.holm_p == mcnemar(15, 5).p
    assert second.difference is not None and second.difference.n == 40
    assert second.difference.estimate == pytest.approx(-0.25)
    assert second.difference.low < -0.25 < second.difference.high
    p_right = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-2))
    p_wrong = math.exp(-3) / (math.exp(-3) + math.exp(-2))
    assert second.p_gold == pytest.approx((20 * p_right + 20 * p_wrong) / 40)
    assert second.likelihood == wilson(20, 40)


def test_donor_rate_counts_donors_with_another_answer_only():
    rows = [row(i, "own", True) for i in range(6)]
    answers = ["b", "b", "a", "a", "b", "a"]
    donors = ["b", "b", "b", "a", None, "c"]
    for i, (answer, donor) in enumerate(zip(answers, donors, strict=True)):
        rows.append(row(i, "swap", answer == "a", answer=answer, donor_answer=donor))
    swap = summarize(rows, model="m")[1]
    assert swap.donor == wilson(2, 4)


def test_holm_is_over_the_conditions_of_the_model():
    rows = [row(i, "own", True) for i in range(12)]
    rows += [row(i, "zeros", i >= 6) for i in range(12)]
    rows += [row(i, "mean", i >= 7) for i in range(12)]
    _, zeros, mean = summarize(rows, model="m")
    # 7:0 is the smaller p and counts twice; 6:0 counts once, but not below the one before it.
    assert mean.holm_p == pytest.approx(2 * mcnemar(7, 0).p)
    assert zeros.holm_p == pytest.approx(max(mcnemar(6, 0).p, 2 * mcnemar(7, 0).p))
    assert mean.mcnemar == mcnemar(7, 0)


def test_where_images_repeat_the_image_is_tested_and_intervals_are_wider():
    """20 discordant samples of 5 images, all one way, are five observations."""
    rows = [row(i, "own", True, cluster=str(i // 4)) for i in range(120)]
    rows += [row(i, "zeros", i >= 20, cluster=str(i // 4)) for i in range(120)]
    _, zeros = summarize(rows, model="m")
    assert zeros.mcnemar == mcnemar(20, 0) and zeros.test is not None
    assert (zeros.test.p, zeros.holm_p) == (0.0625, 0.0625)
    assert zeros.test.method == "clustered sign flip" and zeros.test.clusters == 30
    alone = wilson(100, 120)
    assert zeros.accuracy.low < alone.low and zeros.accuracy.high > alone.high
    assert zeros.difference is not None and zeros.difference.high >= 0
    (_, record) = as_records([*summarize(rows, model="m")])
    assert (record["p"], record["test"]) == (0.0625, "clustered sign flip")
    console = Console(width=98, record=True)
    print_condition_table(summarize(rows, model="m"), console)
    assert "p: clustered sign flip, and after Holm" in " ".join(console.export_text().split())


def test_equivalence_is_adjusted_and_no_discordance_is_said():
    rows = [row(i, c, True) for i in range(256) for c in ("own", "zeros", "mean", "skip")]
    for one in rows[:120]:
        if one["condition"] == "skip":
            one["correct"] = int(one["sample"]) % 2 == 0
    found = summarize(rows, model="m", margin=0.02)
    zeros, skip = found[1], found[3]
    assert zeros.equivalence == accuracy_equivalence([1] * 256, [1] * 256, margin=0.02)
    assert zeros.equivalence_holm_p == pytest.approx(3 * zeros.equivalence.p)
    assert zeros.equivalent and not skip.equivalent
    assert zeros.detectable is not None and zeros.detectable.alpha == 0.05 / 3
    record = as_records(found)[1]
    assert record["equivalent"] and record["margin"] == 0.02
    assert not summarize(rows, model="m", margin=0.01)[1].equivalent
    console = Console(width=98, record=True)
    print_condition_table(found, console)
    text = " ".join(console.export_text().split())
    assert "0 discordant of 256; at most 1.5 points: zeros, mean" in text


def test_a_condition_is_held_against_its_own_control():
    rows = [row(i, "own", True) for i in range(40)]
    label, control = "erase:attribute=color", "erase-shuffled:attribute=color,seed=1"
    rows += [row(i, label, i >= 20) for i in range(40)]
    rows += [row(i, control, i >= 12) for i in range(40)]
    rows += [row(i, "after->slot", i >= 6) for i in range(40)]
    rows += [row(i, "after->slot:random=1", True) for i in range(40)]
    found = {s.condition: s for s in summarize(rows, model="m")}
    (one,) = found[label].controls
    assert one.control == control and found[control].controls == ()
    assert one.contrast.difference.estimate == pytest.approx(-8 / 40)
    assert one.contrast.test.p == mcnemar(8, 0).p
    (cut,) = found["after->slot"].controls
    assert cut.holm_p == mcnemar(6, 0).p and one.holm_p == 2 * mcnemar(8, 0).p
    assert as_records([found[label]])[0]["controls"][0]["control"] == control
    console = Console(width=98, record=True)
    print_condition_table(list(found.values()), console)
    assert "condition minus control" in console.export_text()


def test_no_block_anywhere_gives_empty_figures_not_wrong_ones():
    rows = [row(i, c, True, emitted=False) for i in range(3) for c in ("own", "zeros")]
    for summary in summarize(rows, model="m"):
        assert summary.n == summary.accuracy.n == 0 and summary.mcnemar is None
        assert summary.emission.estimate == 0 and summary.accuracy_all.estimate == 1
    assert as_records(summarize(rows, model="m"))[0]["accuracy"] is None
    ablation_figure([summarize(rows, model="m")])


def test_records_have_the_promised_fields():
    rows = [row(i, c, True) for i in range(3) for c in ("own", "zeros")]
    fields = {"model", "condition", "n", "accuracy", "ci_low", "ci_high", "diff_to_own"}
    fields |= {"mcnemar_p", "emission", "parse_failures", "donor_rate"}
    for record in as_records(summarize(rows, model="m")):
        assert fields <= set(record) and record["accuracy"] == 1 and record["truncated"] is None


def test_texts_cut_off_stand_beside_the_accuracy_and_are_warned_of():
    ends = {"own": 0, "zeros": 3, "mean": 0}
    rows = [
        row(i, name, True, finish="truncated" if i < cut else "closed")
        for name, cut in ends.items()
        for i in range(12)
    ]
    summaries = summarize(rows, model="m")
    assert [s.truncated for s in summaries] == [wilson(0, 12), wilson(3, 12), wilson(0, 12)]
    (note,) = length_notes(summaries)
    assert note.startswith(
        "zeros: 3 of 12 texts were cut off at the token limit, under own 0 of 12"
    )
    console = Console(width=120, record=True)
    print_condition_table(summaries, console)
    assert "zeros: 3 of 12" in console.export_text()
    # Rows of runs that did not record it say nothing, rather than that nothing was cut off.
    unknown = summarize([{**one, "finish": None} for one in rows], model="m")
    assert {s.truncated for s in unknown} == {None} and not length_notes(unknown)


def test_parsers_stand_side_by_side_with_the_likelihood():
    """`a man` is an answer to the official parser, a wrong one; strict needs a capital."""
    rows = []
    for i in range(10):
        parsed = {"default": "A", "official": "a" if i < 4 else "A", "strict": "A" if i else None}
        rows.append(row(i, "own", True, gold="A", parsed=parsed, logprobs={"A": -1.0, "B": -2.0}))
    (own,) = summarize(rows, model="m")
    assert own.by_parser == {"default": 1.0, "official": 0.6, "strict": 0.9}
    console = Console(width=98, record=True)
    print_condition_table([own], console)
    shown = console.export_text()
    assert "accuracy by parser" in shown and ".600" in shown and "10 of 10" in shown


def test_one_parser_needs_no_table_of_its_own():
    console = Console(width=98, record=True)
    rows = [row(i, "own", True, parsed={"default": "a"}) for i in range(3)]
    print_condition_table(summarize(rows, model="m"), console)
    assert "by parser" not in console.export_text()


def test_the_table_shows_every_condition_uncut():
    rows = [row(i, c, i % 3 > 0) for i in range(9) for c in ("own", "noise-matched", "swap:seed=3")]
    console = Console(width=98, record=True)
    print_condition_table(summarize(rows, model="m"), console)
    text = console.export_text()
    assert "noise-matched" in text and "swap:seed=3" in text and "…" not in text


def test_numbers_are_short():
    assert (number(0.5), number(None), number(-0.25, signed=True)) == (".500", "-", "-.250")
    assert number(10.25) == "10.250" and number(1.0) == "1.000"
    assert interval(0.5, 0.25, 0.75) == ".500 [.250, .750]"
    assert (p_value(None), p_value(0.04), p_value(1e-7)) == ("-", ".040", "1e-07")
