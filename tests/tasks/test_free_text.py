"""Free texts: exact, in normal form, or as numbers, and nothing in between."""

from __future__ import annotations

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.free_text import agrees, check_right_answer, number_of
from lantern_probe.tasks.sample import Sample


@pytest.mark.parametrize(
    ("said", "right", "agree"),
    [
        ("The Dog.", "dog", True),
        ("two  dogs", "2 dogs", True),
        ("(a) dog", "dog", True),
        ("it's", "its", True),
        ("a", "A", True),
        ("!", "!", True),
        ("10:30", "10:30", True),
        ("10:30", "1030", False),
        ("-5", "5", False),
        ("50%", "50", False),
        ("dogs", "dog", False),
        ("not a dog", "dog", False),
    ],
)
def test_normal_form_leaves_out_case_articles_and_punctuation(
    said: str, right: str, agree: bool
) -> None:
    assert agrees(said, right, "normalised") is agree
    assert agrees(said, right, "exact") is (said == right)


@pytest.mark.parametrize(
    ("said", "right", "agree"),
    [
        ("1,234", "1234", True),
        ("There are 12 apples.", "12", True),
        ("3.0", "3", True),
        ("three", "3", True),
        ("5.", "5", True),
        ("\\boxed{5}", "5", True),
        ("1e3", "1000", True),
        ("5%", "5 %", True),
        ("\u22125", "-5", True),
        ("5%", "5", False),
        ("12 million", "12", False),
        ("-5", "5", False),
        ("not 5", "5", False),
        ("3-4", "3", False),
        ("3 or 4", "3", False),
        ("1/2", "1", False),
        ("1.234,5", "1234.5", False),
        ("12,34", "1234", False),
        ("none", "0", False),
        ("3.0001", "3", False),
    ],
)
def test_numbers_agree_without_tolerance_and_only_if_there_is_one(
    said: str, right: str, agree: bool
) -> None:
    assert agrees(said, right, "numeric") is agree


def test_a_right_answer_without_a_number_is_refused_as_one() -> None:
    assert number_of("about 7") == 7
    with pytest.raises(LanternError, match="exactly one number.*--match normalised"):
        check_right_answer("seven or eight", "numeric")


def test_any_accepted_text_gives_the_right_answer_and_another_is_kept_as_said() -> None:
    sample = Sample("1", (), "how many?", answer="3", accepted=("a trio",), match="normalised")
    read = {text: parse_answer(f"<answer>{text}</answer>", sample) for text in ("Three", "Trio.")}
    assert read == {"Three": "3", "Trio.": "3"}
    assert parse_answer("<answer> Four </answer>", sample) == "Four"
    assert parse_answer("Three", sample) is None
    unknown = Sample("1", (), "how many?", match="normalised")
    assert parse_answer("<answer>None</answer>", unknown) == "None"
