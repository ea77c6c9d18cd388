"""The latent block during decoding: which tokens are forced, what is fed at the slots.

A latent step is an ordinary decode step whose token is `<|lvr_sep|>` and whose input
embedding is the model's previous final hidden state (arXiv 2603.25629; docs/methods.md, The
official system). Two pieces make the stock `generate` do it: `LatentDecoding`, a logits processor
that forces the tokens of a block and knows every row's block and slot, and `LatentPort`, the hooks
that keep the final hidden state and put it (or an intervention's replacement) at the slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LogitsProcessor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, LvrTokens, PromptNorms, RowPlan, Slot, find_blocks
from lantern_probe.model.norms import prompt_norms, token_lengths
from lantern_probe.model.sampling import Sampling


@dataclass
class _Row:
    plan: RowPlan
    block: int = -1
    slot: int | None = None
    """The next slot of the open block; None outside a block."""
    fed: list[tuple[int, int, Tensor]] = field(default_factory=list)
    """(block, position in the padded sequence, latent) of every slot fed so far."""
    hidden: set[int] = field(default_factory=set)
    """Positions in the padded sequence that nothing may attend to from now on."""
    said: int = 0
    """Number of tokens of the plan's opening that have been forced."""
    begin: int | None = None
    """Position of the first token that this decoding writes; None before it."""

    def latents(self, block: Block, width: int) -> Tensor:
        fed = [latent for _, position, latent in self.fed if position in block.slots]
        return torch.stack(fed) if fed else torch.empty(0, width)


class LatentDecoding(LogitsProcessor):
    """The latent blocks of one call of `generate`: forces their tokens, feeds their slots.

    Args:
        tokens: The LVR tokens and K.
        plans: For every row, the plan for its latent blocks.
        image_token: Id of the image tokens, which a plan may hide; default none.
        resume: Count the last input token as generated, so that a start marker there opens a
            block (a branch goes on from its prefix's `<|lvr_start|>`); default False.
        norms: For every row the median norms of its prompt, where it goes on from a prefix; by
            default they are measured in the first forward.

    Attributes:
        state: The final hidden state of the last position, [rows, D]; None before any forward.
        norms: For every row the median norms of its prompt; None before any forward.

    Raises:
        LanternError: a plan forces a block, whose place is not known before the text is.
    """

    def __init__(
        self,
        tokens: LvrTokens,
        plans: Sequence[RowPlan],
        *,
        image_token: int = -1,
        resume: bool = False,
        norms: Sequence[PromptNorms | None] | None = None,
    ):
        if any(plan.force for plan in plans):
            raise LanternError(
                "a block is forced at a place of the finished text: run the condition as an "
                "ablation, or with run_prefixes and run_branches"
            )
        self.tokens = tokens
        self.norms = list(norms or [None] * len(plans))
        self._start_scores: list[tuple[list[int], Tensor]] = []
        self._first: tuple[Tensor, Tensor | None] | None = None
        self._scoring = all(plan.mode == "stock" for plan in plans)
        self._resumed = resume
        self._image_token = image_token
        self.state: Tensor | None = None
        self._all = [_Row(plan) for plan in plans]
        self._order = list(range(len(plans)))
        self._rows = self._all
        self._due: list[tuple[int, int, int]] = []  # (row, slot, position) to be fed next
        self._generated = resume
        self._length = 0  # of the sequences, the token just chosen included

    def go_on_with(self, rows: Sequence[int]) -> None:
        """Put the rows into another order, and leave those behind that are not named.

        Args:
            rows: The rows of the next call of `generate`, by their numbers among the plans.
        """
        where = {row: place for place, row in enumerate(self._order)}
        place = {row: place for place, row in enumerate(rows)}
        # Slots that were chosen in the last step of a call are fed in the next one's first.
        due = [(place.get(self._order[index]), slot, at) for index, slot, at in self._due]
        self._due = [(index, slot, at) for index, slot, at in due if index is not None]
        if self.state is not None:
            self.state = self.state[[where[row] for row in rows]]
        self._order, self._rows = list(rows), [self._all[row] for row in rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if len(input_ids) != len(self._rows):
            raise LanternError(
                f"{len(self._rows)} row plans for {len(input_ids)} sequences: latent decoding "
                "supports neither beam search nor num_return_sequences"
            )
        tokens, position = self.tokens, input_ids.shape[1]
        self._length = position + 1
        self._measure_prompts(input_ids)
        if self._scoring:
            written = scores[:, tokens.start].float()
            scored = written - scores.float().logsumexp(dim=-1)
            self._start_scores.append((self._order, scored))
        forced: dict[int, int] = {}
        banned = []
        drawn = self._drawn(scores, position)
        self._due = []
        for index, (row, last) in enumerate(
            zip(self._rows, input_ids[:, -1].tolist(), strict=True)
        ):
            opens = self._generated and last == tokens.start and row.plan.mode != "stock"
            if row.slot is None and opens:
                row.block, row.slot = row.block + 1, 0
            row.begin = position if row.begin is None else row.begin
            if (row.plan.ban or row.plan.mode == "stock") and not row.hidden:
                self._hide_image(row, input_ids[index])
            if row.plan.opening is not None and row.said < len(row.plan.opening):
                forced[index] = row.plan.opening[row.said]
                row.said += 1
            elif row.slot is None:
                if row.plan.ban:
                    banned.append(index)
                if index in drawn:
                    forced[index] = drawn[index]
                if row.plan.close is not None:
                    following = drawn[index] if index in drawn else int(scores[index].argmax())
                    closing = row.plan.close(input_ids[index, row.begin :].tolist(), following)
                    if closing is not None:
                        forced[index] = closing
            elif row.plan.mode == "block" and row.slot < self._size(row):
                self._due.append((index, row.slot, position))
                forced[index] = tokens.sep
                row.slot += 1
            else:
                forced[index] = tokens.end
                if "slot" in row.plan.hide:
                    row.hidden |= set(range(position - row.slot, position))
                self._hide_image(row, input_ids[index])
                row.slot = None
        self._generated = True
        if forced or banned:
            scores = scores.clone()
            for marker in (tokens.start, tokens.sep, tokens.end):
                scores[banned, marker] = -torch.inf
            rows = list(forced)
            scores[rows] = -torch.inf
            scores[rows, list(forced.values())] = 0.0
        return scores

    def _measure_prompts(self, ids: Tensor) -> None:
        """Take the median norms of the prompts, once, from the first forward's embeddings."""
        if self._first is None:
            return
        (lengths, mask), self._first = self._first, None
        if lengths.shape != ids.shape:  # a cache holds part of the prompt
            return
        ids = ids.to(lengths.device)
        shown = torch.ones_like(ids) if mask is None else mask.to(lengths.device)
        self.norms = [
            prompt_norms(length, row == self._image_token, seen.bool())
            for length, row, seen in zip(lengths, ids, shown, strict=True)
        ]

    def _drawn(self, scores: Tensor, position: int) -> dict[int, int]:
        """The tokens that rows with random numbers of their own draw, by place in the batch."""
        numbers: dict[Sampling, dict[int, float]] = {}
        for index, row in enumerate(self._rows):
            if (draws := row.plan.draws) is not None:
                step = 0 if row.begin is None else position - row.begin
                numbers.setdefault(draws.sampling, {})[index] = draws.number(step)
        if not numbers:
            return {}
        banned = [index for index, row in enumerate(self._rows) if row.plan.ban]
        if banned:
            scores = scores.clone()
            for marker in (self.tokens.start, self.tokens.sep, self.tokens.end):
                scores[banned, marker] = -torch.inf
        found: dict[int, int] = {}
        for sampling, some in numbers.items():
            tokens = sampling.tokens(scores[list(some)], list(some.values()))
            found |= zip(some, tokens.tolist(), strict=True)
        return found

    def _hide_image(self, row: _Row, ids: Tensor) -> None:
        if "image" in row.plan.hide:
            row.hidden |= set((ids == self._image_token).nonzero()[:, 0].tolist())

    def _size(self, row: _Row) -> int:
        return self.tokens.size if row.plan.size is None else row.plan.size

    def hidden(self) -> list[list[int]]:
        """For every plan, the positions in the padded sequence that later tokens cannot see."""
        return [sorted(row.hidden) for row in self._all]

    def start_scores(self) -> list[Float[Tensor, " steps"]]:
        """For every plan, the log-probability of the start marker at each step of the row.

        They are kept in plain decodings only, where all plans are "stock".
        """
        found: list[list[Tensor]] = [[] for _ in self._all]
        for order, scores in self._start_scores:
            for row, score in zip(order, scores.cpu(), strict=True):
                found[row].append(score)
        return [torch.stack(steps) if steps else torch.empty(0) for steps in found]

    def visible(
        self, mask: Int[Tensor, "rows length"] | None, embeddings: Float[Tensor, "rows queries dim"]
    ) -> Int[Tensor, "rows length"] | None:
        """The attention mask of this forward, with the positions masked that rows hide.

        Args:
            mask: 1 for positions that may be attended to; None for all, as `generate` has it for
                rows without padding.
            embeddings: Input embeddings of the forward.

        Raises:
            LanternError: there are several queries, as without a KV cache. A mask of this form
                would hide the positions from the earlier ones too.
        """
        if not (self._resumed or self._length):
            self._first = (token_lengths(embeddings), mask)
        if not any(row.hidden for row in self._rows):
            return mask
        if embeddings.shape[1] > 1:
            raise LanternError("hiding slots or image tokens needs a KV cache (use_cache=True)")
        shape = (len(self._rows), self._length)
        mask = embeddings.new_ones(shape, dtype=torch.long) if mask is None else mask.clone()
        for index, row in enumerate(self._rows):
            mask[index, sorted(row.hidden)] = 0
        return mask

    def feed(
        self, embeddings: Float[Tensor, "rows length dim"], latent: nn.Module
    ) -> Float[Tensor, "rows length dim"]:
        """The input embeddings of this forward with latents at the slots.

        Args:
            embeddings: Output of `embed_tokens`; its length is 1 with a KV cache.
            latent: Identity module through which the states of all rows pass, [rows, 1, D], so
                that a trace can read and edit them.
        """
        if self._due:
            assert self.state is not None, "no final hidden state was kept before a slot"
            states = self.state.to(embeddings.device, embeddings.dtype, copy=True)
            for index, slot, _ in self._due:
                self._edit(states, index, slot)
            states = latent(states.unsqueeze(1)).squeeze(1)
            for index, _, position in self._due:
                row = self._rows[index]
                row.fed.append((row.block, position, states[index].detach().clone()))
            self._due = []
        # Without a KV cache a forward sees earlier slots again: they are fed again.
        offset = self._length - embeddings.shape[1]
        again = [
            (index, position - offset, latent_fed)
            for index, row in enumerate(self._rows)
            for _, position, latent_fed in row.fed
            if position >= offset
        ]
        if not again:
            return embeddings
        embeddings = embeddings.clone()
        for index, position, latent_fed in again:
            embeddings[index, position] = latent_fed
        return embeddings

    def _edit(self, states: Tensor, index: int, slot: int) -> None:
        row = self._rows[index]
        if row.plan.edit is None:
            return
        written = [latent for block, _, latent in row.fed if block == row.block]
        before = torch.stack(written) if written else states[:0].clone()
        place = Slot(row.block, slot, before, self.norms[self._order[index]])
        states[index] = row.plan.edit(states[index].clone(), place).to(states)

    def blocks(
        self, sequences: Int[Tensor, "rows length"], prompt_length: int
    ) -> list[list[Block]]:
        """Every row's blocks in the finished sequences, with the latents that were fed.

        Args:
            sequences: Prompt and continuation for every plan, in their order.
            prompt_length: Number of prompt positions, padding included.
        """
        found = []
        width = 0 if self.state is None else self.state.shape[-1]
        for row, sequence in zip(self._all, sequences, strict=True):
            tokens = replace(self.tokens, size=self._size(row))
            blocks = find_blocks(sequence, prompt_length, tokens)
            found.append([replace(block, latents=row.latents(block, width)) for block in blocks])
        return found


class LatentPort:
    """The hooks through which a model is fed latents, attached once for its whole life.

    They do nothing unless a `LatentDecoding` is active. Attach them before nnsight wraps the model.

    Args:
        language: Language model, with `embed_tokens` and the final `norm`.
        latent: Identity submodule that makes latents visible to a trace.
    """

    def __init__(self, language: Any, latent: nn.Module):
        self._active: LatentDecoding | None = None
        self._latent = latent
        language.register_forward_pre_hook(self._before_language, with_kwargs=True)
        language.embed_tokens.register_forward_hook(self._after_embedding)
        language.norm.register_forward_hook(self._after_norm)

    @contextmanager
    def open(self, decoding: LatentDecoding) -> Iterator[None]:
        """Feed the slots of one `generate` call; a call that fails leaves nothing behind.

        Args:
            decoding: The decoding of that call.

        Raises:
            LanternError: another call is running.
        """
        if self._active is not None:
            raise LanternError(
                "a generation is already running on this model; wait for its end, or load a "
                "second model"
            )
        self._active = decoding
        try:
            yield
        finally:
            self._active = None

    def _before_language(
        self, module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        if self._active is not None:
            mask = self._active.visible(kwargs.get("attention_mask"), kwargs["inputs_embeds"])
            kwargs = {**kwargs, "attention_mask": mask}
        return args, kwargs

    def _after_norm(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self._active is not None:
            self._active.state = output[:, -1]

    def _after_embedding(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output if self._active is None else self._active.feed(output, self._latent)
