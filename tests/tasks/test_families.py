"""Scenes of two families: shares, nesting, and what a family changes."""

from __future__ import annotations

import itertools

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks import load_task
from lantern_probe.tasks.families import (
    IMAGE_TEMPLATES,
    SLOTS_TEMPLATES,
    family_share,
    mixed_scenes,
    seen_scenes,
)
from lantern_probe.tasks.scenes import TEMPLATES, scenes, twin
from lantern_probe.tasks.twins import with_twins

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@pytest.mark.parametrize("make", [mixed_scenes, seen_scenes])
def test_a_list_has_about_the_share_that_is_asked_for(make) -> None:  # type: ignore[no-untyped-def]
    for share in SHARES:
        found = family_share(make(400, 3, share=share))
        assert abs(found - share) <= 3 * (share * (1 - share) / 400) ** 0.5
    chosen = [
        {i for i, s in enumerate(make(60, 3, share=x)) if s.attributes["family"][0] in "sv"}
        for x in SHARES
    ]
    assert all(less <= more for less, more in itertools.pairwise(chosen))


def test_a_family_decides_the_wording_and_nothing_else() -> None:
    assert sorted((*SLOTS_TEMPLATES, *IMAGE_TEMPLATES)) == list(range(len(TEMPLATES)))
    for plain, mixed in zip(scenes(40, 5), mixed_scenes(40, 5, share=0.5), strict=True):
        assert plain.images[0].tobytes() == mixed.images[0].tobytes()
        assert (plain.answer, plain.boxes) == (mixed.answer, mixed.boxes)
        template = mixed.attributes["template"]
        allowed = SLOTS_TEMPLATES if mixed.attributes["family"] == "slots" else IMAGE_TEMPLATES
        assert template in allowed
        assert mixed.question == TEMPLATES[template].format(shape=plain.attributes["shape"])


def test_a_hidden_object_is_grey_for_the_model_only() -> None:
    plain, grey = scenes(40, 5), scenes(40, 5, hide_asked=True)
    for index, seen in enumerate(seen_scenes(40, 5, share=0.5)):
        like = plain[index] if seen.attributes["family"] == "visible" else grey[index]
        assert seen.images[0].tobytes() == like.images[0].tobytes()
        assert seen.open_oracle_images()[0].tobytes() == plain[index].images[0].tobytes()


def test_a_sample_depends_on_its_index_only() -> None:
    for make in (mixed_scenes, seen_scenes):
        assert make(5, 2, share=0.3, start=7)[0].question == make(12, 2, share=0.3)[7].question
    assert [s.id for s in mixed_scenes(2, 4, share=0.25)] == [
        "scenes-mixed:0.25-4-0",
        "scenes-mixed:0.25-4-1",
    ]


def test_twins_keep_the_family() -> None:
    pairs, _ = with_twins(mixed_scenes(6, 1, share=0.5), twin, answers_known=True)
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.attributes["family"] == other.attributes["family"]
        assert one.question == other.question and one.answer != other.answer


def test_a_task_of_two_families_is_loaded_by_name_and_share() -> None:
    loaded = load_task("scenes-mixed:0.25", 10, 3)
    assert [s.id for s in loaded] == [s.id for s in mixed_scenes(10, 3, share=0.25)]
    assert loaded[4].made == ("scenes-mixed:0.25", 3, 4)
    again = load_task(loaded[4].made[0], 5, loaded[4].made[1])[4]
    assert again.question == loaded[4].question
    assert load_task("scenes-seen:1", 1, 3)[0].attributes["family"] == "visible"


def test_halves_are_categories_of_the_same_scenes() -> None:
    loaded = load_task("scenes-halves", 30, 3)
    assert [s.question for s in loaded] == [s.question for s in scenes(30, 3)]
    for sample in loaded:
        first = sample.attributes["template"] in SLOTS_TEMPLATES
        assert sample.attributes["category"] == ("first half" if first else "second half")
    assert {s.attributes["category"] for s in loaded} == {"first half", "second half"}
    assert loaded[7].made == ("scenes-halves", 3, 7) and loaded[7].id == "scenes-halves-3-7"


@pytest.mark.parametrize("name", ["scenes-mixed", "scenes-mixed:", "scenes-seen:half"])
def test_a_share_that_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(LanternError, match="needs a share between 0 and 1 after a colon"):
        load_task(name, 3)


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan", "inf"])
def test_a_share_out_of_range_is_refused(share: str) -> None:
    with pytest.raises(LanternError, match="between 0 and 1, not"):
        load_task(f"scenes-mixed:{share}", 3)


def test_samples_of_no_family_have_no_share() -> None:
    for samples in ([], scenes(2)):
        with pytest.raises(LanternError, match="attribute family"):
            family_share(samples)
