"""Replay: finished sequences, made ready to be run again by one forward.

A generation computes its positions one by one. With the latents it was fed in their places, one
forward over the whole sequence computes the same hidden states: there attention can be read,
edges cut and activations patched at all positions at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, BranchResult, LanternOutput, first_of
from lantern_probe.model.inputs import as_samples
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True, eq=False)
class Replay:
    """A batch of finished sequences, left-padded.

    Attributes:
        ids: Tokens, [rows, length].
        first: For every row, the index at which its own tokens begin.
        prompt_lengths: For every row, its number of prompt tokens without padding.
        grids: For every row, the patch grids of its images (time, height, width), [images, 3].
        blocks: For every row its latent blocks, counted in its own tokens.
        inputs: Inputs of `lantern.hf` or its language model: `inputs_embeds` [rows, length, D]
            with image features and latents in their places, `attention_mask` [rows, length],
            `position_ids` [4, rows, length] (text positions and the three rotary ones), no cache.
            Of Qwen3-VL also the image features that its first layers add, which its language model
            alone takes.
    """

    ids: Int[Tensor, "rows length"]
    first: list[int]
    prompt_lengths: list[int]
    grids: list[Int[Tensor, "_ 3"]]
    blocks: list[list[Block]]
    inputs: dict[str, Any] = field(repr=False)

    def own_ids(self, row: int) -> Int[Tensor, " length"]:
        """The tokens of one row without padding.

        Args:
            row: Index of the row.
        """
        return self.ids[row, self.first[row] :]


@dataclass(frozen=True, eq=False)
class _Sequence:
    """The tokens of one row without padding, its blocks, and its latents by position."""

    ids: Tensor
    blocks: list[Block]
    latents: dict[int, Tensor]


@torch.no_grad()
def replay(
    lantern: LanternModel,
    questions: Sample | Sequence[Sample] | Mapping[str, Any],
    finished: LanternOutput | Sequence[BranchResult],
) -> Replay:
    """Make finished sequences ready for one forward.

    That forward gives the hidden states and logits of the generation, wherever every position
    could attend to all before it: a plan that hides positions, or a cut, must be made again at
    the forward. A slot at the very end, cut off by the token limit before it was fed, is left out.

        >>> import torch
        >>> from lantern_probe.model.replay import replay
        >>> again = replay(lantern, sample, lantern.generate(sample))
        >>> with torch.no_grad():
        ...     states = lantern.hf(**again.inputs, output_hidden_states=True).hidden_states
        >>> len(states), states[-1].shape[1] == len(again.own_ids(0))
        (5, True)

    Args:
        lantern: The model.
        questions: The samples that were asked, one per row, or the ready model inputs.
        finished: The output of `generate`, or results of `run_branches`.

    Raises:
        LanternError: the sequences do not begin with the questions' prompts, or are of another
            number.
    """
    asked: Any = questions
    if not isinstance(questions, Mapping):
        asked = lantern.inputs(as_samples(questions))
    asked = {
        name: value.to(lantern.device) if isinstance(value, Tensor) else value
        for name, value in asked.items()
    }
    prompts = [
        ids[mask.bool()]
        for ids, mask in zip(asked["input_ids"], asked["attention_mask"], strict=True)
    ]
    count = len(finished.sequences if isinstance(finished, LanternOutput) else finished)
    if count != len(prompts):
        raise LanternError(f"{count} finished sequences for {len(prompts)} questions")
    if isinstance(finished, LanternOutput):
        rows = _output_rows(lantern, finished, prompts)
    else:
        rows = [_sequence(result.ids, result.blocks, 0) for result in finished]
    rows = [replace(row, ids=row.ids.to(lantern.device)) for row in rows]
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        if not torch.equal(row.ids[: len(prompt)], prompt):
            raise LanternError(f"finished sequence {index} does not begin with its question")
    return _batch(lantern, asked, rows, [len(prompt) for prompt in prompts])


def _output_rows(
    lantern: LanternModel, output: LanternOutput, prompts: Sequence[Tensor]
) -> list[_Sequence]:
    rows = []
    for sequence, blocks, prompt in zip(output.sequences, output.blocks, prompts, strict=True):
        end = first_of(sequence[output.prompt_length :].tolist(), lantern.eos_ids)
        stop = len(sequence) if end is None else output.prompt_length + end + 1
        first = output.prompt_length - len(prompt)
        rows.append(_sequence(sequence[first:stop], blocks, first))
    return rows


def _sequence(ids: Tensor, blocks: Sequence[Block], first: int) -> _Sequence:
    """One row, whose block positions are counted from `first` places before it."""
    moved = [block.moved(-first) for block in blocks]
    latents = {
        position: latent
        for block in moved
        for position, latent in zip(block.slots, block.latents, strict=False)
    }
    last = len(ids) - 1
    unfed = last not in latents and any(last in block.slots for block in moved)
    ids = ids[:last] if unfed else ids
    kept = [block.until(len(ids)) for block in moved if block.start < len(ids)]
    return _Sequence(ids, kept, latents)


def _batch(
    lantern: LanternModel, asked: Any, rows: Sequence[_Sequence], prompt_lengths: list[int]
) -> Replay:
    device = asked["input_ids"].device
    width = max(len(row.ids) for row in rows)
    first = [width - len(row.ids) for row in rows]
    ids = torch.zeros(len(rows), width, dtype=torch.long, device=device)
    # Image tokens of the prompts: one that was generated is an ordinary token.
    image = torch.zeros_like(ids, dtype=torch.bool)
    for index, (row, skip, length) in enumerate(zip(rows, first, prompt_lengths, strict=True)):
        ids[index, skip:] = row.ids
        prompt = row.ids[:length]
        image[index, skip : skip + length] = prompt == lantern.hf.config.image_token_id
    mask = (
        torch.arange(width, device=device) >= torch.tensor(first, device=device)[:, None]
    ).long()

    embeddings = lantern.hf.get_input_embeddings()(ids)
    deepstack: dict[str, Any] = {}
    grids = asked.get("image_grid_thw")
    if image.any():
        found = lantern.hf.get_image_features(asked["pixel_values"], grids, return_dict=True)
        embeddings = embeddings.masked_scatter(
            image[..., None], torch.cat(tuple(found.pooler_output)).to(embeddings)
        )
        deepstack = deepstack_inputs(image, getattr(found, "deepstack_features", None))
    for index, (row, skip) in enumerate(zip(rows, first, strict=True)):
        for position, latent in row.latents.items():
            embeddings[index, skip + position] = latent.to(embeddings)

    rotary, _ = lantern.hf.model.get_rope_index(
        ids, mm_token_type_ids=image.int(), image_grid_thw=grids, attention_mask=mask
    )
    text = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {
        "inputs_embeds": embeddings,
        "attention_mask": mask,
        "position_ids": torch.cat([text[None], rotary]),
        "use_cache": False,
        **deepstack,
    }
    by_row, blocks = _grids_by_row(lantern, grids, image), [row.blocks for row in rows]
    return Replay(ids, first, prompt_lengths, by_row, blocks, inputs)


def deepstack_inputs(
    image: Bool[Tensor, "rows length"], features: Sequence[Any] | None
) -> dict[str, Any]:
    """Inputs of a language model whose first layers add image features of their own (Qwen3-VL).

    Args:
        image: True for the image tokens.
        features: For every such layer the features of all images, in order; None for other models.
    """
    if features is None:
        return {}
    joined = [one if isinstance(one, Tensor) else torch.cat(tuple(one)) for one in features]
    return {"visual_pos_masks": image, "deepstack_visual_embeds": joined}


def _grids_by_row(lantern: LanternModel, grids: Tensor | None, image: Tensor) -> list[Tensor]:
    """Deal out the batch's images: each row takes those that make up its image tokens."""
    found: list[Tensor] = []
    taken = 0
    for tokens in image.sum(1).tolist():
        begin = taken
        while tokens > 0:
            assert grids is not None
            tokens -= (
                int(grids[taken].prod()) // lantern.hf.config.vision_config.spatial_merge_size**2
            )
            taken += 1
        none = image.new_zeros(0, 3, dtype=torch.long)
        found.append(none if grids is None else grids[begin:taken])
    return found
