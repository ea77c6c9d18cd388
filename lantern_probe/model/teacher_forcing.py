"""Teacher forcing: a generation that writes a text it is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens, RowPlan
from lantern_probe.protocols.walk import BlockWalk


class ForcedTexts(LogitsProcessor):
    """A logits processor that imposes every row's tokens, and then the token that ends it.

    Args:
        texts: For every row, the tokens that it is to generate.
        prompt_length: Number of prompt positions, padding included.
        end: Token that ends a row.
    """

    def __init__(self, texts: Sequence[Sequence[int]], prompt_length: int, end: int):
        self._texts, self._prompt_length, self._end = texts, prompt_length, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_length
        chosen = [text[step] if step < len(text) else self._end for text in self._texts]
        tokens = torch.tensor(chosen, device=scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


def check_followable(text: Sequence[int], plan: RowPlan, tokens: LvrTokens | None) -> None:
    """Refuse a text whose blocks are not those that the plan forces.

    Args:
        text: Tokens that a row is to generate.
        plan: The plan of that row.
        tokens: The LVR tokens and K; None for a model without them.

    Raises:
        LanternError: the text is empty, or opens another block than the plan; the message names the
            token at which they part.
    """
    if not text:
        raise LanternError("a forced text is empty")
    if tokens is None or plan.mode == "stock":
        return
    size = (tokens.size if plan.size is None else plan.size) if plan.mode == "block" else 0
    walk = BlockWalk(tokens.sized(size))
    for position, token in enumerate(text):
        turn = walk.turn()
        wrong = turn.otherwise is not None and token not in (turn.otherwise, *turn.unless)
        opened = walk.spans[-1].start if wrong else position
        walk.take(token, position)
        if wrong or (plan.ban and walk.spans):
            made = "none at all" if plan.ban else f"blocks of {size} slots"
            raise LanternError(
                f"a forced text cannot be followed: its token {opened} opens another block "
                f"than its row may have ({made}); take a text of the same condition"
            )
