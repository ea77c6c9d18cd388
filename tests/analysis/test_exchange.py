"""Exchange, slot shares and mediation: by hand from rows, and on models whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lantern_probe.analysis import exchange, mediation, seeds, slot_shares
from lantern_probe.analysis.mediation import EFFECTS, effects
from lantern_probe.analysis.slot_shares import subset_label, subsets
from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.own_latents import pools_of
from lantern_probe.errors import LanternError
from lantern_probe.interventions import LatentPool, parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.plots.exchange import (
    plot_donor_rates,
    plot_donor_rates_by_count,
    plot_effects,
    plot_slot_shares,
)
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.records.writer import read_kept
from lantern_probe.stats import (
    clustered_share,
    holm,
    mean_difference,
    sign_flip_test,
)
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import twin
from lantern_probe.tasks.twins import with_twins

SLOTS = 3


def row(sample: str, condition: str, gold: str, margin: float, donor: str | None) -> dict[str, Any]:
    """A row that says `b` where the margin of b over a is positive."""
    answer = "b" if margin > 0 else "a"
    return {
        "sample": sample,
        "condition": condition,
        "status": "ok",
        "emitted": True,
        "gold": gold,
        "answer": answer,
        "correct": answer == gold,
        "cluster": sample.rstrip("~"),
        "donor": donor,
        "donor_answer": None if donor is None else {"a": "b", "b": "a"}[gold],
        "logprobs": {"a": 0.0, "b": margin},
    }


def game(worth: Callable[[tuple[int, ...]], float], n: int = 6) -> list[dict[str, Any]]:
    """Rows in which exchanging a set of slots moves the margin from -1 by what it is worth."""
    rows = []
    for i in range(n):
        rows.append(row(f"{i}", "own", "a", -1, None))
        for subset in subsets(SLOTS):
            label = subset_label("twin", subset, SLOTS, frozen=False)
            rows.append(row(f"{i}", label, "a", -1 + worth(subset), f"{i}~"))
    return rows


def test_shapley_of_a_redundant_code_where_leaving_one_out_shows_nothing():
    """Any slot will do: each carries a third, though none is missed alone."""
    shares = slot_shares.summarize(game(lambda s: 3.0 if s else 0.0), model="m", size=SLOTS)
    margins = [s for s in shares if s.measure == "margin"]
    assert [s.slot for s in margins] == [0, 1, 2]
    for share in margins:
        assert share.alone.estimate == pytest.approx(3)
        assert share.left_out.estimate == 0
        assert share.shapley.estimate == pytest.approx(1)


def test_shapley_adds_up_and_knows_a_dummy():
    """Slot 2 does nothing; 0 and 1 add up, with a bonus for both that they share."""
    worth = {(): 0, (0,): 2, (1,): 1, (2,): 0, (0, 1): 5, (0, 2): 2, (1, 2): 1, (0, 1, 2): 5}
    shares = slot_shares.summarize(game(lambda s: float(worth[s])), model="m", size=SLOTS)
    found = [s.shapley.estimate for s in shares if s.measure == "margin"]
    assert found == pytest.approx([3.0, 2.0, 0.0]) and sum(found) == pytest.approx(worth[0, 1, 2])
    answers = [s.shapley.estimate for s in shares if s.measure == "donor"]
    # b is said by every set with slot 0 (margin 1 or more), and by none without it.
    assert answers == pytest.approx([1, 0, 0])


def test_slots_that_serve_different_questions_are_told_apart_by_category():
    """Slot 0 is all that counts for one category, slot 2 for the other: the mean hides it."""
    rows = [
        {**one, "sample": f"{name}{one['sample']}", "cluster": f"{name}{one['cluster']}"}
        | {"category": name}
        for name, read in (("first", 0), ("last", 2))
        for one in game(lambda s, read=read: 2.0 * (read in s))
    ]
    mixed = slot_shares.summarize(rows, model="m", size=SLOTS)
    donors = [s.shapley.estimate for s in mixed if s.measure == "donor"]
    assert donors == pytest.approx([0.5, 0, 0.5]) and mixed[0].category is None
    apart = slot_shares.by_category(rows, model="m", size=SLOTS)
    found = {
        name: [s.shapley.estimate for s in shares if s.measure == "donor"]
        for name, shares in apart.items()
    }
    assert found == {"first": pytest.approx([1, 0, 0]), "last": pytest.approx([0, 0, 1])}
    assert {s.category for s in apart["last"]} == {"last"}
    assert slot_shares.by_category(rows[: len(rows) // 2], model="m", size=SLOTS) == {}


def test_a_missing_set_is_named():
    rows = [r for r in game(lambda s: 1.0) if r["condition"] != "twin:slots=0+2"]
    with pytest.raises(LanternError, match=r"no rows of 'twin:slots=0\+2'"):
        slot_shares.summarize(rows, model="m", size=SLOTS)


def test_labels_of_sets_are_conditions():
    for frozen in (False, True):
        labels = [subset_label("twin", s, SLOTS, frozen=frozen) for s in subsets(SLOTS)]
        assert len(set(labels)) == 7 and labels[-1] == "twin"
        assert [parse_condition(label).label for label in labels] == labels
        for label in labels:
            parse_condition(label).check(SLOTS)
    # After the last slots there is nothing to be frozen.
    assert subset_label("twin", (1, 2), 3, frozen=True) == "twin:slots=1+2"
    assert subset_label("twin", (0, 2), 3, frozen=True) == "twin:slots=0+2,frozen=1"


def test_exchange_counts_and_margins_by_hand():
    rows = []
    for i, (own, moved) in enumerate([(-1, 2), (-1, 3), (-1, -0.5), (1, 1)]):
        rows.append(row(f"{i}", "own", "a", own, None))
        rows.append(row(f"{i}", "twin", "a", moved, f"{i}~"))
        rows.append(row(f"{i}", "self-swap", "a", own, None))
    rows.append({"sample": "9", "condition": "twin", "status": "failed", "error": "x"})
    swapped, sham = exchange.summarize(
        rows, model="m", conditions=["twin", "self-swap"], donors="twin"
    )
    assert swapped.n == sham.n == 4
    assert swapped.donor_rate.estimate == 0.75 and swapped.lift.estimate == 0.5
    assert swapped.kept.estimate == 0.5
    assert swapped.margin is not None and swapped.margin.estimate == pytest.approx(7.5 / 4)
    assert sham.lift.estimate == 0 and sham.kept.estimate == 1
    assert sham.margin is not None and sham.margin.estimate == 0


def exchanged(condition: str, shifts: list[float], twins: bool = False) -> list[dict[str, Any]]:
    """Rows in which an exchange moves each margin by so much; with a twin alike in each pair."""
    rows = []
    for i, shift in enumerate(shifts):
        for sample, other in ((f"{i}", f"{i}~"), (f"{i}~", f"{i}"))[: 1 + twins]:
            rows.append(row(sample, "own", "a", -1, None))
            rows.append(row(sample, condition, "a", -1 + shift, other))
    return rows


def test_lift_and_margin_are_tested_and_the_sham_is_not():
    rng = np.random.default_rng(0)
    clear, faint = list(rng.normal(3, 0.5, 12)), list(rng.normal(0.2, 0.5, 12))
    rows = exchanged("twin", clear) + exchanged("swap", faint)
    rows += exchanged("self-swap:slots=0", [1e-6] * 12)
    labels = ["twin", "self-swap:slots=0", "swap", "random-pair"]
    twins, sham, swap, nothing = exchange.summarize(
        rows, model="m", conditions=labels, donors="twin"
    )
    assert twins.lift_test is not None and twins.margin_test is not None
    assert swap.lift_test is not None and swap.margin_test is not None
    assert twins.lift_test.p == 2 / 2**12 and twins.lift_test.method == "exact"
    assert twins.margin_test == sign_flip_test(clear) and twins.margin_test.n == twins.scored == 12
    assert swap.margin_test.p == pytest.approx(sign_flip_test(faint).p) and swap.lift_test.p == 1
    assert sham.n == 12 and nothing.n == 0
    for item in (sham, nothing):
        assert item.lift_test is item.lift_holm_p is item.margin_test is item.margin_holm_p is None
    # The family is what was tested: two exchanges, and lifts apart from margins.
    assert [twins.lift_holm_p, swap.lift_holm_p] == [2 * twins.lift_test.p, 1]
    raw = [twins.margin_test.p, swap.margin_test.p]
    assert [twins.margin_holm_p, swap.margin_holm_p] == holm(raw) and raw[0] < raw[1]


def test_the_two_directions_of_a_pair_are_one_observation():
    shifts = list(np.random.default_rng(1).normal(0.8, 1, 12))
    single, double = exchanged("twin", shifts), exchanged("twin", shifts, twins=True)
    found = []
    for rows in (single, double, [{**one, "cluster": one["sample"]} for one in double]):
        (item,) = exchange.summarize(rows, model="m", conditions=["twin"])
        assert item.lift_test is not None and item.margin_test is not None
        found.append((item.lift_test, item.margin_test))
    for alone, both, naive in zip(*found, strict=True):
        assert [(t.n, t.clusters) for t in (alone, both, naive)] == [(12, 12), (24, 12), (24, 24)]
        assert both.p == pytest.approx(alone.p)
        assert naive.p < alone.p / 2  # the control: pairs do matter here


def test_p_of_a_margin_is_uniform_where_nothing_moves_it(monkeypatch: pytest.MonkeyPatch):
    """300 exchanges of 12 pairs, whose two directions have most of their shift in common."""
    # A coarse interval: only p values are looked at.
    monkeypatch.setattr(seeds, "mean_difference", partial(mean_difference, resamples=10))
    rng, count = np.random.default_rng(2), 300
    rows = [row(f"{i}{end}", "own", "a", -1, None) for i in range(12) for end in ("", "~")]
    labels = [f"swap:slots={i}" for i in range(count)]
    for label in labels:
        shifts = rng.standard_t(3, 12)[:, None] + 0.3 * rng.standard_t(3, (12, 2))
        for i, two in enumerate(shifts):
            for end, shift in zip(("", "~"), two, strict=True):
                rows.append(row(f"{i}{end}", label, "a", -1 + shift, "other"))
    found = exchange.summarize(rows, model="m", conditions=labels)
    values = np.array([item.margin_test.p for item in found if item.margin_test is not None])
    assert len(values) == count
    for level in (0.05, 0.25, 0.5):
        error = 3 * math.sqrt(level * (1 - level) / count)
        assert np.mean(values <= level) == pytest.approx(level, abs=error)
    adjusted = [item.margin_holm_p for item in found]
    assert adjusted == holm(list(values))


def test_a_share_in_which_all_agree_is_bounded_within_zero_and_one():
    none, every = clustered_share([0] * 20), clustered_share([1] * 20)
    assert (none.estimate, none.low) == (0, 0) and none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert (every.high, every.low) == (1, pytest.approx(0.025 ** (1 / 20)))
    paired = clustered_share([1] * 20, [i // 2 for i in range(20)])
    assert paired.clusters == 10 and paired.low < every.low


def test_effects_by_hand():
    """Y is the log-odds of the sample's own answer; the twin's rows are scored for it too."""
    rows = [
        row("s", "own", "a", -5, None),
        row("s", "twin", "a", -1, "s~"),
        row("s~", "own", "b", 4, None),
        row("s~", "twin", "b", 2, "s"),
        row("t", "own", "a", -5, None),
        row("t", "twin", "a", -1, "t~"),  # its twin never ran
        row("u", "own", "a", -5, None),  # its twin has no block to lend, so it has no twin row
    ]
    found, left_out = effects(rows)
    assert left_out == 2 and [one.sample for one in found] == ["s", "s~"]
    one = found[0]
    assert (one.clean, one.latents, one.direct, one.both) == (5, 1, -2, -4)
    assert (one.te, one.nie, one.nde, one.tie) == (-9, -4, -7, -2)
    assert one.te == one.nde + one.tie
    with pytest.raises(LanternError, match="no rows of 'twin'"):
        effects(rows[:1])


def test_each_effect_is_tested_by_pair_and_holm_is_over_the_four():
    rng = np.random.default_rng(3)
    rows = []
    for i in range(12):
        # All that moves the margin, but for noise, is whose latents stand in the slots.
        for sample, other, gold, own in ((f"{i}", f"{i}~", "a", -5), (f"{i}~", f"{i}", "b", 5)):
            rows.append(row(sample, "own", gold, own + rng.normal(), None))
            rows.append(row(sample, "twin", gold, -own + rng.normal(), other))
    found, _ = effects(rows)
    (result,) = mediation.summarize(rows, model="m")
    pairs = [one.image for one in found]
    assert result.n == 24 and list(result.tests) == list(result.holm_p) == list(EFFECTS)
    for name, test in result.tests.items():
        values = [getattr(one, name) for one in found]
        assert test == sign_flip_test(values, pairs) and test.clusters == 12
        assert test.estimate == pytest.approx(getattr(result, name).estimate)
    raw = [test.p for test in result.tests.values()]
    assert list(result.holm_p.values()) == holm(raw)
    assert result.tests["te"].p == 2 / 2**12 < 0.05 < result.tests["nde"].p
    # A run in which no outcome is scored has no test, and no p value.
    (unscored,) = mediation.summarize([{**one, "logprobs": None} for one in rows], model="m")
    assert unscored.n == 0 and unscored.tests == unscored.holm_p == {}


@pytest.mark.parametrize(("pairs", "given"), [(5, False), (7, False), (9, True)])
def test_a_share_of_a_total_effect_that_holm_leaves_open_is_not_given(pairs: int, given: bool):
    """Few pairs that all agree are many standard errors from 0, and prove nothing."""
    rows = []
    for i in range(pairs):
        for sample, other, gold, own in ((f"{i}", f"{i}~", "a", -5), (f"{i}~", f"{i}", "b", 5)):
            rows.append(row(sample, "own", gold, own + 0.1 * i, None))
            rows.append(row(sample, "twin", gold, -own - 0.1 * i, other))
    (found,) = mediation.summarize(rows, model="m")
    p = found.holm_p["te"]
    assert p is not None and (p <= 0.05) is given
    assert found.share.errors > 10 and found.share.defined is found.share_nie.defined is given
    assert math.isnan(found.share.estimate) is not given
    said = "" if given else "not given: its denominator may be 0 by the test reported beside it"
    assert found.share.reason == said


def test_twins_are_told_from_samples_without_one():
    samples = load_task("scenes", 4, 3)
    broken = [*samples[:1], *(s for s in samples[1:])]

    def make(sample: Any) -> Any:
        if sample is broken[1]:
            raise LanternError("no twin here")
        return twin(sample, "color", 0)

    pairs, without = with_twins(broken, make, answers_known=True)
    assert without == [f"sample {samples[1].id!r}: no twin here"] and len(pairs) == 6
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.attributes["twin"] == other.id and other.attributes["twin"] == one.id
        assert one.attributes["twin_answer"] == other.answer != one.answer
        assert one.attributes["pair"] == other.attributes["pair"] and one.text == other.text
    with pytest.raises(LanternError, match="none of 1 samples has a twin: .*: no twin here"):
        with_twins([broken[1]], make, answers_known=True)


@pytest.mark.parametrize("name", ["faithful", "bypass", "collapsed"])
def test_the_truths_of_the_organisms(name: str, tmp_path: Path):
    """faithful follows the donor through its slots, bypass the image, collapsed only an oracle."""
    task = "scenes-grey" if name == "collapsed" else "scenes"
    pairs, _ = with_twins(
        load_task(task, 24, 501), lambda s: twin(s, "color", 0), answers_known=True
    )
    labels = ["own", "self-swap", "twin", "twin-fixed-words", "twin-oracle", "swap"]
    with Run.open(tmp_path, {}) as run:
        Ablation(LanternModel(name), pairs, [parse_condition(c) for c in labels], run).execute()
    rows = read_rows(tmp_path)
    found = {
        item.condition: item
        for item in exchange.summarize(rows, model=name, conditions=labels[1:], donors="twin")
    }
    (found_effects,) = mediation.summarize(rows, model=name)
    sham = found["self-swap"]
    assert sham.n == 48 and sham.kept.estimate == 1 and sham.lift.estimate == 0
    assert sham.margin is not None and abs(sham.margin.estimate) < 1e-4
    assert found_effects.n == 48 and found_effects.left_out == 0
    fixed, paths = found["twin-fixed-words"].donor_rate, found_effects.by_words
    assert paths is not None and paths.n == 48
    assert paths.nie.estimate == pytest.approx(paths.fixed.estimate + paths.words.estimate)
    check_words_are_fixed(rows)
    if name == "faithful":
        assert found["twin"].donor_rate.low > 0.8 and found["swap"].donor_rate.low > 0.8
        assert found_effects.share.defined and found_effects.share.low > 0.9
        # Its words say nothing of the answer: all goes from the latents to the answer.
        assert fixed.low > 0.8 and paths.fixed.high < -10 and abs(paths.words.estimate) < 0.5
    elif name == "bypass":
        assert found["twin"].donor_rate.high < 0.2 and fixed.high < 0.2
        assert found_effects.share.defined and found_effects.share.high < 0.2
    else:
        assert found["twin-oracle"].donor_rate.low > 0.8
        assert abs(found["twin"].lift.estimate) < 1e-9  # both images are grey there, and the same
        assert not found_effects.share.defined
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert len(plot_donor_rates(list(found.values()), axes[0]).get_yticks()) == 5
    assert len(plot_effects(found_effects, axes[1]).get_yticks()) == 4


def check_words_are_fixed(rows: list[dict[str, Any]]) -> None:
    """Up to the answer every text with fixed words is that of the own run."""
    texts = {(row["sample"], row["condition"]): row["text"] for row in rows}
    for (sample, condition), text in texts.items():
        if condition == "twin-fixed-words":
            own = texts[sample, "own"]
            assert text.partition("<answer>")[0] == own.partition("<answer>")[0]


def test_forced_words_are_said_whatever_the_model_would_say(tmp_path: Path):
    """Words of another text are put into the pool: they come out, and then the model's answer."""
    lantern = LanternModel("faithful")
    pairs, _ = with_twins(
        load_task("scenes", 1, 501), lambda s: twin(s, "color", 0), answers_known=True
    )
    with Run.open(tmp_path, {}) as run:
        ablation = Ablation(lantern, pairs, [parse_condition("twin-fixed-words")], run)
        ablation.execute()
    tokenizer = lantern.processor.tokenizer
    said = tokenizer.encode("red blue <answer>", add_special_tokens=False)
    (pool,) = pools_of(pairs, [read_kept(tmp_path / "own_latents" / "clean")])
    assert len(pool.words[pairs[0].id]) > 0
    other = LatentPool(pool.samples, pool.latents, {s.id: tuple(said) for s in pairs})
    plan = parse_condition("twin-fixed-words").plan(pairs[0], lantern, other)
    output = lantern.generate(pairs[:1], plans=[plan])
    ids = output.sequences[0, output.prompt_length :].tolist()
    behind = ids[ids.index(lantern.require_lvr().end) + 1 :]
    assert behind[: len(said)] == said and len(behind) > len(said)
    bare = LatentPool(pool.samples, pool.latents)
    with pytest.raises(LanternError, match="no own text whose words could be held fixed"):
        parse_condition("twin-fixed-words").plan(pairs[0], lantern, bare)


def words_run(direct: float, words: float, pairs: int = 12) -> list[dict[str, Any]]:
    """Latents move the log-odds by `direct` by themselves and by `words` more through the text."""
    rng, rows = np.random.default_rng(5), []
    for i in range(pairs):
        for sample, other, gold, sign in ((f"{i}", f"{i}~", "a", 1), (f"{i}~", f"{i}", "b", -1)):
            start = -5 * sign + rng.normal()
            moved = start + sign * (direct + rng.normal() / 10)
            rows.append(row(sample, "own", gold, start, None))
            rows.append(row(sample, "twin-fixed-words", gold, moved, other))
            freely = moved + sign * (words + rng.normal() / 10)
            rows.append(row(sample, "twin", gold, freely, other))
    return rows


@pytest.mark.parametrize(("direct", "words"), [(4, 0), (0, 4), (2, 2)])
def test_the_indirect_effect_is_split_by_the_words_between(direct: float, words: float):
    (found,) = mediation.summarize(words_run(direct, words), model="m")
    paths = found.by_words
    assert paths is not None and paths.n == 24
    for part, truth in ((paths.fixed, direct), (paths.words, words)):
        assert part.estimate == pytest.approx(-truth, abs=0.15)
        assert part.low <= part.estimate <= part.high
    assert paths.nie.estimate == pytest.approx(-direct - words, abs=0.3)
    assert (paths.holm_p["fixed"] <= 0.01) is (direct > 0)  # type: ignore[operator]
    assert (paths.holm_p["words"] <= 0.01) is (words > 0)  # type: ignore[operator]
    bare = [one for one in words_run(1, 1) if one["condition"] != "twin-fixed-words"]
    assert mediation.summarize(bare, model="m")[0].by_words is None


@pytest.mark.parametrize("extra", [0.0, 2.0])
def test_tie_against_nie_is_the_interaction_of_image_and_latents(extra: float):
    """The latents take 1 from the right answer's log-odds, and more under a corrupted image."""
    rng, rows = np.random.default_rng(6), []
    for i in range(12):
        noise = rng.normal(size=4) / 10
        cells = {(f"{i}", "own"): 3, (f"{i}", "twin"): 2}
        cells |= {(f"{i}~", "own"): 0 - extra, (f"{i}~", "twin"): 1}
        for ((sample, label), odds), off in zip(cells.items(), noise, strict=True):
            other = None if label == "own" else f"{i}~" if sample == f"{i}" else f"{i}"
            one = row(sample, label, "a", -odds - off, other)
            rows.append({**one, "donor_answer": None})  # a corrupted image: one direction counts
    (found,) = mediation.summarize(rows, model="m")
    interaction, test = found.interaction.difference, found.interaction.test
    assert found.n == 12 and test is not None
    assert interaction.estimate == pytest.approx(found.tie.estimate - found.nie.estimate)
    assert interaction.low <= -extra <= interaction.high
    assert (test.p <= 0.01) is (extra > 0)


def test_figures_of_slots():
    shares = slot_shares.summarize(game(lambda s: float(len(s))), model="m", size=SLOTS)
    figure = Figure()
    axes = figure.subplots(1, 2)
    plot_slot_shares([s for s in shares if s.measure == "margin"], axes[0])
    plot_donor_rates_by_count([1, 2], [np.array([0.0, 0.5]), np.array([1.0])], axes[1])
    assert axes[1].get_ylim()[1] > 1
