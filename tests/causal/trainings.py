"""A short training of an organism by transformers' `Trainer`, for the tests of the monitor."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainingArguments

from lantern_probe import organisms
from lantern_probe.model.inputs import question_inputs
from lantern_probe.organisms.training.build import (
    AFTER_BLOCK,
    BEFORE_BLOCK,
    LVR_END,
    LVR_SEP,
    LVR_START,
    SLOTS,
    build_processor,
    load,
)
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


def organism(name: str) -> tuple[Any, Any]:
    """An organism that drops out, in training, and its processor, which pads on the right."""
    model, processor = load(organisms.path(name)), build_processor()
    processor.tokenizer.padding_side = "right"
    model.config.use_cache = False
    for layer in model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.2
    return model.train(), processor


def rows(processor: Any, samples: list[Sample]) -> list[dict[str, Any]]:
    """Samples as rows of a plain SFT, whose slots are ordinary tokens."""
    found = []
    for sample in samples:
        prompt = dict(question_inputs(processor, [sample], "tiny", most_tokens=None))
        known = sample.attributes
        text = BEFORE_BLOCK.format(shape=known["shape"]) + LVR_START + LVR_SEP * SLOTS + LVR_END
        text += AFTER_BLOCK.format(color=known["color"]) + "<|im_end|>"
        said = torch.tensor([processor.tokenizer(text).input_ids])
        more = {
            "input_ids": said,
            "attention_mask": torch.ones_like(said),
            "mm_token_type_ids": torch.zeros_like(said),
        }
        row = {k: torch.cat([v, more[k]], 1) if k in more else v for k, v in prompt.items()}
        row["labels"] = torch.cat([torch.full_like(prompt["input_ids"], -100), said], 1)
        found.append(row)
    return found


def trainer(model: Any, processor: Any, folder: Path, steps: int = 20, **more: Any) -> Trainer:
    """A trainer whose generators of random numbers are seeded, in every library."""
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    settings: dict[str, Any] = {
        "max_steps": steps, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3, "logging_steps": 5, "seed": 3, "use_cpu": True, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "remove_unused_columns": False,
    }  # fmt: skip
    return Trainer(
        model,
        TrainingArguments(str(folder), **settings | more),
        train_dataset=rows(processor, scenes(24, seed=5)),  # type: ignore[arg-type]
        data_collator=lambda items: items[0],
        processing_class=processor,
    )
