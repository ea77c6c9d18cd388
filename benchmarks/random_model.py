"""The random model that benchmarks run, of any size, and scenes as large as it is to see."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from experiments.console import quiet_transformers
from lantern_probe.causal.branching import run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.organisms.training import build
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


@dataclass(frozen=True)
class ModelSize:
    """What decides the model; the options of every benchmark that runs one."""

    layers: int = 8
    """Decoder layers; LanteRn-3B has 36."""
    width: int = 512
    """Hidden size; heads have 64 dimensions."""
    image_tokens: int = 256
    """Image tokens of a prompt, a square number."""
    seed: int = 0
    """Of the model's weights and the scenes."""

    @property
    def image_side(self) -> int:
        """Of the images, in pixels.

        Raises:
            LanternError: no square image has that many tokens.
        """
        across = round(self.image_tokens**0.5)
        if across**2 != self.image_tokens:
            raise LanternError(f"--image-tokens must be a square number, not {self.image_tokens}")
        return 28 * across


def random_model(size: ModelSize, folder: Path) -> LanternModel:
    """A random model of the given size with an organism's tokens, through the usual loader."""
    base = build.build_model(size.seed).config.to_dict()
    text, vision = base["text_config"], base["vision_config"]
    heads = size.width // 64
    text |= {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "intermediate_size": size.width * 11 // 4,
        "max_position_embeddings": 8192,
        "layer_types": ["full_attention"] * size.layers,
    }
    text["rope_parameters"] |= {"mrope_section": [8, 12, 12]}
    vision |= {"out_hidden_size": size.width}
    torch.manual_seed(size.seed)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**base))
    model.generation_config = build.build_model(size.seed).generation_config
    model.save_pretrained(folder)
    build.build_processor().save_pretrained(folder)
    pixels = size.image_side**2
    quiet_transformers()
    return LanternModel(str(folder), min_pixels=pixels, max_pixels=pixels)


def large_scenes(size: ModelSize, n: int) -> list[Sample]:
    """Scenes enlarged to the number of image tokens."""
    side, found = size.image_side, []
    for scene in scenes(n, size.seed):
        image = scene.open_images()[0].resize((side, side), Image.Resampling.BICUBIC)
        found.append(Sample(id=scene.id, images=(image,), question=scene.question))
    return found


def find_bias(lantern: LanternModel, samples: list[Sample], new_tokens: int) -> dict[str, Any]:
    """A bias under which most of the texts open a block, none of them at once, and none ends."""
    end = [[[token], -1e4] for token in lantern.eos_ids]
    best: tuple[float, dict[str, Any]] | None = None
    for strength in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0):
        kwargs = {"sequence_bias": [[[lantern.require_lvr().start], strength], *end]}
        prefixes = run_prefixes(lantern, samples[:16], max_new_tokens=new_tokens, **kwargs)
        opened = [len(p.ids) - p.prompt_length for p in prefixes if p.emitted]
        typical = statistics.median(opened) if len(opened) >= 12 else 0
        # The texts of LanteRn think for about a quarter of their length before the first block.
        distance = abs(typical - new_tokens / 4) + 1e3 * (len(opened) < 12)
        if best is None or distance < best[0]:
            best = (distance, kwargs)
    assert best is not None
    return best[1]
