"""Limits of an image in pixels: the same for prompts and for the crops of oracle latents."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.model.files import read_json, refuse

_log = logging.getLogger(__name__)

STOCK_PIXELS = (4 * 28 * 28, 16384 * 28 * 28)
"""Fewest and most pixels of an image in Qwen2.5-VL's own processor config."""

OFFICIAL_PIXELS = (256 * 28 * 28, 3500 * 28 * 28)
"""Fewest and most pixels of an image in the LanteRn evaluation (docs/methods.md, The official
system)."""

_NAMES = (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
_FILES = ("tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files that may carry limits, in the order in which transformers prefers them for a prompt."""

_PATCHES = (
    ("patch_size", "patch_size"),
    ("merge_size", "spatial_merge_size"),
    ("temporal_patch_size", "temporal_patch_size"),
)
"""Settings of an image processor, and of the vision tower that is given its patches."""


def limit_pixels(
    folder: Path,
    processor: Any,
    min_pixels: int | None,
    max_pixels: int | None,
    official: tuple[int, int] | None = OFFICIAL_PIXELS,
) -> tuple[int, int]:
    """Set the limits of a processor: those given, else the checkpoint's, else the official ones.

    transformers looks for limits in the tokenizer's settings too, and only for prompts; they are
    taken from there, so that prompts and crops have one pair of limits. Where one limit that was
    given contradicts the other, which was not, that other gives way.

    Args:
        folder: Folder of the checkpoint.
        processor: Its processor; changed in place.
        min_pixels: Fewest pixels; None for the default.
        max_pixels: Most pixels; None for the default.
        official: Limits of the official evaluation, in place of the stock ones; None for an
            evaluation that takes the checkpoint's own. Default LanteRn's.

    Returns:
        Fewest and most pixels.

    Raises:
        LanternError: a limit is no number of pixels, or the two leave no image size.
    """
    image_processor = processor.image_processor
    side = int(image_processor.patch_size) * int(image_processor.merge_size)
    for name, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
            raise LanternError(f"{name} {value} leave no image size; it is a number of pixels >= 1")
    if max_pixels is not None and max_pixels < side * side:
        raise LanternError(
            f"max_pixels {max_pixels} leave no image size; one image token takes {side} x {side} "
            f"pixels, so give at least {side * side}"
        )
    low, high = _default(folder, side, official or STOCK_PIXELS)
    if min_pixels is not None and max_pixels is not None and min_pixels > max_pixels:
        raise LanternError(
            f"min_pixels {min_pixels} and max_pixels {max_pixels} leave no image size"
        )
    low, high = (
        low if min_pixels is None else int(min_pixels),
        high if max_pixels is None else int(max_pixels),
    )
    if low > high and min_pixels is None:
        _log.warning("max_pixels %d is below the minimum of %d pixels, which gives way", high, low)
        low = high
    elif low > high:
        _log.warning("min_pixels %d is above the maximum of %d pixels, which gives way", low, high)
        high = low
    image_processor.size = {"shortest_edge": low, "longest_edge": high}
    _forget_others(processor)
    return low, high


def check_patches(folder: Path, config: Any, image_processor: Any) -> None:
    """Refuse an image processor whose patches are not those of the vision tower.

    Args:
        folder: Folder of the checkpoint.
        config: Its config.
        image_processor: Its image processor.

    Raises:
        LanternError: sizes of the two disagree, or the pixels would be divided by 0.
    """
    vision = config.vision_config
    file = _file_of(folder)
    for name, theirs in _PATCHES:
        mine, wanted = getattr(image_processor, name, None), getattr(vision, theirs, None)
        if mine != wanted:
            refuse(
                file,
                f"has {name} {mine!r}, but the vision tower of config.json has {theirs} "
                f"{wanted!r}; copy the processor's files from the model it was trained from",
            )
    spread = image_processor.image_std
    values = spread if isinstance(spread, list | tuple) else [spread]
    if image_processor.do_normalize and any(value is not None and value <= 0 for value in values):
        refuse(file, f"has image_std {spread!r}, by which pixels would be divided; copy the "
               "processor's files from the model it was trained from")  # fmt: skip
    side = int(vision.spatial_merge_size) * int(vision.patch_size)
    if getattr(vision, "window_size", side) < side:
        refuse(
            folder / "config.json",
            f"has a window_size of {vision.window_size}, less than one image token of {side} x "
            f"{side}; copy the config.json that belongs to the weights",
        )


def _file_of(folder: Path) -> Path:
    """The file that the image processor was read from."""
    nested = folder / "processor_config.json"
    if nested.is_file() and "image_processor" in read_json(nested):
        return nested
    return folder / "preprocessor_config.json"


def _default(folder: Path, side: int, official: tuple[int, int]) -> tuple[int, int]:
    """The limits that the files carry; the official ones where none does, or the stock ones."""
    found: dict[str, list[tuple[int, str]]] = {"min_pixels": [], "max_pixels": []}
    for file, name, value in _carried(folder):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            refuse(file, f"has {name} {value!r}, which is no number of pixels")
        if name == "max_pixels" and value < side * side:
            refuse(file, f"has max_pixels {value}, less than one image token of {side} x {side}")
        found[name].append((value, file.name))
    for name, values in found.items():
        if len({value for value, _ in values}) > 1:
            said = ", ".join(f"{value} in {file}" for value, file in values)
            _log.warning(
                "'%s': its files disagree on %s (%s); the first is used", folder, name, said
            )
    low, high = (values[0][0] if values else None for values in found.values())
    if (low, high) in (STOCK_PIXELS, (None, None)):
        return official
    if low is not None and high is not None:
        if low > high:
            raise LanternError(
                f"cannot load the checkpoint '{folder}': its min_pixels {low} "
                f"({found['min_pixels'][0][1]}) and max_pixels {high} "
                f"({found['max_pixels'][0][1]}) leave no image size; give both"
            )
        return low, high
    if low is None:
        assert high is not None
        return min(official[0], high), high
    return low, max(official[1], low)


def _carried(folder: Path) -> Iterator[tuple[Path, str, Any]]:
    """Every limit that a file of the checkpoint carries, the one that counts first."""
    for file in (folder / name for name in _FILES):
        if not file.is_file():
            continue
        content = read_json(file)
        within = content.get("image_processor")
        for part in (content.get("images_kwargs"), content, within):
            if not isinstance(part, dict):
                continue
            size = part.get("size")
            if size is not None and not (isinstance(size, dict) and {*sum(_NAMES, ())} & {*size}):
                refuse(file, f"has size {size!r}, which does not say min_pixels and max_pixels")
            for name, edge in _NAMES:
                if part.get(name) is not None:
                    yield file, name, part[name]
                elif isinstance(size, dict) and size.get(name, size.get(edge)) is not None:
                    yield file, name, size.get(name, size.get(edge))


def _forget_others(processor: Any) -> None:
    """Remove settings that would reach prompts and no crop, or would cut a prompt short."""
    images = getattr(processor.image_processor, "valid_kwargs", None)
    names = {*getattr(images, "__annotations__", {}), "min_pixels", "max_pixels"}
    names |= {"truncation", "max_length", "stride"}
    settings = getattr(processor.tokenizer, "init_kwargs", {})
    for name in sorted((names - {"return_tensors"}) & {*settings}):
        value = settings.pop(name)
        if name not in ("min_pixels", "max_pixels", "size"):
            _log.warning("%s=%r of tokenizer_config.json is not used for prompts", name, value)
    own = getattr(processor, "images_kwargs", None)
    if isinstance(own, dict):
        for name in ("min_pixels", "max_pixels", "size"):
            own.pop(name, None)
