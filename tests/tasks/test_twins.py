"""Twins: pairs that name each other, are one cluster, and say why a sample has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import TWIN, TWIN_ANSWER, unrelated_pairs, with_twins


def asked(name: str, answer: str) -> Sample:
    return Sample(name, (), f"question {name} ?", ("red", "blue", "green"), answer)


def test_a_pair_names_its_other_half_and_is_one_cluster() -> None:
    samples = scenes(3, 4)
    pairs, without = with_twins(samples, twin, answers_known=True)
    assert without == [] and [one.id for one in pairs[::2]] == [s.id for s in samples]
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert (one.attributes[TWIN], other.attributes[TWIN]) == (other.id, one.id)
        assert one.attributes[TWIN_ANSWER] == other.answer != one.answer
        assert one.cluster == other.cluster == one.id
        assert one.question == other.question and one.images != other.images
        assert one.attributes["shape"] == other.attributes["shape"], "attributes are kept"


def test_a_twin_of_the_same_id_gets_another_and_an_unknown_answer_is_not_noted() -> None:
    pairs, _ = with_twins([asked("a", "red")], lambda sample: sample, answers_known=False)
    assert [one.id for one in pairs] == ["a", "a~"]
    assert [one.attributes[TWIN] for one in pairs] == ["a~", "a"]
    assert not any(TWIN_ANSWER in one.attributes for one in pairs)


def test_a_sample_without_a_twin_is_left_out_with_the_reason() -> None:
    def make(sample: Sample) -> Sample:
        if sample.answer == "red":
            raise LanternError(f"{sample.id} cannot be edited")
        return replace(sample, id=f"{sample.id}-edited")

    samples = [asked("a", "red"), asked("b", "blue")]
    pairs, without = with_twins(samples, make, answers_known=True)
    assert [one.id for one in pairs] == ["b", "b-edited"]
    assert without == ["sample 'a': a cannot be edited"]
    with pytest.raises(LanternError, match="has a twin: sample 'a': a cannot be edited"):
        with_twins(samples[:1], make, answers_known=True)


def test_unrelated_pairs_take_the_first_sample_of_another_answer() -> None:
    answers = ("red", "red", "blue", "green", "green", "green")
    samples = [asked(name, answer) for name, answer in zip("abcdef", answers, strict=True)]
    pairs = unrelated_pairs(samples)
    assert [one.id for one in pairs] == ["a", "c", "b", "d"], "e and f find no other answer"
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.attributes[TWIN_ANSWER] == other.answer != one.answer
        assert one.cluster == other.cluster == one.id


def test_unrelated_pairs_need_two_answers() -> None:
    with pytest.raises(LanternError, match="samples of different answers"):
        unrelated_pairs([asked("a", "red"), asked("b", "red")])


def test_pairs_of_one_image_are_one_cluster():
    one, two, other = (
        replace(asked(name, "red"), images=(f"{name[0]}.jpg",)) for name in ("a1", "a2", "b1")
    )
    pairs, _ = with_twins([one, two, other], lambda s: s, answers_known=False)
    assert [sample.cluster for sample in pairs] == ["a.jpg"] * 4 + ["b1"] * 2
    assert [sample.attributes["pair"] for sample in pairs] == ["a1", "a1", "a2", "a2", "b1", "b1"]


def test_pairs_linked_through_a_shared_twin_image_are_one_cluster():
    samples = [
        replace(asked(name, answer), images=(image,))
        for name, answer, image in (
            ("1", "red", "x"),
            ("2", "blue", "y"),
            ("3", "red", "y"),
            ("4", "blue", "z"),
        )
    ]
    pairs = unrelated_pairs(samples)
    assert len({sample.cluster for sample in pairs}) == 1
