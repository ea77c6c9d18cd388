"""Limits of an image in pixels: one pair for prompts and crops, whatever file carries them."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.model.facts import running_facts
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.pixels import OFFICIAL_PIXELS, STOCK_PIXELS
from lantern_probe.tasks.scenes import scenes

LOW, HIGH = 30_000, 60_000
PIXELS = {"min_pixels": LOW, "max_pixels": HIGH}
EDGES = {"shortest_edge": LOW, "longest_edge": HIGH}


@pytest.fixture
def copy(untrained_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint whose files carry no limits."""
    folder = shutil.copytree(untrained_folder, tmp_path / "copy")
    write(folder / "processor_config.json", image_processor={"size": ...})
    return folder


def write(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    for name, value in changes.items():
        within = content.get(name)
        if isinstance(value, dict) and isinstance(within, dict):
            content[name] = {k: v for k, v in {**within, **value}.items() if v is not ...}
        else:
            content[name] = value
    file.write_text(json.dumps(content))


def grids(lantern: LanternModel, width: int, height: int) -> tuple[list[int], list[int]]:
    """The grid of one picture in a prompt, and as a crop."""
    picture = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    sample = replace(scenes(1)[0], images=(picture,), boxes=())
    prompt = lantern.inputs([sample])["image_grid_thw"].tolist()[0]
    crop = lantern.processor.image_processor(images=[picture], return_tensors="pt")
    return prompt, crop["image_grid_thw"].tolist()[0]


@pytest.mark.parametrize(
    ("file", "carried"),
    [
        ("tokenizer_config.json", PIXELS),
        ("tokenizer_config.json", {"size": EDGES}),
        ("processor_config.json", {"image_processor": {"size": EDGES}}),
        ("processor_config.json", {"image_processor": PIXELS}),
        ("processor_config.json", {"image_processor": {"size": PIXELS}}),
        ("processor_config.json", {"images_kwargs": PIXELS}),
        ("processor_config.json", PIXELS),
    ],
)
def test_limits_are_obeyed_by_prompts_and_crops_whatever_file_carries_them(
    copy: Path, file: str, carried: dict[str, Any]
) -> None:
    write(copy / file, **carried)
    for given, low, high in (
        ({}, LOW, HIGH),
        ({"max_pixels": 45_000}, LOW, 45_000),
        ({"min_pixels": 50_000}, 50_000, HIGH),
        ({"min_pixels": 1000, "max_pixels": 20_000}, 1000, 20_000),
    ):
        lantern = LanternModel(str(copy), **given)
        decoding = running_facts(lantern)["decoding"]
        assert (decoding["min_pixels"], decoding["max_pixels"]) == (low, high)
        for size in ((500, 400), (56, 84)):
            prompt, crop = grids(lantern, *size)
            assert prompt == crop
            assert low - 28 * sum(size) < prompt[1] * prompt[2] * 14 * 14 <= high


def test_limits_of_an_old_preprocessor_file_are_obeyed(copy: Path) -> None:
    content = json.loads((copy / "processor_config.json").read_text())["image_processor"]
    (copy / "processor_config.json").unlink()
    write(copy / "preprocessor_config.json", **content, **PIXELS)
    write(copy / "preprocessor_config.json", processor_class="Qwen2_5_VLProcessor")
    size = LanternModel(str(copy)).processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (LOW, HIGH)


@pytest.mark.parametrize("stock", [False, True])
def test_the_official_limits_hold_where_no_file_or_a_stock_one_carries_any(
    copy: Path, stock: bool
) -> None:
    if stock:
        names = dict(zip(PIXELS, STOCK_PIXELS, strict=True))
        write(copy / "tokenizer_config.json", **names)
    size = LanternModel(str(copy)).processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == OFFICIAL_PIXELS


def test_a_limit_that_was_not_given_gives_way_and_that_is_said(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        size = LanternModel(str(copy), max_pixels=50_000).processor.image_processor.size
        assert (size["shortest_edge"], size["longest_edge"]) == (50_000, 50_000)
        assert "below the minimum of 200704 pixels, which gives way" in caplog.text
        size = LanternModel(str(copy), min_pixels=9_000_000).processor.image_processor.size
        assert (size["shortest_edge"], size["longest_edge"]) == (9_000_000, 9_000_000)
        assert "above the maximum of 2744000 pixels, which gives way" in caplog.text


def test_files_that_disagree_are_named(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(copy / "processor_config.json", image_processor={"size": EDGES})
    write(copy / "tokenizer_config.json", max_pixels=40_000)
    with caplog.at_level(logging.WARNING):
        lantern = LanternModel(str(copy))
    assert "disagree on max_pixels (40000 in tokenizer_config.json, 60000 in" in caplog.text
    prompt, crop = grids(lantern, 400, 400)
    assert prompt == crop and prompt[1] * prompt[2] * 14 * 14 <= 40_000


def test_settings_that_would_reach_prompts_alone_are_dropped_and_named(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(copy / "tokenizer_config.json", do_resize=False, truncation=True, max_length=5)
    with caplog.at_level(logging.WARNING):
        lantern = LanternModel(str(copy))
    prompt, crop = grids(lantern, 700, 500)
    assert prompt == crop
    for name in ("do_resize", "truncation", "max_length"):
        assert f"{name}=" in caplog.text


PATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "patch": ({"patch_size": 7}, "processor_config.json has patch_size 7, but the vision tower"),
    "merge": ({"merge_size": 4}, "has merge_size 4, but .* spatial_merge_size 2"),
    "temporal": ({"temporal_patch_size": 1}, "has temporal_patch_size 1, but .* 2"),
    "spread": ({"image_std": [0.5, 0, 0.5]}, "has image_std .*, by which pixels would be divided"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_patches_of_a_processor_are_those_of_the_vision_tower(copy: Path, name: str) -> None:
    settings, said = PATCHES[name]
    write(copy / "processor_config.json", image_processor=settings)
    with pytest.raises(LanternError, match=said) as refused:
        LanternModel(str(copy))
    assert "\n" not in str(refused.value)


def test_a_window_below_one_image_token_is_refused(copy: Path) -> None:
    write(copy / "config.json", vision_config={"window_size": 13})
    with pytest.raises(LanternError, match="config.json has a window_size of 13, less than one"):
        LanternModel(str(copy))
