"""Checkpoints: a bundled organism, a folder or a Hub repository, loaded and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.model.location import QUIET_BELOW, locate
from lantern_probe.model.memory import footprint, free_memory

LVR_NAMES = ("start", "sep", "end")

STOCK_PIXELS = (4 * 28 * 28, 16384 * 28 * 28)
"""Fewest and most pixels of an image in Qwen2.5-VL's own processor config."""

OFFICIAL_PIXELS = (256 * 28 * 28, 3500 * 28 * 28)
"""Fewest and most pixels of an image in the LanteRn evaluation (docs/methods.md, The official
system)."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and its processor.

    Attributes:
        source: The name it was loaded from.
        model: The transformers model, in evaluation mode.
        processor: The processor, which pads on the left.
        lvr: The LVR tokens and K; None for a model without them.
    """

    source: str
    model: Any
    processor: Any
    lvr: LvrTokens | None


def load_checkpoint(
    source: str,
    *,
    latent_size: int | None,
    allow_plain: bool,
    dtype: torch.dtype | str | None,
    device_map: Any,
    attn_implementation: str | None,
    revision: str | None,
    offline: bool,
    min_pixels: int | None,
    max_pixels: int | None,
) -> Checkpoint:
    """Load a checkpoint; the arguments are those of `LanternModel`.

    Raises:
        LanternError: the checkpoint cannot be loaded; the message says why, and what can still be
            done.
    """
    location = locate(source)
    local = Path(location).is_dir()
    hub = {"revision": revision, "local_files_only": offline or local}
    gpu = torch.cuda.is_available()
    try:
        config = AutoConfig.from_pretrained(location, **hub)
        if config.model_type != "qwen2_5_vl":
            raise LanternError(
                f"{source} is a {config.model_type} model; LanteRn checkpoints are qwen2_5_vl"
            )
        processor = AutoProcessor.from_pretrained(location, **hub)
        lvr = find_lvr_tokens(source, config, processor.tokenizer, latent_size, allow_plain)
        dtype = dtype if dtype is not None else ("auto" if gpu else torch.float32)
        device_map = device_map if device_map is not None else ({"": 0} if gpu else None)
        if _is_small(location):
            transformers_logging.disable_progress_bar()
        else:
            transformers_logging.enable_progress_bar()
            check_memory(source, config, dtype, device_map)
        model = AutoModelForImageTextToText.from_pretrained(
            location,
            dtype=dtype,
            device_map=device_map,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            **hub,
        ).eval()
    except LanternError:
        raise
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        where = "" if local else " (there is no such folder, so it was taken for a Hub name)"
        raise LanternError(f"cannot load {source!r}{where}: {reason}") from error
    processor.tokenizer.padding_side = "left"
    _limit_pixels(processor.image_processor, min_pixels, max_pixels)
    return Checkpoint(source, model, processor, lvr)


def find_lvr_tokens(
    source: str, config: Any, tokenizer: Any, latent_size: int | None, allow_plain: bool
) -> LvrTokens | None:
    """The ids of the LVR tokens and K; None for a model without them, where that is allowed.

    Ids come from the config, else from the tokenizer; K as given, else from the config.

    Args:
        source: Name of the checkpoint, for messages.
        config: Config of the model.
        tokenizer: Its tokenizer.
        latent_size: Number of slots of a block; None for the config's.
        allow_plain: Accept a model without LVR tokens.

    Raises:
        LanternError: tokens or K are missing, or do not fit the model; the message says which, and
            what can still be done.
    """
    vocabulary = tokenizer.get_vocab()
    ids: dict[str, int] = {}
    for part in LVR_NAMES:
        found = getattr(config, f"lvr_{part}_id", None)
        found = vocabulary.get(f"<|lvr_{part}|>") if found is None else found
        if found is not None:
            ids[part] = int(found)
    missing = [f"<|lvr_{part}|>" for part in LVR_NAMES if part not in ids]
    if missing and allow_plain:
        return None
    if missing:
        raise LanternError(
            f"{source} has no {', '.join(missing)} in its config or tokenizer, so it has no latent "
            "blocks; load a LanteRn checkpoint, or pass allow_plain=True to use it as a model "
            "without them"
        )
    size = latent_size if latent_size is not None else getattr(config, "latent_size", None)
    if size is None:
        raise LanternError(
            f"{source} has the LVR tokens but no latent_size in its config; pass the number of "
            "slots it was trained with, latent_size=8 (--latent-size 8) for LanteRn"
        )
    if size < 1:
        raise LanternError(f"{source}: a block needs at least one slot, latent_size is {size}")
    rows = config.get_text_config().vocab_size
    if max(ids.values()) >= rows:
        raise LanternError(
            f"{source}: an LVR token id is {max(ids.values())}, but the embedding matrix has "
            f"{rows} rows"
        )
    return LvrTokens(**ids, size=int(size))


def _limit_pixels(image_processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
    size = image_processor.size
    stock = (size["shortest_edge"], size["longest_edge"]) == STOCK_PIXELS
    default = OFFICIAL_PIXELS if stock else (size["shortest_edge"], size["longest_edge"])
    low = min_pixels if min_pixels is not None else default[0]
    high = max_pixels if max_pixels is not None else default[1]
    if not 0 < low <= high:
        raise LanternError(f"min_pixels {low} and max_pixels {high} leave no image size")
    image_processor.size = {"shortest_edge": low, "longest_edge": high}


def check_memory(source: str, config: Any, dtype: torch.dtype | str, device_map: Any) -> None:
    """Refuse weights that do not fit into memory before they are read.

    A process that is killed for want of memory says nothing.

    Args:
        source: Name of the checkpoint, for the message.
        config: Config of the model.
        dtype: Dtype of the weights; "auto" for the checkpoint's own.
        device_map: Placement, as in transformers; one that spreads the model is not checked.

    Raises:
        LanternError: the weights take more than is free on the one device that they go to.
    """
    place = {"": "cpu"} if device_map is None else device_map
    place = place[""] if isinstance(place, dict) and set(place) == {""} else place
    place = f"cuda:{place}" if isinstance(place, int) else str(place)
    if dtype == "auto":
        dtype = config.dtype or torch.float32
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not re.fullmatch(r"cpu|cuda(:\d+)?", place) or not isinstance(kind, torch.dtype):
        return  # spread over devices, or for transformers to refuse
    device = torch.device(place)
    needed, free = footprint(config, kind).weight_bytes, free_memory(device)
    if needed > free:
        name = str(kind).removeprefix("torch.")
        way_out = "free some, or choose another device"
        if kind.itemsize > 2:
            way_out = "dtype='bfloat16' (--dtype bfloat16) takes half of that"
        raise LanternError(
            f"the weights of {source} take {needed / 1e9:.1f} GB in {name}, and {device} has "
            f"{free / 1e9:.1f} GB free; {way_out}"
        )


def _is_small(location: str) -> bool:
    weights = Path(location).glob("*.safetensors") if Path(location).is_dir() else None
    return weights is not None and sum(file.stat().st_size for file in weights) < QUIET_BELOW


@runtime_checkable
class _Wrapped(Protocol):
    """A model under nnsight, without a word about which."""

    @property
    def hf(self) -> Any:
        """The transformers model itself."""


Wrapper = TypeVar("Wrapper", bound=_Wrapped)


@torch.no_grad()
def untrain(lantern: Wrapper, seed: int = 0) -> Wrapper:
    """Replace all weights by random ones, as the architecture initialises them.

    Args:
        lantern: The model; changed in place.
        seed: Seed of the weights.

    Returns:
        The same model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(lantern.hf)(lantern.hf.config).to(lantern.hf.dtype)
    lantern.hf.load_state_dict(fresh.state_dict())
    return lantern
