"""Runs that format 1 wrote are read, and go on, as if this version had written them.

The folders under `format1` were written by the last version of that format, on the bundled
organisms; only the paths in their command lines were shortened.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lantern_probe.analysis import (
    ablation,
    attention,
    decomposition,
    exchange,
    mediation,
    patching,
    sensitivity,
)
from lantern_probe.errors import LanternError
from lantern_probe.records.format1 import modern_config, modern_label, modern_row
from lantern_probe.records.rows import FORMAT, read_manifest, read_rows
from lantern_probe.records.run import Run
from lantern_probe.records.store import Store
from lantern_probe.tasks import load_task

OLD = Path(__file__).parent / "format1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("residual.3@slots[5]", "residual.3@slot[5]"),
        ("mlp.0@answer:sham", "mlp.0@answer-start:sham"),
        ("oracle:latent@slots", "oracle:latent@slot"),
        ("after->slots:layers=1-2", "after->slot:layers=1-2"),
        ("start+slots->image+end", "lvr_start+slot->image+lvr_end"),
        ("zeros@black-box", "zeros@black-box"),
        ("zeros:slots=3", "zeros:slots=3"),
        ("blur:radius=0.1", "blur:radius=0.1"),
    ],
)
def test_labels_are_rewritten_once(old: str, new: str) -> None:
    assert modern_label(old) == new and modern_label(new) == new


@pytest.mark.parametrize("name", sorted(path.name for path in OLD.iterdir()))
def test_every_row_takes_the_present_form(name: str) -> None:
    rows = read_rows(OLD / name)
    assert rows and all("image" not in row for row in rows)
    assert [modern_row(row) for row in rows] == rows, "rewriting twice is rewriting once"
    written = (OLD / name / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("image") for line in written] == [r.get("cluster") for r in rows]
    labels = {label for row in rows for label in (row["condition"], row.get("site", ""))}
    assert not any("slots" in label for label in labels)


def test_old_rows_are_analysed() -> None:
    rows = read_rows(OLD / "ablate")
    found = ablation.summarize(rows, model="faithful")
    assert {s.condition for s in found} >= {"own", "zeros@black-box", "after->slot:layers=1-2"}
    assert found[0].accuracy.n == 6 and found[0].truncated is None
    twins = read_rows(OLD / "exchange")
    assert mediation.summarize(twins, model="faithful")[0].n == 8
    (item,) = exchange.summarize(twins, model="faithful", conditions=["twin"])
    assert item.donor_rate.clusters == 4
    kept = {row["condition"]: row["kept"] for row in rows}
    assert kept["own"] == "everything" and kept["swap"] == "markers, slots"
    gains = decomposition.summarize(rows, model="faithful", base="zeros")
    assert gains[0].keeps == "everything"
    assert patching.summarize(read_rows(OLD / "patch"), model="faithful")[0].role == "box"
    moved = sensitivity.summarize(read_rows(OLD / "sense"), model="faithful")
    assert "latent@slot" in {item.site for item in moved}
    assert attention.summarize(read_rows(OLD / "attention"), model="faithful")


def test_an_old_capture_is_read_by_its_new_labels() -> None:
    store = Store(OLD / "capture")
    assert store.sites == ["residual.0@slot", "latent@slot", "mlp.1@answer-start"]
    assert store.array("latent@slot").shape[:2] == (4, 8)
    assert store.array("mlp.1@answer-start").isfinite().all()


def test_an_old_run_goes_on_in_the_present_format(tmp_path: Path) -> None:
    shutil.copytree(OLD / "exchange", tmp_path / "run")
    manifest = read_manifest(OLD / "exchange")
    wanted = modern_config(manifest["config"]) | {"experiment": "exchange_latents"}
    before = read_rows(tmp_path / "run")
    with Run.open(tmp_path / "run", wanted) as run:
        assert run.manifest["format"] == FORMAT
        assert run.has(before[0]["sample"], before[0]["condition"])
        run.append({"sample": "new", "condition": "own", "status": "ok", "cluster": "c"})
    again = read_rows(tmp_path / "run")
    assert again[:-1] == before and again[-1]["sample"] == "new"
    with pytest.raises(LanternError, match="experiment"):
        Run.open(tmp_path / "run", wanted | {"experiment": "ablate_latents"})


def test_an_old_run_is_held_against_the_right_answers(tmp_path: Path) -> None:
    shutil.copytree(OLD / "ablate", tmp_path / "run")
    config = modern_config(read_manifest(OLD / "ablate")["config"])
    with Run.open(tmp_path / "run", config) as run:
        run.register(load_task("scenes", 6))
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 6
    shutil.copytree(OLD / "ablate", tmp_path / "other")
    ids = [sample.id for sample in load_task("scenes", 6)]
    others = [replace(s, id=i) for s, i in zip(load_task("scenes", 6, seed=1), ids, strict=True)]
    said = "the right answer was .* when its rows were written"
    with Run.open(tmp_path / "other", config) as run, pytest.raises(LanternError, match=said):
        run.register(others)


def test_an_old_probe_is_known_by_its_new_site() -> None:
    for row in read_rows(OLD / "probes"):
        slot = "-" if row["slot"] is None else row["slot"]
        assert row["sample"] == f"{row['site']}#{slot}"


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("ablate_latents", "knock_out"),
        ("ablate_latents", "probe_latents"),
        ("capture_activations", "map_latents"),
        ("capture_activations", "reproduce"),
    ],
)
def test_a_part_of_an_old_run_goes_on_under_the_command_that_made_it(said: str, made: str) -> None:
    wanted = {"experiment": made, "capture": {"experiment": made}}
    old = {"experiment": said, "capture": {"experiment": said}}
    assert modern_config(old, wanted) == wanted
    assert modern_config(old) == old
    other = {"experiment": "patch_latents"}
    assert modern_config(other, wanted) == other
