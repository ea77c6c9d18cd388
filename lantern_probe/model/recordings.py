"""Recorded outputs of an official implementation, read from a conformance folder."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens, find_blocks
from lantern_probe.model.files import CONFIG, read_json
from lantern_probe.protocols.named import LANTERN, LVR, MIRAGE, PROTOCOLS
from lantern_probe.protocols.walk import BlockWalk, Turn


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
    slots: int | None = None
    """K of this case; None for the checkpoint's own."""
    bias: tuple[tuple[tuple[int, ...], float], ...] | None = None
    """Biases of token sequences, as `generate` takes them; None for `start_bias`."""
    fed: tuple[frozenset[int], ...] | None = None
    """For every row, the positions of the padded sequence that were fed a state; None where the
    recording does not say so, and slots are read from the tokens."""


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
    """Generated tokens up to the end of the text, without padding.

    Of Mirage, up to where the official loop departs from its own rule.
    """
    latents: list[Tensor]
    """One per slot of all blocks, in order, each [D].

    The LanteRn loop records what it feeds when the slot is chosen: the own state under `own`, the
    replacement under `zeros` and `injected`. So a text that ends with a slot has one latent more
    than was fed. Other recordings hold what was fed.
    """
    slots: list[int]
    """Steps of `text` that are slots."""
    turns: list[Turn]
    """Rule of the protocol for every step."""
    left_out: bool = False
    """True for a row in which the official loop does something else than in the same row alone."""

    @cached_property
    def free(self) -> frozenset[int]:
        """Steps whose token the model chooses; all others are forced."""
        return frozenset(
            step
            for step, turn in enumerate(self.turns)
            if (turn.otherwise is None or turn.unless) and not self.is_ignored(step)
        )

    def is_ignored(self, step: int) -> bool:
        """True for an end-of-text token that was recorded at a slot and did not end the text."""
        return not self.turns[step].end_of_text and self.text[step] in self.eos

    eos: frozenset[int] = frozenset()
    """Tokens that end a text."""

    @property
    def cut_off(self) -> bool:
        """True if the token limit came right after a slot was chosen, before it was fed."""
        return bool(self.slots) and self.slots[-1] == len(self.text) - 1

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
    system: str = LANTERN.name
    """Name of the protocol whose official code was recorded."""

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
        size = 0 if case.condition == "skip" else case.slots
        return [
            self._row(case, index, sequence, tokens.sized(size), eos)
            for index, sequence in enumerate(sequences.tolist())
        ]

    def _row(
        self, case: Case, index: int, sequence: list[int], tokens: LvrTokens, eos: set[int]
    ) -> RecordedRow:
        begin = self.array(f"{case.batch}/input_ids").shape[1]
        text = sequence[begin : begin + case.max_new_tokens]
        fed = None if case.fed is None else {at - begin for at in case.fed[index]}
        ends = (step for step, token in enumerate(text) if token in eos and step not in (fed or ()))
        end = next(ends, None)
        if end is None and len(text) != case.max_new_tokens:
            raise LanternError(
                f"{self.folder}: {case.name}, row {index}: neither an end-of-text token nor "
                f"the limit of {case.max_new_tokens} tokens ends the text"
            )
        text = text if end is None else text[: end + 1]
        if self.system == MIRAGE.name:
            text = text[: _departure(text, tokens)]
        latents = list(self.generation.get(f"{case.name}/latents{index}", ()))
        if fed is None:
            slots = [s for block in find_blocks(text, 0, tokens) for s in block.slots]
        else:  # the last token of a text is fed only where the official loop overran its limit
            slots = sorted(step for step in fed if step < len(text) - 1)
            latents = latents[: len(slots)]
        return RecordedRow(
            text,
            latents,
            slots,
            _turns(sequence[begin - 1], text, tokens),
            self._left_out(case, index),
            frozenset(eos),
        )

    def _left_out(self, case: Case, index: int) -> bool:
        """True for LVR's padded rows, which differ from the same rows alone."""
        padded = not bool(self.array(f"{case.batch}/attention_mask")[index].all())
        return self.system == LVR.name and padded


def _departure(text: Sequence[int], tokens: LvrTokens) -> int:
    """Number of tokens up to which Mirage's loop follows its own rule.

    Its counters are never reset: slots before a restart count for the block after it, and a start
    marker after any end marker finds them used up.
    """
    walk, fed, ended = BlockWalk(tokens), 0, False
    for step, token in enumerate(text):
        fed += walk.take(token, step) == "slot"
        ended |= token == tokens.end
        used_up = walk.open is not None and walk.open.slots < tokens.size <= fed
        if used_up or (ended and token == tokens.start):
            return step + 1
    return len(text)


def _turns(last: int, text: Sequence[int], tokens: LvrTokens) -> list[Turn]:
    """The rule of the protocol at every step of a text."""
    walk = BlockWalk(tokens)
    walk.begin(last, -1, generated=False)
    turns = []
    for step, token in enumerate(text):
        turns.append(walk.turn())
        walk.take(token, step)
    return turns


def read_recordings(folder: Path) -> Recordings:
    """Read a conformance folder.

    Raises:
        LanternError: a file is missing or not laid out as expected.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        cases = [_case(case) for case in manifest["cases"]]
        system = manifest.get("system", LANTERN.name)
        crops, compression = [], {}
        if system == LANTERN.name:
            crops = [
                Crop(tuple(crop["image_size"]), tuple(crop["bbox"]), tuple(crop["crop_box"]))
                for crop in manifest["crops"]
            ]
            compression = _arrays(folder / "compression.npz")
        generation = _arrays(folder / "generation.npz")
    except KeyError as error:
        raise LanternError(
            f"{folder} is no conformance folder: its manifest lacks {error}"
        ) from None
    except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise LanternError(f"{folder} is no conformance folder: {error}") from None
    if system not in PROTOCOLS:
        raise LanternError(f"{folder}: its manifest names an unknown system {system!r}")
    if not (folder / "checkpoint").is_dir():
        raise LanternError(f"{folder} is no conformance folder: it has no checkpoint/")
    return Recordings(folder, cases, crops, generation, compression, system)


def _case(case: Mapping[str, Any]) -> Case:
    """One case of a manifest."""
    common = (case["name"], case["batch"], case["condition"])
    limit = int(case["max_new_tokens"])
    if "fed_positions" not in case:
        return Case(*common, float(case["lvr_start_bias"]), limit)
    bias = tuple((tuple(ids), float(value)) for ids, value in case["sequence_bias"])
    fed = tuple(frozenset(positions) for positions in case["fed_positions"])
    return Case(*common, 0.0, limit, int(case["slots"]), bias, fed)


def _arrays(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@contextmanager
def loadable(checkpoint: Path) -> Iterator[Path]:
    """The checkpoint of a conformance folder, with an image processor if it has none.

    Recordings hold ready inputs, so that only the sizes of the processor's patches matter.

    Args:
        checkpoint: Folder of the checkpoint; left as it is.
    """
    if not (checkpoint / CONFIG).is_file() or any(
        (checkpoint / name).is_file()
        for name in ("preprocessor_config.json", "processor_config.json")
    ):
        yield checkpoint
        return
    vision = read_json(checkpoint / CONFIG).get("vision_config", {})
    sizes = ("patch_size", "temporal_patch_size", "spatial_merge_size")
    if not isinstance(vision, dict) or any(name not in vision for name in sizes):
        raise LanternError(f"{checkpoint}: its config.json has no vision_config with {sizes[0]}")
    patch, frames, merge = (vision[name] for name in sizes)
    with TemporaryDirectory() as place:
        copy = Path(place) / checkpoint.name
        shutil.copytree(checkpoint, copy)
        settings = {
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": patch,
            "temporal_patch_size": frames,
            "merge_size": merge,
        }
        (copy / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
        yield copy
