"""Cuts as values: how they are written, what they name, and their random controls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.knock_out import Config
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Cut, KnockOut, parse_condition
from lantern_probe.interventions.edges import CUT_EDGES, CUT_KEYS, CUT_QUERIES, parse_cut


def several(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True).map("+".join)


@given(
    st.builds(
        Cut,
        queries=several(CUT_QUERIES),
        keys=several(CUT_KEYS),
        layers=st.sampled_from(["", "3", "0+2", "1-3", "!0"]),
        random=st.just(False),
    )
)
def test_a_label_is_read_back(cut: Cut):
    assert parse_cut(cut.label) == cut


def test_labels():
    assert Cut("after", "slot").label == "after->slot"
    cut = parse_cut("slot->system+question:layers=2-3,random=1")
    assert cut == Cut("slot", "system+question", layers="2-3", random=True)
    assert cut.label == "slot->system+question:layers=2-3,random=1"
    assert cut == replace(cut, random=False).control
    assert [parse_cut(edge).label for edge in CUT_EDGES] == list(CUT_EDGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slot", "write QUERIES->KEYS"),
        ("image->slot", "no queries 'image'; there are lvr_start"),
        ("slot->picture", "no keys 'picture'; there are system"),
        ("->image", "no queries ''"),
        ("slot->image:layers=two", "no layers 'two'"),
        ("slot->image:layers=3-1", "layers '3-1': 3-1 runs backwards"),
        ("slot->image:window=2", "no setting 'window=2'"),
        ("slot->image:seed=x", "seed takes int"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str):
    with pytest.raises(LanternError, match=message):
        parse_cut(text)


def layout(image: int, box: int = 0, question: int = 12) -> list[frozenset[str]]:
    """Sets of a prefix: system, image tokens (the first in the box), question, thought, marker."""
    parts = [frozenset({"image", "box" if at < box else "rest"}) for at in range(image)]
    before = [frozenset({"system"})] * 20 + [frozenset({"template"})] * 3
    after = [frozenset({"question"})] * question + [frozenset({"thought"})] * 10
    return before + parts + after + [frozenset({"lvr_start"})]


@pytest.mark.parametrize("image", [9, 60, 256, 1000, 3025])
def test_controls_exist_for_any_number_of_image_tokens_and_draw_nothing_else(image: int):
    prefix = layout(image, box=image // 3, question=5)
    everywhere = {at for at, sets in enumerate(prefix) if "image" in sets}
    box = {at for at in everywhere if "box" in prefix[at]}
    for queries in ("after", "answer", "slot", "lvr_start+slot"):
        for keys, count in (("box", len(box)), ("slot", 8), ("question", 5), ("lvr_start", 1)):
            for seed in range(4):
                drawn = Cut(queries, keys, random=True, seed=seed).drawn(prefix, 8, "a")
                assert len(drawn) == count and drawn <= everywhere
                assert keys != "box" or drawn.isdisjoint(box)
        one, two = (
            Cut(queries, "image", random=True, other=other).drawn(prefix, 8, "a")
            for other in (False, True)
        )
        assert len(one) == len(two) == image // 2
        assert one | two <= everywhere and not one & two
        rest = Cut(queries, "rest", random=True).drawn(prefix, 8, "a")
        assert len(rest) == len(everywhere - box) and box <= rest <= everywhere


def test_the_defaults_of_knock_out_have_their_controls_on_a_long_image():
    prefix = layout(1000, box=40)
    for text in Config().conditions[1:]:
        cut = parse_cut(text)
        assert not cut.random or cut.drawn(prefix, 8, "a")


def test_a_control_is_drawn_from_seed_and_sample_alone():
    prefix, control = layout(256), Cut("after", "image", random=True)
    drawn = control.drawn(prefix, 8, "a")
    assert drawn == replace(control, layers="2").drawn(prefix, 8, "a")
    assert drawn != control.drawn(prefix, 8, "b")
    assert drawn != replace(control, seed=1).drawn(prefix, 8, "a")


def test_a_control_of_more_image_tokens_than_there_are_is_refused():
    for cut, prefix, message in (
        ("after->slot", layout(7), "8 of 7 image tokens would"),
        ("after->box", layout(9, box=5), "5 of 4 image tokens outside the box would"),
        ("after->question", layout(9), "12 of 9 image tokens would"),
        ("after->image", layout(1), "0 of 1 image tokens would"),
    ):
        with pytest.raises(LanternError, match=message):
            parse_cut(cut).control.drawn(prefix, 8, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("after->image+slot:random=1", "none of image tokens and other keys together"),
        ("after->box+question:random=1", "none of image tokens and other keys together"),
        ("after->slot:random=1,other=1", "other=1 is the other half of the image tokens"),
        ("after->image:other=1", "other=1 does nothing without random=1"),
        ("after->slot:seed=3", "seed=3 does nothing without random=1"),
    ],
)
def test_a_control_that_cannot_exist_or_is_not_drawn_is_refused_at_once(text: str, message: str):
    with pytest.raises(LanternError, match=message):
        parse_cut(text)


def test_a_random_control_of_keys_that_are_still_to_come_is_refused():
    """How many they will be is not known, so a control of as many cannot be drawn."""
    for text in ("answer->lvr_end", "answer->after+image", "after->answer"):
        parse_cut(text)
        with pytest.raises(LanternError, match="no random control of as many"):
            parse_cut(f"{text}:random=1")
    assert parse_cut("after->slot:random=1").random


def test_a_cut_is_a_condition_of_the_same_label():
    condition = parse_condition("after->slot:layers=2-3")
    assert condition == KnockOut(Cut("after", "slot", layers="2-3"))
    assert condition.label == condition.cut.label == "after->slot:layers=2-3"
    assert parse_condition("after->slot:random=1", seed=4).cut.seed == 4
    assert parse_condition("after->slot", seed=4).cut.seed == 0  # nothing is drawn


def test_layers_are_those_that_are_written():
    assert Cut("after", "slot").in_layers(4).tolist() == [True] * 4
    assert Cut("after", "slot", layers="!1-2").in_layers(4).tolist() == [True, False, False, True]
    with pytest.raises(LanternError, match="no layer 4; the model has layers 0 to 3"):
        Cut("after", "slot", layers="4").in_layers(4)
