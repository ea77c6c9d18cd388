"""An untrained organism: tokenizer, processor and a tiny Qwen2.5-VL with the LanteRn tokens.

All classes are stock transformers, so that a saved organism loads with plain `AutoProcessor` and
`AutoModelForImageTextToText`, and with any tool that loads LanteRn.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from lantern_probe.tasks.scenes import COLORS, SHAPES, TEMPLATES

SLOTS = 8
"""Number of slots K, as in the LanteRn checkpoints (arXiv 2603.25629)."""
LVR_START, LVR_SEP, LVR_END = "<|lvr_start|>", "<|lvr_sep|>", "<|lvr_end|>"

QWEN_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
SYSTEM = "look with care"
BEFORE_BLOCK = "<think> let me look at the {shape}"
AFTER_BLOCK = "it is here </think> <answer> {color} </answer>"

# The form of Qwen2.5-VL's conversations without their line breaks, which a word-level vocabulary
# cannot hold. A system turn is added if the conversation does not begin with one.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "<|im_start|>system " + SYSTEM + "<|im_end|>"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "<|im_start|>{{ message['role'] }} "
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}"
    "{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "<|im_end|>"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant {% endif -%}"
)

MIN_PIXELS = 80 * 80
"""Fewest pixels of an image; smaller crops are enlarged. They then give 9 merged tokens, where
56 x 56 pixels would give 4, fewer than the slots."""
MAX_PIXELS = 28 * 28 * 64
"""Most pixels of an image; larger ones are shrunk."""


def vocabulary() -> list[str]:
    """All tokens of an organism, in the order of their ids."""
    texts = [SYSTEM, BEFORE_BLOCK, AFTER_BLOCK, *TEMPLATES]
    words = {word for text in texts for word in text.split() if "{" not in word}
    words |= {"system", "user", "assistant", *SHAPES, *COLORS}
    return ["<unk>", *sorted(words), *QWEN_SPECIALS, LVR_START, LVR_SEP, LVR_END]


def build_processor(
    tokens: Sequence[str] | None = None,
    *,
    pixels: tuple[int, int] = (MIN_PIXELS, MAX_PIXELS),
    length: int = 1024,
) -> Qwen2_5_VLProcessor:
    """Build a processor: word-level tokenizer, native-resolution image processor, chat template.

    Args:
        tokens: Tokens in the order of their ids. None (default) takes those of an organism.
        pixels: Fewest and most pixels of an image, default 6,400 and 50,176; other images are
            resized.
        length: Most tokens of a text, default 1,024.
    """
    tokens = vocabulary() if tokens is None else tokens
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # As in the LanteRn checkpoints, the three LVR tokens are special, and <think>, <answer> and
    # their closing tags are ordinary words, which survive skip_special_tokens.
    specials = (*QWEN_SPECIALS, LVR_START, LVR_SEP, LVR_END)
    core.add_special_tokens([AddedToken(token, special=True) for token in specials])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=length,
    )
    size = dict(zip(("shortest_edge", "longest_edge"), pixels, strict=True))
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Build a randomly initialised organism in float32.

    Args:
        seed: Seed of the weights; the global random state is left as it is.
    """
    ids = {token: index for index, token in enumerate(vocabulary())}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(ids),
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 256,
            "max_position_embeddings": 1024,
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "num_heads": 4,
            "intermediate_size": 128,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [0, 1],
            "initializer_range": 0.05,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        # The LanteRn checkpoints keep these four at the top level too.
        latent_size=SLOTS,
        lvr_start_id=ids[LVR_START],
        lvr_sep_id=ids[LVR_SEP],
        lvr_end_id=ids[LVR_END],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=64,
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    return model


def save(model: Qwen2_5_VLForConditionalGeneration, folder: str | Path) -> None:
    """Write an organism's model, as bfloat16 safetensors, and its processor.

    Args:
        model: An organism, left as it is.
        folder: Folder of the checkpoint, made if it is missing.
    """
    config = copy.deepcopy(model.config)
    config.dtype = config.text_config.dtype = config.vision_config.dtype = torch.bfloat16
    shipped = Qwen2_5_VLForConditionalGeneration(config)
    shipped.load_state_dict(model.state_dict())
    shipped.generation_config = model.generation_config
    shipped.to(torch.bfloat16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    (Path(folder) / "model.safetensors").chmod(0o644)  # written for the owner only


def load(folder: str | Path) -> Qwen2_5_VLForConditionalGeneration:
    """Load an organism for evaluation: its bfloat16 weights, cast to float32."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    ).eval()
