"""Conditions under several seeds: pooled by label, paired by seed, and never one seed's value."""

from collections.abc import Sequence

import pytest

from lantern_probe.analysis import ablation, exchange, swap_controls
from lantern_probe.analysis.ablation import as_records, summarize
from lantern_probe.analysis.seeds import by_pool, matched, pools, split_seeds
from lantern_probe.stats import accuracy_difference
from lantern_probe.stats.passes import mean_accuracy_difference, mean_test


def row(sample: str, condition: str, right: bool, cluster: str | None = None) -> dict:
    return {
        "status": "ok", "sample": sample, "condition": condition, "emitted": True, "gold": "a",
        "answer": "a" if right else "b", "correct": right, "candidates": 2,
        "cluster": cluster or sample, "logprobs": None, "finish": "closed",
    }  # fmt: skip


def rows(condition: str, right: Sequence[int]) -> list[dict]:
    return [row(str(i), condition, bool(one)) for i, one in enumerate(right)]


OWN = [1, 1, 1, 1, 1, 1, 0, 1]
SWAPS = {"swap": [0, 0, 1, 0, 1, 0, 0, 0], "swap:seed=1": [0, 1, 0, 0, 0, 0, 0, 0]}


def test_labels_are_pooled_by_all_but_their_seeds():
    labels = ["own", "noise:scale=2,seed=3", "noise:scale=2", "noise", "own@swap-image:seed=1"]
    assert pools(labels) == {
        "own": ["own"],
        "noise:scale=2": ["noise:scale=2,seed=3", "noise:scale=2"],
        "noise": ["noise"],
        "own@swap-image:seed=1": ["own@swap-image:seed=1"],
    }
    assert split_seeds("after->image:random=1,other=1,seed=4")[1] == (4, 0)


def test_a_condition_of_two_seeds_is_one_with_the_mean():
    table = rows("own", OWN) + [r for label, some in SWAPS.items() for r in rows(label, some)]
    own, swap = summarize(table, model="m")
    assert (swap.condition, swap.name) == ("swap", "swap (2 seeds)")
    assert swap.n == 8 and swap.labels == tuple(SWAPS)
    assert swap.accuracy.estimate == pytest.approx(3 / 16)
    assert swap.by_seed == {(0, 0): 0.25, (1, 0): 0.125}
    assert swap.mcnemar is None
    texts = [right for i in range(8) for right in (SWAPS["swap"][i], SWAPS["swap:seed=1"][i])]
    layout = {"samples": [i // 2 for i in range(16)], "seeds": [i % 2 for i in range(16)]}
    before = [right for right in OWN for _ in range(2)]
    expected = mean_accuracy_difference(texts, before, **layout)
    assert swap.difference is not None and swap.test is not None
    found = (swap.difference.estimate, swap.difference.low, swap.difference.high)
    assert found == pytest.approx((expected.estimate, expected.low, expected.high))
    assert swap.test.p == pytest.approx(mean_test(before, texts, **layout).p)
    record = as_records([own, swap])[1]
    assert record["seeds"] == 2 and record["accuracy_by_seed"] == {"0": 0.25, "1": 0.125}
    assert record["seed_sd"] == pytest.approx(0.0883883)
    assert as_records([own])[0]["seeds"] == 1


def test_one_seed_is_compared_as_ever():
    table = rows("own", OWN) + rows("swap:seed=1", SWAPS["swap:seed=1"])
    _, swap = summarize(table, model="m")
    assert swap.condition == swap.name == "swap:seed=1" and not swap.by_seed
    assert swap.difference == accuracy_difference(
        SWAPS["swap:seed=1"], OWN, [str(i) for i in range(8)]
    )


def test_under_a_drawn_image_each_seed_is_paired_with_its_own_reference():
    table = rows("own", OWN)
    table += rows("own@swap-image", [1] * 8) + rows("own@swap-image:seed=1", [0] * 8)
    table += rows("zeros@swap-image", [1] * 8) + rows("zeros@swap-image:seed=1", [0] * 8)
    found = {s.condition: s for s in summarize(table, model="m")}
    zeros = found["zeros@swap-image"].difference
    assert zeros is not None and zeros.discordant == 0  # crossed over seeds half would differ
    pooled = by_pool(table, pools(r["condition"] for r in table))
    pairs = matched(pooled["zeros@swap-image"], pooled["own@swap-image"])
    assert all(
        r["correct"] == pooled["zeros@swap-image"][unit]["correct"] for unit, r in pairs.items()
    )
    assert len(matched(pooled["zeros@swap-image"], pooled["own"])) == 16


def test_a_control_of_several_seeds_is_one_contrast():
    erased = rows("erase:attribute=color", [0, 0, 0, 0, 1, 0, 0, 0])
    shams = {"erase-shuffled:attribute=color": OWN}
    shams["erase-shuffled:attribute=color,seed=1"] = [1, 1, 1, 0, 1, 1, 0, 1]
    table = rows("own", OWN) + erased
    table += [r for label, some in shams.items() for r in rows(label, some)]
    found = {s.condition: s for s in summarize(table, model="m")}
    (contrast,) = found["erase:attribute=color"].controls
    assert contrast.control == "erase-shuffled:attribute=color"
    assert contrast.contrast.difference.estimate == pytest.approx(1 / 8 - (7 + 6) / 16)
    assert contrast.contrast.test.p > 2 / 2**7  # no less than that of the sign flips


def test_two_halves_of_an_image_are_held_against_each_other_seed_by_seed():
    labels = ["after->image:random=1", "after->image:random=1,other=1"]
    table = rows("own", OWN)
    for seed, right in enumerate(([1] * 8, [0] * 8)):
        for label in labels:
            table += rows(label + (f",seed={seed}" if seed else ""), right)
    found = {s.condition: s for s in summarize(table, model="m")}
    (contrast,) = found[labels[0]].controls
    assert contrast.contrast.difference.discordant == 0


def donor(sample: str, condition: str, answer: str, shift: float) -> dict:
    return {
        **row(sample, condition, answer == "a"), "answer": answer, "donor": "x",
        "donor_answer": None if condition == "own" else "b",
        "logprobs": {"a": -0.2 - shift, "b": -2.0 + shift},
    }  # fmt: skip


def test_exchanges_and_swap_shifts_are_means_over_seeds():
    table = [donor(str(i), "own", "a", 0.0) for i in range(6)]
    for seed, answers in enumerate(("bbbabb", "babbbb", "bbbbba")):
        label = "swap" if seed == 0 else f"swap:seed={seed}"
        table += [
            donor(str(i), label, one, 1 + 0.1 * seed + 0.05 * i) for i, one in enumerate(answers)
        ]
    labels = ["swap", "swap:seed=1", "swap:seed=2"]
    (found,) = exchange.summarize(table, model="m", conditions=labels)
    assert (found.n, found.seeds, found.name) == (6, 3, "swap (3 seeds)")
    assert found.donor_rate.estimate == pytest.approx(15 / 18)
    assert found.margin is not None and found.margin.method == "two-way t"
    assert found.margin.estimate == pytest.approx(2 * (1.1 + 0.125))
    assert found.margin_test is not None and found.margin_test.p >= 2 / 2**6
    (shift,) = swap_controls.summarize(table, model="m", conditions=labels)
    assert shift.seeds == 3 and shift.signed.estimate == pytest.approx(-2 * (1.1 + 0.125))


def test_notes_of_length_know_pooled_references():
    table = rows("own", OWN) + rows("own@swap-image", OWN) + rows("own@swap-image:seed=1", OWN)
    table += [dict(r, finish="truncated") for r in rows("zeros@swap-image", OWN)]
    table += rows("zeros@swap-image:seed=1", OWN)
    (note,) = ablation.length_notes(summarize(table, model="m"))
    assert note.startswith("zeros@swap-image: 4 of 8") and "under own@swap-image 0 of 8" in note
