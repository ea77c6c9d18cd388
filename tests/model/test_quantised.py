"""Weights in few bits: allowed where a row is the same in any batch, else refused by name."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.model.checkpoint import untrain
from lantern_probe.model.files import check_settings
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.quantised import check_quantised, is_quantised, quantised_loading
from lantern_probe.tasks.scenes import scenes

FAITHFUL = organisms.path("faithful")
FOUR = {"quant_method": "bitsandbytes", "load_in_4bit": True}
EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True}


@pytest.fixture
def copy(untrained_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untrained_folder, tmp_path / "copy")


def saved_in(folder: Path, settings: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": settings}))
    return folder


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of optional packages that are taken to be installed."""
    found: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in found else None)
    return found


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantization_config, gptq.*only bitsandbytes"),
        ({"quant_method": "awq"}, "quantization_config, awq.*only bitsandbytes"),
        ({"quant_method": "fp8"}, "quantization_config, fp8.*only bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors.*only bitsandbytes"),
        ("gptq", "quantization_config, gptq"),
        ({"quant_method": "bitsandbytes"}, "only bitsandbytes"),
        (EIGHT, "llm_int8_threshold 6.0, which makes the answer to a question depend on"),
        (EIGHT | {"llm_int8_threshold": 3.0}, "llm_int8_threshold 3.0"),
    ],
)
def test_other_weights_in_few_bits_are_refused_by_name(settings: Any, why: str, copy: Path) -> None:
    with pytest.raises(LanternError, match=why) as caught:
        check_settings(saved_in(copy, settings))
    assert "give the checkpoint in bfloat16" in str(caught.value)


@pytest.mark.parametrize("settings", [FOUR, EIGHT | {"llm_int8_threshold": 0.0}])
def test_those_of_bitsandbytes_that_hold_are_taken(settings: Any, copy: Path) -> None:
    check_settings(saved_in(copy, settings))
    assert is_quantised(copy)


def test_what_is_not_at_hand_is_refused_before_loading(packages: set[str], copy: Path) -> None:
    assert not check_quantised("m", FAITHFUL, None, adapted=True, gpu=True)
    with pytest.raises(LanternError, match=r"--quantize 4bit needs bitsandbytes.*\[quantized\]"):
        check_quantised("m", FAITHFUL, "4bit", adapted=False, gpu=True)
    packages.add("bitsandbytes")
    assert check_quantised("m", FAITHFUL, "8bit", adapted=False, gpu=False)
    packages.add("kernels")
    assert check_quantised("m", FAITHFUL, "4bit", adapted=False, gpu=True)
    with pytest.raises(LanternError, match="fetch code from the Hub"):
        check_quantised("m", FAITHFUL, "4bit", adapted=False, gpu=False)
    with pytest.raises(LanternError, match="an adapter is merged into whole weights"):
        check_quantised("m", FAITHFUL, "4bit", adapted=True, gpu=True)
    with pytest.raises(LanternError, match="take 4bit or 8bit"):
        check_quantised("m", FAITHFUL, "2bit", adapted=False, gpu=True)


def test_what_is_quantised_is_not_quantised_again(packages: set[str], copy: Path) -> None:
    packages.add("bitsandbytes")
    saved_in(copy, FOUR)
    assert check_quantised("m", copy, None, adapted=False, gpu=True)
    with pytest.raises(LanternError, match="m is quantised already; leave out --quantize"):
        check_quantised("m", copy, "4bit", adapted=False, gpu=True)
    with pytest.raises(LanternError, match="m, whose weights are quantised, has none"):
        check_quantised("m", copy, None, adapted=True, gpu=True)


def test_eight_bits_choose_no_columns_over_the_batch() -> None:
    settings = quantised_loading("8bit", torch.bfloat16, gpu=True)["quantization_config"]
    assert settings.llm_int8_threshold == 0 and settings.load_in_8bit
    four = quantised_loading("4bit", "auto", gpu=True)
    assert four["quantization_config"].bnb_4bit_compute_dtype == torch.bfloat16 == four["dtype"]
    assert quantised_loading(None, "auto", gpu=False) == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_row_in_few_bits_is_the_same_in_any_batch(bits: Any, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    lantern = LanternModel("faithful", quantize=bits)
    samples = scenes(6, seed=21)
    whole = LanternModel("faithful").generate(samples)
    together = lantern.generate(samples)
    assert together.texts == [lantern.generate(sample).texts[0] for sample in samples]
    assert together.answers == whole.answers
    with torch.no_grad():
        batch = lantern.hf(**lantern.inputs(samples)).logits[:, -1]
        alone = torch.stack([lantern.hf(**lantern.inputs([s])).logits[0, -1] for s in samples])
    torch.testing.assert_close(batch, alone, rtol=1e-5, atol=1e-5)
    with pytest.raises(LanternError, match="without --quantize"):
        untrain(lantern)
    lantern.hf.save_pretrained(tmp_path / "saved")
    lantern.processor.save_pretrained(tmp_path / "saved")
    again = LanternModel(str(tmp_path / "saved"))
    assert again.generate(samples).texts == together.texts
