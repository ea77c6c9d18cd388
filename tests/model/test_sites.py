"""Sites: how they are written, which module is behind them, where their roles are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import find_blocks
from lantern_probe.model.sites import layer_count, prompt_positions, submodule, text_positions
from lantern_probe.tasks.scenes import CELL, scenes
from lantern_probe.vocabulary import COMPONENTS, IMAGE_ROLES, LAYERED, SITE_ROLES, Site, parse_sites

LAYERS = 12
written_by_layer = st.builds(
    Site, st.sampled_from(LAYERED), st.integers(0, LAYERS - 1), st.sampled_from(SITE_ROLES)
)
written_without = st.one_of(
    st.builds(Site, st.just("embedding"), st.none(), st.sampled_from(SITE_ROLES)),
    st.builds(Site, st.just("vision"), st.none(), st.sampled_from(IMAGE_ROLES)),
    st.just(Site("latent", None, "slot")),
)


@given(st.lists(st.one_of(written_by_layer, written_without)))
def test_a_label_is_read_back_as_its_site(sites: list[Site]):
    assert parse_sites([site.label for site in sites], LAYERS) == list(dict.fromkeys(sites))


def test_ranges_of_layers():
    def layers(text: str) -> list[int | None]:
        return [site.layer for site in parse_sites([f"mlp.{text}@answer-start"], 5)]

    assert layers("*") == [0, 1, 2, 3, 4]
    assert layers("0-2+4") == [0, 1, 2, 4]
    assert layers("!1") == [0, 2, 3, 4]
    both = parse_sites(["residual.2@slot", "residual.*@slot", "latent@slot"], 3)
    assert [site.label for site in both] == [
        *("residual.2@slot", "residual.0@slot", "residual.1@slot", "latent@slot"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("residual", "COMPONENT.LAYERS@ROLE"),
        ("residuals.1@slot", "there are residual, attention, mlp, embedding, latent, vision"),
        ("residual.1@slots", "it has last-question, question-mean, image-mean, box, last-prompt"),
        ("latent@answer-start", "it has slot"),
        ("vision@slot", "it has image-mean, box"),
        ("residual@slot", "needs a layer"),
        ("latent.1@slot", "has no layers"),
        ("mlp.4@slot", "the model has layers 0 to 3"),
        ("mlp.2-7@slot", "the model has layers 0 to 3"),
        ("mlp.@slot", "* for all"),
        ("mlp.x@slot", "* for all"),
        ("mlp.3-1@slot", "* for all"),
    ],
)
def test_what_is_no_site_is_named_with_what_there_is(text: str, said: str):
    with pytest.raises(LanternError) as caught:
        parse_sites(["latent@slot", text], 4)
    assert repr(text) in str(caught.value) and said in str(caught.value)


def test_every_component_has_its_module(untrained: Any):
    layers = layer_count(untrained)
    text = untrained.hf.model.language_model
    assert submodule(untrained, "residual", 1) is text.layers[1]
    assert submodule(untrained, "mlp", layers - 1) is text.layers[layers - 1].mlp
    assert submodule(untrained, "attention", 0) is text.layers[0].self_attn.o_proj
    assert submodule(untrained, "embedding") is text.layers[0]
    assert submodule(untrained, "latent") is untrained.hf.latent
    assert submodule(untrained, "vision") is untrained.hf.model.visual
    assert {*LAYERED, "embedding", "latent", "vision"} == {*COMPONENTS}
    for component, layer in (("residual", layers), ("mlp", -1), ("mlp", None), ("head", 0)):
        with pytest.raises(LanternError, match="there are|has layers 0 to"):
            submodule(untrained, component, layer)


def test_positions_in_prompts_of_different_length(untrained: Any):
    samples = sorted(scenes(40, seed=3), key=lambda s: len(s.text.split()))
    samples = [samples[0], samples[-1]]
    inputs = untrained.inputs(samples)
    tokenizer = untrained.processor.tokenizer
    for sample, ids, grid in zip(
        samples, inputs["input_ids"], inputs["image_grid_thw"], strict=True
    ):
        found = prompt_positions(untrained, sample, ids, grid)
        assert tokenizer.decode(ids[found["question-mean"]]) == sample.text
        assert found["last-question"].tolist() == [int(found["question-mean"][-1])]
        image = (ids == untrained.hf.config.image_token_id).nonzero()[:, 0]
        assert torch.equal(found["image-mean"], image)
        left, top = sample.boxes[0][:2]
        cell = int(top) // CELL * 3 + int(left) // CELL
        assert found["box"].tolist() == [int(image[cell])]
        for odd in (replace(sample, boxes=()), replace(sample, boxes=((900, 900, 950, 950),))):
            assert len(prompt_positions(untrained, odd, ids, grid)["box"]) == 0


def test_positions_in_texts_whole_and_cut_off(untrained: Any):
    word, lvr = untrained.processor.tokenizer.convert_tokens_to_ids, untrained.lvr
    block = [lvr.start, *[lvr.sep] * lvr.size, lvr.end]
    text = [word("let"), *block, *block, word("it"), word("<answer>"), word("red")]
    text += [word("</answer>"), word("<|im_end|>")]
    prompt = 7

    def found(ids: list[int]) -> dict[str, list[int]]:
        blocks = find_blocks([0] * prompt + ids, prompt, lvr)
        return text_positions(untrained, ids, prompt, blocks, lvr.size)

    slots = list(range(prompt + 2, prompt + 2 + lvr.size))
    whole = {
        "last-prompt": [prompt - 1],
        "lvr_start": [prompt + 1],
        "slot": slots,  # of the first block
        "lvr_end": [slots[-1] + 1],
        "answer-start": [prompt + text.index(word("red")) - 1],
    }
    assert found(text) == whole
    # What ends a text is never fed: a cut takes the role of its last token, and later ones.
    order = ["lvr_start", "slot", "lvr_end", "answer-start"]
    for length in range(1, len(text) + 1):
        there = [role for role in order if whole[role][-1] < prompt + length - 1]
        cut = found(text[:length])
        assert cut == {role: whole[role] for role in ("last-prompt", *there)}
    assert found([word("let"), lvr.start, lvr.end, word("it")]).keys() == {
        *("last-prompt", "lvr_start", "lvr_end"),
    }
    assert found([word("red"), word("<|im_end|>")]) == {"last-prompt": [prompt - 1]}
