"""Conditions as text: labels and conditions are inverse, and every condition says what it is."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.interventions import (
    CONDITIONS,
    CORRUPTIONS,
    STANDARD,
    KnockOut,
    parse_condition,
)
from lantern_probe.vocabulary import REDEFINED, redefined


def test_labels_and_conditions_are_inverse():
    for name, kind in CONDITIONS.items():
        if all(field.default is not MISSING for field in fields(kind)):
            assert parse_condition(name).label == name
    for text in (
        "k-slots:k=4",
        "zeros:slots=3",
        "zeros:slots=!3,frozen=1",
        "swap:slots=0+2-4,blocks=0,seed=2",
        "additive:sigma=0.3,raw=1",
        "noise:scale=2.0",
        "swap:seed=3",
        "noise:scale=0.5,seed=7",
        "erase:attribute=color",
    ):
        assert parse_condition(text).label == text
        assert parse_condition(parse_condition(text).label) == parse_condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no condition 'nonsense'; there are own, skip"),
        ("swap:size=3", "no setting 'size=3'; it has slots .str.*seed .int"),
        ("skip:seed=1", "it has none"),
        ("erase", "needs attribute, as in erase:attribute="),
        ("swap:seed=x", "takes int"),
        ("noise:scale", "no setting 'scale'"),
        ("zeros:slots=x", "no slots 'x'"),
        ("zeros:slots=5-2", "5-2 runs backwards"),
        ("noise:scale=nan", "takes float"),
        ("additive:sigma=-1", "takes float"),
        ("zeros:frozen=maybe", "takes bool"),
        ("k-slots", "needs k, as in k-slots:k=..."),
    ],
)
def test_unknown_conditions_are_refused(text: str, message: str):
    with pytest.raises(LanternError, match=message):
        parse_condition(text)


def form(kind: type) -> dict[str, str]:
    """The filled-in form of a docstring: its headings and what stands under them."""
    found = re.findall(r"^ {4}([A-Z][\w ]+): (\S.*(?:\n {8}\S.*)*)", kind.__doc__ or "", re.M)
    return dict(found)


@pytest.mark.parametrize("kind", [*CONDITIONS.values(), KnockOut], ids=lambda kind: kind.name)
def test_every_condition_says_what_is_at_the_slots_its_source_and_its_control(kind: type):
    assert {"At the slots", "Source", "Control"} <= form(kind).keys()


@pytest.mark.parametrize("kind", CORRUPTIONS.values(), ids=lambda kind: kind.name)
def test_every_corruption_says_what_is_in_the_image_its_source_and_its_control(kind: type):
    assert {"In the image", "Source", "Control"} <= form(kind).keys()


@pytest.mark.parametrize("kind", [*CONDITIONS.values(), *CORRUPTIONS.values(), KnockOut])
def test_controls_that_are_named_exist(kind: type):
    for name in re.findall(r"`([^`]+)`", form(kind)["Control"]):
        if "=" in name.partition(":")[0]:
            continue  # a setting of the condition itself
        condition, _, image = name.partition("@")
        kind_named = condition.partition(":")[0]
        assert kind_named in {*CONDITIONS, *CORRUPTIONS} or parse_condition(condition), name
        assert not image or image in CORRUPTIONS, name


def test_every_setting_is_described():
    for kind in [*CONDITIONS.values(), *CORRUPTIONS.values()]:
        own = set(inspect.get_annotations(kind)) - {"name", "from_pool", "needs_block", "keeps"}
        described = set(re.findall(r"^ {8}(\w+): ", kind.__doc__ or "", re.M))
        assert own <= described, (kind.name, own - described)


def test_the_standard_conditions_exist():
    assert [parse_condition(name).label for name in STANDARD] == list(STANDARD)


def test_conditions_that_changed_their_meaning_are_known_by_label():
    for label in ("ban", "direct@black-box", "erase:attribute=color", "shuffle:seed=2"):
        assert redefined(label) == REDEFINED[label.partition("@")[0].partition(":")[0]]
    assert redefined("after->image:random=1,seed=2") == redefined("slot->box:layers=1,random=1")
    assert redefined("after->image:random=1") is not None
    for label in ("own", "zeros", "skip@black-box", "after->image", "after->slot:layers=2-3"):
        assert redefined(label) is None
    assert set(REDEFINED) <= {*CONDITIONS, "->:random"}


def test_conditions_are_named_and_read_without_torch():
    """In a fresh process: torch alone takes longer to load than all that a command line needs."""
    code = """
import sys
import lantern_probe.interventions.image, lantern_probe.interventions.patches
import lantern_probe.interventions.pool
from lantern_probe.interventions import CONDITIONS, CORRUPTIONS, parse_condition, parse_corruption
for name in ("zeros:slots=!3", "swap:seed=1", "after->slot:layers=2-3", "erase:attribute=color"):
    assert parse_condition(name, seed=1).label.startswith(name)
for name in CORRUPTIONS:
    parse_corruption(name)
heavy = {"torch", "transformers", "nnsight", "scipy", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
