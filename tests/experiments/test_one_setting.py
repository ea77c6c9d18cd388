"""One setting at a time changes between two starts of a run: each is refused and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from experiments import inputs
from experiments.ablate_latents import Config, main
from experiments.console import Explained
from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.tasks.scenes import scenes

Change = Callable[[Path], Any]


def edit(file: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model" / file
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | changes))

    return change


def template(folder: Path) -> None:
    file = folder / "model" / "chat_template.jinja"
    file.write_text(file.read_text().replace("look with care", "look"))


def weights(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, file, {"format": "pt"})


def tokenizer(folder: Path) -> None:
    file = folder / "model" / "tokenizer.json"
    file.write_text(file.read_text() + "\n")


def image(folder: Path) -> None:
    Image.new("RGB", (84, 84), "red").save(folder / "images" / "0.png")


def line(folder: Path) -> None:
    file = folder / "data.jsonl"
    file.write_text(file.read_text().replace("what color", "which color", 1))


def in_line(number: int, **fields: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "data.jsonl"
        lines = [json.loads(text) for text in file.read_text().splitlines()]
        lines[number] |= fields
        file.write_text("".join(json.dumps(item) + "\n" for item in lines))

    return change


CHECKPOINT: dict[str, tuple[Change, str]] = {
    "weights": (weights, "checkpoint.model.safetensors: 'sha256:"),
    "tokenizer": (tokenizer, "checkpoint.tokenizer.json: 'sha256:"),
    "template": (template, "checkpoint.chat_template.jinja: 'sha256:"),
    "config": (
        edit("config.json", initializer_range=0.5),
        "checkpoint.config.json.initializer_range: absent there, 0.5 here",
    ),
    "slots": (edit("config.json", latent_size=4), "config.json.latent_size: 8 there, 4 here"),
    "penalty": (
        edit("generation_config.json", repetition_penalty=3.0),
        "generation_config.json.repetition_penalty: absent there, 3.0 here",
    ),
    "limit": (
        edit("generation_config.json", max_new_tokens=32),
        "generation_config.json.max_new_tokens: 64 there, 32 here",
    ),
    "pixels": (
        edit("tokenizer_config.json", max_pixels=40_000),
        "tokenizer_config.json.max_pixels: absent there, 40000 here",
    ),
    "normalisation": (
        edit("preprocessor_config.json", image_mean=[0.5, 0.5, 0.5]),
        "checkpoint.preprocessor_config.json: absent there",
    ),
    "special tokens": (
        edit("special_tokens_map.json", eos_token="<|im_end|>"),
        "checkpoint.special_tokens_map.json: absent there",
    ),
    "image": (image, "its images was"),
    "question": (line, "its question was"),
    "attribute": (in_line(0, hue=9), "its attributes was {'hue': 0}, and is {'hue': 9}"),
    "answer": (in_line(0, answer="C"), "its answer was '"),
    "box": (in_line(2, bbox=[1.0, 2.0, 30.0, 40.0]), "its boxes was"),
}

FLAGS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, "seed: 0 there, 1 here"),
    "samples": ({"samples": 3}, "samples: 4 there, 3 here"),
    "dtype": ({"dtype": "bfloat16"}, "dtype: 'float32' there, 'bfloat16' here"),
    "attention": (
        {"attn_implementation": "eager"},
        "attn_implementation: None there, 'eager' here",
    ),
    "pixels": ({"max_pixels": 40_000}, "max_pixels: None there, 40000 here"),
    "slots": ({"latent_size": 4}, "latent_size: None there, 4 here"),
    "limit": ({"max_new_tokens": 30}, "max_new_tokens: None there, 30 here"),
    "parser": ({"parser": "strict"}, "parser: 'default' there, 'strict' here"),
    "task": ({"data": None, "image_root": None, "task": "scenes"}, "data: 'data.jsonl' there"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, data, and a run of the one on the other."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(organisms.path("faithful"), folder / "model")
    (folder / "images").mkdir()
    lines = []
    for number, scene in enumerate(scenes(4, seed=70)):
        scene.open_images()[0].save(folder / "images" / f"{number}.png")
        options = [f"{letter}. {c}" for letter, c in zip("ABCDEFGH", scene.options, strict=True)]
        answer = "ABCDEFGH"[scene.options.index(scene.answer)]
        lines.append({"question": scene.question, "options": options, "answer": answer})
        lines[-1] |= {"img_path": f"{number}.png", "bbox": list(scene.boxes[0]), "hue": number}
    (folder / "data.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines))
    assert main(config_of(folder)) in (0, 1)
    assert len(read_rows(folder / "run")) == 8
    return folder


def config_of(folder: Path, **changes: Any) -> Config:
    given = {
        "model": (str(folder / "model"),),
        "data": folder / "data.jsonl",
        "image_root": folder / "images",
        "conditions": ("own", "zeros"),
        "output": folder / "run",
    }
    return Config(**(given | changes))


def another(begun: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's own place, for paths are settings; restored after the test."""
    kept = begun.with_name(f"{begun.name}-kept")
    if not kept.exists():
        shutil.copytree(begun, kept)
    shutil.rmtree(begun)
    shutil.copytree(kept, begun)
    return begun


@pytest.fixture
def place(begun: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return another(begun, monkeypatch)


@pytest.mark.parametrize("name", CHECKPOINT)
def test_a_change_of_checkpoint_or_data_is_refused_and_named(place: Path, name: str) -> None:
    change, said = CHECKPOINT[name]
    change(place)
    before = (place / "run" / "rows.jsonl").read_bytes()
    with pytest.raises(LanternError) as refused:
        main(config_of(place, conditions=("own", "zeros", "mean")))
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert (place / "run" / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", FLAGS)
def test_a_change_of_a_flag_is_refused_and_named(place: Path, name: str) -> None:
    changes, said = FLAGS[name]
    with pytest.raises(LanternError) as refused:
        main(config_of(place, **changes))
    assert said in str(refused.value) and "--allow-changed" in str(refused.value)


def test_another_sample_in_the_place_of_one_is_refused(place: Path) -> None:
    """Its rows would lend latents to no one, and the others would be lent another's."""
    file = place / "data.jsonl"
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for number, item in enumerate(lines):
        item["id"] = f"q{number}"
    run = {"output": place / "named"}
    file.write_text("".join(json.dumps(item) + "\n" for item in lines))
    assert main(config_of(place, **run)) in (0, 1)
    file.write_text("".join(json.dumps(item) + "\n" for item in reversed(lines)))
    assert main(config_of(place, **run)) in (0, 1)
    lines[1] |= {"id": "other", "question": lines[1]["question"] + " now"}
    file.write_text("".join(json.dumps(item) + "\n" for item in lines))
    with pytest.raises(LanternError, match="sample_set: '"):
        main(config_of(place, **run))


@pytest.mark.parametrize("name", ["image", "attribute", "question"])
def test_a_changed_sample_has_a_line_in_the_comparison(
    place: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(config_of(place), explain_resume=True)
    with pytest.raises(Explained):
        main(config)
    (same,) = (s for s in capsys.readouterr().out.splitlines() if "samples.jsonl" in s)
    assert same.split()[-1] == "yes"
    CHECKPOINT[name][0](place)
    with pytest.raises(Explained):
        main(config)
    said = [s for s in capsys.readouterr().out.splitlines() if "sample '" in s]
    assert said and name in said[0] and {text.split()[-1] for text in said} == {"no"}


def test_a_change_of_threads_is_refused_and_may_be_allowed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(inputs.ModelOptions, "threads", lambda self, name: 3)
    with pytest.raises(LanternError, match="threads: 1 there, 3 here"):
        main(config_of(place))
    assert main(config_of(place, allow_changed=("threads",))) in (0, 1)
    assert read_manifest(place / "run")["resumed"][-1]["changed"] == {"threads": [1, 3]}
    assert torch.get_num_threads() == threads


def test_nothing_changed_goes_on_wherever_the_checkpoint_has_gone(place: Path) -> None:
    more = ("own", "zeros", "first-repeat")
    assert main(config_of(place, conditions=more, batch_rows=2)) in (0, 1)
    assert len(read_rows(place / "run")) == 12
    shutil.move(place / "model", place / "moved")
    (place / "link").symlink_to(place / "moved")
    for name in ("moved", "link"):
        assert main(config_of(place, model=(str(place / name),), conditions=more)) in (0, 1)
    assert len(read_rows(place / "run")) == 12


def test_a_comparison_is_shown_and_nothing_is_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template(place)
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    config = replace(config_of(place, seed=1), explain_resume=True)
    with pytest.raises(Explained):
        main(config)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["seed"].split() == ["seed", "0", "1", "no"]
    assert lines["checkpoint.chat_template.jinja"].split()[-1] == "no"
    for name in ("checkpoint.config.json", "dtype", "code", "versions", "threads"):
        assert lines[name].split()[-1] == "yes"
    assert "known once the model is loaded" in lines["decoding"]
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(Explained):
        main(replace(config, output=place / "none"))
    assert not (place / "none").exists()
