"""Adapters of peft as files: settings, weights, tokenizer, and the base they name.

Read before any library sees them, without torch and without peft. Only safetensors is read, and
nothing that an adapter brings is ever executed.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lantern_probe.errors import LanternError, named
from lantern_probe.model.files import (
    CODE_KEYS,
    INDEX,
    SETTINGS,
    TEMPLATES,
    VOCABULARY,
    WEIGHTS,
    entries,
    read_json,
    read_text,
)
from lantern_probe.model.weight_files import OTHER_WEIGHTS, read_shapes

_log = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

MERGEABLE = (
    *("LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "HRA", "FOURIERFT", "MISS"),
    *("LN_TUNING", "TRAINABLE_TOKENS"),
)
"""Kinds of adapters (`peft_type`) that are merged into the weights of their base."""

_PROMPTS = (
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT"),
    *("ADAPTION_PROMPT", "CARTRIDGE"),
)
"""Kinds that add to the input instead of the weights."""

_TASKS = (None, "CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION")
"""Tasks of an adapter (`task_type`) that leave the model's head as it is."""

_UNMERGED = {
    "layer_replication": "repeats layers of its base",
    "alora_invocation_tokens": "acts after certain tokens only (aLoRA)",
    "arrow_config": "chooses among adapters at every token (Arrow)",
    "megatron_config": "is for layers of Megatron",
    "use_bdlora": "is in blocks for several devices (BD-LoRA)",
    "use_qalora": "is for quantised weights (QA-LoRA)",
    "velora_config": "is of a kind that is not merged (VeLoRA)",
    "kasa_config": "changes the weights of its base (KaSA)",
    "monteclora_config": "draws its weights at random (MonteCLoRA)",
}
"""Settings of an adapter that cannot become one change of the weights, with the reason."""

_CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""Ways to begin (`init_lora_weights`) that change the base, which the adapter's files lack."""

_OF_TRAINING = (
    "training_args.bin",
    "optimizer*",
    "scheduler*",
    "rng_state*",
    "scaler*",
    "random_states*",
)
"""Files of a training's state, which decide no output."""


@dataclass(frozen=True)
class Adapter:
    """An adapter of peft, its files found usable.

    Attributes:
        folder: Its folder.
        settings: Content of its `adapter_config.json`.
        shapes: Shape of every tensor, by name.
    """

    folder: Path
    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def has_tokenizer(self) -> bool:
        """True if its folder holds a tokenizer, which takes the place of the base's."""
        return _has_tokenizer(self.folder)

    @property
    def has_image_processor(self) -> bool:
        """True if its folder holds an image processor, which takes the place of the base's."""
        return (self.folder / "preprocessor_config.json").is_file() or isinstance(
            _settings_of(self.folder, "processor_config.json").get("image_processor"), dict
        )

    @property
    def rows(self) -> int | None:
        """Number of rows of the embedding matrix that it brings whole; None if it brings none."""
        names = ("embed_tokens.weight", "embed_tokens.base_layer.weight")
        return next((s[0] for name, s in self.shapes.items() if name.endswith(names)), None)


def holds_adapter(folder: Path) -> bool:
    """True for a folder with a file of an adapter.

    Args:
        folder: The folder.
    """
    names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "adapter_model.bin")
    return any((folder / name).is_file() for name in names)


def is_adapter(folder: Path) -> bool:
    """True for a folder that holds an adapter and no weights of a model.

    Args:
        folder: The folder.
    """
    if not holds_adapter(folder):
        return False
    own = any((folder / name).is_file() for name in (WEIGHTS, INDEX))
    return not own and not any(folder.glob("model-*.safetensors"))


def require_peft() -> None:
    """Refuse an adapter where peft is not installed.

    Raises:
        LanternError: naming the extra.
    """
    if importlib.util.find_spec("peft") is None:
        raise LanternError(
            "an adapter needs peft, which is not installed; install it with lantern-probe[peft], "
            "or merge the adapter elsewhere"
        )


def refuse_adapter(folder: Path, problem: str) -> NoReturn:
    """Refuse an adapter.

    Raises:
        LanternError: naming its folder.
    """
    raise LanternError(f"cannot load the adapter '{folder}': {problem}")


def read_adapter(folder: str | Path) -> Adapter:
    """Read an adapter's settings and the shapes of its weights, and check all files beside them.

    Args:
        folder: Folder of the adapter, as `save_pretrained` of peft writes it.

    Raises:
        LanternError: it is no adapter, or not one that can be merged; naming the file and the way
            out.
    """
    folder = Path(folder)
    _check_folder(folder)
    settings = read_json(folder / ADAPTER_CONFIG)
    _check_kind(folder, settings)
    _refuse_code(folder, settings)
    _check_neighbours(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        other = "adapter_model.bin, a pickle, which is never read"
        refuse_adapter(
            folder,
            f"it lacks {ADAPTER_WEIGHTS}"
            + (f" (it has {other})" if (folder / "adapter_model.bin").is_file() else "")
            + "; save it anew with save_pretrained of peft, which writes safetensors",
        )
    return Adapter(folder, settings, read_shapes(folder / ADAPTER_WEIGHTS))


def _check_folder(folder: Path) -> None:
    try:
        there, kind = folder.is_dir(), "a file" if folder.is_file() else "no folder on this machine"
    except (OSError, ValueError) as error:  # no permission, a name too long
        there, kind = False, f"no folder that can be read ({error})"
    if not there:
        refuse_adapter(folder, f"it is {kind}; give the folder that holds {ADAPTER_CONFIG}")
    inside = [file.parent.name for file in sorted(folder.glob(f"*/{ADAPTER_CONFIG}"))]
    others = [name for name in inside if not name.startswith("checkpoint-")]
    if not (folder / ADAPTER_CONFIG).is_file():
        hint = f"; do you mean one of {named(inside)} in it?" if inside else ""
        refuse_adapter(folder, f"it holds no {ADAPTER_CONFIG}{hint}")
    if others:
        refuse_adapter(
            folder,
            f"it holds several adapters, further ones in {named(others)}, and one is applied; give "
            "the folder of one, which holds no other",
        )


def _check_kind(folder: Path, settings: dict[str, Any]) -> None:
    kind, task = settings.get("peft_type"), settings.get("task_type")
    merge = "merge it where it was trained (merge_and_unload of peft, save_pretrained)"
    if kind in _PROMPTS:
        refuse_adapter(
            folder,
            f"it is of the kind {kind}, which adds to the input and cannot be merged into weights",
        )
    if kind not in MERGEABLE:
        refuse_adapter(
            folder, f"its peft_type is {kind!r}; merged are {', '.join(MERGEABLE)}; {merge}"
        )
    if task not in _TASKS:
        refuse_adapter(folder, f"its task_type is {task!r}, and it must answer in text (CAUSAL_LM)")
    for name, reason in _UNMERGED.items():
        if settings.get(name):
            refuse_adapter(folder, f"it {reason} ({name}); {merge}")
    begun = settings.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGED_BASES):
        refuse_adapter(
            folder,
            f"its training began by changing the base (init_lora_weights {begun!r}); save it "
            "converted (path_initial_model_for_weight_conversion of peft), or " + merge,
        )
    base = settings.get("base_model_name_or_path")
    if base is not None and not isinstance(base, str):
        refuse_adapter(folder, f"its base_model_name_or_path is {base!r}, which is no name")


def _refuse_code(folder: Path, settings: dict[str, Any]) -> None:
    mapping = settings.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    # peft notes the class of the base there; it is never imported here.
    if mapping and not str(library).startswith("transformers."):
        refuse_adapter(
            folder,
            f"its auto_mapping asks for code of {library!r}, which is never run; remove the entry "
            "if the base is a Qwen2.5-VL of transformers",
        )
    asked = {ADAPTER_CONFIG: settings} | {
        name: read_json(folder / name) for name in SETTINGS if (folder / name).is_file()
    }
    for name, content in asked.items():
        for key, value in entries(content):
            if key in CODE_KEYS and key != "auto_mapping" and value:
                refuse_adapter(
                    folder,
                    f"{name} asks to run its own code ({key}), which is never done; remove the "
                    "entry if it works without",
                )


def _check_neighbours(folder: Path) -> None:
    """Refuse weights that would be left out, and a tokenizer of which a part is missing."""
    training = {path.name for pattern in _OF_TRAINING for path in folder.glob(pattern)}
    others = {path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern)} - training
    unread = {path.name for path in folder.glob("*.safetensors")} - {ADAPTER_WEIGHTS}
    if (folder / ADAPTER_WEIGHTS).is_file() and "adapter_model.bin" in others:
        _log.warning("'%s': adapter_model.bin is not read, %s is", folder, ADAPTER_WEIGHTS)
    lost = sorted((others | unread) - {"adapter_model.bin"})
    if lost:
        refuse_adapter(
            folder,
            f"it holds further weights, which would not be used: {named(lost)}; merge all of them "
            "where they were trained, or remove what does not belong to the adapter",
        )
    for name in VOCABULARY:
        if (folder / name).is_file():
            (read_json if name.endswith(".json") else read_text)(folder / name)
    for file in (path for pattern in TEMPLATES for path in folder.glob(pattern)):
        read_text(file)
    parts = ("tokenizer_config.json", "special_tokens_map.json", *VOCABULARY)
    there = [name for name in parts if (folder / name).is_file()]
    if there and not _has_tokenizer(folder):
        refuse_adapter(
            folder,
            f"it holds a part of a tokenizer ({named(there)}) without tokenizer.json; copy the "
            "rest beside it, or remove it to take the base's",
        )


def _has_tokenizer(folder: Path) -> bool:
    whole = [(folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "merges.txt")]
    return whole[0] or all(whole[1:])


def _settings_of(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) if (folder / name).is_file() else {}


def adapter_files(folder: Path) -> list[Path]:
    """List the files of an adapter that decide an output, in a fixed order.

    Args:
        folder: Folder of the adapter.
    """
    patterns = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, *SETTINGS, *VOCABULARY, *TEMPLATES)
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
