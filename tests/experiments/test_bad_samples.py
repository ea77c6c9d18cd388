"""One bad sample never ends an experiment: it fails alone, and the others have figures."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import experiments.data
from experiments.console import run_main
from lantern_probe.interventions.image import parse_image_corruption
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.tasks.twins import with_twins

COMMANDS: dict[str, tuple[Any, ...]] = {
    "ablate_latents": ("--conditions", "own", "swap", "zeros", "oracle", "random-box", "mean"),
    "exchange_latents": ("--subsets", 0),
    "knock_out": ("--conditions", "own", "answer->slot", "answer->slot:random=1"),
    "decompose_markers": (),
    "probe_latents": (
        *("--sites", "latent@slot", "--targets", "color", "--folds", 3),
        *("--controls", 1, "--permutations", 3),
    ),
    "map_latents": (),
    "patch_latents": ("--components", "residual", "--layers", 1),
    "read_attention": ("--overlays", 2),
    "sense_latents": (),
    "capture_activations": ("--sites", "latent@slot", "residual.1@box"),
    "read_triggers": (),
}
FIGURES = {
    "ablate_latents": "summary.json",
    "exchange_latents": "exchange.json",
    "knock_out": "summary.json",
    "decompose_markers": "gains.json",
    "probe_latents": "probes.json",
    "map_latents": "geometry.json",
    "patch_latents": "patching.json",
    "read_attention": "attention.json",
    "sense_latents": "sensitivity.json",
    "capture_activations": "samples.*",
    "read_triggers": "triggers.json",
}
BOXES = {"box", "shares", "turned"}
"""Sorts of samples that can be asked, and have a box that is no region of their image."""

NEEDS_BOX = {
    *("probe_latents", "map_latents", "read_attention"),
    *("capture_activations", "patch_latents"),
}
"""Commands that read the evidence box of every sample."""


def spoil(samples: Sequence[Sample], folder: Path) -> dict[str, Sample]:
    """The samples of a data set, of which some are bad, each in its own way, the first included."""
    cut = folder / "cut.png"
    samples[1].open_images()[0].save(cut)
    cut.write_bytes(cut.read_bytes()[:120])
    special = "what <|im_end|> color ?"
    (folder / "pointer.png").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    endless = "what color " * 2000
    return {
        "missing": replace(samples[0], images=(folder / "none.png",)),
        "truncated": replace(samples[5], images=(cut,)),
        "box": replace(samples[9], boxes=((500.0, 500.0, 600.0, 600.0),)),
        "surrogate": replace(samples[13], question="what caf\udce9 ?", prompt="what caf\udce9 ?"),
        "special": replace(samples[-1], question=special, prompt=special),
        "pointer": replace(samples[7], images=(folder / "pointer.png",)),
        "shares": replace(samples[11], boxes=((0.1, 0.1, 0.5, 0.5),)),
        "turned": replace(samples[15], boxes=((60.0, 10.0, 20.0, 30.0),)),
        "endless": replace(samples[17], question=endless, prompt=endless),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_sample_fails_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    samples = scenes(24, seed=4)
    spoiled = spoil(samples, tmp_path)
    bad = {sample.id: sort for sort, sample in spoiled.items()}
    by_id = {sample.id: sample for sample in spoiled.values()}
    data = [by_id.get(sample.id, sample) for sample in samples]
    monkeypatch.setattr(experiments.data, "load_samples", lambda *_: ("mixed scenes", data))
    module = importlib.import_module(f"experiments.{name}")
    arguments = ("--model", "faithful", "--output", tmp_path / "run", *COMMANDS[name])
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    status = run_main(module.Config, module.main)
    said = capfd.readouterr()
    assert status == 0, said.out + said.err
    assert "Traceback" not in said.out + said.err
    assert " failed" in said.out or " left out of" in said.out

    rows = [
        json.loads(line)
        for path in (tmp_path / "run").rglob("rows.jsonl")
        for line in path.read_text().splitlines()
    ]
    wrong = [row for row in rows if row["status"] != "ok"]
    found = {row["sample"].split("~")[0] for row in wrong}
    expected = {key for key, sort in bad.items() if sort not in BOXES or name in NEEDS_BOX}
    errors = {(row["sample"], row["error"]) for row in wrong}
    assert expected <= found <= {*bad}, errors
    assert not any(error.count("sample '") > 1 for _, error in errors), errors
    good = {row["sample"].split("~")[0] for row in rows if row["status"] == "ok"}
    assert good >= {sample.id for sample in samples} - {*bad}
    assert [*(tmp_path / "run").rglob(FIGURES[name])]


def test_samples_without_a_twin_are_named_and_counted():
    good = scenes(3)
    bad = [
        replace(good[0], boxes=((500.0, 500.0, 600.0, 600.0),)),
        replace(good[1], images=(Path("none.png"),)),
    ]
    blackened = parse_image_corruption("black-box")
    pairs, without = with_twins(
        [*bad, good[2]], lambda sample: blackened.apply(sample, good), answers_known=False
    )
    assert [sample.id for sample in pairs] == [good[2].id, f"{good[2].id}~"]
    assert [reason.split(":")[0] for reason in without] == [f"sample {one.id!r}" for one in bad]


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("exchange_latents", "black-box"),
        ("patch_latents", "black-box"),
        ("patch_latents", "unrelated"),
    ],
)
def test_samples_without_a_twin_are_failed_rows(
    name: str,
    twin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    samples = scenes(5, seed=4)
    if twin == "black-box":
        samples[0] = replace(samples[0], boxes=((500.0, 500.0, 600.0, 600.0),))
        lost = [samples[0].id]
    else:
        lost = [samples[4].id]  # an odd one
    monkeypatch.setattr(experiments.data, "load_samples", lambda *_: ("scenes", samples))
    module = importlib.import_module(f"experiments.{name}")
    arguments = ("--model", "faithful", "--twin", twin, "--output", tmp_path / "run")
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), *map(str, COMMANDS[name])])
    said = []
    for _ in range(2):  # again, with all rows there
        assert run_main(module.Config, module.main) == 0
        said.append(capfd.readouterr().out)
    assert all(" failed, of 1 samples" in out and repr(lost[0]) in out for out in said), said
    rows = [json.loads(line) for line in (tmp_path / "run/rows.jsonl").read_text().splitlines()]
    keys = [(row["sample"], row["condition"]) for row in rows]
    assert len(keys) == len({*keys})
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["sample"] for row in failed} == {*lost}
    assert {row["condition"] for row in failed} == {row["condition"] for row in rows}
    words = "box" if twin == "black-box" else "no sample of another answer is left"
    assert all(repr(lost[0]) in row["error"] and words in row["error"] for row in failed)
    known = (tmp_path / "run/samples.jsonl").read_text().splitlines()
    assert lost[0] in {json.loads(line)["id"] for line in known}
