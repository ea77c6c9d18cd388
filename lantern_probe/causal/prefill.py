"""Questions run to the place where their conditions part: prompts by equal length, then thoughts.

Prompts of unequal length would be padded, and masked attention to padded prompts takes almost
twice as long: prompts are run in batches of equal length. The texts up to the first block are
then decoded together (`causal.row_batch`), however many batches the prompts made.

Where rows cannot be put into another order, and for inputs other than images and text, everything
is one call of `generate`, with padding.

Sampled texts of one question share its prompt, which is run once, and part with their first token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from lantern_probe.causal.row_batch import RowBatch, Start, counted, may_leave, may_share
from lantern_probe.errors import LanternError, named
from lantern_probe.model.attention import sharing_prefixes
from lantern_probe.model.blocks import PromptNorms, RowPlan, first_of
from lantern_probe.model.kv_cache import KeysValues
from lantern_probe.model.sampling import Draws
from lantern_probe.model.shared_prefixes import SharedPrefixes

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

PROMPTS = {"cpu": 16, "cuda": 32}
"""Most prompts of a batch, by type of device; their tokens make the matrices large enough."""

ROOM = 64
"""Tokens of a thought for which a cache has room; longer ones cost a copy."""

BY_ROW = ("input_ids", "attention_mask", "mm_token_type_ids")
BY_IMAGE = ("pixel_values", "image_grid_thw")

PLAIN = RowPlan(mode="stock")


@dataclass(frozen=True, eq=False)
class Text:
    """A question, and its text as far as it was run.

    Attributes:
        ids: Tokens of prompt and text, without padding, [length].
        prompt_length: Number of prompt tokens.
        cache: Keys and values of every layer, of at least all tokens but the last.
        rope_delta: Shift of the text positions after the image.
        norms: Median norms of the prompt.
        start_scores: Log-probability of the start marker at each step of the text, in nats.
        opened: True if the prompt's last token opens a block, so that there is no text before it.
    """

    ids: Int[Tensor, " length"]
    prompt_length: int
    cache: list[KeysValues] = field(repr=False)
    rope_delta: int
    norms: PromptNorms | None
    start_scores: Float[Tensor, " steps"]
    opened: bool = False


class _StopAt(StoppingCriteria):
    """Ends a row at a token."""

    def __init__(self, token: int):
        self.token = token

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return input_ids[:, -1] == self.token


def run_texts(
    lantern: LanternModel, inputs: Mapping[str, Any], max_new_tokens: int, settings: dict[str, Any]
) -> list[Text]:
    """Run questions to their first start marker, their end or the token limit.

    Args:
        lantern: The model.
        inputs: Model inputs.
        max_new_tokens: Token limit of the text.
        settings: Settings of `generate`.
    """
    parts = inputs.keys() <= {*BY_ROW, *BY_IMAGE} and may_share(lantern, settings)
    if not parts or not may_leave(lantern, settings):
        return _generate(lantern, inputs, max_new_tokens, settings)
    texts: dict[int, Text] = {}
    for rows in _equally_long(inputs["attention_mask"], PROMPTS[lantern.device.type]):
        some = _generate(lantern, _part(lantern, inputs, rows), 1, settings)
        texts |= zip(rows, some, strict=True)
    return _go_on(lantern, [texts[row] for row in range(len(texts))], max_new_tokens, settings)


def run_sampled_texts(
    lantern: LanternModel,
    inputs: Mapping[str, Any],
    max_new_tokens: int,
    settings: dict[str, Any],
    draws: Sequence[Sequence[Draws]],
) -> list[Text]:
    """Run questions to their first start marker, once for each stream of random numbers.

    Args:
        lantern: The model.
        inputs: Model inputs.
        max_new_tokens: Token limit of the text.
        settings: Settings of `generate`.
        draws: For every question its streams, one per text.

    Returns:
        The texts, those of one question together.

    Raises:
        LanternError: a setting counts from the beginning of a call.
    """
    if names := counted(lantern, settings):
        raise LanternError(
            f"sampled texts go on from a shared prompt, which {named(names)} could not obey; "
            "leave it out"
        )
    prompts = run_texts(lantern, inputs, 1, settings)  # the token is thrown away
    texts, plans = [], []
    for prompt, streams in zip(prompts, draws, strict=True):
        ids, scores = prompt.ids[: prompt.prompt_length], prompt.start_scores[:0]
        texts += [replace(prompt, ids=ids, start_scores=scores)] * len(streams)
        plans += [replace(PLAIN, draws=stream) for stream in streams]
    going = [row for row, text in enumerate(texts) if not text.opened]
    some, their = [texts[row] for row in going], [plans[row] for row in going]
    found = _decoded(lantern, some, their, max_new_tokens, settings) if going else []
    for row, text in zip(going, found, strict=True):
        texts[row] = text
    return texts


def _equally_long(mask: Tensor, most: int) -> list[list[int]]:
    """Rows of equal length, in batches."""
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(mask.sum(1).tolist()):
        by_length.setdefault(length, []).append(row)
    return [
        rows[first : first + most]
        for rows in by_length.values()
        for first in range(0, len(rows), most)
    ]


def _part(lantern: LanternModel, inputs: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """The inputs of some rows of equal length, without padding."""
    length = int(inputs["attention_mask"][rows[0]].sum())
    part = {key: inputs[key][rows, -length:] for key in BY_ROW if key in inputs}
    if inputs.get("pixel_values") is None:
        return part
    config = lantern.hf.config
    patches = inputs["image_grid_thw"].prod(1).tolist()
    tokens = (inputs["input_ids"] == config.image_token_id).sum(1).tolist()
    merged = config.vision_config.spatial_merge_size**2
    images: list[list[int]] = []
    image = 0
    for wanted in tokens:
        first = image
        while wanted > 0:
            wanted -= patches[image] // merged
            image += 1
        images.append(list(range(first, image)))
    chosen = [number for row in rows for number in images[row]]
    if not chosen:
        return part
    pixels = inputs["pixel_values"].split(patches)
    part["pixel_values"] = torch.cat([pixels[number] for number in chosen])
    part["image_grid_thw"] = inputs["image_grid_thw"][chosen]
    return part


def _generate(
    lantern: LanternModel, inputs: Mapping[str, Any], max_new_tokens: int, settings: dict[str, Any]
) -> list[Text]:
    tokens = lantern.require_lvr()
    mask = inputs["attention_mask"].bool()
    width = mask.shape[1]
    result, decoding = lantern.decode(
        dict(inputs),
        plans=[PLAIN] * len(mask),
        max_new_tokens=max_new_tokens,
        stopping_criteria=StoppingCriteriaList([_StopAt(tokens.start)]),
        return_dict_in_generate=True,
        **settings,
    )
    shift = lantern.hf.model.rope_deltas  # None without images
    deltas = [0] * len(mask) if shift is None else shift.expand(len(mask), 1)[:, 0].tolist()
    assert decoding is not None
    scores = decoding.start_scores()
    ends = lantern.eos_ids | {tokens.start}
    texts = []
    for row, sequence in enumerate(result.sequences):
        first = int((~mask[row]).sum())
        last = first_of(sequence[width:].tolist(), ends)
        stop = len(sequence) if last is None else width + last + 1
        opened = tokens.opens_after(int(sequence[width - 1]))
        stop = width if opened else stop
        cache = [
            (layer.keys[row, :, first:stop].clone(), layer.values[row, :, first:stop].clone())
            for layer in result.past_key_values.layers
        ]
        ids, norms = sequence[first:stop], decoding.norms[row]
        said = scores[row][: stop - width]
        texts.append(Text(ids, width - first, cache, deltas[row], norms, said, opened))
    return texts


def _go_on(
    lantern: LanternModel, texts: list[Text], max_new_tokens: int, settings: dict[str, Any]
) -> list[Text]:
    """Texts of one token, decoded to their first block, end or limit."""
    ends = lantern.eos_ids | {lantern.require_lvr().start}
    going = [row for row, text in enumerate(texts) if int(text.ids[-1]) not in ends]
    if max_new_tokens == 1 or not going:
        return texts
    plans = [PLAIN] * len(going)
    found = _decoded(lantern, [texts[row] for row in going], plans, max_new_tokens, settings)
    for row, text in zip(going, found, strict=True):
        texts[row] = text
    return texts


def _decoded(
    lantern: LanternModel,
    texts: Sequence[Text],
    plans: Sequence[RowPlan],
    max_new_tokens: int,
    settings: dict[str, Any],
) -> list[Text]:
    """Texts decoded together to their first block, end or limit."""
    ends = lantern.eos_ids | {lantern.require_lvr().start}
    starts = []
    for text, plan in zip(texts, plans, strict=True):
        limit = text.prompt_length + max_new_tokens
        written = len(text.ids) > text.prompt_length
        start = Start(text.ids, text.cache, text.rope_delta, limit, plan, generated=written)
        starts.append(start)
    share = may_share(lantern, settings)
    with sharing_prefixes(lantern) if share else nullcontext():
        batch = RowBatch(lantern, starts, min(ROOM, max_new_tokens), share)
        batch.decode(ends, leave=share, **settings)
    scores = batch.decoding.start_scores()
    found: dict[int, Text] = {}
    for place, row in enumerate(batch.order):
        text, first = texts[row], batch.first[row]
        begin = first + text.prompt_length
        limit = min(begin + max_new_tokens, batch.ids.shape[1])
        last = first_of(batch.ids[place, begin:limit].tolist(), ends)
        stop = limit if last is None else begin + last + 1
        cache = [_of_row(layer, place, first, stop - 1) for layer in batch.cache.layers]
        ids = batch.ids[place, first:stop]
        found[row] = replace(
            text, ids=ids, cache=cache, start_scores=torch.cat([text.start_scores, scores[row]])
        )
    return [found[row] for row in range(len(texts))]


def _of_row(layer: Any, place: int, first: int, stop: int) -> KeysValues:
    """A copy of one row's keys and values, from its first column up to another."""
    if isinstance(layer, SharedPrefixes):
        return layer.of_row(place, stop)
    return layer.keys[place, :, first:stop].clone(), layer.values[place, :, first:stop].clone()
