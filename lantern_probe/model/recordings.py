"""Recorded outputs of an official implementation, read from a conformance folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import Block, LvrTokens, find_blocks


@dataclass(frozen=True)
class Case:
    """One recorded generation: a batch of inputs under a condition."""

    name: str
    """Prefix of the case's arrays, such as `batch0/bias20/own`."""
    batch: str
    """Prefix of the arrays with the model inputs, such as `batch0`."""
    condition: str
    """`own`, `zeros`, `injected` or `skip`."""
    start_bias: float
    """Added to the logit of `<|lvr_start|>` at every step."""
    max_new_tokens: int
    """Token limit of the generation."""


@dataclass(frozen=True)
class Crop:
    """One recorded crop."""

    image_size: tuple[int, int]
    """Width and height of the image in pixels."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the annotated box in pixels."""
    crop_box: tuple[int, int, int, int]
    """Left, top, right and bottom of what the official code crops for it, in pixels."""


@dataclass(frozen=True, eq=False)
class RecordedRow:
    """One row of a case."""

    text: list[int]
    """Generated tokens up to the end of the text, without padding."""
    latents: list[Tensor]
    """One per slot of all blocks, in order, each [D].

    The official loop records what it feeds: the own state under `own`, the replacement under
    `zeros` and `injected`. It records it when the slot is chosen, so a text that ends with a
    slot has one latent more than was fed.
    """
    blocks: list[Block]
    """The latent blocks; positions are steps of `text`."""

    @cached_property
    def free(self) -> frozenset[int]:
        """Steps whose token the decoder chooses; slots and end markers are forced."""
        forced = {step for block in self.blocks for step in (*block.slots, block.end)}
        return frozenset(range(len(self.text))) - forced

    @property
    def cut_off(self) -> bool:
        """True if the token limit came right after a slot was chosen, before it was fed."""
        last = self.blocks[-1] if self.blocks else None
        return last is not None and last.end is None and len(last.slots) > 0

    @property
    def fed(self) -> list[Tensor]:
        """The latents that were fed."""
        return self.latents[:-1] if self.cut_off else self.latents


@dataclass(frozen=True, eq=False)
class Recordings:
    """A conformance folder, as read by `read_recordings`."""

    folder: Path
    """The folder; the checkpoint in its `checkpoint/` made the recordings."""
    cases: list[Case]
    """The recorded generations."""
    crops: list[Crop]
    """The recorded crop boxes."""
    generation: Mapping[str, Tensor] = field(repr=False)
    """Arrays of the generations, by name."""
    compression: Mapping[str, Tensor] = field(repr=False)
    """Arrays of the oracle compressions, by name."""

    def array(self, name: str) -> Tensor:
        """One array of the generations.

        Raises:
            LanternError: there is none of this name.
        """
        if name not in self.generation:
            raise LanternError(f"{self.folder}: generation.npz has no array {name}")
        return self.generation[name]

    def inputs(self, batch: str, image_token: int) -> dict[str, Tensor]:
        """Model inputs of a batch."""
        names = ("input_ids", "attention_mask", "pixel_values", "image_grid_thw")
        found = {name: self.array(f"{batch}/{name}") for name in names}
        return {**found, "mm_token_type_ids": (found["input_ids"] == image_token).long()}

    def rows(self, case: Case, tokens: LvrTokens, eos: set[int]) -> list[RecordedRow]:
        """The rows of a case.

        Args:
            case: One of `cases`.
            tokens: The LVR tokens and K.
            eos: The tokens that end a text.

        Raises:
            LanternError: a sequence does not continue its prompt, or stops before its limit.
        """
        prompts, sequences = (
            self.array(f"{case.batch}/input_ids"),
            self.array(f"{case.name}/sequences"),
        )
        if not torch.equal(sequences[:, : prompts.shape[1]], prompts):
            raise LanternError(f"{self.folder}: {case.name} does not continue its prompts")
        if case.condition == "skip":
            tokens = replace(tokens, size=0)
        rows = []
        for index, sequence in enumerate(sequences[:, prompts.shape[1] :].tolist()):
            end = next((step for step, token in enumerate(sequence) if token in eos), None)
            if end is None and len(sequence) != case.max_new_tokens:
                raise LanternError(
                    f"{self.folder}: {case.name}, row {index}: neither an end-of-text token nor "
                    f"the limit of {case.max_new_tokens} tokens ends the text"
                )
            text = sequence if end is None else sequence[: end + 1]
            latents = self.generation.get(f"{case.name}/latents{index}", ())
            rows.append(RecordedRow(text, list(latents), find_blocks(text, 0, tokens)))
        return rows


def read_recordings(folder: Path) -> Recordings:
    """Read a conformance folder.

    Raises:
        LanternError: a file is missing or not laid out as expected.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        cases = [
            Case(
                name=case["name"],
                batch=case["batch"],
                condition=case["condition"],
                start_bias=float(case["lvr_start_bias"]),
                max_new_tokens=int(case["max_new_tokens"]),
            )
            for case in manifest["cases"]
        ]
        crops = [
            Crop(tuple(crop["image_size"]), tuple(crop["bbox"]), tuple(crop["crop_box"]))
            for crop in manifest["crops"]
        ]
        generation = _arrays(folder / "generation.npz")
        compression = _arrays(folder / "compression.npz")
    except KeyError as error:
        raise LanternError(
            f"{folder} is no conformance folder: its manifest lacks {error}"
        ) from None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise LanternError(f"{folder} is no conformance folder: {error}") from None
    if not (folder / "checkpoint").is_dir():
        raise LanternError(f"{folder} is no conformance folder: it has no checkpoint/")
    return Recordings(folder, cases, crops, generation, compression)


def _arrays(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
