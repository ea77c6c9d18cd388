"""Greedy generation with a latent block, as plain as it can be written.

This loop is apart from the toolkit's engine, so that an organism's truth does not rest on the code
it is meant to check. Prompt and image go through the processor, nothing about the text is assumed,
and K is `config.latent_size`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    BatchFeature,
    Cache,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from lantern_probe.tasks.sample import Sample

Mode = Literal["own", "skip", "ban", "mask"]
"""Treatment of a block: fed back (`own`), closed at once (`skip`), never opened (`ban`), or with
its slots hidden from its end marker on (`mask`)."""

BATCH = 256
"""Number of samples decoded together."""


@dataclass(frozen=True)
class Generated:
    """Texts, answers and latents generated for each sample.

    Attributes:
        texts: Generated text of each sample, with special tokens.
        answers: Option between `<answer>` and `</answer>`; None if there is none.
        blocks: Number of latent blocks opened by each sample.
        latents: Own latents of the first block, [samples, K, D]; zeros without a block.
        probabilities: Probability of each option at the answer word, normalised over the options,
            [samples, options]; NaN where no answer was begun.
    """

    texts: list[str]
    answers: list[str | None]
    blocks: list[int]
    latents: Float[Tensor, "samples slots dim"]
    probabilities: Float[Tensor, "samples options"]


@dataclass(frozen=True)
class Prompted:
    """A batch of prompts that a model has read, for any number of generations.

    Attributes:
        mask: 1 for the tokens of the prompts, 0 for padding, [samples, columns].
        cache: Keys and values of the prompts.
        delta: Offset of the rotary positions, [samples, 1].
        hidden: Final hidden state of the last token, [samples, dim].
    """

    mask: Int[Tensor, "samples columns"]
    cache: Cache
    delta: Int[Tensor, "samples 1"]
    hidden: Float[Tensor, "samples dim"]


@torch.no_grad()
def read_prompts(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    batch: int = BATCH,
) -> list[Prompted]:
    """Read the prompts of all samples, in the batches in which `generate` decodes them."""
    read = []
    for begin in range(0, len(samples), batch):
        inputs = collate(processor, samples[begin : begin + batch])
        outputs = model.model(**inputs, use_cache=True)
        hidden = outputs.last_hidden_state[:, -1]
        delta = model.model.rope_deltas
        read.append(Prompted(inputs["attention_mask"], outputs.past_key_values, delta, hidden))
    return read


def collate(processor: Qwen2_5_VLProcessor, samples: Sequence[Sample]) -> BatchFeature:
    """Collate a batch into model inputs, with the image before the question."""
    images = [sample.open_images()[0] for sample in samples]
    texts = [
        processor.apply_chat_template(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": image},
                        {"type": "text", "text": sample.text},
                    ],
                }
            ],
            tokenize=False,
            add_generation_prompt=True,
        )
        for sample, image in zip(samples, images, strict=True)
    ]
    return processor(text=texts, images=images, padding=True, return_tensors="pt")


def parse(text: str, options: Sequence[str]) -> str | None:
    """Option between the first pair of answer tags; None if the text there is no option."""
    found = re.search(r"<answer>\s*(.*?)\s*</answer>", text)
    return found.group(1) if found and found.group(1) in options else None


@torch.no_grad()
def generate(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    mode: Mode = "own",
    latents: Float[Tensor, "samples slots dim"] | None = None,
    max_new_tokens: int = 40,
    prompted: Sequence[Prompted] | None = None,
) -> Generated:
    """Generate greedily.

    Args:
        model: An organism.
        processor: Processor of the organism.
        samples: Samples to ask, all with the same options.
        mode: Treatment of a block, default `own`.
        latents: Latents to feed at the slots of every block, [samples, K, D]. None (default) feeds
            the own ones.
        max_new_tokens: Most tokens generated for a sample, default 40.
        prompted: The samples' prompts as `read_prompts` read them, with its default batch. None
            (default) reads them anew.
    """
    parts = []
    prompted = read_prompts(model, processor, samples) if prompted is None else prompted
    for number, read in enumerate(prompted):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        given = None if latents is None else latents[rows]
        parts.append(_decode(model, processor, samples[rows], read, mode, given, max_new_tokens))
    return Generated(
        [text for part in parts for text in part.texts],
        [answer for part in parts for answer in part.answers],
        [count for part in parts for count in part.blocks],
        torch.cat([part.latents for part in parts]),
        torch.cat([part.probabilities for part in parts]),
    )


@torch.no_grad()
def generate_stock(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    max_new_tokens: int = 40,
) -> list[str]:
    """Generate with plain `model.generate`: no slots are forced and nothing is fed back.

    Returns:
        Generated text of each sample, with special tokens.
    """
    inputs = collate(processor, samples)
    written = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return processor.tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :])


def _decode(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    samples: Sequence[Sample],
    prompted: Prompted,
    mode: Mode,
    given: Float[Tensor, "samples slots dim"] | None,
    max_new_tokens: int,
) -> Generated:
    tokenizer, config = processor.tokenizer, model.config
    count, size = len(samples), config.latent_size
    options = samples[0].options
    option_ids = tokenizer.convert_tokens_to_ids(list(options))
    answer_id = tokenizer.convert_tokens_to_ids("<answer>")

    mask, cache = prompted.mask, copy.deepcopy(prompted.cache)
    delta, hidden = prompted.delta, prompted.hidden

    slot = torch.full((count,), -1)  # the slot to fill next; -1 outside a block
    last = torch.full((count,), tokenizer.pad_token_id)
    done = torch.zeros(count, dtype=torch.bool)
    blocks = torch.zeros(count, dtype=torch.long)
    slots, closed = torch.zeros_like(mask), torch.zeros(count, 1, dtype=torch.bool)
    own = torch.zeros(count, size, hidden.shape[-1])
    probabilities = torch.full((count, len(options)), torch.nan)
    written = []
    for _ in range(max_new_tokens):
        logits = model.lm_head(hidden)
        begun = (last == answer_id) & probabilities[:, 0].isnan()
        probabilities[begun] = logits[begun][:, option_ids].softmax(-1)
        if mode == "ban":
            logits[:, config.lvr_start_id] = -torch.inf
        token = logits.argmax(-1)
        token[slot == size] = config.lvr_end_id
        filling = (slot >= 0) & (slot < size)
        token[filling] = config.lvr_sep_id
        token[done] = tokenizer.pad_token_id

        inputs_embeds = model.get_input_embeddings()(token)
        first = (filling & (blocks == 1)).nonzero()[:, 0]
        own[first, slot[first]] = hidden[first]
        index = filling.nonzero()[:, 0]
        inputs_embeds[index] = hidden[index] if given is None else given[index, slot[index]]

        opened = (token == config.lvr_start_id) & ~done
        slot = torch.where(filling, slot + 1, -1)
        slot[opened] = size if mode == "skip" else 0
        blocks += opened
        done |= token == tokenizer.eos_token_id
        last = token
        written.append(token)
        if done.all():
            break
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        slots = torch.cat([slots, filling[:, None].long()], dim=1)
        closed |= (token == config.lvr_end_id)[:, None]
        hidden_slots = slots.bool() & closed & (mode == "mask")
        outputs = model.model.language_model(
            inputs_embeds=inputs_embeds[:, None],
            attention_mask=mask.masked_fill(hidden_slots, 0),
            position_ids=(mask.sum(1, keepdim=True) - 1 + delta).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = outputs.last_hidden_state[:, -1]
    texts = tokenizer.batch_decode(torch.stack(written, dim=1))
    answers = [parse(text, options) for text in texts]
    return Generated(texts, answers, blocks.tolist(), own, probabilities)
