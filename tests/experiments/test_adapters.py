"""Commands with an adapter: the run is of the adapted model, and of no other."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from experiments.ablate_latents import Config, main
from experiments.inputs import Inputs
from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "tuned"
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(organisms.path("faithful"))
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        peft.get_peft_model(base.float(), settings).save_pretrained(str(folder))
    return folder


def ablate(output: Path, model: str, adapter: Path | None = None, **more: Any) -> int:
    wanted = {"task": "scenes", "samples": 4, "conditions": ("zeros",)} | more
    return main(Config(model=(model,), adapter=adapter, output=output, **wanted))


def test_a_run_belongs_to_the_adapter_wherever_it_lies(
    lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = shutil.copytree(lora, tmp_path / "tuned")
    assert ablate(tmp_path / "run", "faithful", adapter) == 0
    out = capsys.readouterr().out
    assert "faithful + tuned" in out and organisms.card("faithful").truth not in out
    rows = read_rows(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert "adapter/adapter_model.safetensors" in config["checkpoint"]
    assert len(rows) == 8 and {row["status"] for row in rows} == {"ok"}
    # The folder of the adapter alone is the same model; so is a copy of it elsewhere.
    adapter.rename(tmp_path / "moved")
    assert ablate(tmp_path / "run", str(tmp_path / "moved")) == 0
    assert read_rows(tmp_path / "run") == rows


def test_a_run_is_not_resumed_with_another_adapter(lora: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(lora, tmp_path / "tuned")
    ablate(tmp_path / "run", "faithful", adapter)
    with pytest.raises(LanternError, match=r"checkpoint.adapter/adapter_config.json"):
        ablate(tmp_path / "run", "faithful", samples=5)
    file = adapter / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file)
    with pytest.raises(LanternError, match=r"checkpoint.adapter/adapter_model.safetensors"):
        ablate(tmp_path / "run", "faithful", adapter, samples=5)


def test_flags_that_do_not_go_together_are_refused(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    absent = "bitsandbytes"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else found(name)
    )
    for wrong, why in (
        ({"adapter": lora, "quantize": "4bit"}, "merged into whole weights"),
        ({"quantize": "4bit"}, r"--quantize 4bit needs bitsandbytes.*\[quantized\]"),
        ({"device": "cpu", "device_map": "auto"}, "--device or --device-map, not both"),
        ({"device_map": "everywhere"}, "take auto, balanced"),
        ({"adapter": tmp_path}, "holds no adapter_config.json"),
    ):
        with pytest.raises(LanternError, match=why):
            Inputs(task="scenes", **wrong).check(["faithful"])
    with pytest.raises(LanternError, match="belongs to one model, and --model has 2"):
        Inputs(task="scenes", adapter=lora).check(["faithful", "bypass"])
    with pytest.raises(LanternError, match="is an adapter itself"):
        Inputs(task="scenes", adapter=lora).check([str(lora)])
