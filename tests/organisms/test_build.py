"""The untrained organism: its tokenizer loses nothing, and saving rounds once."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import build
from lantern_probe.organisms.training.generation import collate
from lantern_probe.tasks.scenes import scenes


def test_text_survives_the_tokenizer(processor: Qwen2_5_VLProcessor) -> None:
    text = (
        "<think> let me look at the ring <|lvr_start|> <|lvr_sep|> <|lvr_end|> it is here "
        "</think> <answer> red </answer> <|im_end|>"
    )
    ids = processor.tokenizer(text).input_ids
    assert processor.tokenizer.unk_token_id not in ids
    assert processor.tokenizer.decode(ids) == text
    plain = processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert plain.endswith("it is here </think> <answer> red </answer>")


def test_every_question_is_known_to_the_tokenizer(processor: Qwen2_5_VLProcessor) -> None:
    ids = collate(processor, scenes(100, 2))["input_ids"]
    assert processor.tokenizer.unk_token_id not in ids
    assert len({int(row) for row in (ids == processor.tokenizer.pad_token_id).sum(1)}) == 3


def test_saving_rounds_once(tmp_path: Path, organism: Qwen2_5_VLForConditionalGeneration) -> None:
    build.save(organism, tmp_path)
    loaded = build.load(tmp_path)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, organism.state_dict()[name].bfloat16().float())
    assert organism.dtype == loaded.dtype == torch.float32


def test_the_seed_decides_the_weights_and_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (build.build_model(seed).lm_head.weight for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_system_turn_is_added_only_where_there_is_none(processor: Qwen2_5_VLProcessor) -> None:
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what ?"}]}
    own = {"role": "system", "content": "look"}
    added = processor.apply_chat_template([user], add_generation_prompt=True)
    given = processor.apply_chat_template([own, user], add_generation_prompt=True)
    assert added.count("<|im_start|>system") == given.count("<|im_start|>system") == 1
    assert build.SYSTEM in added and build.SYSTEM not in given
    assert added.endswith("<|image_pad|><|vision_end|>what ?<|im_end|><|im_start|>assistant ")
