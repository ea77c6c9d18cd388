"""The latent block during decoding: forced tokens, fed latents, traces."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens, RowPlan
from lantern_probe.model.decoding import LatentDecoding

TOKENS = LvrTokens(start=7, sep=8, end=9, size=3)
START_BIAS = 28.0


def settings(lantern: Any, **more: Any) -> dict[str, Any]:
    return {"sequence_bias": [[[lantern.lvr.start], START_BIAS]], "max_new_tokens": 60, **more}


def drive(plans: list[RowPlan], chosen: list[list[int]], steps: int) -> torch.Tensor:
    """Run the processor against a model that would choose `chosen[row][step]`."""
    decoding = LatentDecoding(TOKENS, plans)
    ids = torch.ones(len(plans), 2, dtype=torch.long)
    for step in range(steps):
        scores = torch.zeros(len(plans), 10)
        for row, tokens in enumerate(chosen):
            scores[row, tokens[step] if step < len(tokens) else 0] = 5.0
        ids = torch.cat([ids, decoding(ids, scores).argmax(-1, keepdim=True)], dim=1)
    return ids[:, 2:]


def test_every_mode_forces_its_tokens():
    plans = [RowPlan(), RowPlan(mode="skip"), RowPlan(mode="stock"), RowPlan(ban=True)]
    ids = drive(plans, [[4, 7, 4, 4, 4, 4, 5]] * 4, 7)
    assert ids.tolist() == [
        [4, 7, 8, 8, 8, 9, 5],
        [4, 7, 9, 4, 4, 4, 5],
        [4, 7, 4, 4, 4, 4, 5],
        [4, 0, 4, 4, 4, 4, 5],
    ]


def test_a_start_marker_in_the_prompt_opens_nothing_unless_resumed():
    ids = torch.tensor([[1, 7]])
    assert LatentDecoding(TOKENS, [RowPlan()])(ids, torch.zeros(1, 10)).unique().tolist() == [0]
    resumed = LatentDecoding(TOKENS, [RowPlan()], resume=True)(ids, torch.zeros(1, 10))
    assert resumed[0].argmax() == TOKENS.sep and torch.isinf(resumed[0]).sum() == 9


def test_own_through_an_edit_is_the_plain_generation(official: Any, official_inputs: Any):
    inputs = official_inputs("batch5")
    plain = official.generate(inputs, **settings(official))
    sham = official.generate(
        inputs, plans=[RowPlan(edit=lambda own, slot: own)] * 4, **settings(official)
    )
    assert torch.equal(plain.sequences, sham.sequences)
    assert all(
        torch.equal(a, b)
        for one, two in zip(plain.latents, sham.latents, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_an_edit_sees_block_slot_and_what_was_written(official: Any, official_inputs: Any):
    seen = []

    def edit(own: torch.Tensor, slot: Any) -> torch.Tensor:
        seen.append((slot.block, slot.index, len(slot.written)))
        return torch.full_like(own, slot.index)

    output = official.generate(
        official_inputs("batch0"), plans=[RowPlan(edit=edit)], **settings(official)
    )
    assert seen[:8] == [(0, slot, slot) for slot in range(8)]
    assert torch.equal(output.latents[0][0][:, 0], torch.arange(8.0))


def test_without_a_cache_the_tokens_are_the_same(official: Any, official_inputs: Any):
    inputs = official_inputs("batch0")
    cached = official.generate(inputs, **settings(official))
    uncached = official.generate(inputs, **settings(official, use_cache=False))
    assert torch.equal(cached.sequences, uncached.sequences)


def test_several_blocks_and_a_limit_inside_a_block(official: Any, official_inputs: Any):
    inputs = official_inputs("batch0")
    eager = {"sequence_bias": [[[official.lvr.start], 1e4]]}
    output = official.generate(inputs, max_new_tokens=25, **eager)
    blocks = output.blocks[0]
    # Every token outside a block is a start marker: 10 tokens a block, so the third is cut off.
    assert [len(block.slots) for block in blocks] == [8, 8, 4]
    assert [len(block.latents) for block in blocks] == [8, 8, 3]
    assert blocks[-1].end is None and output.sequences.shape[1] == 51 + 25


@pytest.mark.parametrize("limit", [11, 12, 13])
def test_a_limit_at_the_start_of_a_block_keeps_shapes(
    official: Any, official_inputs: Any, limit: int
):
    eager = {"sequence_bias": [[[official.lvr.start], 1e4]]}
    output = official.generate(official_inputs("batch0"), max_new_tokens=limit, **eager)
    shapes = [tuple(latents.shape) for latents in output.latents[0]]
    assert shapes == [(8, 48), (max(0, limit - 12), 48)]
    assert torch.cat(output.latents[0]).shape == (8 + max(0, limit - 12), 48)


def test_stock_is_plain_generate(official: Any, official_inputs: Any):
    inputs = official_inputs("batch5")
    stock = official.generate(inputs, plans=[RowPlan(mode="stock")] * 4, **settings(official))
    plain = official.hf.generate(**inputs, do_sample=False, **settings(official))
    assert torch.equal(stock.sequences, plain)


@pytest.mark.parametrize("size", [0, 1, 5, 11])
def test_a_block_may_have_another_size(official: Any, official_inputs: Any, size: int):
    output = official.generate(
        official_inputs("batch0"), plans=[RowPlan(size=size)], **settings(official)
    )
    (block,) = output.blocks[0]
    assert len(block.slots) == size and block.end == block.start + size + 1
    assert block.latents.shape == (size, 48)


@pytest.mark.parametrize("what", ["slot", "image"])
def test_what_is_hidden_changes_what_follows_and_nothing_before(
    official: Any, official_inputs: Any, what: Any
):
    """The next-token logits equal those of one forward under a hand-made mask."""
    inputs = official_inputs("batch5")
    keep = {"output_logits": True, "return_dict_in_generate": True}
    plain, _ = official.decode(inputs, **settings(official), **keep)
    hidden, decoding = official.decode(
        inputs, plans=[RowPlan(hide=(what,))] * 4, **settings(official), **keep
    )
    width = inputs["input_ids"].shape[1]
    for row, blocks in enumerate(decoding.blocks(hidden.sequences, width)):
        end = blocks[0].end
        assert end is not None
        before = slice(0, end + 1)
        assert torch.equal(hidden.sequences[row, before], plain.sequences[row, before])
        assert decoding.hidden()[row] == (
            list(blocks[0].slots)
            if what == "slot"
            else (inputs["input_ids"][row] == official.hf.config.image_token_id)
            .nonzero()[:, 0]
            .tolist()
        )
        one, two = hidden.logits[end - width + 1][row], plain.logits[end - width + 1][row]
        assert (one - two).abs().max() > 1e-3


def test_hidden_slots_equal_a_forward_under_a_mask_made_by_hand(
    official: Any, official_inputs: Any
):
    inputs = official_inputs("batch0")
    output, decoding = official.decode(
        inputs,
        plans=[RowPlan(hide=("slot",))],
        **settings(official),
        output_logits=True,
        return_dict_in_generate=True,
    )
    (block,) = decoding.blocks(output.sequences, inputs["input_ids"].shape[1])[0]
    assert block.end is not None
    ids = output.sequences[:, : block.end + 3]
    length = ids.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[block.end :, list(block.slots)] = False
    language = official.hf.model.language_model
    image = ids == official.hf.config.image_token_id
    with torch.no_grad():
        embeddings = language.embed_tokens(ids)
        embeddings[0, list(block.slots)] = block.latents
        features = official.hf.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).pooler_output
        embeddings[image] = torch.cat(list(features))
        positions, _ = official.hf.model.get_rope_index(
            ids, image.long(), image_grid_thw=inputs["image_grid_thw"]
        )
        hidden = language(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask={"full_attention": mask[None, None]},
        ).last_hidden_state
        expected = official.hf.lm_head(hidden)[0, -1]
    step = length - inputs["input_ids"].shape[1]
    assert torch.allclose(output.logits[step][0], expected, atol=1e-4)


def test_hiding_needs_a_cache(official: Any, official_inputs: Any):
    with pytest.raises(LanternError, match="needs a KV cache"):
        official.generate(
            official_inputs("batch0"),
            plans=[RowPlan(hide=("slot",))],
            **settings(official, use_cache=False),
        )


def test_sampling_is_repeatable_and_keeps_blocks_whole(official: Any, official_inputs: Any):
    sampled = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        output = official.generate(
            official_inputs("batch5"), do_sample=True, temperature=2.0, **settings(official)
        )
        sampled.append(output.sequences)
        assert all(len(b.slots) == 8 for row in output.blocks for b in row if b.end is not None)
    assert torch.equal(sampled[0], sampled[1]) and not torch.equal(sampled[0], sampled[2])


def test_the_model_is_clean_after_a_failure(official: Any, official_inputs: Any):
    def broken(own: torch.Tensor, slot: Any) -> torch.Tensor:
        raise LanternError("on purpose")

    inputs = official_inputs("batch0")
    with pytest.raises(LanternError, match="on purpose"):
        official.generate(inputs, plans=[RowPlan(edit=broken)], **settings(official))
    assert official.generate(inputs, **settings(official)).emitted == [True]


def test_beams_are_refused(official: Any, official_inputs: Any):
    with pytest.raises(LanternError, match="beam"):
        official.generate(official_inputs("batch0"), **settings(official, num_beams=2))
