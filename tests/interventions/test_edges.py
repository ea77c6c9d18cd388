"""Cuts as values: how they are written, what they name, and their random controls."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        seed=st.integers(0, 5),
    )
)
def test_a_label_is_read_back(cut: Cut):
    assert parse_cut(cut.label) == cut


def test_labels():
    assert Cut("after", "slot").label == "after->slot"
    cut = parse_cut("slot->image+question:layers=2-3,random=1")
    assert cut == Cut("slot", "image+question", layers="2-3", random=True)
    assert cut.label == "slot->image+question:layers=2-3,random=1"
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


def cut_of_prefix(cut: Cut, sample: str = "a") -> frozenset[int]:
    prompt = ["system"] * 3 + ["image"] * 4 + ["question"] * 5 + ["thought"] * 2 + ["lvr_start"]
    return cut.drawn([frozenset({name}) for name in prompt], 8, sample)


def test_a_control_has_as_many_keys_and_none_of_the_same():
    image, slots = set(range(3, 7)), set(range(15, 23))
    control = Cut("after", "image").control
    drawn = [cut_of_prefix(replace(control, seed=seed)) for seed in range(40)]
    assert {len(keys) for keys in drawn} == {4}
    assert set().union(*drawn) == set(range(23)) - image  # slots are keys like others
    early = [cut_of_prefix(Cut("slot", "image", seed=seed).control) for seed in range(40)]
    assert set().union(*early) == set(range(15)) - image  # not all slots see all slots
    assert {len(cut_of_prefix(Cut("lvr_end", "slot").control))} == {8}
    assert cut_of_prefix(Cut("lvr_end", "slot").control).isdisjoint(slots)


def test_a_control_is_drawn_from_seed_and_sample_alone():
    control = Cut("after", "image", random=True)
    assert cut_of_prefix(control) == cut_of_prefix(replace(control, layers="2"))
    assert cut_of_prefix(control) != cut_of_prefix(control, "b")
    assert cut_of_prefix(control) != cut_of_prefix(replace(control, seed=1))
    with pytest.raises(LanternError, match="9 keys cannot be replaced"):
        cut_of_prefix(Cut("slot", "image+question", random=True))


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
