"""`python -m experiments.ablate_latents` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from experiments.ablate_latents import Config, main
from experiments.ablations import ablation_parts, with_hidden
from experiments.inputs import Inputs
from experiments.runs import run_settings
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows
from lantern_probe.tasks.scenes import scenes

ROOT = Path(__file__).parents[2]


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "experiments.ablate_latents", *map(str, arguments)]


def start(*arguments: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ablate(*arguments: Any) -> subprocess.CompletedProcess[str]:
    process = start(*arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def one_line_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VisCoT-format file: scenes as images, good lines and every kind of bad sample."""
    folder = tmp_path_factory.mktemp("viscot")
    images = folder / "images" / "set"
    images.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes(6, seed=70)):
        scene.open_images()[0].save(images / f"{number}.png")
        colors = [scene.answer, *[c for c in scene.options if c != scene.answer][:3]]
        lines.append(
            {
                "question": scene.question,
                "options": [f"{letter}. {c}" for letter, c in zip("ABCD", colors, strict=True)],
                "answer": "A",
                "img_path": f"/elsewhere/data/set/{number}.png",
                "bbox": list(scene.boxes[0]),
            }
        )
    wide = Image.new("RGB", (300, 120), "white")
    ImageDraw.Draw(wide).ellipse((20, 20, 90, 90), fill="blue")
    wide.save(images / "wide.jpg")
    lines.append({**lines[0], "img_path": "set/wide.jpg", "bbox": [[20, 20, 90, 90]]})
    lines.append({**lines[0], "img_path": "set/missing.png"})
    (images / "torn.png").write_bytes((images / "0.png").read_bytes()[:300])
    lines.append({**lines[0], "img_path": "set/torn.png"})
    lines.append({**lines[0], "bbox": [900, 900, 950, 950]})
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_viscot_file_with_bad_samples_is_run_and_they_are_recorded(data: Path, tmp_path: Path):
    output = tmp_path / "run"
    done = ablate(
        "--model", "faithful", "--data", data / "data.jsonl", "--image-root", data / "images",
        "--conditions", "own", "zeros", "oracle", "swap", "--output", output,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(output)
    assert len(rows) == 10 * 4
    failed = {(r["sample"], r["condition"]): r["error"] for r in rows if r["status"] == "failed"}
    assert {s for s, c in failed if c == "own"} == {"data-8", "data-9"}
    assert "missing.png" in failed["data-8", "own"] and "torn.png" in failed["data-9", "own"]
    assert ("data-10", "oracle") in failed and ("data-10", "own") not in failed
    assert "9 rows failed" in done.stdout
    manifest = json.loads((output / "run.json").read_text())
    assert manifest["status"] == "complete" and manifest["config"]["samples"] == 10
    summary = json.loads((output / "summary.json").read_text())
    assert [record["condition"] for record in summary] == ["own", "zeros", "oracle", "swap"]
    assert (output / "accuracy.png").stat().st_size > 5000


def test_several_models_end_in_one_table(tmp_path: Path):
    done = ablate("--samples", 6, "--conditions", "zeros", "swap", "--output", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert "side by side" in done.stdout and "no evidence about LanteRn" in done.stdout.replace(
        "\n", " "
    )
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    models = ["faithful", "bypass", "collapsed", "vanilla"]
    assert [(r["model"], r["condition"]) for r in summary] == [
        (m, c) for m in models for c in ("own", "zeros", "swap")
    ]
    assert all((tmp_path / "all" / m / "rows.jsonl").exists() for m in models)
    again = ablate("--samples", 6, "--conditions", "zeros", "swap", "--output", tmp_path / "all")
    assert again.returncode == 0
    assert json.loads((tmp_path / "all" / "summary.json").read_text()) == summary


def test_kill_at_random_moments_then_resume(tmp_path: Path):
    def arguments(output: Path) -> tuple[Any, ...]:
        return ("--model", "bypass", "--samples", 24, "--batch-rows", 24, "--output", output)

    keys = ("sample", "condition", "status", "answer", "text", "donor")
    assert ablate(*arguments(tmp_path / "whole")).returncode == 0
    whole = sorted(tuple(str(r.get(k)) for k in keys) for r in read_rows(tmp_path / "whole"))
    killed = tmp_path / "killed"
    moments = random.Random(5)
    kills = 0
    for _ in range(4):
        process = start(*arguments(killed))
        rows = killed / "rows.jsonl"
        before = rows.stat().st_size if rows.exists() else 0
        # Wait until this process has written, then kill it a moment later.
        while process.poll() is None and not (rows.exists() and rows.stat().st_size > before):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kills >= 2
    assert ablate(*arguments(killed)).returncode == 0
    resumed = sorted(tuple(str(r.get(k)) for k in keys) for r in read_rows(killed))
    assert resumed == whole


@pytest.fixture(scope="module")
def plain_folder(untrained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(untrained_folder, tmp_path_factory.mktemp("plain") / "model")
    config = json.loads((folder / "config.json").read_text())
    kept = {k: v for k, v in config.items() if not k.startswith(("lvr_", "latent_size"))}
    (folder / "config.json").write_text(json.dumps(kept))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("<|lvr_", "<|other_"))
    return folder


def test_bad_input_is_named(plain_folder: Path, tmp_path: Path):
    """What shows only once a file is read or a model loaded; test_startup has the rest."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    cases: dict[str, dict[str, Any]] = {
        "has no <|lvr_start|>": {"model": (str(plain_folder),), "task": "scenes"},
        "empty.jsonl: no rows in it": {"model": ("faithful",), "data": empty},
    }
    for number, (message, given) in enumerate(cases.items()):
        with pytest.raises(LanternError, match=re.escape(message)):
            main(Config(output=tmp_path / str(number), **given))


def test_the_folder_of_another_run_is_refused_and_kept(tmp_path: Path):
    arguments = ("--model", "faithful", "--conditions", "zeros", "--output", tmp_path / "run")
    assert ablate(*arguments, "--samples", 4).returncode == 0
    rows = (tmp_path / "run" / "rows.jsonl").read_bytes()
    message = one_line_error(ablate(*arguments, "--samples", 5))
    assert "samples" in message and "overwrite" in message
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == rows
    # Another condition is no other run: it is added, and the rows that are there stay.
    more = ablate(*arguments[:2], "--conditions", "swap", *arguments[4:], "--samples", 4)
    assert more.returncode == 0, more.stderr
    assert (tmp_path / "run" / "rows.jsonl").read_bytes().startswith(rows)
    assert len(read_rows(tmp_path / "run")) == 12
    done = ablate(*arguments, "--samples", 5, "--overwrite")
    assert done.returncode == 0 and len(read_rows(tmp_path / "run")) == 10


def test_a_model_that_never_emits_a_block_ends_with_1(untrained_folder: Path, tmp_path: Path):
    done = ablate(
        "--model", untrained_folder, "--task", "scenes", "--samples", 3, "--max-new-tokens", 4,
        "--conditions", "zeros", "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 1 and "emitted a latent block" in done.stdout, done


def test_a_limit_of_pixels_reaches_the_processor_and_is_another_setting():
    smaller = Inputs(max_pixels=7000)
    size = smaller.load_model("faithful").processor.image_processor.size
    assert size["longest_edge"] == 7000
    assert run_settings(smaller, "x", "faithful", "scenes")["max_pixels"] == 7000
    with pytest.raises(LanternError, match="max_pixels 1 leave no image size"):
        Inputs(max_pixels=1).load_model("faithful")


def test_help_explains_every_option():
    done = ablate("--help")
    assert done.returncode == 0
    for option in ("--model", "--data", "--image-root", "--conditions", "--samples", "--seed"):
        assert option in done.stdout
    assert "noise:scale=2" in done.stdout


def test_hidden_images_run_with_the_clean_part() -> None:
    parts = ablation_parts(["zeros"], ["black-box", "hide-image"])
    paired = with_hidden(parts)
    assert [part.image.label for part, _ in paired] == ["clean", "black-box"]
    assert [[c.label for c in hidden] for _, hidden in paired] == [["own", "zeros"], []]
    fewer = [parts[0], replace(parts[2], first=3)]
    assert with_hidden(fewer) == [(part, []) for part in fewer]  # other samples, other prefixes
    assert with_hidden(parts[1:]) == [(part, []) for part in parts[1:]]
