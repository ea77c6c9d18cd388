"""Tokens of an answer: where it begins, and how a candidate may be written."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from lantern_probe.model.answer_tokens import (
    AnswerPlace,
    answer_forms,
    closed_forms,
    find_answer,
    indistinct,
    indistinct_pairs,
)


def test_candidates_the_tokenizer_cannot_tell_apart_have_no_scores(untrained: Any):
    tokenizer = untrained.processor.tokenizer
    forms = {c: answer_forms(tokenizer, c) for c in ("A", "B")}  # both unknown to an organism
    assert indistinct(forms, tokenizer.unk_token_id)
    known = {c: answer_forms(tokenizer, c) for c in ("red", "blue")}
    assert not indistinct(known, tokenizer.unk_token_id)


class Pieces:
    """A tokenizer that merges the end of the tag with what follows, as Qwen's may."""

    pieces = ("<", "answer", ">", ">A", " A", "\n", "text ", "</answer>")

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return "".join(self.pieces[i] for i in ids)

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        ids = []
        while text:
            best = max((p for p in self.pieces if text.startswith(p)), key=len, default=None)
            if best is None:
                return [*ids, 99]
            ids.append(self.pieces.index(best))
            text = text[len(best) :]
        return ids


@pytest.mark.parametrize(
    ("ids", "start", "lead"),
    [
        ([6, 0, 1, 2, 4, 7], 4, ""),
        ([6, 0, 1, 3, 7], 3, ">"),
        ([0, 1, 2, 5, 4, 7], 4, ""),
        ([0, 1, 2], 3, ""),
        ([0, 1, 2, 4, 0, 1, 2, 4], 7, ""),
    ],
)
def test_the_answer_begins_after_the_last_tag(ids: list[int], start: int, lead: str):
    place = find_answer(Pieces(), ids)
    assert place is not None and (place.start, place.lead) == (start, lead)


def test_forms_carry_what_was_merged_into_the_first_token():
    assert [3] in answer_forms(Pieces(), "A", ">")
    assert [4] in answer_forms(Pieces(), "A")
    assert find_answer(Pieces(), [6, 4]) is None


@pytest.fixture(scope="module")
def bytewise() -> Any:
    """A byte-level tokenizer of the kind of Qwen's, with few merges."""
    return AutoTokenizer.from_pretrained("tests/conformance/lantern/checkpoint")


@pytest.mark.parametrize(
    ("text", "piece", "opening"),
    [
        ("(B)</answer>", "B", "("),
        ("**B**</answer>", "B", "**"),
        (" **(B", "B", "**("),
        ("Answer: B", " B", "Answer:"),
        ("**Answer:** B", " B", "**Answer:**"),
        ("The answer is (B).", "B", "The answer is ("),
        ("The correct option is B", " B", "The correct option is"),
        ("option b", " b", "option"),
        (r"\boxed{B}", "B", r"\boxed{"),
        (r"$\boxed{\text{B", "B", r"$\boxed{\text{"),
        ("“B”", "B", "“"),
        ("B</answer>", "B", ""),
        ("a cup", "a", ""),
        ("</answer>", "<", ""),
    ],
)
def test_what_opens_an_answer_is_skipped(bytewise: Any, text: str, piece: str, opening: str):
    ids = bytewise.encode("so <answer>" + text, add_special_tokens=False)
    place = find_answer(bytewise, ids, ("A", "B"))
    assert place is not None and place.opening == opening
    assert bytewise.decode(ids[place.start :]).lstrip().startswith(piece.strip())
    assert not bytewise.decode(ids[: place.start]).endswith(piece.strip())


@pytest.mark.parametrize(
    ("text", "candidates"),
    [("(a) dog", ("(a) dog", "(b) cat")), ("option two", ("option one", "option two"))],
)
def test_what_a_candidate_begins_with_is_not_skipped(
    bytewise: Any, text: str, candidates: tuple[str, ...]
):
    ids = bytewise.encode("<answer>" + text, add_special_tokens=False)
    place = find_answer(bytewise, ids, candidates)
    assert place is not None and place.opening == ""
    assert bytewise.decode(ids[place.start :]) == text


def test_a_form_ends_behind_its_candidate_and_begins_no_other(bytewise: Any):
    names = ("orange", "orange circle", "1", "1.5", "1.", "m.")
    forms = closed_forms(bytewise, names)
    assert indistinct_pairs(forms, None) == []
    for name, some in forms.items():
        for form in some:
            written = bytewise.decode(form)
            assert written.lstrip().startswith(name)
            assert written.lstrip()[len(name) :].strip() in ("", "<", ".")
            assert len(written.lstrip()) > len(name)
    ends = {bytewise.decode(form)[1:] for form in closed_forms(bytewise, ("A", "B"))["A"]}
    assert {"<", " <", "\n", ".", ")", ":"} <= ends and "*" not in ends
    marked = closed_forms(bytewise, ("A", "B"), AnswerPlace(3, "", "**("))["A"]
    assert {"A*", "A)"} <= {bytewise.decode(form) for form in marked}


def test_pairs_of_which_one_form_begins_the_other_are_named():
    forms = {"a": [[1, 2]], "b": [[1, 2, 3]], "c": [[4]], "d": [[0]]}
    pairs = [("a", "b"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert indistinct_pairs(forms, 0) == pairs
    assert indistinct(forms, 0) and not indistinct({"a": [[1, 2]], "c": [[4]]}, 0)
