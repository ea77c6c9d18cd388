"""Files of a checkpoint folder, read before any library sees them, without torch.

A file of the wrong kind is named with its kind, and a file that would change the model without
being applied is refused: an adapter among the weights, code of its own, weights in another format.
Nothing that a checkpoint brings is ever executed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lantern_probe.errors import LanternError, named

_log = logging.getLogger(__name__)

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

SETTINGS = (
    *(CONFIG, "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("video_preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    "chat_template.json",
)
"""JSON files of settings that loading reads."""

VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.model")
"""Files of the tokenizer that loading reads, beside its settings."""

TEMPLATES = ("chat_template.jinja", "additional_chat_templates/*.jinja")
"""Chat templates, as patterns of file names."""

CODE_KEYS = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
"""Settings that ask for code of the checkpoint to be run."""

DTYPES = ("float32", "bfloat16", "float16", "float64", "auto")
"""Names of dtypes that a config may give its weights."""

_KINDS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; run: git lfs pull"),
    (b"PK\x03\x04", "is a zip archive, or weights by torch.save; unpack or convert it"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it"),
    (b"GGUF", "is a GGUF file; convert it to safetensors"),
    (b"\x89HDF", "is an HDF5 file; convert it to safetensors"),
    (b"\x80", "is a pickle, which is never read; convert it to safetensors"),
    (b"<!DOCTYPE", "is a web page, not the file; download it again"),
    (b"<html", "is a web page, not the file; download it again"),
    (b"\xff\xfe", "is UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16 text; save it as UTF-8"),
)


def refuse(file: Path, problem: str) -> NoReturn:
    """Refuse a file of a checkpoint.

    Raises:
        LanternError: naming the checkpoint's folder and the file.
    """
    raise LanternError(f"cannot load the checkpoint '{file.parent}': {file.name} {problem}")


def read_files(folder: Path) -> list[Path]:
    """List the files of a checkpoint that decide an output, in a fixed order.

    Args:
        folder: The checkpoint.
    """
    patterns = (*SETTINGS, *VOCABULARY, *TEMPLATES, INDEX, "*.safetensors")
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not path.name.startswith("adapter_"))


def read_head(file: Path, size: int = 4096) -> bytes:
    """Read the first bytes of a file, and refuse one of a kind that is never right.

    Args:
        file: The file.
        size: Number of bytes.

    Raises:
        LanternError: it cannot be read, or is empty, a Git LFS pointer, an archive, a web page ...
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(size)
    except OSError as error:
        refuse(file, f"cannot be read: {error.strerror or error}")
    if not head.strip(b" \r\n\t"):
        refuse(file, "is empty; copy or download it again")
    if file.suffix == ".safetensors" and head[8:9] == b"{":
        return head  # it begins with a number, which may look like any of the kinds
    for start, kind in _KINDS:
        if head.lstrip().startswith(start) or head.startswith(start):
            refuse(file, kind)
    if not head.strip(b"\0"):
        refuse(file, "holds nothing but zero bytes; copy or download it again")
    return head


def read_text(file: Path) -> str:
    """Read a text file of a checkpoint.

    Raises:
        LanternError: it is no UTF-8 text.
    """
    head = read_head(file)
    if b"\0" in head:
        looks = "is UTF-16 text; save it as UTF-8" if b"\0" in head[:4] else "holds zero bytes"
        refuse(file, looks)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        refuse(file, "is no UTF-8 text; save it as UTF-8")
    except OSError as error:
        refuse(file, f"cannot be read: {error.strerror or error}")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint.

    Raises:
        LanternError: it is no JSON, or no object of names and values.
    """
    text = read_text(file)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(file, f"is no JSON: {error}")
    if not isinstance(content, dict):
        refuse(file, f"holds a {type(content).__name__} where an object {{...}} is needed")
    return content


def check_settings(folder: Path, adapter: Path | None = None) -> None:
    """Refuse a checkpoint whose settings cannot be, or would not be, read as they are meant.

    Args:
        folder: The checkpoint, a folder on this machine.
        adapter: Folder of the adapter that will be applied, which may lie in it; default none.

    Raises:
        LanternError: naming the file and the way out.
    """
    settings = {name: read_json(folder / name) for name in SETTINGS if (folder / name).is_file()}
    if CONFIG not in settings and (folder / "adapter_config.json").is_file():
        raise LanternError(
            f"'{folder}' holds an adapter only; download it into a folder of its own, and give "
            "--model BASE --adapter FOLDER"
        )
    if CONFIG not in settings:
        raise LanternError(f"'{folder}' holds no config.json, so it is no checkpoint folder")
    _refuse_code(folder, settings)
    _refuse_adapters(folder, settings, adapter)
    _check_vocabulary(folder)
    for file in (path for pattern in TEMPLATES for path in folder.glob(pattern)):
        read_text(file)
    _check_processor(folder, settings)
    _check_quantised(folder, settings[CONFIG])
    _check_dtype(folder, settings[CONFIG])


def _refuse_code(folder: Path, settings: dict[str, dict[str, Any]]) -> None:
    for name, content in settings.items():
        for key, value in entries(content):
            if key in CODE_KEYS and value:
                refuse(
                    folder / name,
                    f"asks to run the checkpoint's own code ({key}), which is never done; take a "
                    "checkpoint that needs none, or remove the entry if it works without",
                )
            if key in ("attn_implementation", "_attn_implementation") and "/" in str(value):
                refuse(folder / name, f"asks to run code from {value!r} ({key}); remove the entry")
    code = [path.name for path in sorted(folder.glob("*.py"))]
    if (folder / "custom_generate").exists():
        code.append("custom_generate")
    if code:
        _log.warning("'%s': code of a checkpoint is never run: %s", folder, named(code))


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Walk through all names and values of nested settings.

    Args:
        value: The settings.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from entries(item)
    elif isinstance(value, list):
        for item in value:
            yield from entries(item)


def _refuse_adapters(
    folder: Path, settings: dict[str, dict[str, Any]], applied: Path | None
) -> None:
    found = [path for path in sorted(folder.glob("adapter_*")) if path.is_file()]
    inside = sorted(folder.glob("*/adapter_config.json"))
    training = [path for path in inside if path.parent.name.startswith("checkpoint-")]
    if applied is not None:
        inside = [path for path in inside if not path.parent.samefile(applied)]
        training = [path for path in training if path in inside]
    found += [path for path in inside if path not in training]
    if found:
        names = named([str(path.relative_to(folder)) for path in found])
        raise LanternError(
            f"cannot load the checkpoint '{folder}': it holds an adapter ({names}), which would "
            "not be applied; merge the adapter first (merge_and_unload of peft, save_pretrained) "
            "and give a folder without it, or move the adapter into a folder of its own and give "
            "--model BASE --adapter FOLDER"
        )
    if training:
        names = named([str(path.relative_to(folder)) for path in training])
        _log.warning("'%s': adapters of its training are not applied: %s", folder, names)
    if any(key == "peft_type" for key, _ in entries(settings[CONFIG])):
        refuse(folder / CONFIG, "is the config of an adapter; merge the adapter first")


def _check_vocabulary(folder: Path) -> None:
    there = [name for name in VOCABULARY if (folder / name).is_file()]
    for name in there:
        file = folder / name
        if name.endswith(".json"):
            read_json(file)
        elif name.endswith(".txt"):
            read_text(file)
        else:
            read_head(file)
    if not {"tokenizer.json"} & {*there} and not {"vocab.json", "merges.txt"} <= {*there}:
        raise LanternError(
            f"cannot load the checkpoint '{folder}': it has no tokenizer, as it lacks "
            "tokenizer.json (or vocab.json and merges.txt); copy the tokenizer's files "
            "from the model it was trained from"
        )


def _check_processor(folder: Path, settings: dict[str, dict[str, Any]]) -> None:
    if "preprocessor_config.json" in settings:
        return
    if not isinstance(settings.get("processor_config.json", {}).get("image_processor"), dict):
        raise LanternError(
            f"cannot load the checkpoint '{folder}': it has no image processor, as it lacks "
            "preprocessor_config.json (or processor_config.json with image_processor); copy it "
            "from the model it was trained from"
        )


def _check_quantised(folder: Path, config: dict[str, Any]) -> None:
    """Refuse weights in few bits, but those that give a row alone what they give it in a batch."""
    for key, value in entries(config):
        if key not in ("quantization_config", "compression_config") or not value:
            continue
        settings = value if isinstance(value, dict) else {"quant_method": value}
        method = settings.get("quant_method")
        way_out = "give the checkpoint in bfloat16 or float32"
        ours = method in ("bitsandbytes", None) and key == "quantization_config"
        if ours and settings.get("load_in_4bit") is True:
            continue
        if ours and settings.get("load_in_8bit") is True:
            if settings.get("llm_int8_threshold", 6.0) == 0:
                continue
            refuse(
                folder / CONFIG,
                f"says that the weights are quantised ({key}, {method}) to 8 bits with "
                f"llm_int8_threshold {settings.get('llm_int8_threshold', 6.0)!r}, which makes the "
                f"answer to a question depend on the others in its batch; {way_out}, and "
                "--quantize 8bit if it must be small",
            )
        refuse(
            folder / CONFIG,
            f"says that the weights are quantised ({key}, {method}), and only bitsandbytes is "
            f"read; {way_out}, and --quantize 4bit if it must be small",
        )


def _check_dtype(folder: Path, config: dict[str, Any]) -> None:
    for key, value in entries(config):
        if key not in ("dtype", "torch_dtype") or value is None or isinstance(value, dict):
            continue
        if not isinstance(value, str) or value.removeprefix("torch.") not in DTYPES:
            refuse(folder / CONFIG, f"has {key} {value!r}; a dtype is one of {', '.join(DTYPES)}")
