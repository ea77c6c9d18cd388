"""Samples that cannot be run, in every command: they fail alone, named, and the others go on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lantern_probe.tasks.scenes import scenes

Command = Callable[..., subprocess.CompletedProcess[str]]

GOOD = 12
IMAGE = {"gone": "no image at", "cut": "cut.png", "empty": "empty.png", "page": "page.png"}
TEXT = {
    "surrogate": ("what color is the caf\udce9 ?", "udce9"),
    "marker": ("what <|image_pad|> color ?", "special token"),
    "slots": ("what <|lvr_start|> color ?", "special token"),
    "long": ("what color " * 2000, "tokens"),
}
BOX = {"outside": [500, 500, 600, 600], "turned": [60, 10, 20, 30], "shares": [0.1, 0.1, 0.5, 0.5]}
UNASKED = {*IMAGE, *TEXT}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good samples, and one of each kind of bad ones among them, with ids that say which."""
    folder = tmp_path_factory.mktemp("data")
    kinds = [*IMAGE, *TEXT, *BOX]
    lines: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes(GOOD + len(kinds), seed=3)):
        scene.open_images()[0].save(folder / f"{number}.png")
        shown = zip("ABCDEFGH", scene.options, strict=False)
        line = {
            "id": f"good{number}",
            "question": scene.question,
            "options": [f"{letter}. {option}" for letter, option in shown],
            "answer": "ABCDEFGH"[scene.options.index(str(scene.answer))],
            "img_path": f"{number}.png",
            "bbox": list(scene.boxes[0]),
        }
        kind = kinds[number // 2] if number % 2 and number // 2 < len(kinds) else ""
        if kind:
            line["id"] = kind
            line["img_path"] = f"{kind}.png" if kind in IMAGE else line["img_path"]
            line["question"] = TEXT[kind][0] if kind in TEXT else line["question"]
            line["bbox"] = BOX.get(kind, line["bbox"])
        lines.append(line)
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.png").write_text("<html>404 Not Found</html>")
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


COMMANDS: dict[str, tuple[str | int, ...]] = {
    "read_attention": ("--overlays", 4),
    "ablate_latents": (
        *("--conditions", "oracle", "random-box", "swap", "random-box-other"),
        *("--images", "clean", "black-box", "swap-image"),
    ),
    "knock_out": (),
    "decompose_markers": (),
    "exchange_latents": ("--twin", "black-box"),
    "sense_latents": (),
    "map_latents": (),
    "capture_activations": ("--sites", "residual.*@slot", "residual.0@box"),
    "patch_latents": ("--twin", "unrelated", "--layers", "0"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_samples_fail_alone_and_are_named(
    command: Command, data: Path, tmp_path: Path, name: str
) -> None:
    arguments = ("--model", "faithful", "--data", data, "--max-new-tokens", 40, *COMMANDS[name])
    done = command(name, *arguments, "--output", tmp_path)
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    # Letters are no words of the organism, so that patches find no common position for them.
    assert done.returncode == (1 if name == "patch_latents" else 0), said
    assert " failed, of " in said and any(kind in said for kind in UNASKED)
    files = sorted(tmp_path.rglob("rows.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    by_status: dict[str, set[str]] = {}
    for row in rows:
        if "swap-image" not in row["condition"]:  # which needs no image of the sample's own
            by_status.setdefault(row["status"], set()).add(row["sample"].rstrip("~"))
    asked = {row["sample"].rstrip("~") for row in rows} - UNASKED
    if name != "patch_latents":
        assert not by_status["ok"] & UNASKED
        assert {s for s in asked if s.startswith("good")} <= by_status["ok"]
    assert {*TEXT} <= by_status["failed"]
    reasons = {row["sample"]: row["error"] for row in rows if row["status"] == "failed"}
    for kind, (_, words) in TEXT.items():
        if name != "patch_latents":  # a pair fails together, for the reason of either
            assert words in reasons[kind] and kind in reasons[kind]


def test_attention_leaves_out_bad_boxes_and_names_them(
    command: Command, data: Path, tmp_path: Path
) -> None:
    done = command("read_attention", "--model", "faithful", "--data", data, "--output", tmp_path)
    assert done.returncode == 0 and (tmp_path / "attention.json").exists(), done.stderr
    rows = [json.loads(s) for s in (tmp_path / "faithful/rows.jsonl").read_text().splitlines()]
    reasons = {row["sample"]: row["error"] for row in rows if row["status"] == "failed"}
    assert reasons.keys() == UNASKED | BOX.keys()
    assert all(kind in reason for kind, reason in reasons.items())
    assert f"{len(reasons)} rows failed, of {len(reasons)} samples" in done.stdout


def test_fractions_are_refused_or_converted_and_give_the_same_rows(
    command: Command, data: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    good = [line for line in lines if line["id"].startswith("good")]
    shutil.copytree(data.parent, tmp_path / "data")
    answers = {}
    for form, scale in (("pixels", 1), ("fraction", 84)):
        for line, one in zip(good, [line["bbox"] for line in good], strict=True):
            line["scaled"] = [edge / scale for edge in one]
        rows = [{**line, "bbox": line["scaled"], "scaled": None} for line in good]
        path = tmp_path / "data" / f"{form}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ("--model", "faithful", "--data", path, "--conditions", "oracle", "random-box")
        if form == "fraction":
            refused = command("ablate_latents", *arguments, "--output", tmp_path / "refused")
            assert refused.returncode == 2 and "--boxes fraction" in refused.stderr
        output = tmp_path / form
        done = command("ablate_latents", *arguments, "--boxes", form, "--output", output)
        assert done.returncode == 0, done.stderr
        assert ("converted from fractions" in done.stderr) == (form == "fraction")
        found = [json.loads(s) for s in (output / "rows.jsonl").read_text().splitlines()]
        answers[form] = {(row["sample"], row["condition"]): row["text"] for row in found}
    assert answers["pixels"] == answers["fraction"]
