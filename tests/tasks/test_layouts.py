"""Scenes written out in every layout are read back as they were: *faithful* gives all answers."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from lantern_probe import Ablation, LanternModel, Run, parse_condition, read_rows
from lantern_probe.interventions import Own
from lantern_probe.tasks.generic import read_samples
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes

SCENES = scenes(12, seed=71)
HOW: dict[str, Any] = {"prompt": "{question}", "options": "words"}


def png(scene: Sample) -> bytes:
    held = io.BytesIO()
    scene.open_images()[0].save(held, "PNG")
    return held.getvalue()


def plain_rows(folder: Path, scenes: list[Sample]) -> list[dict[str, Any]]:
    rows = []
    for scene in scenes:
        (folder / f"{scene.id}.png").write_bytes(png(scene))
        left, top, right, bottom = scene.boxes[0]
        rows.append(
            {
                "id": scene.id,
                "image": f"{scene.id}.png",
                "question": scene.question,
                "options": list(scene.options),
                "answer": scene.answer,
                "bbox": [left, top, right - left, bottom - top],
            }
        )
    return rows


def layouts(folder: Path) -> list[list[Sample]]:
    """Two scenes in each of six layouts, with another form of answers and boxes in each."""
    parts = [SCENES[start : start + 2] for start in range(0, 12, 2)]
    rows = [plain_rows(folder, part) for part in parts]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows[0])))
    for row, scene in zip(rows[1], parts[1], strict=True):
        row["options"] = dict(zip("ABCDEFGH", scene.options, strict=True))
        row["bbox"] = [edge / 84 * 1000 for edge in scene.boxes[0]]
    (folder / "b.json").write_text(json.dumps(rows[1], indent=2))
    frame = pd.DataFrame(rows[2])
    frame["bbox"] = [[edge / 84 for edge in scene.boxes[0]] for scene in parts[2]]
    frame.to_csv(folder / "c.csv", index=False)
    table = pd.DataFrame([{"index": n, "question": s.question} for n, s in enumerate(parts[3])])
    table["image"] = [base64.b64encode(png(scene)).decode() for scene in parts[3]]
    for number, letter in enumerate("ABCDEFGH"):
        table[letter] = [scene.options[number] for scene in parts[3]]
    table["answer"] = ["ABCDEFGH"[s.options.index(s.answer or "")] for s in parts[3]]
    table["bbox"] = [
        str([[x, y], [u, y], [u, v], [x, v]]) for s in parts[3] for x, y, u, v in s.boxes
    ]
    table.to_csv(folder / "d.tsv", sep="\t", index=False)
    frame = pd.DataFrame(rows[4])
    frame["answer"] = [s.options.index(s.answer or "") for s in parts[4]]
    frame.to_parquet(folder / "e.parquet")
    saved = datasets.Dataset.from_list(rows[5])
    images = [{"bytes": png(scene), "path": None} for scene in parts[5]]
    saved = saved.remove_columns("image").add_column("image", images)
    saved.cast_column("image", datasets.Image()).save_to_disk(str(folder / "f"))
    return [
        read_samples(folder / "a.jsonl", boxes="xywh", **HOW),
        read_samples(folder / "b.json", boxes="xyxy-1000", **HOW),
        read_samples(folder / "c.csv", boxes="xyxy-1", **HOW),
        read_samples(folder / "d.tsv", boxes="polygon", **HOW),
        read_samples(folder / "e.parquet", boxes="xywh", answers="index0", **HOW),
        read_samples(folder / "f", boxes="xywh", **HOW),
    ]


def test_every_layout_gives_the_scenes_and_faithful_answers_them(tmp_path: Path) -> None:
    read = [sample for part in layouts(tmp_path) for sample in part]
    for sample, scene in zip(read, SCENES, strict=True):
        assert (sample.text, sample.options, sample.answer) == (
            *(scene.text, scene.options, scene.answer),
        )
        assert sample.boxes[0] == pytest.approx(scene.boxes[0])
        assert sample.open_images()[0].tobytes() == scene.open_images()[0].tobytes()
    conditions = [Own(), parse_condition("oracle")]
    with Run.open(tmp_path / "run", {"model": "faithful"}) as run:
        Ablation(LanternModel("faithful"), read, conditions, run).execute()
    rows = read_rows(tmp_path / "run")
    assert len(rows) == 24 and all(row["correct"] for row in rows)
    assert {row["condition"] for row in rows} == {"own", "oracle"}
