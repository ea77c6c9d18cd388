"""Log-probabilities of candidates as far as a server reports them: of first tokens, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lantern_probe.serving.reply import TokenScores
from lantern_probe.tasks.answers import TAG

_TAIL = 200
"""Characters before a token in which the tag is looked for."""


def first_logprobs(
    tokenizer: Any, scores: Sequence[TokenScores], candidates: Sequence[str]
) -> dict[str, float | None] | None:
    """The log-probability of each candidate's first token where the answer begins.

    It is no likelihood of the candidate, which would take all of its tokens and its end. Candidates
    whose first token is not among those that the server reports have none, and neither have
    candidates that begin with the same token. Nothing is renormalised.

    Args:
        tokenizer: The model's tokenizer.
        scores: Written tokens with their likeliest alternatives.
        candidates: Candidate answers.

    Returns:
        By candidate, the log-probability in nats, or None; None where no answer begins.
    """
    begin = _begin(scores)
    if begin is None or not candidates:
        return None
    firsts = {candidate: _firsts(tokenizer, candidate) for candidate in candidates}
    found: dict[str, float | None] = {}
    for candidate, own in firsts.items():
        others = {first for name, some in firsts.items() if name != candidate for first in some}
        top = [value for name, value in scores[begin].top.items() if name.strip() in own]
        usable = top and not own & others
        found[candidate] = math.log(sum(map(math.exp, top))) if usable else None
    return found


def _begin(scores: Sequence[TokenScores]) -> int | None:
    """Index of the token with which the last answer begins."""
    text, begin = "", None
    for index, token in enumerate(scores):
        if text.rstrip().endswith(TAG) and token.text.strip():
            begin = index
        text = (text + token.text)[-_TAIL:]
    return begin


def _firsts(tokenizer: Any, candidate: str) -> set[str]:
    """The texts, without blanks, of the tokens with which a candidate may begin."""
    found = set()
    for space in ("", " "):
        ids = tokenizer.encode(space + candidate, add_special_tokens=False)
        texts = [tokenizer.decode([i]).strip() for i in ids]
        found.add(next(filter(None, texts), ""))
    return found - {""}
