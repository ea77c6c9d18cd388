"""Tokens of an answer: where it begins, and how a candidate may be written."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.model.answer_tokens import answer_forms, find_answer, indistinct


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
