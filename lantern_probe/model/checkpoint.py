"""Checkpoints: a bundled organism, a folder or a Hub repository, loaded and checked."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from lantern_probe.errors import LanternError
from lantern_probe.model.adapter_files import Adapter, read_adapter
from lantern_probe.model.adapters import (
    PROTOCOL_KEYS,
    adapt_generation,
    adapt_processor,
    adapted_config,
    merge_adapter,
    template_folder,
)
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.model.device_maps import check_placement, is_spread
from lantern_probe.model.files import CONFIG, check_settings
from lantern_probe.model.location import QUIET_BELOW, base_of, fetch, identity, resolve
from lantern_probe.model.memory import footprint, free_memory
from lantern_probe.model.pixels import OFFICIAL_PIXELS as OFFICIAL_PIXELS
from lantern_probe.model.pixels import STOCK_PIXELS as STOCK_PIXELS
from lantern_probe.model.pixels import check_patches, limit_pixels
from lantern_probe.model.placement import is_whole, spread
from lantern_probe.model.quantised import check_quantised, quantised_loading
from lantern_probe.model.settings import (
    check_generation,
    check_template,
    check_tokens,
    forget_outputs,
    other_templates,
    template_file,
)
from lantern_probe.model.weight_files import check_weights
from lantern_probe.model.weights import check_finite, check_loaded, check_tied
from lantern_probe.protocols import CheckpointFiles, LatentProtocol, find_protocol
from lantern_probe.protocols.detection import find_tokens, nearest

_log = logging.getLogger(__name__)

ARCHITECTURES = ("qwen2_5_vl", "qwen3_vl")
"""Values of `model_type` that can be loaded."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and its processor.

    Attributes:
        source: The name it was loaded from.
        model: The transformers model, in evaluation mode.
        processor: The processor, which pads on the left.
        lvr: The tokens of a latent block, K and the protocol; None for a model without them.
    """

    source: str
    model: Any
    processor: Any
    lvr: LvrTokens | None


def find_checkpoint(
    source: str, adapter: str | Path | None, revision: str | None, offline: bool
) -> tuple[Path, Adapter | None]:
    """The folder of a checkpoint, and the adapter that belongs on it.

    The arguments are those of `LanternModel`.
    """
    base, beside = resolve(source, adapter)
    added = None if beside is None else read_adapter(beside)
    if adapter is not None and added is not None:
        _warn_of_other_base(base, added)
    folder = fetch(base if adapter is not None else source, revision, offline)
    check_settings(folder, beside)
    return folder, added


def read_processor(
    source: str,
    folder: Path,
    added: Adapter | None,
    protocol: LatentProtocol | None,
    latent_size: int | None,
    allow_plain: bool,
    min_pixels: int | None,
    max_pixels: int | None,
) -> tuple[Any, Any, Any, LvrTokens | None]:
    """The config, the same with an adapter's settings, the processor, and the tokens of a block.

    Args:
        source: Name of the checkpoint, for messages.
        folder: Its folder.
        added: Adapter that belongs on it, if any.
        protocol: Protocol that is given; None to find it.
        latent_size: Number of slots of a block; None for the protocol's own source.
        allow_plain: Accept a model without tokens of a block.
        min_pixels: Fewest pixels of an image; None for the default.
        max_pixels: Most pixels of an image; None for the default.
    """
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with guarded(source, CONFIG):
        config = AutoConfig.from_pretrained(folder, **local)
        if config.model_type not in ARCHITECTURES:
            raise LanternError(
                f"{source} is a {config.model_type} model; latent visual reasoners are "
                f"{' or '.join(ARCHITECTURES)}"
            )
    with guarded(source, "its processor and tokenizer"):
        processor = AutoProcessor.from_pretrained(folder, **local)
        ready = config if added is None else adapted_config(config, added)
        if added is not None:
            adapt_processor(processor, added)
        files = CheckpointFiles(source, ready.to_dict(), processor.tokenizer.get_vocab())
        lvr = find_latent_tokens(files, protocol, latent_size, allow_plain)
        own = added is not None and added.has_tokenizer
        check_tokens(added.folder if added and own else folder, ready, processor.tokenizer)
        processor.tokenizer.padding_side = "left"
        check_patches(folder, config, processor.image_processor)
        own = added is not None and added.has_image_processor
        official = OFFICIAL_PIXELS if lvr is None else lvr.protocol.pixels
        limit_pixels(
            added.folder if added and own else folder, processor, min_pixels, max_pixels, official
        )
        _check_prompts(template_folder(folder, added), processor)
    return config, ready, processor, lvr


def load_checkpoint(
    source: str,
    *,
    adapter: str | Path | None = None,
    protocol: LatentProtocol | None = None,
    latent_size: int | None,
    allow_plain: bool,
    dtype: torch.dtype | str | None,
    device_map: Any,
    quantize: str | None = None,
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
    folder, added = find_checkpoint(source, adapter, revision, offline)
    tensors = check_weights(folder)
    check_generation(folder)
    _check_arguments(dtype, attn_implementation)
    check_placement(device_map)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    gpu = torch.cuda.is_available()
    config, ready, processor, lvr = read_processor(
        source, folder, added, protocol, latent_size, allow_plain, min_pixels, max_pixels
    )
    dtype = dtype if dtype is not None else ("auto" if gpu else torch.float32)
    device_map = device_map if device_map is not None else ({"": 0} if gpu else None)
    gpu = gpu and str(device_map) != "cpu" and device_map != {"": "cpu"}
    small = check_quantised(source, folder, quantize, adapted=added is not None, gpu=gpu)
    few_bits = quantised_loading(quantize, dtype, gpu=gpu) if small else {}
    # Weights that lie on several devices cannot be merged with an adapter's.
    placed = None if added is not None and is_spread(device_map) else device_map
    with guarded(source, "its weights"):
        if _is_small(folder):
            transformers_logging.disable_progress_bar()
        else:
            transformers_logging.enable_progress_bar()
            if not small:
                check_memory(source, config, dtype, placed)
        model, info = AutoModelForImageTextToText.from_pretrained(
            folder,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **local | {"dtype": dtype, "device_map": placed} | few_bits,
        )
        check_loaded(source, info)
        check_finite(source, model)
        check_tied(source, config, tensors, model)
        if added is not None:
            model = _adapted(source, model, added, ready)
        if placed is not device_map:
            model = spread(model, device_map)
    forget_outputs(model.generation_config)
    return Checkpoint(source, model.eval(), processor, lvr)


def _warn_of_other_base(given: str, adapter: Adapter) -> None:
    """Say so where an adapter names a base that is at hand and not the one that is given."""
    try:
        said = base_of(adapter.folder)
        same = identity(said) is None or identity(given) in (None, identity(said))
    except LanternError:  # nothing to compare with
        return
    if not same:
        _log.warning(
            "'%s': it was trained on '%s', and is merged into '%s', which has other weights",
            adapter.folder, said, given,
        )  # fmt: skip


def _adapted(source: str, model: Any, adapter: Adapter, config: Any) -> Any:
    """The model with an adapter merged, and with the settings that come with it."""
    with guarded(source, f"its adapter '{adapter.folder}'"):
        model = merge_adapter(model, adapter)
        adapt_generation(model, adapter)
    check_finite(source, model)
    for name in PROTOCOL_KEYS:
        if getattr(config, name, None) is not None:
            setattr(model.config, name, getattr(config, name))
    return model


@contextmanager
def guarded(source: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises into one line that names the checkpoint and the part.

    Args:
        source: Name of the checkpoint.
        what: Part that is being read.
    """
    try:
        yield
    except LanternError:
        raise
    except Exception as error:  # a checkpoint can be wrong in ways that no library foresees
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or "no reason given"
        raise LanternError(
            f"cannot load {source!r}: {what}: {type(error).__name__}: {reason:.400}"
        ) from error


def _check_arguments(dtype: Any, attn_implementation: str | None) -> None:
    """Refuse arguments that name nothing, or code that would be downloaded."""
    if isinstance(dtype, str) and dtype != "auto":
        kind = getattr(torch, dtype.removeprefix("torch."), None)
        if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
            raise LanternError(f"dtype {dtype!r} is none; take auto, float32, bfloat16 or float16")
    if attn_implementation is not None and "/" in attn_implementation:
        raise LanternError(
            f"attn_implementation {attn_implementation!r} is code from the Hub, which is never "
            "run; take sdpa, eager or flash_attention_2"
        )


def _check_prompts(folder: Path, processor: Any) -> None:
    check_template(folder, processor)
    template = getattr(processor, "chat_template", None)
    if template and (others := other_templates(folder, template)):
        _log.warning(
            "'%s': %s holds another chat template than %s, which is used",
            folder, " and ".join(others), template_file(folder),
        )  # fmt: skip


def find_latent_tokens(
    files: CheckpointFiles,
    protocol: LatentProtocol | None,
    latent_size: int | None,
    allow_plain: bool,
) -> LvrTokens | None:
    """The tokens of a checkpoint's blocks, with K and the protocol.

    Args:
        files: Config and tokens of the checkpoint.
        protocol: Protocol that is given; None to find it.
        latent_size: Number of slots of a block; None for the protocol's own source.
        allow_plain: Accept a model without such tokens.

    Returns:
        The tokens; None for a model without blocks, where that is allowed.

    Raises:
        LanternError: tokens or K are missing, do not fit the model, or may follow several
            protocols; the message says which, and what can still be done.
    """
    found = find_protocol(files, protocol)
    if found is None:
        if allow_plain:
            return None
        missing = files.missing(nearest(files))
        raise LanternError(
            f"{files.name} has no {', '.join(missing)} in its config or tokenizer, so it has no "
            "latent blocks; load a checkpoint of a latent visual reasoner, or pass "
            "allow_plain=True to use it as a model without them"
        )
    tokens = find_tokens(files, found, latent_size)
    text = files.config.get("text_config") or files.config
    rows, last = text["vocab_size"], max(tokens.banned)
    if last >= rows:
        raise LanternError(
            f"{files.name}: a token of its blocks has the id {last}, but the embedding matrix has "
            f"{rows} rows"
        )
    return tokens


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


def _is_small(folder: Path) -> bool:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) < QUIET_BELOW


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

    Raises:
        LanternError: weights are quantised, or kept elsewhere than on a device.
    """
    if not is_whole(lantern.hf):
        raise LanternError(
            "random weights take the place of whole ones, each on a device: load the model without "
            "--quantize, and where it fits into memory"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(lantern.hf)(lantern.hf.config).to(lantern.hf.dtype)
    lantern.hf.load_state_dict(fresh.state_dict())
    return lantern
