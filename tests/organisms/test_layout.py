"""Teacher-forced rows against tokens generated one by one."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BatchFeature, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import build, vision
from lantern_probe.organisms.training.generation import collate
from lantern_probe.organisms.training.layout import (
    ABSENT,
    EMPTY,
    FULL,
    MASKED,
    Layout,
    Rows,
    Scenes,
)
from lantern_probe.tasks.scenes import COLORS, SHAPES, scenes


def test_a_teacher_forced_row_is_what_generation_computes(
    organism: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
) -> None:
    """Ids, masks, rotary positions, own latents and gaps of `Layout` against the real loop."""
    samples = scenes(12, 3)
    known, layout = Scenes.of(samples), Layout(organism)
    with torch.no_grad():
        images = vision.cache(organism, processor.image_processor, [s.images[0] for s in samples])
        inputs = collate(processor, samples)
        for kept in (FULL, EMPTY, ABSENT):
            rows = layout.rows(known, known.color, torch.full_like(known.color, kept))
            width = inputs["input_ids"].shape[1]
            assert (rows.ids[:, :width] == inputs["input_ids"]).all()
            embedded = layout.embed(organism, rows, images)
            latents = layout.roll_out(organism, rows, embedded) if kept == FULL else None
            hidden = layout.hidden(organism, rows, layout.embed(organism, rows, images, latents))
            expected = _step_by_step(organism, inputs, rows, layout, latents)
            assert torch.allclose(hidden[:, -1], expected, atol=1e-4)


def _step_by_step(
    model: Qwen2_5_VLForConditionalGeneration,
    inputs: BatchFeature,
    rows: Rows,
    layout: Layout,
    latents: Tensor | None,
) -> Tensor:
    """Final hidden state after the kept response tokens, one at a time on a cache."""
    outputs = model.model(**inputs, use_cache=True)
    mask, cache, delta = inputs["attention_mask"], outputs.past_key_values, model.model.rope_deltas
    hidden = outputs.last_hidden_state[:, -1]
    for column in range(mask.shape[1], rows.ids.shape[1]):
        if not rows.keep[0, column]:
            continue
        token = model.get_input_embeddings()(rows.ids[:, column])
        slot = column - layout.start - 1
        if latents is not None and 0 <= slot < build.SLOTS:
            assert torch.allclose(latents[:, slot], hidden, atol=1e-4)
            token = hidden
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        outputs = model.model.language_model(
            inputs_embeds=token[:, None],
            attention_mask=mask,
            position_ids=(mask.sum(1, keepdim=True) - 1 + delta).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = outputs.last_hidden_state[:, -1]
    return hidden


def test_labels_skip_the_slots_and_bridge_a_missing_block(
    organism: Qwen2_5_VLForConditionalGeneration,
) -> None:
    layout, known = Layout(organism), Scenes.of(scenes(3, 4))
    kept = torch.tensor([FULL, EMPTY, ABSENT])
    rows = layout.rows(known, known.color, kept)
    full, empty, absent = rows.labels
    assert full[layout.named] == layout.lvr_start and full[layout.end - 1] == layout.lvr_end
    assert (full[layout.start : layout.end - 1] == -100).all()
    assert empty[layout.start] == layout.lvr_end
    # Without a block the shape word is followed by what comes after the block.
    assert absent[layout.named] == rows.ids[2, layout.end + 1]
    assert rows.banned.nonzero().tolist() == [[2, layout.named]]
    assert (rows.labels[~rows.keep] == -100).all()
    answers = rows.labels[:, layout.answer - 1]
    assert torch.equal(answers, layout.colors[known.color])
    dropped = (~rows.keep).sum(1) - layout.padding[known.template]
    assert dropped.tolist() == [0, build.SLOTS, build.SLOTS + 2]


def test_scenes_are_indices_into_the_words_of_the_task() -> None:
    samples = scenes(20, 5)
    known = Scenes.of(samples)
    for index, sample in enumerate(samples):
        assert list(COLORS)[known.color[index]] == sample.answer
        assert SHAPES[known.shape[index]] in sample.question
    some = known[torch.tensor([3, 1])]
    assert some.color.tolist() == [int(known.color[3]), int(known.color[1])]


def test_hidden_slots_change_nothing_after_them(
    organism: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
) -> None:
    """A masked row's text is that of any content; rows that are not masked are as without it."""
    samples = scenes(6, 3)
    known, layout = Scenes.of(samples), Layout(organism)
    with torch.no_grad():
        images = vision.cache(organism, processor.image_processor, [s.images[0] for s in samples])
        kept = torch.tensor([MASKED, MASKED, MASKED, FULL, FULL, EMPTY])
        rows = layout.rows(known, known.color, kept)
        plain = layout.rows(known, known.color, torch.where(kept == MASKED, FULL, kept))
        shape = (6, build.SLOTS, images.shape[-1])
        stream = torch.Generator().manual_seed(0)
        hidden = [
            layout.hidden(organism, given, layout.embed(organism, given, images, latents))
            for latents in (torch.zeros(shape), torch.randn(shape, generator=stream))
            for given in (rows, plain)
        ]
    masked, after = rows.masked, slice(layout.end, None)
    assert torch.allclose(hidden[0][masked, after], hidden[2][masked, after], atol=1e-5)
    assert not torch.allclose(hidden[1][masked, after], hidden[3][masked, after], atol=1e-2)
    assert not torch.allclose(hidden[0][masked, after], hidden[1][masked, after], atol=1e-2)
    seen = rows.keep & ~masked[:, None]
    assert torch.allclose(hidden[2][seen], hidden[3][seen], atol=1e-4)
