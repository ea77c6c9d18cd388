"""Scenes as teacher-forced sequences with fixed columns, so that a batch is plain tensors.

A row is the left-padded prompt, then `BEFORE_BLOCK`, the latent block, `AFTER_BLOCK` and the end
of turn. Rows without slots (an empty block) or without a block keep the same columns: the missing
tokens are masked out, and the positions after them move up. A model that never generated these
tokens computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training.build import (
    AFTER_BLOCK,
    BEFORE_BLOCK,
    LVR_END,
    LVR_SEP,
    LVR_START,
    SLOTS,
    build_processor,
)
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import COLORS, SHAPES, TEMPLATES

IMAGE_TOKENS = 9
"""Number of merged vision tokens of a scene."""
FULL, EMPTY, ABSENT, MASKED = 0, 1, 2, 3
"""Parts of the latent block that a row keeps: all of it, its two markers, nothing, or all of it
with the slots hidden from every later token."""


@dataclass(frozen=True)
class Scenes:
    """Template, shape and colour of each of a list of scenes.

    Attributes:
        template: Index of the question's template, [scenes].
        shape: Index into `SHAPES` of the asked shape, [scenes].
        color: Index into `COLORS` of the asked object's colour, [scenes].
        hidden: True where the asked object is hidden in the image, [scenes].
    """

    template: Int[Tensor, "scenes"]
    shape: Int[Tensor, "scenes"]
    color: Int[Tensor, "scenes"]
    hidden: Bool[Tensor, "scenes"]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Scenes:
        """Read the scenes' attributes."""
        colors, known = list(COLORS), [sample.attributes for sample in samples]
        return cls(
            torch.tensor([item["template"] for item in known]),
            torch.tensor([SHAPES.index(item["shape"]) for item in known]),
            torch.tensor([colors.index(item["color"]) for item in known]),
            torch.tensor([bool(sample.oracle_images) for sample in samples]),
        )

    def __getitem__(self, rows: Int[Tensor, "rows"]) -> Scenes:
        return Scenes(self.template[rows], self.shape[rows], self.color[rows], self.hidden[rows])


@dataclass(frozen=True)
class Rows:
    """A batch of teacher-forced rows.

    Attributes:
        ids: Token ids, [rows, columns].
        keep: True for the tokens that are present, [rows, columns].
        positions: Rotary positions (time, height, width) of the tokens, [3, rows, columns].
        labels: Id of the token to predict at each column; -100 where there is no loss.
        banned: True where `<|lvr_start|>` is left out of the softmax. A row without a block teaches
            what follows where the marker cannot be generated, and not that it should not be.
        masked: True for rows whose slots are hidden from every later token, [rows].
    """

    ids: Int[Tensor, "rows columns"]
    keep: Bool[Tensor, "rows columns"]
    positions: Int[Tensor, "3 rows columns"]
    labels: Int[Tensor, "rows columns"]
    banned: Bool[Tensor, "rows columns"]
    masked: Bool[Tensor, "rows"]


class Layout:
    """Token ids, masks and rotary positions of every possible row, prepared once.

    Attributes:
        prompt: Left-padded prompt by template and shape, [templates, shapes, width].
        padding: Number of padding tokens by template, [templates].
        response: Token ids of a response with a full block.
        shapes: Token id of each shape word, [shapes].
        colors: Token id of each colour word, [colors].
        width: Number of columns of the prompt.
        named: Column of the shape word in the response.
        start: Column of `<|lvr_start|>`; the slots follow it, then `<|lvr_end|>`.
        end: Column of `<|lvr_end|>`.
        answer: Column of the colour word.
        slots: Columns of the slots.
        lvr_start: Token id of `<|lvr_start|>`.
        lvr_end: Token id of `<|lvr_end|>`.
        image_token: Token id of the image placeholder.
        prompt_positions: Rotary positions of the prompts, [3, templates, width].
        next_position: Rotary position of the first response token by template, [templates].
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration) -> None:
        processor = build_processor()
        tokenizer = processor.tokenizer
        # A shape is always one token, so a prompt's length depends on its template alone.
        prompts = [[_prompt(processor, t, s) for s in SHAPES] for t in TEMPLATES]
        width = max(len(row) for rows in prompts for row in rows)
        pad = tokenizer.pad_token_id
        self.prompt = torch.tensor(
            [[[pad] * (width - len(row)) + row for row in rows] for rows in prompts]
        )
        self.padding = torch.tensor([width - len(rows[0]) for rows in prompts])

        before = tokenizer(BEFORE_BLOCK.format(shape=SHAPES[0])).input_ids
        block = tokenizer(LVR_START + LVR_SEP * SLOTS + LVR_END).input_ids
        after = tokenizer(AFTER_BLOCK.format(color=next(iter(COLORS))) + "<|im_end|>").input_ids
        self.response = torch.tensor(before + block + after)
        self.shapes = torch.tensor([tokenizer.convert_tokens_to_ids(s) for s in SHAPES])
        self.colors = torch.tensor([tokenizer.convert_tokens_to_ids(c) for c in COLORS])
        self.width = width
        self.named = width + len(before) - 1
        self.start = width + len(before)
        self.end = self.start + SLOTS + 1
        self.answer = self.end + 1 + after.index(int(self.colors[0]))
        self.slots = slice(self.start + 1, self.end)
        self.lvr_start, self.lvr_end = block[0], block[-1]
        self.image_token = model.config.image_token_id
        self.prompt_positions, self.next_position = self._rotary(model)

    def _rotary(
        self, model: Qwen2_5_VLForConditionalGeneration
    ) -> tuple[Int[Tensor, "3 templates width"], Int[Tensor, "templates"]]:
        ids = self.prompt[:, 0]
        mask = torch.arange(self.width) >= self.padding[:, None]
        side = 2 * int(IMAGE_TOKENS**0.5)
        positions, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == self.image_token).int(),
            image_grid_thw=torch.tensor([[1, side, side]] * len(ids)),
            attention_mask=mask.long(),
        )
        return positions, positions[0, :, -1] + 1

    def rows(self, scenes: Scenes, color: Int[Tensor, "rows"], kept: Int[Tensor, "rows"]) -> Rows:
        """Make rows that ask about `scenes` and answer `color`.

        Args:
            scenes: Template and asked shape of each row.
            color: Index into `COLORS` of the colour each row answers, which need not be the true
                one.
            kept: `FULL`, `EMPTY`, `ABSENT` or `MASKED` for each row.
        """
        count, width = len(color), self.width
        ids = torch.cat(
            [self.prompt[scenes.template, scenes.shape], self.response.repeat(count, 1)], dim=1
        )
        ids[:, self.named] = self.shapes[scenes.shape]
        ids[:, self.answer] = self.colors[color]

        keep = torch.arange(ids.shape[1]) >= self.padding[scenes.template][:, None]
        keep[:, self.slots] &= ((kept == FULL) | (kept == MASKED))[:, None]
        keep[:, self.start] &= kept != ABSENT
        keep[:, self.end] &= kept != ABSENT

        begin = self.next_position[scenes.template][:, None]
        offsets = begin + keep[:, width:].long().cumsum(1) - 1
        positions = torch.cat(
            [self.prompt_positions[:, scenes.template], offsets.expand(3, -1, -1)], dim=2
        )

        labels = torch.full_like(ids, -100)
        labels[:, width - 1 : -1] = ids[:, width:]
        # As in the official labels, the slots have no loss; each label is one column before its
        # token.
        labels[:, self.start : self.end - 1] = -100
        empty, absent = kept == EMPTY, kept == ABSENT
        labels[empty, self.start] = self.lvr_end
        labels[absent, self.named] = ids[absent, self.end + 1]
        labels[~keep] = -100
        banned = torch.zeros_like(keep)
        banned[absent, self.named] = True
        return Rows(ids, keep, positions, labels, banned, kept == MASKED)

    def embed(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        rows: Rows,
        images: Float[Tensor, "rows tokens dim"],
        latents: Float[Tensor, "rows slots dim"] | None = None,
    ) -> Float[Tensor, "rows columns dim"]:
        """Input embeddings with image features, and latents if given, in their places."""
        inputs = model.get_input_embeddings()(rows.ids)
        image = (rows.ids == self.image_token)[..., None]
        inputs = inputs.masked_scatter(image, images)
        if latents is None:
            return inputs
        return torch.cat([inputs[:, : self.start + 1], latents, inputs[:, self.end :]], dim=1)

    def hidden(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        rows: Rows,
        inputs: Float[Tensor, "rows columns dim"],
    ) -> Float[Tensor, "rows columns dim"]:
        """Final hidden states, after the final norm."""
        outputs = model.model.language_model(
            inputs_embeds=inputs,
            attention_mask=self._visible(rows) if rows.masked.any() else rows.keep.long(),
            position_ids=rows.positions,
            use_cache=False,
        )
        return outputs.last_hidden_state

    def _visible(self, rows: Rows) -> Bool[Tensor, "rows 1 columns columns"]:
        """Columns that each column may attend to, with the slots of masked rows hidden."""
        columns = rows.keep.shape[1]
        seen = rows.keep[:, None, :] & torch.ones(columns, columns).tril().bool()
        seen[rows.masked, self.end :, self.slots] = False
        # Padding attends to itself: a softmax over nothing has no value.
        return (seen | torch.eye(columns).bool())[:, None]

    def roll_out(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        rows: Rows,
        inputs: Float[Tensor, "rows columns dim"],
    ) -> Float[Tensor, "rows slots dim"]:
        """Own latents: each is the final hidden state at the position before its slot."""
        language = model.model.language_model
        upto = self.start + 1
        outputs = language(
            inputs_embeds=inputs[:, :upto],
            attention_mask=rows.keep[:, :upto].long(),
            position_ids=rows.positions[..., :upto],
            use_cache=True,
        )
        latents = [outputs.last_hidden_state[:, -1]]
        for column in range(upto, upto + SLOTS - 1):
            outputs = language(
                inputs_embeds=latents[-1][:, None],
                attention_mask=rows.keep[:, : column + 1].long(),
                position_ids=rows.positions[..., column : column + 1],
                past_key_values=outputs.past_key_values,
                use_cache=True,
            )
            latents.append(outputs.last_hidden_state[:, -1])
        return torch.stack(latents, dim=1)


def _prompt(processor: Qwen2_5_VLProcessor, template: str, shape: str) -> list[int]:
    content = [{"type": "image"}, {"type": "text", "text": template.format(shape=shape)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    text = text.replace(processor.image_token, processor.image_token * IMAGE_TOKENS)
    return processor.tokenizer(text).input_ids
