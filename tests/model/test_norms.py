"""Norms of prompts and of fed states, against what the model's parts say by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lantern_probe.model.blocks import Block, PromptNorms, RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.norms import fed_states
from lantern_probe.tasks.scenes import scenes


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def independent(lantern: Any, sample: Any) -> tuple[float, float]:
    """Median norms from the embedding table and the vision tower, apart from any decoding."""
    inputs = lantern.inputs([sample])
    ids = inputs["input_ids"][0]
    text = ids[ids != lantern.hf.config.image_token_id]
    table = lantern.hf.get_input_embeddings().weight.detach()
    with torch.no_grad():
        seen = lantern.hf.model.visual(
            inputs["pixel_values"].to(table.dtype), grid_thw=inputs["image_grid_thw"]
        )
    merged = getattr(seen, "pooler_output", seen)
    return (
        float(np.median(table[text].norm(dim=-1).numpy())),
        float(np.median(merged.norm(dim=-1).numpy())),
    )


def test_norms_are_those_of_the_embedding_table_and_of_the_vision_tower(
    faithful: LanternModel,
) -> None:
    samples = scenes(6, seed=3)  # of different lengths: some rows are padded
    output = faithful.generate(samples)
    for sample, norms in zip(samples, output.norms, strict=True):
        text, image = independent(faithful, sample)
        assert norms is not None
        assert norms.text == pytest.approx(text, rel=1e-5)
        assert norms.image == pytest.approx(image, rel=1e-4)


def test_without_a_cache_the_prompt_is_measured_once(faithful: LanternModel) -> None:
    (sample,) = scenes(1, seed=4)
    cached, plain = (faithful.generate(sample, use_cache=use).norms[0] for use in (True, False))
    assert cached is not None and plain is not None
    assert (plain.text, plain.image) == pytest.approx((cached.text, cached.image), rel=1e-5)


def test_fields_of_a_row_are_norms_and_cosines_of_what_was_fed(faithful: LanternModel) -> None:
    (sample,) = scenes(1, seed=5)
    end = faithful.hf.get_input_embeddings().weight[faithful.require_lvr().end].detach()

    def edit(own: torch.Tensor, slot: Any) -> torch.Tensor:
        return {0: 2 * end, 1: -end, 2: torch.zeros_like(end)}.get(slot.index, own)

    (blocks,) = faithful.generate(sample, plans=[RowPlan(edit=edit)]).blocks
    found = fed_states(faithful, blocks, PromptNorms(1.5, None))
    length = float(end.norm())
    assert found["latent_norms"][:3] == pytest.approx([2 * length, length, 0], rel=1e-5)
    assert found["end_cosines"][:2] == pytest.approx([1, -1], abs=1e-5)
    assert found["end_cosines"][2] is None and len(found["latent_norms"]) == 8
    assert (found["text_norm"], found["image_norm"]) == (1.5, None)
    assert fed_states(faithful, [], None) == {}
    assert fed_states(faithful, [Block(0, range(0), None)], None) == {}
