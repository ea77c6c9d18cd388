"""`python -m experiments.capture_activations` as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.capture_activations import Config, main
from experiments.console import run_main
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows
from lantern_probe.records.store import Store
from lantern_probe.scale.merge import find_parts, merge
from lantern_probe.tasks.scenes import scenes

ROOT = Path(__file__).parents[2]
SITES = ("residual.0+2@slot", "latent@slot", "vision@box", "mlp.1@answer-start")
COLUMNS = ("sample", "text", "answer", "missing", "continuation", "cluster", "box_x", "color")


def start(*arguments: Any) -> subprocess.Popen[str]:
    """In a process of its own: it takes seconds to start, so only what is to be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.capture_activations", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def assert_same(found: Store, expected: Store) -> None:
    for name in COLUMNS:
        assert list(found.column(name)) == list(expected.column(name)), name
    assert found.sites == expected.sites
    for label in expected.sites:
        # Batches differ, and round differently.
        torch.testing.assert_close(found.array(label), expected.array(label), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("capture") / "whole"
    assert main(Config(sites=SITES, samples=24, output=output)) == 0
    return output


def test_a_capture_says_what_it_is(whole: Path):
    manifest = json.loads((whole / "run.json").read_text())
    assert manifest["status"] == "complete" and "samples" not in manifest["config"]
    store = Store(whole)
    assert store.config["model"] == "faithful" and store.config["store_dtype"] == "float32"
    assert [row["sample"] for row in store.samples] == [scene.id for scene in scenes(24)]
    assert list(store.column("color")) == list(store.column("gold")) == list(store.column("answer"))
    assert all(store.column("emitted")) and len(set(store.column("distractor_color"))) > 2
    assert store.array("residual.2@slot").shape == (24, 8, 128)
    assert not store.array("latent@slot").isnan().any()


@pytest.mark.slow
def test_kill_at_random_moments_then_resume(whole: Path, tmp_path: Path):
    killed = tmp_path / "killed"
    moments = random.Random(5)
    kills = 0
    for _ in range(2):
        # A batch per sample: many shards, and many moments at which to be killed.
        process = start(
            *("--sites", *SITES, "--samples", 24, "--output", killed, "--batch-rows", 1)
        )
        rows = killed / "rows.jsonl"
        before = rows.stat().st_size if rows.exists() else 0
        # Wait until this process has written, then kill it a moment later.
        while process.poll() is None and not (rows.exists() and rows.stat().st_size > before):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.2))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kills == 2
    orphan = killed / "shards" / "feedfeedfeedfeed.safetensors"
    orphan.write_bytes(b"of a kill between a shard and its rows")
    assert main(Config(sites=SITES, samples=24, output=killed)) == 0
    assert not orphan.exists()
    found = read_rows(killed)
    assert len(found) == len({row["sample"] for row in found}) == 24
    assert {row["shard"] for row in found} == {file.name for file in (killed / "shards").iterdir()}
    assert_same(Store(killed), Store(whole))


def test_more_samples_are_added(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(Config(sites=SITES, samples=5, output=tmp_path)) == 0
    said = capsys.readouterr().out
    assert "sites: 5; 13.3 kB a sample, 66.6 kB for the 5 samples that are due" in said
    assert "5 samples captured" in said
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert len(Store(tmp_path)) == 5
    assert main(Config(sites=SITES, samples=24, output=tmp_path)) == 0
    assert "for the 19 samples that are due" in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_bytes().startswith(before)
    assert_same(Store(tmp_path), Store(whole))
    assert main(Config(sites=SITES, samples=24, output=tmp_path)) == 0
    said = capsys.readouterr().out
    assert "that are due" not in said and "24 samples captured" in said
    with pytest.raises(LanternError, match=r"another configuration \(sites"):
        main(Config(sites=SITES[:2], samples=24, output=tmp_path))


def test_parts_end_in_the_same_store(whole: Path, tmp_path: Path):
    parts = tmp_path / "parts"
    config = Config(sites=SITES, samples=24, batch_rows=8, output=parts)
    for shard in ("1/3", "0/3", "2/3", "1/3"):
        rows = parts / "shard-1-of-3" / "rows.jsonl"
        before = rows.read_bytes() if rows.exists() else b""
        assert main(dataclasses.replace(config, shard=shard)) == 0
        assert rows.read_bytes() == before or not before
    assert sorted(path.name for path in parts.iterdir()) == [
        f"shard-{index}-of-3" for index in range(3)
    ]
    assert len(Store(parts / "shard-1-of-3")) == 8
    assert_same(Store(parts), Store(whole))
    # Put together, they are the files of one process that cuts alike.
    merge(find_parts([parts]), tmp_path / "merged")
    assert main(dataclasses.replace(config, output=tmp_path / "alone")) == 0
    alone = [f"shards/{file.name}" for file in (tmp_path / "alone" / "shards").iterdir()]
    for name in ("rows.jsonl", *alone):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_bad_samples_fail_alone_and_oracle_latents_are_fed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = []
    for number, scene in enumerate(scenes(4, seed=70)):
        scene.open_images()[0].save(tmp_path / f"{number}.png")
        colors = [scene.answer, *[c for c in scene.options if c != scene.answer][:3]]
        options = [f"{letter}. {c}" for letter, c in zip("ABCD", colors, strict=True)]
        line = {"question": scene.question, "options": options, "answer": "A"}
        lines.append({**line, "img_path": f"{number}.png", "bbox": list(scene.boxes[0])})
    lines[1]["img_path"] = "missing.png"
    lines[2]["bbox"] = [900, 900, 950, 950]
    data, output = tmp_path / "data.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = Config(
        data=data,
        conditions=("oracle",),
        sites=("latent@slot",),
        store_dtype="float16",
        output=output,
    )
    assert main(config) == 0
    said = capsys.readouterr().out
    assert "2 samples captured" in said and "2 failed" in said
    failed = {r["sample"]: r["error"] for r in read_rows(output) if r["status"] != "ok"}
    assert "missing.png" in failed["data-2"] and "box" in failed["data-3"]
    store = Store(output)
    assert list(store.column("sample")) == ["data-1", "data-4"]
    assert list(store.column("condition")) == ["oracle"] * 2
    assert store.array("latent@slot").dtype == torch.float16


def test_several_conditions_get_a_folder_each(tmp_path: Path):
    config = Config(samples=2, sites=("latent@slot",), conditions=("own", "zeros"), output=tmp_path)
    assert main(config) == 0
    own, zeros = Store(tmp_path / "own"), Store(tmp_path / "zeros")
    assert not own.array("latent@slot").eq(0).all() and zeros.array("latent@slot").eq(0).all()
    with pytest.raises(LanternError, match="holds a single run; give 2 runs another --output"):
        main(dataclasses.replace(config, output=tmp_path / "own"))


def test_an_untrained_model_reads_the_text_of_a_trained_one(
    whole: Path, untrained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model = str(untrained_folder)
    alone = Config(
        model=model,
        task="scenes",
        samples=4,
        sites=SITES,
        max_new_tokens=4,
        output=tmp_path / "alone",
    )
    assert main(alone) == 0
    assert "4 of them lack a site" in capsys.readouterr().out
    assert Store(tmp_path / "alone").array("latent@slot").isnan().all()
    forced = Config(
        model=model, task="scenes", samples=4, sites=SITES, force=whole, output=tmp_path / "forced"
    )
    assert main(forced) == 0
    ours, theirs = Store(tmp_path / "forced"), Store(whole)
    assert list(ours.column("continuation")) == list(theirs.column("continuation")[:4])
    assert ours.config["forced_by"] == theirs.config
    assert not ours.array("residual.0@slot").isnan().any()
    assert not torch.allclose(ours.array("latent@slot"), theirs.array("latent@slot")[:4])


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("no site 'residual'", {"sites": ("residual",)}),
        ("layers 0 to 3", {"sites": ("residual.9@slot",)}),
        ("no condition 'nonsense'", {"conditions": ("nonsense",)}),
        ("needs the own latents", {"conditions": ("swap",)}),
        ("no slot 9", {"conditions": ("own", "zeros:slots=9")}),
        ("i from 0 to n - 1", {"shard": "4/4"}),
        ("i from 0 to n - 1", {"shard": "one"}),
        ("only 2 samples", {"shard": "3/4"}),
        ("no model 'nowhere'", {"model": "nowhere", "task": "scenes"}),
        ("holds no run", {"force": Path("nowhere")}),
        ("at least 1", {"batch_rows": 0}),
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_nothing(
    said: str, wrong: dict[str, Any], tmp_path: Path
):
    with pytest.raises(LanternError, match=said):
        main(Config(**{"samples": 2, "output": tmp_path / "run", **wrong}))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lantern_probe.records.store.MARGIN", 1e18)
    with pytest.raises(LanternError, match="capture fewer samples or sites"):
        main(Config(samples=2, output=tmp_path / "run"))
    assert read_rows(tmp_path / "run") == []
    monkeypatch.undo()
    assert main(Config(samples=2, output=tmp_path / "run")) == 0


def test_nothing_useful_ends_with_1(
    untrained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = Config(
        model=str(untrained_folder),
        task="scenes",
        samples=2,
        max_new_tokens=4,
        sites=("latent@slot",),
        output=tmp_path / "run",
    )
    assert main(config) == 1
    assert "2 of them lack a site" in capsys.readouterr().out


def test_help_explains_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["capture_activations", "--help"])
    with pytest.raises(SystemExit):
        run_main(Config, main)
    out = capsys.readouterr().out
    for word in ("--sites", "--conditions", "--shard", "--force", "--store-dtype", "image-mean"):
        assert word in out
