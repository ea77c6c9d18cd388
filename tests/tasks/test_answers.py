"""The parsers: what they accept, what they refuse, and that nothing breaks them."""

import inspect
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answers import parse_answer, parse_strict
from lantern_probe.tasks.sample import Sample


def lettered(*options: str) -> Sample:
    return Sample("s", (), "what?", options=options, lettered=True)


def words(*options: str) -> Sample:
    return Sample("s", (), "what?", options=options)


ANIMALS = lettered("a cat", "a dog", "a man", "three cats")
COLOURS = words("red", "dark red", "blue", "light green")

PIECES = st.sampled_from(
    [
        "<answer>",
        "</answer>",
        "</answer",
        "<",
        "A",
        "b",
        "(",
        ")",
        ". ",
        ":",
        " ",
        "\n",
        "a man",
        "dog",
    ]
    + [
        "red",
        "dark ",
        "blue",
        "<|im_end|>",
        "<|lvr_sep|>",
        "é",
        "\ud800",
        "\x00",
        "-5",
        "1.5",
        "**",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))
OPTIONS = st.lists(
    st.text(string.ascii_letters + string.digits + " .,'-()", min_size=1).filter(str.strip),
    min_size=2,
    max_size=6,
    unique_by=lambda option: " ".join(option.split()),
)


@pytest.mark.parametrize(
    "content",
    [
        "B",
        "b",
        "B.",
        "(B)",
        "[b]",
        "(b).",
        "B:",
        " \nB\n",
        "**B**",
        "B. a dog",
        "(B) A Dog.",
        "b) a dog",
    ]
    + ["B a dog", "B: a dog", "B.a dog", "B\na dog", "a dog", "A  DOG", "a dog.", "B<|im_end|>"],
)
def test_default_reads_the_forms_of_a_letter(content: str) -> None:
    assert parse_answer(f"<think>..</think><answer>{content}</answer>", ANIMALS) == "B"
    assert parse_answer(f"<answer>C</answer> no: <answer>{content}", ANIMALS) == "B"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  ",
        ".",
        "E",
        "B and C",
        "B. a cat",
        "a bird",
        "AB",
        "A B",
        "?",
    ],
)
def test_default_refuses_what_is_no_answer(content: str) -> None:
    assert parse_answer(f"<answer>{content}</answer>", ANIMALS) is None


def test_default_wants_the_tag() -> None:
    assert parse_answer("B", ANIMALS) is None
    assert parse_answer("", ANIMALS) is None


def test_a_man_is_an_option_and_not_the_letter_a() -> None:
    assert parse_answer("<answer>a man</answer>", ANIMALS) == "C"
    assert parse_answer("<answer>A man</answer>", ANIMALS) == "C"
    assert parse_answer("<answer>a man</answer>", lettered("cat", "dog")) is None
    assert parse_answer("<answer>a man</answer>", lettered("man", "dog")) == "A"
    assert parse_answer("<answer>a. man</answer>", lettered("man", "dog")) == "A"
    assert parse_answer("<answer>A man</answer>", lettered("man", "a man")) is None


def test_equal_options_are_told_apart_by_their_letter_only() -> None:
    ropes = lettered("rope", "chain", "wire", "rope")
    assert parse_answer("<answer>rope</answer>", ropes) is None
    assert parse_answer("<answer>D. rope</answer>", ropes) == "D"


def test_a_lone_letter_wins_over_an_option_that_is_a_letter() -> None:
    assert parse_answer("<answer>A</answer>", lettered("B", "A")) == "A"


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("red", "red"),
        ("Red.", "red"),
        ("the cup is blue", "blue"),
        ("it is dark red", "dark red"),
        ("dark-red", "dark red"),
        ("light  green", "light green"),
        ("red or blue", None),
        ("dark red, not red", None),
        ("reddish", None),
        ("light", None),
        ("A", None),
    ],
)
def test_default_reads_words(content: str, answer: str | None) -> None:
    assert parse_answer(f"<answer> {content} </answer>", COLOURS) == answer


def test_numbers_keep_their_sign_and_point() -> None:
    numbers = words("15", "1.5", "-5", "5")
    for option in numbers.options:
        assert parse_answer(f"<answer>about {option}.</answer>", numbers) == option
    assert parse_answer("<answer>1.5</answer>", words("15", "20")) is None
    assert parse_answer("<answer>2nd</answer>", words("2", "3")) is None


def test_options_of_symbols_and_of_case_only() -> None:
    signs = words("+", "-", "C", "C++", "polish", "Polish")
    for option in signs.options:
        assert parse_answer(f"<answer>{option}</answer>", signs) == option
    assert parse_answer("<answer>POLISH</answer>", signs) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>B</answer>", "B"),
        ("<answer>Answer: (C)</answer>", "C"),
        ("<answer>a man</answer>", "a"),
        ("<answer>A</answer><answer>D", "D"),
        ("so I say B", "I"),
        ("<answer>Z</answer>", "Z"),
        ("<answer>threecats</answer>", "D"),
        ("<answer>elephant</answer>", None),
        ("<answer></answer>", None),
    ],
)
def test_official_is_the_published_parser(text: str, answer: str | None) -> None:
    assert parse_answer(text, ANIMALS, "official") == answer


def test_official_fuzzy_match_survives_long_repetitive_options() -> None:
    long = "ab " * 100
    assert parse_answer(f"<answer>{long}</answer>", lettered("cd", long.strip()), "official") == "B"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer> (B) dog", "B"),
        ("<answer>b</answer>", None),
        ("<answer>a</answer><answer>D", "D"),
        ("<answer>A</answer><answer>B</answer>", "A"),
        ("<answer>Man</answer>", "M"),
        ("B", None),
    ],
)
def test_strict_is_the_expression_of_the_result_files(text: str, answer: str | None) -> None:
    assert parse_answer(text, ANIMALS, "strict") == answer
    assert parse_strict(text) == answer


@pytest.mark.parametrize("parser", ["official", "strict"])
def test_letter_parsers_refuse_word_samples(parser: str) -> None:
    with pytest.raises(LanternError, match="parser='default'"):
        parse_answer("<answer>red</answer>", COLOURS, parser)  # type: ignore[arg-type]


def test_unknown_parser_is_named() -> None:
    with pytest.raises(LanternError, match="'fuzzy'.*official"):
        # The annotation, which only tests enforce, would refuse it first.
        inspect.unwrap(parse_answer)("x", ANIMALS, "fuzzy")


@given(TEXTS, OPTIONS, st.booleans())
def test_default_gives_a_candidate_or_none(text: str, options: list[str], letters: bool) -> None:
    sample = lettered(*options) if letters else words(*options)
    assert parse_answer(text, sample) in (None, *sample.candidates)


@given(TEXTS, OPTIONS)
def test_letter_parsers_give_a_letter_or_none(text: str, options: list[str]) -> None:
    for parser in ("official", "strict"):
        answer = parse_answer(text, lettered(*options), parser)  # type: ignore[arg-type]
        assert answer is None or (len(answer) == 1 and answer in string.ascii_letters)


@given(OPTIONS, TEXTS.filter(lambda text: "<answer" not in text.lower()), st.data())
def test_canonical_forms_come_back(options: list[str], thought: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(options) - 1))
    letter, option = string.ascii_uppercase[index], options[index]
    for form in (letter, f"({letter})", f"{letter}."):
        text = f"{thought}<answer> {form} </answer>"
        for parser in ("default", "official", "strict"):
            assert parse_answer(text, lettered(*options), parser) == letter  # type: ignore[arg-type]
    assert parse_answer(f"{thought}<answer> {option} </answer>", words(*options)) == option
