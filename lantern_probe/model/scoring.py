"""Scores of the candidate answers where the model answers: accuracy without parsing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lantern_probe.model.answer_tokens import answer_forms, find_answer, indistinct
from lantern_probe.model.kv_cache import FinishedRows, rope_positions

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

    The last token before the answer is appended to the cache once more, with the tokens after it
    masked: the first token of every candidate is read off that one forward. A candidate of
    several tokens takes a forward of its own. The forms in which a candidate may be written are
    summed over.

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

    first_tokens = _next_logprobs(lantern, rows, places, [[] for _ in places])[:, 0]
    tails = sorted({tuple(f) for row in forms for fs in row.values() for f in fs if len(f) > 1})
    long = {
        tail: _next_logprobs(lantern, rows, places, [list(tail[:-1])] * len(places))
        for tail in tails
    }

    def total(row: int, form: list[int]) -> Tensor:
        if len(form) == 1:
            return first_tokens[row, form[0]]
        return long[tuple(form)][row, torch.arange(len(form)), torch.tensor(form)].sum()

    return [
        {c: torch.stack([total(row, f) for f in fs]).logsumexp(0).item() for c, fs in form.items()}
        if places[row] is not None
        else None
        for row, form in enumerate(forms)
    ]


def _next_logprobs(
    lantern: LanternModel,
    rows: FinishedRows,
    places: Sequence[int | None],
    tails: Sequence[Sequence[int]],
) -> Tensor:
    """Next-token log-probabilities after every row's place and along its tail, [rows, 1 + t, V]."""
    device = rows.sequences.device
    cached = rows.cache.get_seq_length()
    at = torch.tensor([0 if place is None else place for place in places], device=device)
    first = torch.tensor(rows.first, device=device)
    tail = torch.tensor([list(t) for t in tails], device=device, dtype=torch.long)
    ids = torch.cat([rows.sequences.gather(1, at[:, None]), tail], dim=1)
    column = torch.arange(cached, device=device)
    seen = (column >= first[:, None]) & (column < at[:, None])
    for row, hidden in enumerate(rows.hidden):
        seen[row, [position for position in hidden if position < cached]] = False
    text = (at - first)[:, None] + torch.arange(ids.shape[1], device=device)
    logits = lantern.hf(
        input_ids=ids,
        attention_mask=torch.cat([seen, torch.ones_like(ids, dtype=torch.bool)], dim=1).long(),
        position_ids=rope_positions(text, rows.deltas),
        past_key_values=rows.cache,
        use_cache=True,
    ).logits
    rows.cache.crop(-ids.shape[1])
    return logits.float().log_softmax(-1)
