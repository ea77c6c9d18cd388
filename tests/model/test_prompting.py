"""Prompts without weights: as the whole model makes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lantern_probe import LanternModel, organisms
from lantern_probe.errors import LanternError
from lantern_probe.model.prompting import fed_pixels, load_prompting
from lantern_probe.tasks import load_task


@pytest.fixture(scope="module")
def lantern() -> LanternModel:
    return LanternModel("faithful", max_pixels=40_000)


def test_inputs_and_limits_are_those_of_the_whole_model(lantern: LanternModel) -> None:
    asking = load_prompting("faithful", max_pixels=40_000)
    for sample in load_task("scenes", 3):
        here, there = asking.inputs(sample), lantern.inputs([sample])
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
    assert asking.max_new_tokens == lantern.max_new_tokens
    assert asking.most_tokens == lantern.most_tokens and asking.lvr == lantern.lvr
    tokenizer = lantern.processor.tokenizer
    ends = {*lantern.eos_ids, tokenizer.pad_token_id}
    assert set(asking.ends) == {*tokenizer.convert_ids_to_tokens(sorted(ends))}


def test_weights_are_not_needed(tmp_path: Path) -> None:
    folder = tmp_path / "no-weights"
    shutil.copytree(organisms.path("faithful"), folder)
    (folder / "model.safetensors").unlink()
    asking = load_prompting(str(folder))
    assert asking.markers() == ("<|lvr_start|>", "<|lvr_sep|>", "<|lvr_end|>")
    assert asking.count("red blue") == 2


def test_a_checkpoint_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(organisms.path("faithful"), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(LanternError, match="broken"):
        load_prompting(str(folder))


def test_fed_pixels_are_whole_and_undo_the_normalisation(lantern: LanternModel) -> None:
    image = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    inputs = lantern.processor.image_processor(images=[image, image[:56]], return_tensors="pt")
    found = fed_pixels(lantern.processor, inputs)
    assert [tuple(one.shape) for one in found] == [(84, 112, 3), (84, 140, 3)]
    assert np.array_equal(found[0].numpy(), image)


def test_pixels_that_no_file_holds_are_refused(lantern: LanternModel) -> None:
    image = np.zeros((84, 84, 3), dtype=np.uint8)
    inputs = lantern.processor.image_processor(images=[image], return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"] + 0.001
    with pytest.raises(LanternError, match="no image file holds"):
        fed_pixels(lantern.processor, inputs)
