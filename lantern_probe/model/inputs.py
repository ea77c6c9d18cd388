"""Questions as model inputs: the chat template, the images, the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwen_vl_utils import process_vision_info
from transformers import BatchFeature

from lantern_probe.errors import LanternError
from lantern_probe.tasks.questions import asked_question as asked_question
from lantern_probe.tasks.sample import IMAGE_MARK, Sample


def question_inputs(
    processor: Any,
    samples: Sequence[Sample],
    source: str,
    most_tokens: int | None = None,
    system: str | None = None,
) -> BatchFeature:
    """The model inputs of a batch of questions, left-padded, on the CPU.

    Images come first, then the text, through the chat template and
    `qwen_vl_utils.process_vision_info` (docs/methods.md, The official system). A sample that is
    `interleaved` has its images where its text says.

    Args:
        processor: The model's processor.
        samples: The questions.
        source: Name of the model, for messages.
        most_tokens: Most tokens of a prompt, image tokens included; None (default) for any number.
        system: System prompt; default None, the chat template's own.

    Raises:
        LanternError: there are no samples, an image cannot be read or used, a text is empty, no
            valid Unicode, too long or holds a special token, or the model has no chat template.
    """
    if not getattr(processor, "chat_template", None):
        raise LanternError(
            f"{source} has no chat template, so questions cannot be put to it; "
            "pass model inputs (input_ids, attention_mask, pixel_values, image_grid_thw)"
        )
    if not samples:
        raise LanternError("there are no samples to run")
    texts: list[str] = []
    images: list[Any] = []
    special = special_tokens(processor.tokenizer)
    patch = int(processor.image_processor.patch_size)
    for sample in samples:
        check_text(sample, special)
        messages = _messages(sample)
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        texts.append(
            processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        )
        try:
            images.extend(process_vision_info(messages, image_patch_size=patch)[0] or [])
        except (ValueError, TypeError, ZeroDivisionError) as error:
            # Such as an aspect ratio that the resizing does not take.
            raise LanternError(f"sample {sample.id!r}: {error}") from None
        _check_room(
            processor, sample, images[len(images) - len(sample.images) :], source, most_tokens
        )
    inputs = processor(text=texts, images=images or None, padding=True, return_tensors="pt")
    for sample, length in zip(samples, inputs["attention_mask"].sum(1).tolist(), strict=True):
        if most_tokens is not None and length > most_tokens:
            raise LanternError(
                f"sample {sample.id!r}: its prompt has {length} tokens, and {source} has positions "
                f"for {most_tokens}; shorten the question, or lower max_pixels"
            )
    return inputs


def _check_room(
    processor: Any, sample: Sample, images: Sequence[Any], source: str, most_tokens: int | None
) -> None:
    """Refuse images that alone take more tokens than the model has positions for.

    Args:
        processor: The model's processor.
        sample: The sample.
        images: Its images, as resized for the model.
        source: Name of the model, for messages.
        most_tokens: Most tokens of a prompt; None for any number.
    """
    vision = processor.image_processor
    side = int(vision.patch_size) * int(vision.merge_size)
    taken = sum(max(1, image.width // side) * max(1, image.height // side) for image in images)
    if most_tokens is not None and taken > most_tokens:
        raise LanternError(
            f"sample {sample.id!r}: its {len(images)} images take {taken:,} tokens, more than "
            f"{source} has positions for ({most_tokens:,}); give fewer images, or lower max_pixels"
        )


MOST_CHARACTERS = 1_000_000
"""Longest text that is tokenized: no model has positions for it, and it would take minutes."""


def check_text(sample: Sample, special: Sequence[str]) -> None:
    """Refuse a sample whose text cannot be put to a model as it stands.

    Args:
        sample: The sample.
        special: The special tokens of the model.

    Raises:
        LanternError: its text or an option is no text, is empty, cannot be encoded, or holds a
            special token.
    """
    for text in (sample.text, *sample.options):
        if not isinstance(text, str) or not text.strip():
            raise LanternError(f"sample {sample.id!r}: {text!r:.60} is no text that can be asked")
        if len(text) > MOST_CHARACTERS:
            raise LanternError(f"sample {sample.id!r}: its text has {len(text)} characters")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise LanternError(
                f"sample {sample.id!r}: its text holds half a character "
                f"({text[error.start]!r} in {text!r:.60}), as of a file in another encoding; "
                "mend the text"
            ) from None
        if found := [token for token in special if token in text]:
            raise LanternError(f"sample {sample.id!r}: its text holds the special token {found[0]}")


def has_text(processor: Any, sample: Sample, most_tokens: int | None = None) -> bool:
    """True if a sample's text can be put to the model as it stands.

    Args:
        processor: The model's processor.
        sample: The sample.
        most_tokens: Most tokens of the text; None (default) for any number.
    """
    try:
        check_text(sample, special_tokens(processor.tokenizer))
    except LanternError:
        return False
    if most_tokens is None:
        return True
    return len(processor.tokenizer(sample.text)["input_ids"]) <= most_tokens


def special_tokens(tokenizer: Any) -> list[str]:
    """The special tokens of a tokenizer, as they are written, and markers added without that mark.

    Args:
        tokenizer: The tokenizer.
    """
    return [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content.startswith("<|") and token.content.endswith("|>"))
    ]


def _messages(sample: Sample) -> list[dict[str, Any]]:
    images = [{"type": "image", "image": image} for image in sample.open_images()]
    return [{"role": "user", "content": content_parts(sample, images)}]


def content_parts(sample: Sample, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of the user turn in their order: images first, or where the text says.

    Args:
        sample: The sample.
        images: One part for each of its images.
    """
    if not sample.interleaved:
        return [*images, {"type": "text", "text": sample.text}]
    first, *rest = ({"type": "text", "text": text} for text in sample.text.split(IMAGE_MARK))
    content = [first, *(part for pair in zip(images, rest, strict=True) for part in pair)]
    return [part for part in content if part.get("text") != ""]


def as_samples(value: Any) -> list[Sample]:
    """One sample, or a list of samples, as a list; empty for anything else.

    Args:
        value: Anything.
    """
    if isinstance(value, Sample):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(item, Sample) for item in value):
        return list(value)
    return []
