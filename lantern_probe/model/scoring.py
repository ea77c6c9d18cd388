"""Scores of the candidate answers where the model answers: accuracy without parsing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lantern_probe.model.answer_tokens import answer_forms, find_answer, indistinct
from lantern_probe.model.kv_cache import FinishedRows
from lantern_probe.model.token_trees import form_logprobs

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@torch.no_grad()
def score_answers(
    lantern: LanternModel,
    rows: FinishedRows,
    prompts: Sequence[int],
    candidates: Sequence[tuple[str, ...]],
) -> list[dict[str, float] | None]:
    """Log-probability of every candidate at the answer of every finished row.

    The last token before the answer is run once more, with the tokens after it masked, and behind
    it the row's own candidates (`model.token_trees`). The forms in which a candidate may be written
    are summed over.

    Args:
        lantern: The model.
        rows: Finished rows; their cache is left as it was.
        prompts: For every row, the index in `rows.sequences` at which its continuation begins.
        candidates: For every row, its candidate answers.

    Returns:
        For every row, the log-probability of each candidate in nats; None for a row that never
        opened the answer tag, or whose candidates the tokenizer cannot tell apart.
    """
    tokenizer = lantern.processor.tokenizer
    places: list[int | None] = []
    forms: list[dict[str, list[list[int]]]] = []
    for sequence, begin, answers in zip(rows.sequences, prompts, candidates, strict=True):
        place = find_answer(tokenizer, sequence[begin:].tolist()) if answers else None
        lead = "" if place is None else place.lead
        forms.append({answer: answer_forms(tokenizer, answer, lead) for answer in answers})
        clear = place is not None and not indistinct(forms[-1], tokenizer.unk_token_id)
        places.append(begin + place.start - 1 if place is not None and clear else None)
    if all(place is None for place in places):
        return [None] * len(places)
    wanted = [[tuple(form) for some in row.values() for form in some] for row in forms]
    found = form_logprobs(lantern, rows, places, wanted)

    def total(row: int, some: list[list[int]]) -> float:
        return torch.tensor([found[row][tuple(form)] for form in some]).logsumexp(0).item()

    return [
        {c: total(row, some) for c, some in form.items()} if places[row] is not None else None
        for row, form in enumerate(forms)
    ]
