"""Log-probabilities that a server reports, and those that it does not."""

from __future__ import annotations

import math

import pytest

from lantern_probe.model.prompting import Prompting
from lantern_probe.serving.reply import TokenScores
from lantern_probe.serving.scores import first_logprobs


def written(*tokens: str, top: dict[str, float]) -> list[TokenScores]:
    """Tokens of a text, the last of which has alternatives."""
    return [*(TokenScores(token, {token: -0.1}) for token in tokens[:-1]),
            TokenScores(tokens[-1], top)]  # fmt: skip


@pytest.mark.parametrize("tag", [("<answer>",), ("<", "answer", ">"), ("<answer>", " ")])
def test_a_candidate_outside_the_reported_tokens_has_no_value(
    asking: Prompting, tag: tuple[str, ...]
) -> None:
    scores = written("so", *tag, " red", top={" red": -0.2, " blue": -2.0, "dog": -3.0})
    found = first_logprobs(asking.processor.tokenizer, scores, ("red", "blue", "green"))
    assert found == {"red": pytest.approx(-0.2), "blue": pytest.approx(-2.0), "green": None}


def test_two_ways_to_write_a_first_token_are_added_and_not_renormalised(asking: Prompting) -> None:
    scores = written("<answer>", " red", top={" red": math.log(0.5), "red": math.log(0.2)})
    found = first_logprobs(asking.processor.tokenizer, scores, ("red", "blue"))
    assert found is not None
    assert found["red"] == pytest.approx(math.log(0.7)) and found["blue"] is None


def test_the_last_answer_counts_and_a_text_without_one_has_none(asking: Prompting) -> None:
    tokenizer = asking.processor.tokenizer
    scores = [
        *written("<answer>", " red", top={" red": -1.0}),
        *written("</answer>", "<answer>", " blue", top={" blue": -0.5}),
    ]
    assert first_logprobs(tokenizer, scores, ("red", "blue")) == {
        "red": None,
        "blue": pytest.approx(-0.5),
    }
    assert first_logprobs(tokenizer, written("red", top={}), ("red",)) is None
    assert first_logprobs(tokenizer, scores, ()) is None


def test_candidates_that_begin_alike_have_no_value(asking: Prompting) -> None:
    scores = written("<answer>", " red", top={" red": -0.1, " blue": -3.0})
    found = first_logprobs(asking.processor.tokenizer, scores, ("red circle", "red ring", "blue"))
    assert found == {"red circle": None, "red ring": None, "blue": pytest.approx(-3.0)}
