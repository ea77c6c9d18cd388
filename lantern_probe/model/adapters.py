"""An adapter of peft on its base: the weights merged, the tokenizer and processor in their place.

The adapter is merged before nnsight wraps the model, so that everything else sees a plain one.
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, GenerationConfig

from lantern_probe.errors import named
from lantern_probe.model.adapter_files import (
    ADAPTER_WEIGHTS,
    Adapter,
    refuse_adapter,
    require_peft,
)
from lantern_probe.model.files import CONFIG, TEMPLATES, read_json, read_text
from lantern_probe.model.settings import GENERATION, check_generation
from lantern_probe.protocols import PROTOCOLS

_log = logging.getLogger(__name__)

_NAME = "default"
"""Name of the adapter inside peft."""

PROTOCOL_KEYS = tuple(
    dict.fromkeys(
        key
        for protocol in PROTOCOLS.values()
        for key in (*protocol.keys, *protocol.also, protocol.size_key)
        if key is not None
    )
)
"""Entries of a config that say how a checkpoint's latent blocks are decoded."""

_OF_NO_OUTPUT = (
    *("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype"),
    *("use_cache", "vocab_size", *PROTOCOL_KEYS),
)
"""Entries of a config beside an adapter that may differ from the base's; those of the latent blocks
are used, and the number of rows follows the weights."""


# -- weights -------------------------------------------------------------------------------------


def merge_adapter(model: Any, adapter: Adapter) -> Any:
    """Apply an adapter to a loaded model, and merge it into the weights.

    Args:
        model: The transformers model, whole on one device; changed in place.
        adapter: The adapter.

    Returns:
        The model, a plain one again.

    Raises:
        LanternError: peft is not installed, or the adapter does not fit: tensors are missing, of
            another shape or without a place, or NaN.
    """
    if any(weight.device.type == "meta" for weight in model.parameters()):
        refuse_adapter(adapter.folder, "its base is not on a device, where weights are merged")
    tensors = _present(load_file(adapter.folder / ADAPTER_WEIGHTS))
    _check_finite(adapter, tensors)
    _resize(model, adapter)
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    # peft draws adapters at random before it loads them, and uses what transformers deprecates.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = _with_adapter(model, adapter)
        _fill(adapted, adapter, tensors)
        _untie(model)
        merged = adapted.merge_and_unload()
    left = [name for name, _ in merged.named_parameters() if re.search(r"lora_|base_layer", name)]
    if merged is not model or left:
        refuse_adapter(adapter.folder, f"peft has not merged it: {named(left)} are left")
    for name, weight in merged.named_parameters():
        weight.requires_grad_(name in learning)
    return merged


def _peft() -> Any:
    require_peft()
    import peft

    return peft


_OLD_NAME = re.compile(r"base_model\.model\.(?=(model\.(?:layers|embed_tokens|norm)|visual)\.)")


def _present(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the names of today; the language model and the tower have moved."""
    found = {}
    for name, tensor in tensors.items():
        match = _OLD_NAME.match(name)
        if match:
            rest = name[match.end() :]
            within = "" if match[1] == "visual" else "language_model."
            name = f"base_model.model.model.{within}{rest.removeprefix('model.')}"
        found[name] = tensor
    return found


def _check_finite(adapter: Adapter, tensors: Mapping[str, torch.Tensor]) -> None:
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    if bad:
        refuse_adapter(
            adapter.folder,
            f"{len(bad)} of its tensors hold NaN or infinities: {named(bad)}; take one saved "
            "before its training diverged",
        )


def _resize(model: Any, adapter: Adapter) -> None:
    """Give the embedding as many rows as the adapter brings; it brings every one of them."""
    rows, there = adapter.rows, model.get_input_embeddings().weight.shape[0]
    if rows is None or rows == there:
        return
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    heads = ("lm_head.weight", "lm_head.base_layer.weight")
    if not tied and not any(name.endswith(heads) for name in adapter.shapes):
        refuse_adapter(
            adapter.folder,
            f"it brings an embedding of {rows} rows for the base's {there}, but no lm_head, whose "
            "new rows would be random",
        )
    model.resize_token_embeddings(rows, mean_resizing=False)


def _with_adapter(model: Any, adapter: Adapter) -> Any:
    """The model under peft, with the adapter in place and its weights still random."""
    peft = _peft()
    kind = adapter.settings["peft_type"]
    made = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
    if made is None:
        refuse_adapter(
            adapter.folder, f"peft {peft.__version__} has no adapters of the kind {kind}"
        )
    known = {field.name for field in fields(made)}
    unknown = [name for name in adapter.settings if name not in known and adapter.settings[name]]
    if unknown:
        refuse_adapter(
            adapter.folder,
            f"peft {peft.__version__} does not know its settings {named(unknown)}; it was written "
            f"by peft {adapter.settings.get('peft_version') or 'of another version'}",
        )
    settings = {name: value for name, value in adapter.settings.items() if name in known}
    try:
        config = made(**settings | {"auto_mapping": None, "inference_mode": True})
        return peft.PeftModel(model, config, adapter_name=_NAME)
    except Exception as error:  # whatever settings of another architecture lead to
        refuse_adapter(
            adapter.folder,
            f"it cannot be put on this base: {_reason(error)}; give the base that it was trained "
            "on (--model BASE --adapter FOLDER)",
        )


def _fill(adapted: Any, adapter: Adapter, tensors: dict[str, torch.Tensor]) -> None:
    """Load the adapter's weights; all of them have a place, and no place is left empty."""
    peft = _peft()
    base = "give the base that it was trained on (--model BASE --adapter FOLDER)"
    try:
        found = peft.set_peft_model_state_dict(adapted, tensors, adapter_name=_NAME)
    except KeyError as error:
        refuse_adapter(adapter.folder, f"{ADAPTER_WEIGHTS} lacks the tensor {error}; save it anew")
    except RuntimeError as error:
        match = re.search(
            r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)",
            str(error),
        )
        problem = _reason(error)
        if match:
            name, there, wanted = match.groups()
            problem = f"{name.replace(f'.{_NAME}', '')} is {there}, and the base needs {wanted}"
        refuse_adapter(adapter.folder, f"it has other shapes than its base: {problem}; {base}")
    if found.unexpected_keys:
        names = sorted(found.unexpected_keys)
        refuse_adapter(
            adapter.folder,
            f"{len(names)} of its {len(tensors)} tensors have no place in the base, such as "
            f"{named(names)}; {base}",
        )
    prefix = peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING[adapted.peft_config[_NAME].peft_type]
    own = (prefix, "modules_to_save.", "trainable_tokens_delta")
    missing = sorted(
        name
        for name in found.missing_keys
        if f".{_NAME}" in name and any(part in name for part in own)
    )
    if missing:
        refuse_adapter(
            adapter.folder,
            f"it lacks {len(missing)} tensors that its settings call for, which would be random: "
            f"{named(missing)}; {base}, or save the adapter anew",
        )


def _untie(model: Any) -> None:
    """Give head and embedding a matrix each, where one of the two is adapted and they are one."""
    head, embedding = (
        next((m for m in module.modules() if isinstance(m, nn.Linear | nn.Embedding)), None)
        for module in (model.get_output_embeddings(), model.get_input_embeddings())
    )
    if head is not None and embedding is not None and head.weight is embedding.weight:
        adapted = any(
            module is not plain
            for module, plain in (
                (model.get_output_embeddings(), head),
                (model.get_input_embeddings(), embedding),
            )
        )
        if adapted:
            head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _reason(error: Exception) -> str:
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2]):.300}"


# -- settings, tokenizer, processor --------------------------------------------------------------


def adapted_config(config: Any, adapter: Adapter) -> Any:
    """The config of the base under an adapter: its rows, and the latent blocks its folder states.

    Args:
        config: Config of the base.
        adapter: The adapter.

    Returns:
        A copy of the config.

    Raises:
        LanternError: a config.json beside the adapter is of another model.
    """
    config = copy.deepcopy(config)
    if (adapter.folder / CONFIG).is_file():
        read_json(adapter.folder / CONFIG)
        theirs = AutoConfig.from_pretrained(
            adapter.folder, local_files_only=True, trust_remote_code=False
        )
        other = _differences(config.to_dict(), theirs.to_dict())
        if other:
            refuse_adapter(
                adapter.folder,
                f"its config.json is of another model than the base: {named(other)}; give the "
                "base that it was trained on, or remove the file",
            )
        for name in PROTOCOL_KEYS:
            if getattr(theirs, name, None) is not None:
                setattr(config, name, getattr(theirs, name))
    if adapter.rows is not None:
        config.get_text_config().vocab_size = adapter.rows
    return config


def _differences(one: Mapping[Any, Any], other: Mapping[Any, Any], path: str = "") -> list[str]:
    found = []
    for name in sorted({*one, *other} - {*_OF_NO_OUTPUT}, key=str):
        first, second = one.get(name), other.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            found += _differences(first, second, f"{path}{name}.")
        elif first != second:
            found.append(f"{path}{name} {second!r:.40} for {first!r:.40}")
    return found


def adapt_processor(processor: Any, adapter: Adapter) -> None:
    """Put the adapter's tokenizer, image processor and chat template in place of the base's.

    Args:
        processor: Processor of the base; changed in place.
        adapter: The adapter.

    Raises:
        LanternError: the adapter's do not fit the base.
    """
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    folder = adapter.folder
    # The classes are the base's: none that the adapter names is looked for.
    if adapter.has_tokenizer:
        tokenizer = type(processor.tokenizer).from_pretrained(folder, **local)
        _check_vocabulary(adapter, processor.tokenizer.get_vocab(), tokenizer.get_vocab())
        template = processor.tokenizer.chat_template
        processor.tokenizer = tokenizer
        if tokenizer.chat_template is None:
            tokenizer.chat_template = template
        elif not _template_files(folder):
            processor.chat_template = tokenizer.chat_template
    if adapter.has_image_processor:
        made = type(processor.image_processor).from_pretrained(folder, **local)
        for name in ("patch_size", "merge_size", "temporal_patch_size"):
            ours, theirs = getattr(processor.image_processor, name), getattr(made, name)
            if ours != theirs:
                refuse_adapter(folder, f"its image processor has {name} {theirs}, its base {ours}")
        processor.image_processor = made
    files = _template_files(folder)
    if files:
        file = files[0]
        if file.suffix == ".json":
            text = read_json(file).get("chat_template")
        else:
            text = read_text(file)
        processor.chat_template = text


def template_folder(base: Path, adapter: Adapter | None) -> Path:
    """The folder whose chat template is in use.

    Args:
        base: Folder of the base.
        adapter: The adapter; None without one.
    """
    if adapter is None:
        return base
    settings = adapter.folder / "tokenizer_config.json"
    inside = settings.is_file() and read_json(settings).get("chat_template")
    return adapter.folder if _template_files(adapter.folder) or inside else base


def _template_files(folder: Path) -> list[Path]:
    names = [*(path for path in TEMPLATES if "*" not in path), "chat_template.json"]
    return [folder / name for name in names if (folder / name).is_file()]


def _check_vocabulary(adapter: Adapter, base: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """Refuse a tokenizer that gives a token of the base another id, or none."""
    moved = [token for token, number in base.items() if theirs.get(token, number) != number]
    lost = [token for token in base if token not in theirs]
    if moved or lost:
        problem = f"gives {len(moved)} tokens another id than its base: {named(sorted(moved))}"
        if not moved:
            problem = f"lacks {len(lost)} tokens of its base: {named(sorted(lost))}"
        refuse_adapter(
            adapter.folder,
            f"its tokenizer {problem}; remove the tokenizer's files to take the base's, or give "
            "the base that it was trained on",
        )


def adapt_generation(model: Any, adapter: Adapter) -> None:
    """Put generation settings beside the adapter in place of the base's.

    Args:
        model: The model; changed in place.
        adapter: The adapter.

    Raises:
        LanternError: a setting cannot be obeyed.
    """
    if (adapter.folder / GENERATION).is_file():
        check_generation(adapter.folder)
        model.generation_config = GenerationConfig.from_pretrained(
            adapter.folder, local_files_only=True
        )
