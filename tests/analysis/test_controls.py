"""Which condition is the control of which."""

from __future__ import annotations

from lantern_probe.analysis.controls import controls_of

CUTS = [
    "own",
    "after->image",
    "after->image:random=1",
    "after->image:random=1,other=1",
    "after->image:random=1,seed=1",
    "after->slot",
    "after->slot:random=1,seed=1",
    "after->slot:layers=2,random=1",
    "erase:attribute=color",
    "erase-shuffled:attribute=color",
    "erase-shuffled:attribute=shape",
]


def test_a_control_has_the_settings_of_its_condition():
    assert controls_of("after->slot", CUTS) == ["after->slot:random=1,seed=1"]
    assert controls_of("after->slot:layers=2", CUTS) == ["after->slot:layers=2,random=1"]
    assert controls_of("erase:attribute=color", CUTS) == ["erase-shuffled:attribute=color"]
    assert controls_of("after->slot@black-box", CUTS) == []


def test_half_of_the_image_is_held_against_its_other_half_and_the_whole_against_none():
    assert controls_of("after->image", CUTS) == []
    assert controls_of("after->image:random=1", CUTS) == ["after->image:random=1,other=1"]
    assert controls_of("after->image:random=1,other=1", CUTS) == []
    assert controls_of("after->image:random=1,seed=1", CUTS) == []
