"""The latent block during decoding: which tokens are forced, what is fed at the slots.

A latent step is an ordinary decode step whose input embedding is the model's previous final hidden
state (docs/methods.md, The official system). Which steps these are, which tokens are recorded there
and how a block ends is said by the model's protocol (`protocols`). Two pieces make the stock
`generate` follow it: `LatentDecoding`, a logits processor that forces the tokens of a block and
knows every row's block and slot, and `LatentPort` (`model.latent_port`), the hooks that keep the
final hidden state and put it (or an intervention's replacement) at the slots.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LogitsProcessor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, LvrTokens, PromptNorms, RowPlan, Slot
from lantern_probe.model.norms import prompt_norms, token_lengths
from lantern_probe.model.sampling import Sampling
from lantern_probe.protocols.walk import BlockWalk


@dataclass
class _Row:
    plan: RowPlan
    walk: BlockWalk
    fed: list[tuple[int, int, Tensor]] = field(default_factory=list)
    """(block, position in the padded sequence, latent) of every slot fed so far."""
    hidden: set[int] = field(default_factory=set)
    """Positions in the padded sequence that nothing may attend to from now on."""
    image: set[int] = field(default_factory=set)
    """Positions of the image tokens, for a plan that hides them."""
    said: int = 0
    """Number of tokens of the plan's opening that have been forced."""
    begin: int | None = None
    """Position of the first token that this decoding writes; None before it."""
    taken: int = -1
    """Position of the last token that the walk has taken."""

    @property
    def plain(self) -> bool:
        """True for a row that opens no block, whatever tokens it writes."""
        return self.plan.ban or self.plan.mode == "stock"

    def blocks(self, sequence: Sequence[int], prompt_length: int, width: int) -> list[Block]:
        """The row's blocks in its finished sequence."""
        if self.plain:
            return []
        walk = deepcopy(self.walk)
        for position in range(max(self.taken + 1, prompt_length), len(sequence)):
            walk.take(sequence[position], position)
        return [self._with_latents(Block.of(walked), width) for walked in walk.spans]

    def _with_latents(self, block: Block, width: int) -> Block:
        fed = [latent for _, position, latent in self.fed if position in block.slots]
        return replace(block, latents=torch.stack(fed) if fed else torch.empty(0, width))


class LatentDecoding(LogitsProcessor):
    """The latent blocks of one call of `generate`: forces their tokens, feeds their slots.

    Args:
        tokens: The tokens of a block, K and the protocol.
        plans: For every row, the plan for its latent blocks.
        image_token: Id of the image tokens, which a plan may hide; default none.
        resume: For every row, or for all, True to count the last input token as generated, so that
            a start marker there opens a block under any protocol (a branch goes on from its
            prefix's start marker); default False.
        norms: For every row the median norms of its prompt, where it goes on from a prefix; by
            default they are measured in the first forward.
        ends: Tokens that end a row, padding included; default none.
        sampled: Function that draws one token per row from logits, where `generate` samples;
            default None, which takes the likeliest.

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
        resume: bool | Sequence[bool] = False,
        norms: Sequence[PromptNorms | None] | None = None,
        ends: Collection[int] = (),
        sampled: Callable[[Tensor], Tensor] | None = None,
    ):
        if any(plan.force for plan in plans):
            raise LanternError(
                "a block is forced at a place of the finished text: run the condition as an "
                "ablation, or with run_prefixes and run_branches"
            )
        self.tokens = tokens
        self.norms = list(norms or [None] * len(plans))
        self._ends, self._sampled = sorted(ends), sampled
        self._start_scores: list[tuple[list[int], Tensor]] = []
        self._first: tuple[Tensor, Tensor | None] | None = None
        self._scoring = all(plan.mode == "stock" for plan in plans)
        self._resumed = [resume] * len(plans) if isinstance(resume, bool) else list(resume)
        self._image_token = image_token
        self.state: Tensor | None = None
        sizes = [0 if plan.mode == "skip" else plan.size for plan in plans]
        walks = [BlockWalk(tokens.sized(size), frozenset(ends)) for size in sizes]
        self._all = [_Row(plan, walk) for plan, walk in zip(plans, walks, strict=True)]
        self._order = list(range(len(plans)))
        self._rows = self._all
        self._due: list[int] = []  # places of the rows to be fed next
        self._length = 0  # of the sequences, the token just chosen included

    def go_on_with(self, rows: Sequence[int]) -> None:
        """Put the rows into another order, and leave those behind that are not named.

        Args:
            rows: The rows of the next call of `generate`, by their numbers among the plans.
        """
        where = {row: place for place, row in enumerate(self._order)}
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
        if not self._length:
            self._begin(input_ids)
        self.take(input_ids)  # in the forward before, unless the hooks are not attached
        self._due = []
        self._length = position + 1
        self._measure_prompts(input_ids)
        if self._scoring:
            written = scores[:, tokens.start].float()
            scored = written - scores.float().logsumexp(dim=-1)
            self._start_scores.append((self._order, scored))
        allowed = self._allowed(scores)
        drawn = self._drawn(allowed, position)
        forced: dict[int, int] = {}
        for index, row in enumerate(self._rows):
            row.begin = position if row.begin is None else row.begin
            if "image" in row.plan.hide and not row.image:
                found = (input_ids[index] == self._image_token).nonzero()[:, 0]
                row.image = set(found.tolist())
                row.hidden |= row.image if row.plain else set()
            if row.plan.opening is not None and row.said < len(row.plan.opening):
                forced[index] = row.plan.opening[row.said]
                row.said += 1
                continue
            turn = row.walk.turn()
            if turn.otherwise is not None:
                chosen = self._chosen(index, allowed, drawn) if turn.unless else None
                forced[index] = chosen if chosen in turn.unless else turn.otherwise
                continue
            if index in drawn:
                forced[index] = drawn[index]
            if row.plan.close is not None and row.walk.open is None:
                following = drawn[index] if index in drawn else int(scores[index].argmax())
                closing = row.plan.close(input_ids[index, row.begin :].tolist(), following)
                if closing is not None:
                    forced[index] = closing
        if forced:
            allowed = allowed.clone() if allowed is scores else allowed
            rows = list(forced)
            allowed[rows] = -torch.inf
            allowed[rows, list(forced.values())] = 0.0
        return allowed

    def _begin(self, ids: Tensor) -> None:
        """Open the blocks of rows that begin with a start marker as their last token."""
        last = ids.shape[1] - 1
        for index, row in enumerate(self._rows):
            if row.plain:
                continue
            generated = self._resumed[self._order[index]]
            mark = row.walk.begin(int(ids[index, -1]), last, generated=generated)
            row.taken = last
            if mark == "slot":
                raise LanternError(
                    "a row cannot go on from a start marker that is fed itself: begin with the "
                    "token before it, and force the marker with an opening"
                )

    def _allowed(self, scores: Tensor) -> Tensor:
        """The scores without the tokens that a row may not choose."""
        banned = [index for index, row in enumerate(self._rows) if row.plan.ban]
        endless = [
            index
            for index, row in enumerate(self._rows)
            if not (row.plain or row.walk.turn().end_of_text)
        ]
        if not banned and not endless:
            return scores
        scores = scores.clone()
        for marker in self.tokens.banned:
            scores[banned, marker] = -torch.inf
        for end in self._ends:
            scores[endless, end] = -torch.inf
        return scores

    def _chosen(self, index: int, scores: Tensor, drawn: dict[int, int]) -> int:
        """The token that a row would choose, were none forced."""
        if index in drawn:
            return drawn[index]
        row = scores[index : index + 1]
        return int(row.argmax() if self._sampled is None else self._sampled(row)[0])

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
        found: dict[int, int] = {}
        for sampling, some in numbers.items():
            tokens = sampling.tokens(scores[list(some)], list(some.values()))
            found |= zip(some, tokens.tolist(), strict=True)
        return found

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
        if not (any(self._resumed) or self._length):
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

    def take(self, ids: Int[Tensor, "rows length"]) -> None:
        """Take the tokens that were chosen last, before they are embedded.

        Args:
            ids: Input of `embed_tokens`; only the last column is read.
        """
        position = self._length - 1
        if not self._length:  # the prompt
            return
        for index, (row, token) in enumerate(zip(self._rows, ids[:, -1].tolist(), strict=True)):
            if row.plain or row.taken >= position:
                continue
            before, row.taken = row.walk.open, position
            if row.walk.take(token, position) == "slot":
                self._due.append(index)
            if before is not None and row.walk.open is not before:
                if "slot" in row.plan.hide:
                    row.hidden |= set(range(before.first, before.first + before.slots))
                row.hidden |= row.image

    def feed(
        self,
        embeddings: Float[Tensor, "rows length dim"],
        latent: nn.Module,
    ) -> Float[Tensor, "rows length dim"]:
        """The input embeddings of this forward with latents at the slots.

        Args:
            embeddings: Output of `embed_tokens`; its length is 1 with a KV cache.
            latent: Identity module through which the states of all rows pass, [rows, 1, D], so
                that a trace can read and edit them.
        """
        due, self._due = self._due, []
        if due:
            assert self.state is not None, "no final hidden state was kept before a slot"
            states = self.state.to(embeddings.device, embeddings.dtype, copy=True)
            for index in due:
                self._edit(states, index)
            states = latent(states.unsqueeze(1)).squeeze(1)
            for index in due:
                row = self._rows[index]
                block = len(row.walk.spans) - 1
                row.fed.append((block, self._length - 1, states[index].detach().clone()))
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

    def _edit(self, states: Tensor, index: int) -> None:
        row = self._rows[index]
        if row.plan.edit is None:
            return
        number, span = len(row.walk.spans) - 1, row.walk.spans[-1]
        written = [latent for block, _, latent in row.fed if block == number]
        before = torch.stack(written) if written else states[:0].clone()
        place = Slot(number, span.slots - 1, before, self.norms[self._order[index]])
        states[index] = row.plan.edit(states[index].clone(), place).to(states)

    def blocks(
        self, sequences: Int[Tensor, "rows length"], prompt_length: int
    ) -> list[list[Block]]:
        """Every row's blocks in the finished sequences, with the latents that were fed.

        Args:
            sequences: Prompt and continuation for every plan, in their order.
            prompt_length: Number of prompt positions, padding included.
        """
        width = 0 if self.state is None else self.state.shape[-1]
        return [
            row.blocks(sequence, prompt_length, width)
            for row, sequence in zip(self._all, sequences.tolist(), strict=True)
        ]
