"""The reference loop: forced slots, fed latents, and answers as they are parsed."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2_5_VLProcessor

from lantern_probe.organisms.training import build
from lantern_probe.organisms.training.generation import generate, generate_stock, parse
from lantern_probe.tasks.scenes import COLORS, scenes


def test_a_generation_follows_the_rules_of_a_block(processor: Qwen2_5_VLProcessor) -> None:
    """K forced slots and a forced end, when and only when the model writes the start marker."""
    samples = scenes(4, 5)
    model = build.build_model(0).eval()
    with torch.no_grad():  # make the untrained model open a block at once
        model.lm_head.weight[model.config.lvr_start_id] = model.lm_head.weight[0] * 0 + 1
        model.model.language_model.norm.weight.fill_(1)
        model.model.language_model.norm.register_forward_hook(lambda m, args, out: out.abs())
    own = generate(model, processor, samples, max_new_tokens=12)
    block = "<|lvr_start|> " + "<|lvr_sep|> " * 8 + "<|lvr_end|>"
    assert all(text.startswith(block) for text in own.texts)
    assert (own.latents.abs().sum(-1) > 0).all()
    fed = generate(model, processor, samples, latents=own.latents, max_new_tokens=12)
    assert fed.texts == own.texts
    skip = generate(model, processor, samples, "skip", max_new_tokens=4)
    assert all(text.startswith("<|lvr_start|> <|lvr_end|>") for text in skip.texts)
    ban = generate(model, processor, samples, "ban", max_new_tokens=4)
    assert not any("<|lvr_start|>" in text for text in ban.texts) and set(ban.blocks) == {0}
    stock = generate_stock(model, processor, samples, max_new_tokens=3)
    assert stock == ["<|lvr_start|> <|lvr_start|> <|lvr_start|>"] * 4


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("it is here </think> <answer> red </answer> <|im_end|>", "red"),
        ("<answer>blue</answer> <answer> red </answer>", "blue"),
        ("<answer> ring </answer>", None),
        ("<answer> red", None),
        ("red", None),
    ],
)
def test_an_answer_is_an_option_between_the_first_tags(text: str, answer: str | None) -> None:
    assert parse(text, tuple(COLORS)) == answer
