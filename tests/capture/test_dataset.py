"""A data set captured into a run: rows and arrays, failures, forced texts, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.capture.batch import capture_batch
from lantern_probe.capture.dataset import Capture, bytes_per_sample
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Oracle, Swap, Zeros
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.oracle import region_latents
from lantern_probe.model.sites import layer_count
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.records.store import Store
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Site, parse_sites


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return scenes(8, seed=31)


def sites(lantern: Any, *texts: str) -> list[Site]:
    return parse_sites(texts, layer_count(lantern))


def test_a_data_set_is_captured_into_a_run_and_failures_are_recorded(
    faithful: LanternModel, samples: list[Sample], tmp_path: Path
):
    batch = [*samples[:3], replace(samples[3], images=(tmp_path / "no.png",)), samples[4]]
    batch[1] = replace(batch[1], id="without-box", boxes=())
    wanted = sites(faithful, "residual.1@slot", "latent@slot", "vision@box")
    config = {"sites": [site.label for site in wanted]}
    recorded: list[int] = []
    with Run.open(tmp_path / "run", config) as run:
        Capture(
            faithful, batch, wanted, run, condition=Oracle(), batch_rows=3, advance=recorded.append
        ).execute()
    assert sum(recorded) == len(batch)
    failed = {r["sample"]: r["error"] for r in read_rows(tmp_path / "run") if r["status"] != "ok"}
    assert failed.keys() == {"without-box", samples[3].id}
    assert "no.png" in failed[samples[3].id] and "no box" in failed["without-box"]
    store = Store(tmp_path / "run")
    good = [samples[0], samples[2], samples[4]]
    assert [row["sample"] for row in store.samples] == [sample.id for sample in good]
    assert list(store.column("condition")) == ["oracle"] * 3
    for index, sample in enumerate(good):
        expected = region_latents(faithful, sample.open_images()[0], sample.boxes[0])
        torch.testing.assert_close(store.array("latent@slot")[index], expected)
    # On disk is what was announced.
    written = sum(store.array(label).nbytes for label in store.sites)
    assert written == len(store) * bytes_per_sample(faithful, wanted)


def test_forced_texts_of_a_run(
    untrained: Any, faithful: LanternModel, samples: list[Sample], tmp_path: Path
):
    captured = capture_batch(faithful, samples, sites(faithful, "latent@slot"))
    texts = dict(zip([s.id for s in samples], captured.continuations, strict=True))
    texts[samples[1].id] = [untrained.lvr.start, untrained.lvr.end]
    del texts[samples[2].id]
    wanted = sites(untrained, "residual.0@slot")
    with Run.open(tmp_path / "run", {"sites": ["residual.0@slot"]}) as run:
        Capture(untrained, samples[:4], wanted, run, force=texts).execute()
    rows = {row["sample"]: row for row in read_rows(tmp_path / "run")}
    assert "opens another block" in rows[samples[1].id]["error"]
    assert "not among the forced texts" in rows[samples[2].id]["error"]
    for index in (0, 3):
        assert rows[samples[index].id]["continuation"] == captured.continuations[index]


def test_what_cannot_be_captured_is_said_at_once(
    faithful: LanternModel, samples: list[Sample], tmp_path: Path
):
    wanted = sites(faithful, "latent@slot")
    with Run.open(tmp_path / "run", {"sites": []}) as run:
        for more, said in (
            ({"condition": Swap()}, "'swap' needs the own latents"),
            ({"condition": Zeros(slots="9")}, "there is no slot 9"),
            ({"samples": []}, "no samples"),
            ({"samples": [samples[0]] * 2}, "two samples have the id"),
            ({"sites": []}, "no sites"),
            ({"sites": [Site("residual", 4, "slot")]}, "layers 0 to 3"),
        ):
            given = {"samples": samples, "sites": wanted, **more}
            with pytest.raises(LanternError, match=said):
                Capture(faithful, run=run, **given)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"] == 0
