"""Everything of a checkpoint but its weights: what makes a prompt, and what ends a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.model.checkpoint import find_checkpoint, guarded, read_processor
from lantern_probe.model.inputs import question_inputs
from lantern_probe.model.lantern import MAX_NEW_TOKENS
from lantern_probe.model.settings import check_generation
from lantern_probe.protocols import LatentProtocol
from lantern_probe.tasks.sample import Sample

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Prompting:
    """A checkpoint without its weights.

    Attributes:
        source: The name it was loaded from.
        processor: The processor, which pads on the left.
        lvr: The tokens of a latent block, K and the protocol.
        most_tokens: Most tokens of a prompt; None for any number.
        max_new_tokens: The checkpoint's own token limit of a continuation, else 512.
        ends: Texts of the tokens that end or pad a continuation.
    """

    source: str
    processor: Any
    lvr: LvrTokens | None
    most_tokens: int | None
    max_new_tokens: int
    ends: tuple[str, ...]

    @property
    def system(self) -> str | None:
        """System prompt of the protocol; None for the chat template's own."""
        return None if self.lvr is None else self.lvr.protocol.system

    def inputs(self, sample: Sample) -> Any:
        """The model inputs of a question, as `LanternModel.inputs` makes them, on the CPU.

        Raises:
            LanternError: it cannot be asked.
        """
        return question_inputs(self.processor, [sample], self.source, self.most_tokens, self.system)

    def count(self, text: str) -> int:
        """The number of tokens of a text.

        Args:
            text: Any text.
        """
        return len(self.processor.tokenizer.encode(text, add_special_tokens=False))

    def markers(self) -> tuple[str, str, str]:
        """The texts of the block's tokens: start, slot, end.

        Raises:
            LanternError: the model has no latent blocks.
        """
        if self.lvr is None:
            raise LanternError(f"{self.source} has no latent blocks")
        ids = [self.lvr.start, self.lvr.sep, self.lvr.end]
        start, slot, end = self.processor.tokenizer.convert_ids_to_tokens(ids)
        return start, slot, end


def load_prompting(
    source: str,
    *,
    adapter: str | Path | None = None,
    protocol: LatentProtocol | None = None,
    latent_size: int | None = None,
    revision: str | None = None,
    offline: bool = False,
    max_pixels: int | None = None,
) -> Prompting:
    """Load what makes a model's prompts; the arguments are those of `LanternModel`.

    Raises:
        LanternError: the files cannot be used; the message says why.
    """
    folder, added = find_checkpoint(source, adapter, revision, offline)
    check_generation(folder)
    config, _, processor, lvr = read_processor(
        source, folder, added, protocol, latent_size, False, None, max_pixels
    )
    own = added is not None and (added.folder / GENERATION).is_file()
    place = added.folder if added is not None and own else folder
    settings = GenerationConfig()
    if (place / GENERATION).is_file():
        with guarded(source, GENERATION):
            settings = GenerationConfig.from_pretrained(place, local_files_only=True)
    ends = [*_listed(settings.eos_token_id), *_listed(processor.tokenizer.pad_token_id)]
    return Prompting(
        source,
        processor,
        lvr,
        getattr(config.get_text_config(), "max_position_embeddings", None),
        settings.max_new_tokens or MAX_NEW_TOKENS,
        tuple(processor.tokenizer.convert_ids_to_tokens(ends)),
    )


def _listed(value: Any) -> Sequence[int]:
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


def fed_pixels(processor: Any, inputs: Any) -> list[torch.Tensor]:
    """The images of model inputs as whole pixels, as the vision tower is fed them.

    Patches are put back in their places and the normalisation is undone, which is exact: a pixel of
    8 bits is far from rounding to another.

    Args:
        processor: The processor that made the inputs.
        inputs: Model inputs of one question.

    Returns:
        For every image, its pixels [H, W, 3] (uint8).

    Raises:
        LanternError: the pixels are no whole numbers from 0 to 255, so no image file holds them.
    """
    if "pixel_values" not in inputs:
        return []
    vision = processor.image_processor
    side, merge, times = vision.patch_size, vision.merge_size, vision.temporal_patch_size
    found, at = [], 0
    for _, high, wide in inputs["image_grid_thw"].tolist():
        patches = inputs["pixel_values"][at : at + high * wide].double()
        at += high * wide
        parts = patches.reshape(high // merge, wide // merge, merge, merge, 3, times, side, side)
        image = parts[:, :, :, :, :, 0].permute(0, 2, 5, 1, 3, 6, 4)
        image = image.reshape(high * side, wide * side, 3)
        if vision.do_normalize:
            image = image * torch.tensor(vision.image_std) + torch.tensor(vision.image_mean)
        if vision.do_rescale:
            image = image / vision.rescale_factor
        whole = image.round()
        if (image - whole).abs().max() > 0.01 or whole.min() < 0 or whole.max() > 255:
            raise LanternError(
                "the processor makes pixels that no image file holds, so the same input cannot be "
                "sent; leave out --endpoint"
            )
        found.append(whole.to(torch.uint8))
    return found
