"""The default reader: every form with one reading is read, and none with two."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.sample import Sample


def lettered(*options: str) -> Sample:
    return Sample("s", (), "what?", options=options, lettered=True)


def words(*options: str) -> Sample:
    return Sample("s", (), "what?", options=options)


def read(content: str, sample: Sample) -> str | None:
    return parse_answer(f"<answer>{content}</answer>", sample)


CUPS = lettered("a red cup", "a blue cup", "none of the above", "1.5 m")
PLAIN = lettered("cup", "plate")
SIDES = lettered("left", "right")
TRUTH = words("yes", "no")
COLOURS = words("red", "dark red", "blue")

ANNOUNCED = [
    "Answer: {}", "answer={}", "The answer is {}", "The answer is {}.", "Option {}", "Choice {}.",
    "The correct answer is: ({}).", "Final answer: {}", "My final answer would be {}", "ANSWER: {}",
    "**Answer:** {}", "**Answer: {}**", '{{"answer": "{}"}}', "So the answer is **{}**.",
    "Therefore, the best choice is {}", "Selected option: {}", "Letter {}",
]  # fmt: skip
MARKED = [
    "{}", "({})", "[{}]", "{}.", "{};", "{}!", "{}?", "{},", "{}:", "{})", "({}).", "**{}**",
    "__{}__", "*{}*", "`{}`", "```{}```", '"{}"', "“{}”", "‘{}’", "«{}»", "${}$", r"\boxed{{{}}}",
    r"$\boxed{{{}}}$", r"\boxed{{\text{{{}}}}}", r"\({}\)", r"\[{}\]", r"\textbf{{{}}}",
    "<b>{}</b>", "（{}）", "「{}」", "- {}", "{}\n", "(({}))", "{{{}}}",
]  # fmt: skip
EXPLAINED = [
    "{} is correct", "{} is the right answer.", "({}) because it is larger",
    "{}, since the handle shows", "{} - because of its shade", "{}\n\nExplanation: it stands near",
    "{}. It is the nearest.", "I choose {}", "I think {}", "I'd go with {}", "It's {}",
]  # fmt: skip


@pytest.mark.parametrize("form", [*ANNOUNCED, *MARKED, *EXPLAINED])
@pytest.mark.parametrize("letter", ["A", "B", "D"])
def test_a_letter_is_read_in_every_safe_wrapper(form: str, letter: str) -> None:
    assert read(form.format(letter), CUPS) == letter


@pytest.mark.parametrize("form", ANNOUNCED + MARKED)
def test_wide_and_small_letters_are_read_too(form: str) -> None:
    assert read(form.format("Ｂ"), CUPS) == "B"
    assert read(form.format("b"), CUPS) == "B"
    assert read(form.format("a"), CUPS) == "A"


@given(
    st.sampled_from(ANNOUNCED + MARKED + EXPLAINED),
    st.sampled_from(MARKED),
    st.permutations("ABD"),
    st.sampled_from([" and ", " or ", ", ", "/", " & ", "; ", " ", ". Or ", " then "]),
)
def test_a_second_letter_leaves_no_reading(
    form: str, mark: str, letters: list[str], between: str
) -> None:
    text = form.format(mark.format(letters[0]) + between + letters[1])
    assert read(text, CUPS) is None
    assert read(form.format(letters[0]) + between + mark.format(letters[1]), CUPS) is None


@given(st.sampled_from(ANNOUNCED + MARKED + EXPLAINED), st.permutations("ABD"))
def test_the_words_of_another_option_leave_no_reading(form: str, letters: list[str]) -> None:
    other = CUPS.options["ABCD".index(letters[1])]
    for between in (" ", ". ", ": ", " or "):
        assert read(form.format(letters[0]) + between + other, CUPS) is None
        assert read(other + between + form.format(letters[0]), CUPS) is None


@given(st.sampled_from(MARKED + ANNOUNCED), st.sampled_from("ABD"))
def test_a_denied_letter_is_not_read(form: str, letter: str) -> None:
    text = form.format(letter)
    for denied in (
        "not {}",
        "It is not {}",
        "never {}",
        "hardly {}",
        "{} is wrong",
        "{} isn’t it",
        "neither {}",
    ):
        assert read(denied.format(text), CUPS) is None


@pytest.mark.parametrize(
    ("content", "letter"),
    [
        ("B, a blue cup", "B"),
        ("B. the blue cup", "B"),
        ("B: blue", "B"),
        ("blue cup (B)", "B"),
        ("it is a blue cup", "B"),
        ("B, a man", "B"),
        ("C. none of the above", "C"),
        ("It is none of the above.", "C"),
        ("about 1.5 m", "D"),
        ("B: a red cup", None),
        ("B: a green cup", None),
        ("a green cup (B)", None),
        ("B. 1.5 m", None),
        ("B, E", None),
        ("E", None),
        ("B or", None),
        ("¬B", None),
        (r"\neg B", None),
        ("~~B~~", None),
        ("anything but B", None),
        ("either B", None),
        ("a red cup, a blue cup", None),
    ],
)
def test_words_beside_a_letter_agree_or_leave_no_reading(content: str, letter: str | None) -> None:
    assert read(content, CUPS) == letter


@pytest.mark.parametrize(
    ("content", "letter"),
    [
        ("a cup", "A"),
        ("A cup", "A"),
        ("the plate", "B"),
        ("a plate", "B"),
        ("The answer is a plate", "B"),
        ("The answer is a", "A"),
        ("option a", "A"),
        ("cup (A)", "A"),
        ("A. the cup", "A"),
        ("A because it is round", "A"),
        ("A - cup", "A"),
        ("A. plate", None),
        ("a: plate", None),
        ("plate (a)", None),
        ("A cup, a plate", None),
    ],
)
def test_an_article_is_no_letter(content: str, letter: str | None) -> None:
    assert read(content, PLAIN) == letter


def test_options_that_announce_or_are_letters_keep_their_reading() -> None:
    assert read("the right answer is A", SIDES) == "A"
    assert read("The answer is right", SIDES) == "B"
    assert read("A is right", SIDES) is None
    swapped = lettered("B", "A", "D", "C")
    assert read("Answer: A", swapped) == "A"
    assert read("A. B", swapped) == "A"
    assert read("A. A", swapped) is None


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("not yes", None),
        ("Yes, it is not", None),
        ("not no", None),
        ("neither", None),
        ("yes and no", None),
        ("No, it is not.", "no"),
        ("There is no dog", "no"),
        ("Answer: yes", "yes"),
        (r"\boxed{\text{yes}}", "yes"),
    ],
)
def test_a_denial_agrees_with_no_only(content: str, answer: str | None) -> None:
    assert read(content, TRUTH) == answer


@pytest.mark.parametrize(
    "denied",
    ["it is not {}", "it isn't {}", "it isn’t {}", "cannot be {}", "non-{}", "never {}", "no, {}",
     "neither {} nor blue", "without {}", "anything but {}", "{} is wrong", "~~{}~~",
     "{}, not blue", "{} or"],
)  # fmt: skip
@pytest.mark.parametrize("word", ["red", "dark red"])
def test_a_denied_word_is_not_read(denied: str, word: str) -> None:
    assert read(denied.format(word), COLOURS) is None


@given(st.sampled_from(MARKED + ANNOUNCED), st.permutations(["red", "dark red", "blue"]))
def test_words_are_read_in_every_wrapper_and_two_are_not(form: str, some: list[str]) -> None:
    assert read(form.format(some[0]), COLOURS) == some[0]
    assert read(form.format(f"{some[0]} or {some[1]}"), COLOURS) is None


@given(st.sampled_from(["not {}", "no {}", "{} but not blue"]), st.sampled_from(COLOURS.options))
def test_an_option_that_denies_is_read_as_itself(form: str, word: str) -> None:
    assume("blue" not in word)
    denial = form.format(word)
    assert read(f"it is {denial}", words(word, denial)) == denial
