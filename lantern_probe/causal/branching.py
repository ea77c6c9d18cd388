"""Branching: the part that a sample's conditions share is run once, then forked into rows.

All conditions of one sample share the image, the question and the text up to the first
start marker. `run_prefixes` runs that once and keeps its KV cache; `run_branches` gives each
row its own plan, and decodes rows of any samples and lengths together (`causal.row_batch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.causal.prefill import run_sampled_texts, run_texts
from lantern_probe.causal.row_batch import (
    LONGEST_ANSWER,
    RowBatch,
    Start,
    finished_rows,
    may_leave,
    may_share,
)
from lantern_probe.errors import LanternError, named
from lantern_probe.model.answer_tokens import find_tag
from lantern_probe.model.attention import sharing_prefixes
from lantern_probe.model.blocks import BranchResult, PromptNorms, RowPlan, find_blocks, first_of
from lantern_probe.model.kv_cache import FinishedRows, KeysValues
from lantern_probe.model.sampling import Draws
from lantern_probe.model.scoring import score_answers
from lantern_probe.model.settings import position_settings
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True, eq=False)
class Prefix:
    """One question up to and including its first start marker, or to the end without one.

    Attributes:
        sample: The question; None for a run from ready model inputs.
        ids: Tokens of prompt and continuation, without padding, [length].
        prompt_length: Number of prompt tokens.
        cache: Keys and values of every layer, of at least all tokens but the last.
        rope_delta: Shift of the text positions after the image.
        limit: Length of prompt and continuation, in tokens, at which the token limit ends the text.
        emitted: True if the last token is a start marker that opens a block.
        unmarked: Number of tokens before the first generated token of a block; all of them without
            one.
        grid: Patch grid of the first image (time, height, width); None without an image.
        norms: Median norms of the prompt; None where they were not measured.
        fed_marker: True if the first latent takes the place of the last token, a start marker, so
            that branches begin before it and write it themselves.
        place: Index at which a block is forced into a text that opens none: before its answer,
            where the start marker was likeliest. None for a text with a block.
    """

    sample: Sample | None
    ids: Int[Tensor, " length"]
    prompt_length: int
    cache: list[KeysValues] = field(repr=False)
    rope_delta: int
    limit: int
    emitted: bool
    unmarked: int
    grid: Int[Tensor, " 3"] | None = None
    norms: PromptNorms | None = None
    place: int | None = None
    fed_marker: bool = False


@dataclass(frozen=True, eq=False)
class Branch:
    """A prefix, and the plan of the row that goes on from it.

    Attributes:
        prefix: The prefix.
        plan: The row's plan for its latent blocks.
    """

    prefix: Prefix
    plan: RowPlan

    @property
    def length(self) -> int:
        """The number of the prefix's tokens with which the row starts.

        A row without tokens of a block starts where the first of them was chosen. A row with an
        opening of its own starts right after the prompt. Where the first latent takes the place of
        the start marker, a row starts before it, so that the state it needs is computed again.
        """
        if self.plan.opening is not None:
            return self.prefix.prompt_length
        if self.forced and self.prefix.place is not None:
            return self.prefix.place
        if self.plan.ban:
            return self.prefix.unmarked
        return len(self.prefix.ids) - self.prefix.fed_marker

    @property
    def forced(self) -> bool:
        """True if a block is forced into a text that opens none."""
        return self.plan.force and not self.prefix.emitted and self.prefix.place is not None

    @property
    def writes_marker(self) -> bool:
        """True if the row begins by writing the start marker with which its prefix ends."""
        return self.prefix.fed_marker and not self.plan.ban and self.plan.opening is None

    def running_plan(self, start: int) -> RowPlan:
        """The plan as it is decoded: a block that the row writes itself begins with its marker.

        Args:
            start: Id of the start marker.
        """
        plan = self.plan
        if self.writes_marker:
            plan = replace(plan, opening=(start,))
        if plan.force:
            opening = (start,) if self.forced else plan.opening
            plan = replace(plan, force=False, opening=opening)
        if plan.draws is not None:  # the numbers of the prefix's tokens are used up
            first = self.length - self.prefix.prompt_length
            plan = replace(plan, draws=replace(plan.draws, first=first))
        return plan

    @property
    def goes_on(self) -> bool:
        """True if there is anything left to decode."""
        earlier = self.length < len(self.prefix.ids)
        begins = self.prefix.emitted or self.plan.opening is not None or earlier
        return begins and self.length < self.prefix.limit


@torch.no_grad()
def run_prefixes(
    lantern: LanternModel,
    samples: Sequence[Sample] | Mapping[str, Any],
    *,
    max_new_tokens: int | None = None,
    draws: Sequence[Sequence[Draws]] | None = None,
    **kwargs: Any,
) -> list[Prefix]:
    """Run questions to their first start marker, together; greedy unless told otherwise.

        >>> from lantern_probe import run_prefixes
        >>> (prefix,) = run_prefixes(lantern, [sample])
        >>> prefix.emitted, lantern.text(prefix.ids[prefix.prompt_length :])
        (True, '<think> let me look at the diamond <|lvr_start|>')

    Args:
        lantern: The model.
        samples: Samples, or ready model inputs.
        max_new_tokens: Token limit of the whole continuation, branches included; default the
            model's own.
        draws: For every question its streams of random numbers (`model.sampling`), each of which
            makes a prefix; default None, one greedy prefix per question.
        **kwargs: Settings of `generate`, such as `sequence_bias`.

    Returns:
        One prefix per question, or per stream; those of one question together.

    Raises:
        LanternError: an image cannot be read, the model has no LVR tokens, a setting counts tokens
            from where a call begins (`min_new_tokens`), or there are not as many lists of streams
            as questions.
    """
    tokens = lantern.require_lvr()
    max_new_tokens = max_new_tokens or lantern.max_new_tokens
    if names := position_settings(lantern.hf.generation_config, kwargs):
        raise LanternError(
            f"branches go on from a shared prefix, and could not obey {named(names)}; leave it out"
        )
    questions = None if isinstance(samples, Mapping) else list(samples)
    inputs = dict(samples) if isinstance(samples, Mapping) else dict(lantern.inputs(samples))
    grids = _first_grids(lantern, inputs)
    if draws is None:
        texts = run_texts(lantern, inputs, max_new_tokens, kwargs)
        rows = list(range(len(grids)))
    elif len(draws) != len(grids):
        raise LanternError(f"{len(draws)} lists of random streams for {len(grids)} questions")
    else:
        texts = run_sampled_texts(lantern, inputs, max_new_tokens, kwargs, draws)
        rows = [row for row, streams in enumerate(draws) for _ in streams]
    prefixes = []
    for row, text in zip(rows, texts, strict=True):
        prompt, written = text.prompt_length, text.ids[text.prompt_length :].tolist()
        emitted = int(text.ids[-1]) == tokens.start if written else text.opened
        marked = first_of(written, set(tokens.banned))
        place = None if emitted else prompt + _likeliest(lantern, written, text.start_scores)
        prefixes.append(
            Prefix(
                sample=None if questions is None else questions[row],
                ids=text.ids,
                prompt_length=prompt,
                cache=text.cache,
                rope_delta=text.rope_delta,
                limit=prompt + max_new_tokens,
                emitted=emitted,
                unmarked=len(text.ids) if marked is None else prompt + marked,
                grid=grids[row],
                norms=text.norms,
                place=place,
                fed_marker=emitted and tokens.feeds_marker,
            )
        )
    return prefixes


def _first_grids(lantern: LanternModel, inputs: Mapping[str, Any]) -> list[Tensor | None]:
    """The patch grid of every row's first image; None for a row without one."""
    found: list[Tensor | None] = []
    grids, taken = inputs.get("image_grid_thw"), 0
    for count in (inputs["input_ids"] == lantern.hf.config.image_token_id).sum(1).tolist():
        found.append(grids[taken].cpu() if count and grids is not None else None)
        while count > 0 and grids is not None:
            count -= int(grids[taken].prod()) // merge_size(lantern) ** 2
            taken += 1
    return found


def merge_size(lantern: LanternModel) -> int:
    """Patches per image token in each direction."""
    size: int = lantern.hf.config.vision_config.spatial_merge_size
    return size


def _likeliest(
    lantern: LanternModel, written: Sequence[int], scores: Float[Tensor, " steps"]
) -> int:
    """Step of a text, up to its answer, at which the start marker was likeliest."""
    tag = find_tag(lantern.processor.tokenizer, written, lantern.answer_lead)
    return int(scores[: len(written) if tag is None else tag + 1].argmax())


@torch.no_grad()
def run_branches(
    lantern: LanternModel,
    branches: Sequence[Branch],
    *,
    score: bool = True,
    share: bool = True,
    **kwargs: Any,
) -> list[BranchResult]:
    """Decode branches of any prefixes together, one row each; greedy but for plans with `draws`.

    A branch whose prefix holds no block, or has reached its limit, is returned as it is.

        >>> from lantern_probe import Branch, RowPlan, run_branches, run_prefixes
        >>> (prefix,) = run_prefixes(lantern, [sample])
        >>> plans = [RowPlan(), RowPlan(mode="skip")]
        >>> own, skipped = run_branches(lantern, [Branch(prefix, plan) for plan in plans])
        >>> max(own.logprobs, key=own.logprobs.get) == sample.answer
        True
        >>> print(skipped.text)
        <think> let me look at the diamond <|lvr_start|> <|lvr_end|> it is here ...

    Args:
        lantern: The model.
        branches: The rows; `LanternModel.rows_that_fit` says how many memory holds.
        score: Compute the log-probabilities of the sample's candidates at the answer; default True.
        share: Let branches share their prefix, stand in any order and leave when they are done;
            default True. False is for hooks of your own that count the rows of a batch, and takes
            more time and memory.
        **kwargs: Settings of `generate`, the same that the prefixes were run with.

    Returns:
        One finished text per branch, in their order.
    """
    results: dict[int, BranchResult] = {}
    shared = share and may_share(lantern, kwargs)
    with sharing_prefixes(lantern) if shared else nullcontext():
        for going in (True, False):
            places = [place for place, branch in enumerate(branches) if branch.goes_on == going]
            if not places:
                continue
            finished, order = _decode(lantern, [branches[p] for p in places], shared, kwargs)
            places = [places[row] for row in order]
            rows = [branches[place] for place in places]
            scores = _scores(lantern, rows, finished) if score else [None] * len(rows)
            for index, place in enumerate(places):
                results[place] = _result(lantern, rows[index], finished, index, scores[index])
    return [results[place] for place in range(len(branches))]


def _decode(
    lantern: LanternModel, branches: Sequence[Branch], share: bool, settings: Mapping[str, Any]
) -> tuple[FinishedRows, list[int]]:
    """The finished rows in some order, and that order."""
    going = branches[0].goes_on
    room = max(b.prefix.limit - b.length for b in branches) if going else 0
    starts = [
        Start(
            b.prefix.ids[: b.length],
            b.prefix.cache,
            b.prefix.rope_delta,
            b.prefix.limit,
            b.running_plan(lantern.require_lvr().start),
            b.prefix.norms,
            generated=b.length > b.prefix.prompt_length,
        )
        for b in branches
    ]
    batch = RowBatch(lantern, starts, room + LONGEST_ANSWER, share)
    if going:
        leave = share and may_leave(lantern, settings)
        blocks, hidden = batch.decode(lantern.eos_ids, leave=leave, **settings)
    else:
        tokens = lantern.require_lvr()
        ids = dict(zip(batch.order, batch.ids, strict=True))
        blocks = [
            find_blocks(ids[row], batch.first[row] + branch.prefix.prompt_length, tokens)
            for row, branch in enumerate(branches)
        ]
        hidden = [[] for _ in branches]
    return finished_rows(batch, blocks, hidden), batch.order


def _scores(
    lantern: LanternModel, branches: Sequence[Branch], rows: FinishedRows
) -> list[dict[str, float] | None]:
    samples = [branch.prefix.sample for branch in branches]
    return score_answers(
        lantern,
        rows,
        [first + b.prefix.prompt_length for first, b in zip(rows.first, branches, strict=True)],
        [() if sample is None else sample.candidates for sample in samples],
    )


def _result(
    lantern: LanternModel,
    branch: Branch,
    rows: FinishedRows,
    index: int,
    logprobs: dict[str, float] | None,
) -> BranchResult:
    first, sequence = rows.first[index], rows.sequences[index]
    prompt = first + branch.prefix.prompt_length
    last = first_of(sequence[prompt:].tolist(), lantern.eos_ids)
    stop = min(len(sequence) if last is None else prompt + last + 1, first + branch.prefix.limit)
    blocks = [
        # A row's last token is fed in company only, where others go on.
        block.until(stop, fed=stop - 1).moved(-first)
        for block in rows.blocks[index]
        if block.start < stop
    ]
    ids = sequence[first:stop]
    return BranchResult(
        ids=ids,
        prompt_length=branch.prefix.prompt_length,
        blocks=blocks,
        text=lantern.text(ids[branch.prefix.prompt_length :]),
        logprobs=logprobs,
    )
