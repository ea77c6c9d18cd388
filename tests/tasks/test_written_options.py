"""Options and answers in every form in which tables write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.tasks.written_options import index_form, read_answer, read_options

CAT_DOG = ("cat", "dog")


@pytest.mark.parametrize(
    "cells",
    [
        [["cat", "dog"]],
        ["['cat', 'dog']"],
        ['["cat", "dog"]'],
        ["('cat', 'dog')"],
        ["(A) cat (B) dog"],
        ["A. cat\nB. dog"],
        [["A. cat", "B) dog"]],
        [{"B": "dog", "A": "cat", "C": None}],
        ["{'A': 'cat', 'B': 'dog'}"],
        [{"0": "cat", "1": "dog"}],
        [{"label": ["A", "B"], "text": ["cat", "dog"]}],
        ["cat", "dog", None, ""],
        ["cat", " dog ", float("nan")],
    ],
)
def test_the_same_options_in_every_form(cells: list[Any]) -> None:
    assert read_options(cells) == CAT_DOG


texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=2, max_size=9)


@given(st.lists(texts, min_size=2, max_size=5))
def test_a_list_that_python_prints_is_read_back(options: list[str]) -> None:
    assert read_options([str(options)]) == read_options([options])


def test_apostrophes_and_numbers_are_kept() -> None:
    assert read_options(["""["it's", 'b']"""]) == ("it's", "b")
    assert read_options([[3, 2.5]]) == ("3", "2.5")
    assert read_options(["[]"]) == read_options([[]]) == ()
    assert read_options([["A. Smith", "C. Jones"]]) == ("A. Smith", "C. Jones")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["['a' 'b']"], "printed by numpy"),
        (["['a'\n 'b']"], "printed by numpy"),
        (["['a' 'b', 'c']"], "printed by numpy"),
        (["[1 2 3]"], "printed by numpy"),
        (["array(['a', 'b'], dtype=object)"], "printed by numpy"),
        (["['it's', 'b']"], "no list or mapping"),
        (["[__import__('os').getcwd(), 'b']"], "no list or mapping"),
        (["[" * 5000], "no list or mapping"),
        (["cat, dog"], "are one text.*--fields options=COL,COL"),
        ([None], "are empty"),
        (["  "], "are empty"),
        ([None, None], "are empty"),
        (["cat", None, "dog"], "option 2 of 3 is empty"),
        ([["cat"]], "2 to 26 options, not 1"),
        ([["cat"] * 27], "2 to 26 options, not 27"),
        ([["cat", True]], "must be a text or a number, not True"),
        ([["cat", ""]], "an option is empty"),
        ([{"A": "cat", "D": "dog"}], "letters from A on"),
        ([7], "no list: 7"),
    ],
)
def test_options_that_are_none_are_refused(cells: list[Any], said: str) -> None:
    with pytest.raises(LanternError, match=said):
        read_options(cells)


@pytest.mark.parametrize(
    "answer", ["B", "b", "(b)", "B.", "B. dog", "dog", "DOG ", "Answer: B", ["B"]]
)
def test_the_same_answer_in_every_form(answer: Any) -> None:
    assert read_answer(answer, CAT_DOG) == 1


@pytest.mark.parametrize(
    ("answer", "options", "said"),
    [
        ("C", CAT_DOG, "neither one of the letters AB"),
        ("B. cat", CAT_DOG, "neither"),
        ("cow", CAT_DOG, "neither"),
        (1, CAT_DOG, "neither"),
        ("B", ("A", "C", "B"), "--answers letter or text"),
        ("YES", ("Yes", "yes"), "the text of 2 options"),
        (["A", "B"], CAT_DOG, "not one option"),
        (True, CAT_DOG, "not True"),
    ],
)
def test_answers_that_are_not_one_option_are_refused(
    answer: Any, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        read_answer(answer, options)


def test_the_form_that_is_asked_for_decides() -> None:
    assert read_answer("B", ("A", "C", "B"), "letter") == 1
    assert read_answer("B", ("A", "C", "B"), "text") == 2
    assert read_answer("1", ("2", "1"), "index0") == read_answer(1.0, ("2", "1"), "text") == 1
    assert read_answer(1, CAT_DOG, "index1") == 0
    for form, number in (("index0", 2), ("index1", 0), ("index1", "cat")):
        with pytest.raises(LanternError, match=r"is no number from \d to \d"):
            read_answer(number, CAT_DOG, form)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "options", "form"),
    [
        ([0, 1, 1], [CAT_DOG] * 3, "index0"),
        ([1, 2, 1], [CAT_DOG] * 3, "index1"),
        (["0", None, "1"], [CAT_DOG] * 3, "index0"),
        ([1.0, 2.0], [CAT_DOG] * 2, "index1"),
        (["A", "B"], [CAT_DOG] * 2, None),
        (["A", "1"], [CAT_DOG] * 2, None),
        (["3", "5"], [("3", "5")] * 2, None),
        ([1, 2], [("2", "5"), ("1", "9")], "index1"),
        ([], [], None),
    ],
)
def test_numbers_count_from_where_the_column_shows_it(
    answers: list[Any], options: list[tuple[str, ...]], form: str | None
) -> None:
    assert index_form(answers, options) == form


@pytest.mark.parametrize(
    ("answers", "options", "said"),
    [
        ([1, 1], [("x", "y", "z")] * 2, "count from 0 or from 1; --answers index0, index1 or text"),
        ([1, 2], [("1", "2")] * 2, "texts of options or their numbers"),
        ([3, 7], [("1", "2", "3")] * 2, "texts of options or their numbers"),
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(
    answers: list[Any], options: list[tuple[str, ...]], said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        index_form(answers, options)
