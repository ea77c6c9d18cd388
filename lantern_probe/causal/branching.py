"""Branching: the part that a sample's conditions share is run once, then forked into rows.

All conditions of one sample share the image, the question and the text up to the first
`<|lvr_start|>`. `run_prefixes` runs that once and keeps its KV cache; `run_branches` packs
prefixes of any samples and lengths right-aligned into one cache, gives each row its own plan,
and decodes the rows together. Keys carry their rotation already, so a prefix may be moved; the
mask hides the padding, and positions are given explicitly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, StoppingCriteria, StoppingCriteriaList

from lantern_probe.model.answer_tokens import find_tag
from lantern_probe.model.blocks import BranchResult, PromptNorms, RowPlan, find_blocks, first_of
from lantern_probe.model.kv_cache import FinishedRows, KeysValues, RoomyLayer, rope_positions
from lantern_probe.model.scoring import score_answers
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


LONGEST_ANSWER = 16
"""Tokens of a candidate for which a cache has room when it is scored; longer ones cost a copy."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """One question up to and including its first `<|lvr_start|>`, or to the end without one.

    Attributes:
        sample: The question; None for a run from ready model inputs.
        ids: Tokens of prompt and continuation, without padding, [length].
        prompt_length: Number of prompt tokens.
        cache: Keys and values of every layer, of at least all tokens but the last.
        rope_delta: Shift of the text positions after the image.
        limit: Length of prompt and continuation, in tokens, at which the token limit ends the text.
        emitted: True if the last token is a `<|lvr_start|>`.
        unmarked: Number of tokens before the first generated LVR token; all of them without one.
        grid: Patch grid of the first image (time, height, width); None without an image.
        norms: Median norms of the prompt; None where they were not measured.
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

        A row without LVR tokens starts where the first of them was chosen. A row with an opening
        of its own starts right after the prompt.
        """
        if self.plan.opening is not None:
            return self.prefix.prompt_length
        if self.forced and self.prefix.place is not None:
            return self.prefix.place
        return self.prefix.unmarked if self.plan.ban else len(self.prefix.ids)

    @property
    def forced(self) -> bool:
        """True if a block is forced into a text that opens none."""
        return self.plan.force and not self.prefix.emitted and self.prefix.place is not None

    def running_plan(self, start: int) -> RowPlan:
        """The plan as it is decoded: a forced block begins with its start marker.

        Args:
            start: Id of `<|lvr_start|>`.
        """
        opening = (start,) if self.forced else self.plan.opening
        return replace(self.plan, force=False, opening=opening) if self.plan.force else self.plan

    @property
    def goes_on(self) -> bool:
        """True if there is anything left to decode."""
        earlier = self.length < len(self.prefix.ids)
        begins = self.prefix.emitted or self.plan.opening is not None or earlier
        return begins and self.length < self.prefix.limit


class _StopAt(StoppingCriteria):
    """Ends a row at a token."""

    def __init__(self, token: int):
        self.token = token

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return input_ids[:, -1] == self.token


class _StopAfter(StoppingCriteria):
    """Ends every row at its own length."""

    def __init__(self, lengths: Tensor):
        self.lengths = lengths

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return input_ids.shape[1] >= self.lengths.to(input_ids.device)


@torch.no_grad()
def run_prefixes(
    lantern: LanternModel,
    samples: Sequence[Sample] | Mapping[str, Any],
    *,
    max_new_tokens: int | None = None,
    **kwargs: Any,
) -> list[Prefix]:
    """Run questions to their first `<|lvr_start|>`, together; greedy.

        >>> from lantern_probe import run_prefixes
        >>> (prefix,) = run_prefixes(lantern, [sample])
        >>> prefix.emitted, lantern.text(prefix.ids[prefix.prompt_length :])
        (True, '<think> let me look at the diamond <|lvr_start|>')

    Args:
        lantern: The model.
        samples: Samples, or ready model inputs.
        max_new_tokens: Token limit of the whole continuation, branches included; default the
            model's own.
        **kwargs: Settings of `generate`, such as `sequence_bias`.

    Returns:
        One prefix per question.

    Raises:
        LanternError: an image cannot be read, or the model has no LVR tokens.
    """
    tokens = lantern.require_lvr()
    max_new_tokens = max_new_tokens or lantern.max_new_tokens
    questions = None if isinstance(samples, Mapping) else list(samples)
    inputs = dict(samples) if isinstance(samples, Mapping) else dict(lantern.inputs(samples))
    mask = inputs["attention_mask"].bool()
    width = mask.shape[1]
    plain = [RowPlan(mode="stock")] * len(mask)
    result, decoding = lantern.decode(
        inputs,
        plans=plain,
        max_new_tokens=max_new_tokens,
        stopping_criteria=StoppingCriteriaList([_StopAt(tokens.start)]),
        return_dict_in_generate=True,
        **kwargs,
    )
    assert decoding is not None
    scores = torch.stack(decoding.start_scores).float().cpu()
    deltas = lantern.hf.model.rope_deltas.expand(len(mask), 1)[:, 0].tolist()
    grids = _first_grids(lantern, inputs)
    prefixes = []
    for row, sequence in enumerate(result.sequences):
        first = int((~mask[row]).sum())
        last = first_of(sequence[width:].tolist(), lantern.eos_ids | {tokens.start})
        stop = width + (len(sequence) - width if last is None else last + 1)
        emitted = int(sequence[stop - 1]) == tokens.start and stop > width
        written = sequence[width:stop].tolist()
        place = None if emitted else width - first + _likeliest(lantern, written, scores[:, row])
        marked = first_of(sequence[width:stop].tolist(), {tokens.start, tokens.sep, tokens.end})
        prefixes.append(
            Prefix(
                sample=None if questions is None else questions[row],
                ids=sequence[first:stop],
                prompt_length=width - first,
                cache=[
                    (
                        layer.keys[row, :, first:stop].clone(),
                        layer.values[row, :, first:stop].clone(),
                    )
                    for layer in result.past_key_values.layers
                ],
                rope_delta=deltas[row],
                limit=width - first + max_new_tokens,
                emitted=emitted,
                unmarked=stop - first if marked is None else width - first + marked,
                grid=grids[row],
                norms=decoding.norms[row],
                place=place,
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
    tag = find_tag(lantern.processor.tokenizer, written)
    return int(scores[: len(written) if tag is None else tag + 1].argmax())


@torch.no_grad()
def run_branches(
    lantern: LanternModel, branches: Sequence[Branch], *, score: bool = True, **kwargs: Any
) -> list[BranchResult]:
    """Decode branches of any prefixes together, one row each; greedy.

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
        **kwargs: Settings of `generate`, the same that the prefixes were run with.

    Returns:
        One finished text per branch, in their order.
    """
    results: dict[int, BranchResult] = {}
    for going in (True, False):
        places = [place for place, branch in enumerate(branches) if branch.goes_on == going]
        if rows := [branches[place] for place in places]:
            finished = _decode(lantern, rows, kwargs) if going else _as_they_are(lantern, rows)
            scores = _scores(lantern, rows, finished) if score else [None] * len(rows)
            for index, place in enumerate(places):
                results[place] = _result(lantern, rows[index], finished, index, scores[index])
    return [results[place] for place in range(len(branches))]


def _pack(
    lantern: LanternModel, branches: Sequence[Branch], room: int
) -> tuple[Int[Tensor, "rows length"], list[int], Cache]:
    """The branches' tokens and caches (all but the last token), right-aligned.

    Args:
        lantern: The model.
        branches: The rows.
        room: Number of tokens by which the cache will grow.
    """
    width = max(branch.length for branch in branches)
    first = [width - branch.length for branch in branches]
    # Masked positions hold the row's own first token: a repetition penalty looks at all input
    # ids, and must not see tokens that the row does not have.
    ids = torch.stack(
        [
            torch.cat([b.prefix.ids[:1].expand(skip), b.prefix.ids[: b.length]])
            for b, skip in zip(branches, first, strict=True)
        ]
    )
    layers = []
    for layer, (like, _) in enumerate(branches[0].prefix.cache):
        packed = like.new_zeros(2, len(branches), len(like), width - 1, like.shape[-1])
        for row, (branch, skip) in enumerate(zip(branches, first, strict=True)):
            for part, cached in zip(packed, branch.prefix.cache[layer], strict=True):
                part[row, :, skip:] = cached[:, : branch.length - 1]
        layers.append(RoomyLayer(packed[0], packed[1], room))
    return ids, first, Cache(layers=layers)


def _decode(
    lantern: LanternModel, branches: Sequence[Branch], kwargs: Mapping[str, Any]
) -> FinishedRows:
    room = max(branch.prefix.limit - branch.length for branch in branches)
    ids, first, cache = _pack(lantern, branches, room + LONGEST_ANSWER)
    width = ids.shape[1]
    starts = torch.tensor(first, device=ids.device)[:, None]
    deltas = [branch.prefix.rope_delta for branch in branches]
    text_positions = (torch.arange(width, device=ids.device) - starts).clamp(min=0)
    lengths = torch.tensor([skip + b.prefix.limit for skip, b in zip(first, branches, strict=True)])
    result, decoding = lantern.decode(
        {
            "input_ids": ids,
            "attention_mask": (torch.arange(width, device=ids.device) >= starts).long(),
            "position_ids": rope_positions(text_positions, deltas),
            "past_key_values": cache,
        },
        plans=[branch.running_plan(lantern.require_lvr().start) for branch in branches],
        resume=True,
        norms=[branch.prefix.norms for branch in branches],
        max_new_tokens=int(lengths.max()) - width,
        stopping_criteria=StoppingCriteriaList([_StopAfter(lengths)]),
        return_dict_in_generate=True,
        **kwargs,
    )
    assert decoding is not None
    # The prefix's own marker is the last token of the input, and counts as generated.
    blocks = decoding.blocks(result.sequences, width - 1)
    cache, hidden = result.past_key_values, decoding.hidden()
    return FinishedRows(result.sequences, first, cache, deltas, blocks, hidden)


def _as_they_are(lantern: LanternModel, branches: Sequence[Branch]) -> FinishedRows:
    ids, first, cache = _pack(lantern, branches, LONGEST_ANSWER)
    deltas = [branch.prefix.rope_delta for branch in branches]
    tokens = lantern.require_lvr()
    blocks = [
        find_blocks(row, skip + branch.prefix.prompt_length, tokens)
        for row, skip, branch in zip(ids, first, branches, strict=True)
    ]
    return FinishedRows(ids, first, cache, deltas, blocks, [[] for _ in branches])


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
        replace(
            block,
            start=block.start - first,
            slots=range(block.slots.start - first, block.slots.stop - first),
            end=None if block.end is None else block.end - first,
        )
        for block in rows.blocks[index]
    ]
    ids = sequence[first:stop]
    return BranchResult(
        ids=ids,
        prompt_length=branch.prefix.prompt_length,
        blocks=blocks,
        text=lantern.text(ids[branch.prefix.prompt_length :]),
        logprobs=logprobs,
    )
