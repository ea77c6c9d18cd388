"""Estimands from rows that are written by hand, and the readings of the rules' own examples."""

from dataclasses import replace

import pytest

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.card import NO_READING, make_card
from lantern_probe.analysis.estimands import (
    ABOUT,
    FEWEST,
    Look,
    by_category,
    estimates,
    scaled,
)
from lantern_probe.analysis.reading import READINGS, UNDECIDED, Statement, Thresholds, read, rules
from lantern_probe.errors import LanternError

OWN, OTHER, DEFAULT = "own answer", "donor's", "default"

KINDS = {
    "faithful": {"twin": OTHER, "twin-oracle": OTHER}
    | dict.fromkeys(("mask", "skip", "ban"), DEFAULT),
    "bypass": {},
    "format only": {"mask": DEFAULT, "skip": DEFAULT, "ban": DEFAULT},
    "markers only": {"ban": DEFAULT},
    "redundant": {"twin": OTHER, "twin-oracle": OTHER},
}
"""Answers by condition where they are not the own one."""


def make_rows(kind, pairs, start=0, category="all"):
    """Rows of pairs whose right answers are a0 and b0; `collapsed` answers neither by itself."""
    rows = []
    for pair in range(start, start + pairs):
        ids = f"{pair}", f"{pair}~"
        golds = dict(zip(ids, (f"a{pair % 5}", f"b{pair % 5}"), strict=True))
        for me, other in (ids, ids[::-1]):
            plain = DEFAULT if kind == "collapsed" else golds[me]
            for condition in CONDITIONS:
                given = KINDS.get(kind, {}).get(condition, OWN)
                if kind == "collapsed" and "oracle" in condition:
                    answer = golds[other] if condition == "twin-oracle" else golds[me]
                else:
                    answer = {OWN: plain, OTHER: golds[other], DEFAULT: DEFAULT}[given]
                rows.append(
                    {
                        "sample": me,
                        "condition": condition,
                        "status": "ok",
                        "cluster": ids[0],
                        "category": category,
                        "gold": golds[me],
                        "answer": answer,
                        "correct": answer == golds[me],
                        "emitted": True,
                        "finish": "closed",
                    }
                    | (
                        {"donor": other, "donor_answer": golds[other]}
                        if condition in ("twin", "twin-oracle")
                        else {}
                    )
                )
    return rows


@pytest.mark.parametrize("kind", ["faithful", "bypass", "collapsed", "format only", "markers only"])
def test_a_pure_kind_is_read_as_it_was_made(kind):
    found = read(estimates(make_rows(kind, 256)))
    assert found.word == kind
    assert found.n is None


def test_latents_that_overrule_the_image_and_are_not_needed_are_redundant():
    assert read(estimates(make_rows("redundant", 128))).word == "redundant"


def test_a_mixture_is_partial_and_its_share_is_what_follows():
    rows = make_rows("faithful", 64) + make_rows("bypass", 64, start=64)
    found = estimates(rows)
    assert found["follows"].value == 0.5
    assert read(found).word == "partial"


def test_a_share_of_hidden_evidence_is_weak():
    rows = make_rows("faithful", 128) + make_rows("collapsed", 128, start=128)
    found = estimates(rows)
    assert (found["follows"].value, found["sees"].value) == (1.0, 0.5)
    assert found["gap"].value == 0.5
    assert read(found).word == "weak"


def test_pairs_are_counted_once_and_their_directions_averaged():
    rows = make_rows("faithful", 40)
    for row in rows:  # only one direction of each pair follows
        if row["condition"] == "twin" and row["sample"].endswith("~"):
            row["answer"] = row["gold"]
    found = estimates(rows)["follows"]
    assert (found.value, found.n) == (0.5, 40)
    assert found.low == pytest.approx(0.338, abs=0.001)  # Clopper & Pearson, 20 of 40


def test_the_sham_is_subtracted():
    rows = make_rows("bypass", 60)
    for row in rows:  # the sham and every exchange change the same answers: rounding, no effect
        if row["sample"] in ("3", "4") and row["condition"] not in ("own", "oracle"):
            row["answer"] = DEFAULT
    found = estimates(rows)
    assert [found[name].value for name in ("depends", "needed", "block", "markers")] == [0] * 4


@pytest.mark.parametrize("pairs", [FEWEST - 1, FEWEST])
def test_few_pairs_have_no_value_and_decide_nothing(pairs):
    found = estimates(make_rows("faithful", pairs))
    assert (found["follows"].value is None) == (pairs < FEWEST)
    assert pairs >= FEWEST or read(found).word == UNDECIDED


def test_the_first_look_has_wider_simultaneous_intervals_than_the_last():
    rows = make_rows("bypass", 100)
    first, last, only = (
        estimates(rows, look)["depends"] for look in (Look(0.05, 1), Look(0.05, 2), Look(of=1))
    )
    highs = [one.simultaneous_high for one in (first, last, only)]
    assert highs == sorted(highs, reverse=True)
    assert highs[2] == pytest.approx(1 - 0.0025 ** (1 / 100))
    assert first.high == last.high < highs[2]


def test_undecided_names_the_pairs_that_decide_and_they_do():
    found = read(estimates(make_rows("bypass", 64)))
    assert (found.word, found.expected) == (UNDECIDED, "bypass")
    assert found.n is not None
    assert read(estimates(make_rows("bypass", found.n))).word == "bypass"
    assert read(estimates(make_rows("bypass", found.n - 8))).word == UNDECIDED


def test_scaling_keeps_the_shares_and_narrows_the_interval():
    one = estimates(make_rows("faithful", 40) + make_rows("bypass", 40, start=40))["follows"]
    four = scaled(one, 4)
    real = estimates(make_rows("faithful", 160) + make_rows("bypass", 160, start=160))["follows"]
    assert four.simultaneous_low == pytest.approx(real.simultaneous_low)


def test_without_an_oracle_bypass_and_collapsed_cannot_be_told_apart():
    rows = [row for row in make_rows("bypass", 256) if "oracle" not in row["condition"]]
    found = read(estimates(rows), oracle=False)
    assert (found.word, found.remain) == (UNDECIDED, ("bypass", "collapsed"))
    faithful = [row for row in make_rows("faithful", 256) if "oracle" not in row["condition"]]
    assert read(estimates(faithful), oracle=False).word == "faithful"


def test_categories_are_estimated_apart():
    rows = make_rows("faithful", 30, category="a") + make_rows("bypass", 30, 30, category="b")
    found = by_category(rows)
    assert [found[name]["follows"].value for name in "ab"] == [1.0, 0.0]


def test_every_rule_speaks_of_known_estimands_and_every_reading_has_one():
    for oracle in (True, False):
        names = {
            claim.name for claims in rules(Thresholds(), oracle=oracle).values() for claim in claims
        }
        assert names <= set(ABOUT)
    assert len(READINGS) == 8


@pytest.mark.parametrize(
    "bad", [{"delta": 0}, {"delta": 0.9}, {"high": 1}, {"delta": float("nan")}]
)
def test_thresholds_out_of_order_are_refused(bad):
    with pytest.raises(LanternError, match="delta"):
        Thresholds(**bad)


def test_a_statement_without_a_value_neither_holds_nor_fails():
    found = replace(estimates(make_rows("faithful", 40))["follows"], value=None)
    claim = Statement("follows", above=0.8)
    assert not claim.holds(found)
    assert not claim.fails(found)


def card(rows, **settings):
    return make_card(rows, model="<m>", data="scenes & twins", **settings)


def test_a_card_has_stable_keys_and_escapes_names():
    made = card(make_rows("faithful", 128))
    record = made.as_record()
    assert {"reading", "estimates", "evidence", "settings", "format"} <= set(record)
    assert set(record["estimates"]["follows"]) == {
        *("value", "low", "high", "simultaneous_low", "simultaneous_high", "n")
    }
    assert record["reading"] == "faithful"
    assert "&lt;m&gt; on scenes &amp; twins" in made._repr_html_()
    lines = str(made).splitlines()
    at = lines.index("reading: faithful")
    assert any(line.startswith("follows") for line in lines[:at])


def test_texts_that_cannot_be_compared_have_no_reading():
    rows = make_rows("faithful", 64)
    for row in rows:
        if row["condition"] == "ban":
            row["answer"], row["correct"] = None, False
    made = card(rows)
    assert made.reading == NO_READING
    assert "under ban" in made.reasons[0]


def test_twins_without_a_block_have_no_reading_and_the_card_says_why():
    """As where the twin's image is black, and nothing is left to think about."""
    rows = make_rows("faithful", 30)
    for row in rows:
        if row["condition"] == "twin":
            row["emitted"] = False
    made = card(rows)
    assert made.reading == NO_READING
    assert "texts without a block are 1.000 under twin" in made.reasons[0]
    assert "mediation: the run has no rows of 'twin'" in str(made)


def test_few_blocks_have_no_reading():
    rows = make_rows("faithful", 100)
    for row in rows:
        row["emitted"] = int(row["sample"].rstrip("~")) < 8
    made = card(rows)
    assert made.reading == NO_READING
    assert "16 of 200 texts have a block" in made.reasons[0]


def test_no_block_at_all_has_no_reading_and_no_numbers():
    made = card([{**row, "emitted": False} for row in make_rows("bypass", 30)])
    assert (made.reading, dict(made.estimates)) == (NO_READING, {})


def test_rows_that_all_failed_name_the_first_error():
    rows = [{"sample": "1", "condition": "own", "status": "failed", "error": "no image x.png"}]
    with pytest.raises(LanternError, match=r"no image x\.png"):
        card(rows)


def test_a_category_of_another_kind_disagrees():
    rows = make_rows("faithful", 200, category="a") + make_rows("bypass", 128, 200, category="b")
    for row in rows:
        row.setdefault("logprobs", None)
    made = card(rows)
    assert made.reading == "partial"
    assert any("'b'" in text and "bypass" in text for text in made.disagrees)
