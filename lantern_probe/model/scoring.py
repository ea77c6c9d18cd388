"""Scores of the candidate answers where the model answers: accuracy without parsing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from lantern_probe.model.answer_tokens import (
    closed_forms,
    find_answer,
    indistinct,
    indistinct_pairs,
)
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
    it the row's own candidates (`model.token_trees`). A score is the probability that the candidate
    is written there and ends (`answer_tokens.closed_forms`), summed over its forms.

    Args:
        lantern: The model.
        rows: Finished rows; their cache is left as it was.
        prompts: For every row, the index in `rows.sequences` at which its continuation begins.
        candidates: For every row, its candidate answers.

    Returns:
        For every row, the log-probability of each candidate in nats; None for a row that never
        opened the answer tag, or whose candidates the tokenizer cannot tell apart.
    """
    tokenizer, lead = lantern.processor.tokenizer, lantern.answer_lead
    places: list[int | None] = []
    forms: list[dict[str, list[list[int]]]] = []
    # Rows of a sample, and often of all samples, share their candidates: tokens are found once.
    known: dict[tuple[tuple[str, ...], str, str], tuple[dict[str, list[list[int]]], bool]] = {}
    for sequence, begin, answers in zip(rows.sequences, prompts, candidates, strict=True):
        text = sequence[begin:].tolist()
        place = find_answer(tokenizer, text, answers, lead=lead) if answers else None
        if place is None:
            forms.append({})
            places.append(None)
            continue
        key = (tuple(answers), place.lead, place.opening)
        if key not in known:
            found_forms = closed_forms(tokenizer, answers, place)
            known[key] = found_forms, indistinct(found_forms, tokenizer.unk_token_id)
        form, vague = known[key]
        forms.append(form)
        places.append(None if vague else begin + place.start - 1)
    if all(place is None for place in places):
        return [None] * len(places)
    wanted = [[tuple(form) for some in row.values() for form in some] for row in forms]
    found = form_logprobs(lantern, rows, places, wanted)

    def total(row: int, some: Sequence[Sequence[int]]) -> float:
        return torch.tensor([found[row][tuple(form)] for form in some]).logsumexp(0).item()

    return [
        {c: total(row, some) for c, some in form.items()} if places[row] is not None else None
        for row, form in enumerate(forms)
    ]


def candidate_mass(scores: Mapping[str, float]) -> float:
    """Probability that any of the candidates is written, at most 1.

    Args:
        scores: Log-probability of every candidate in nats.
    """
    return min(1.0, math.fsum(math.exp(value) for value in scores.values()))


def unclear(lantern: LanternModel, candidates: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of candidates that the tokenizer cannot tell apart.

    Args:
        lantern: The model.
        candidates: Answers of one sample.
    """
    tokenizer = lantern.processor.tokenizer
    return indistinct_pairs(closed_forms(tokenizer, candidates), tokenizer.unk_token_id)
