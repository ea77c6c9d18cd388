"""Templates: placeholders are filled, nothing in the data is read as one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.tasks.prompts import parse_template, placed_images, written_as


@given(st.text(), st.text())
def test_braces_in_the_data_mean_nothing(question: str, hint: str) -> None:
    values = {"question": "<" + question, "hint": "<" + hint}
    filled = parse_template("Q {question} {hint}").filled(values)
    assert filled == f"Q <{question} <{hint}"


def test_a_line_of_empty_placeholders_is_left_out_and_others_stay() -> None:
    template = parse_template("{hint}\\n\\nQ: {question}\n{options}\n{{x}} {a.b}", ["a.b"])
    values = {"hint": "", "question": "q", "options": " ", "a.b": ""}
    assert template.filled(values) == "\nQ: q\n{x} "
    assert template.places == {"hint", "question", "options", "a.b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{question.__class__}", r"no placeholder \{question.__class__\}; there are \{question\}"),
        ("{question!r}", "no placeholder"),
        ("{}", "no placeholder"),
        ("{question} {", r"a single '\{'"),
        ("question", "the same of every sample"),
        ("", "the same of every sample"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(text: str, said: str) -> None:
    with pytest.raises(LanternError, match=rf"{said}.*\(--prompt\)"):
        parse_template(text, ["image"])


def test_options_are_written_with_letters_or_without() -> None:
    assert written_as(("cat", "dog"), "letters") == "A. cat\nB. dog"
    assert written_as(("cat", "dog"), "words") == "cat\ndog"


def test_marks_of_images_take_their_line_breaks_and_must_be_as_many() -> None:
    assert placed_images("what ?", 2) == ("what ?", False)
    assert placed_images("<image>\nwhat ?", 1) == ("<image>what ?", True)
    assert placed_images("a <image> b\n<image>\nc", 2) == ("a <image> b<image>c", True)
    with pytest.raises(LanternError, match="2 marks <image> for 1 images"):
        placed_images("<image> <image>", 1)
