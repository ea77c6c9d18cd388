"""Settings of a checkpoint that are obeyed, and those that are refused by name.

Decoding is greedy unless a call says otherwise, so that sampling settings mean nothing. All other
settings of `generation_config.json` are obeyed, or refused where decoding from a shared prefix
could not obey them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError, named
from lantern_probe.model.files import CONFIG, TEMPLATES, read_json, read_text, refuse
from lantern_probe.protocols import PROTOCOLS

GENERATION = "generation_config.json"

_SAMPLING = (
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Settings without a meaning for greedy decoding."""

_OF_SEARCH = {
    "num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "penalty_alpha": 0,
    "dola_layers": None, "constraints": None, "force_words_ids": None, "use_mtp": False,
    "prompt_lookup_num_tokens": None, "assistant_early_exit": None, "speculation_type": None,
    "guidance_scale": 1, "watermarking_config": None, "token_healing": False,
    "stop_strings": None, "max_time": None, "prefill_chunk_size": None,
    "cache_implementation": None, "cache_config": None,
}  # fmt: skip
"""Settings of another way of decoding, with the value that asks for nothing."""

_OF_POSITION = {
    "min_length": 0, "min_new_tokens": 0, "begin_suppress_tokens": None,
    "forced_bos_token_id": None, "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1,
}  # fmt: skip
"""Settings that count tokens from where a call begins, which a shared prefix has behind it."""

_OUTPUTS = (
    *("return_dict_in_generate", "output_attentions", "output_hidden_states"),
    *("output_scores", "output_logits"),
)
"""Settings about what a call returns; a call here says so itself."""

_NUMBERS = {"repetition_penalty": (int, float), "max_new_tokens": (int,)}


def check_generation(folder: Path) -> None:
    """Refuse generation settings that would be overlooked, or are of a wrong type.

    Args:
        folder: Folder of the checkpoint.

    Raises:
        LanternError: naming the setting.
    """
    file = folder / GENERATION
    if not file.is_file():
        return
    content = read_json(file)
    for name, kinds in _NUMBERS.items():
        value = content.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            refuse(file, f"has {name} {value!r}, which is no number")
        if value is not None and value <= 0:
            refuse(file, f"has {name} {value!r}, which must be above 0")
    for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
        value = content.get(name)
        ids = value if isinstance(value, list) and name == "eos_token_id" else [value]
        if value is not None and not all(_is_id(item) for item in ids):
            refuse(file, f"has {name} {value!r}, which is no token id")
    for settings, reason in (
        (_OF_SEARCH, "decoding here is greedy, token by token"),
        (_OF_POSITION, "decoding from a shared prefix could not obey it"),
    ):
        for name, none in settings.items():
            if content.get(name) not in (None, none, [], ""):
                refuse(file, f"has {name} {content[name]!r}; {reason}: remove it to go on without")


def position_settings(generation_config: Any, given: Mapping[str, Any]) -> list[str]:
    """Name the settings in force that decoding from a shared prefix could not obey.

    Args:
        generation_config: The loaded generation config.
        given: Settings of a call, which come before those of the config.
    """
    found = {name: getattr(generation_config, name, None) for name in _OF_POSITION}
    found |= {name: value for name, value in given.items() if name in _OF_POSITION}
    return [n for n, value in found.items() if value not in (None, _OF_POSITION[n], [])]


def forget_outputs(generation_config: Any) -> None:
    """Reset what the checkpoint's generation config says about outputs, which decide no token.

    Args:
        generation_config: The loaded generation config; changed in place.
    """
    for name in _OUTPUTS:
        setattr(generation_config, name, None)


def generation_settings(generation_config: Any) -> dict[str, Any]:
    """The generation settings that greedy decoding obeys, for a record.

    Args:
        generation_config: The loaded generation config.
    """
    left_out = {*_SAMPLING, *_OUTPUTS, "transformers_version", "_from_model_config", "use_cache"}
    found = generation_config.to_dict()
    return {
        name: value
        for name, value in found.items()
        if value is not None and name not in left_out and not name.startswith("_")
    }


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# -- tokens --------------------------------------------------------------------------------------


def check_tokens(folder: Path, config: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that is not the model's: other ids, or more tokens than embeddings.

    Args:
        folder: Folder of the checkpoint.
        config: Config of the model.
        tokenizer: The loaded tokenizer.

    Raises:
        LanternError: naming the token and both ids.
    """
    rows = config.get_text_config().vocab_size
    vocabulary = tokenizer.get_vocab()
    last = max(vocabulary.values(), default=-1)
    if last >= rows:
        name = next(token for token, number in vocabulary.items() if number == last)
        raise LanternError(
            f"cannot load the checkpoint '{folder}': its tokenizer has the token {name!r} with "
            f"id {last}, but the embedding matrix has {rows} rows (vocab_size of config.json); "
            "copy the tokenizer that belongs to the weights"
        )
    known = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    known |= {
        key: text
        for protocol in PROTOCOLS.values()
        for key, text in zip(protocol.keys, protocol.markers or (), strict=False)
        if text in vocabulary
    }
    for name, token in known.items():
        said, found = getattr(config, name, None), vocabulary.get(token)
        if said is None:
            continue
        if not _is_id(said):
            refuse(folder / CONFIG, f"has {name} {said!r}, which is no token id")
        if found is not None and found != said:
            refuse(
                folder / CONFIG,
                f"has {name} {said}, but the tokenizer gives {token} the id {found}; copy the "
                "tokenizer that belongs to the weights",
            )
    _check_added(folder, vocabulary)


def _check_added(folder: Path, vocabulary: Mapping[str, int]) -> None:
    """Refuse tokens that one file adds and the tokenizer as loaded does not have."""
    added: dict[str, dict[str, Any]] = {}
    if (folder / "added_tokens.json").is_file():
        added["added_tokens.json"] = read_json(folder / "added_tokens.json")
    name = "tokenizer_config.json"
    decoder = (
        read_json(folder / name).get("added_tokens_decoder") if (folder / name).is_file() else {}
    )
    if isinstance(decoder, dict):
        added[name] = {
            str(item.get("content")): number
            for number, item in decoder.items()
            if isinstance(item, dict)
        }
    for file, tokens in added.items():
        wrong = [
            token for token, number in tokens.items() if str(vocabulary.get(token)) != str(number)
        ]
        if wrong:
            refuse(
                folder / file,
                f"gives {len(wrong)} tokens another id than the tokenizer has: {named(wrong)}; "
                "copy all files of the tokenizer from one place",
            )


# -- the chat template ---------------------------------------------------------------------------

_WORDS = "a b c"
_IMAGE = "<|image_pad|>"


def template_file(folder: Path) -> str:
    """Name the file that holds the chat template in use.

    Args:
        folder: Folder of the checkpoint.
    """
    names = [path.name for pattern in TEMPLATES for path in sorted(folder.glob(pattern))]
    names += [name for name in ("chat_template.json",) if (folder / name).is_file()]
    return (names or ["tokenizer_config.json"])[0]


def check_template(folder: Path, processor: Any) -> None:
    """Put one question about one image through the chat template and the processor.

    Nothing is done for a checkpoint without a template, which takes ready inputs only.

    Args:
        folder: Folder of the checkpoint.
        processor: Its processor.

    Raises:
        LanternError: the template fails, or its text lacks the image or the question.
    """
    template = getattr(processor, "chat_template", None)
    if not template:
        return
    file = folder / template_file(folder)
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": None}, {"type": "text", "text": _WORDS}],
        }
    ]
    try:
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a template can make of itself
        reason = " ".join(str(error).split()) or "no reason given"
        refuse(file, f"holds a chat template that fails: {type(error).__name__}: {reason:.200}")
    images = text.count(_IMAGE)
    if images != 1:
        refuse(
            file,
            f"holds a chat template that writes {images} places for one image ({_IMAGE}); copy the "
            "template of the model it was trained from",
        )
    if _WORDS not in text:
        refuse(file, "holds a chat template that leaves the question out")
    try:
        processor(
            text=[text], images=[Image.new("RGB", (56, 56))], padding=True, return_tensors="pt"
        )
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise LanternError(
            f"cannot load the checkpoint '{folder}': its processor and tokenizer fail on a "
            f"question: {type(error).__name__}: {reason:.200}"
        ) from error


def other_templates(folder: Path, template: Any) -> list[str]:
    """Name the files with another chat template than the one in use.

    Args:
        folder: Folder of the checkpoint.
        template: The template in use.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("chat_template.jinja")):
        found[path.name] = read_text(path)
    for name in ("chat_template.json", "tokenizer_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found[name] = read_json(folder / name).get("chat_template")
    return [name for name, text in found.items() if text and text != template]
