"""`python -m experiments.map_latents` on organisms whose truth is known."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from experiments import capture_activations
from experiments.console import run_main
from experiments.map_latents import Config, main
from lantern_probe.capture.latent_sets import ModelWeights
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.store import Store
from lantern_probe.tasks.scenes import scenes

SAMPLES = 64
SURE = 1 / 2000
"""The smallest p of 1999 pairings."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("map") / "run"
    assert main(Config(samples=SAMPLES, output=output)) == 0
    return output


def by_model(run: Path, name: str) -> dict[str, Any]:
    return {record["model"]: record for record in json.loads((run / name).read_text())}


def view(views: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in views if item["view"] == name)


@pytest.mark.parametrize("name", ["pooled", "concatenated", *(f"slot {slot}" for slot in range(8))])
def test_faithful_latents_find_their_oracle_whatever_the_question(run: Path, name: str):
    record = by_model(run, "retrieval.json")["faithful"]
    assert (record["n"], record["left_out"]) == (SAMPLES, 0)
    for query in ("own", "teacher-forced"):
        found = view(record["among_all"][query], name)
        assert found["mean_rank"]["p_better"] == found["mrr"]["p_better"] == SURE
        assert found["mean_rank"]["estimate"] < SAMPLES / 10 and found["recall"]["10"] > 0.9
        assert view(record["among_alike"][query], name)["place"]["p_better"] == SURE


def test_collapsed_latents_say_what_the_question_says_and_no_more(run: Path):
    """The asked shape is a word of the question; it is all that they share with their oracle."""
    record = by_model(run, "retrieval.json")["collapsed"]
    assert view(record["among_all"]["own"], "pooled")["mean_rank"]["p_better"] == SURE
    for name in ("pooled", "concatenated"):
        found = view(record["among_alike"]["own"], name)
        assert found["n"] > 0.9 * SAMPLES
        assert found["place"]["p"] > 0.05 and abs(found["place"]["estimate"] - 0.5) < 0.05
    # Oracle latents in the slots are passed on, so only the first slot is the model's own doing.
    forced, own = (view(record["among_all"][q], "slot 0") for q in ("teacher-forced", "own"))
    assert forced["ranks"] == own["ranks"]
    later = view(record["among_alike"]["teacher-forced"], "slot 1")
    assert later["place"]["p_better"] == SURE


def test_oracles_retrieve_themselves_and_ties_are_counted(run: Path):
    for record in by_model(run, "retrieval.json").values():
        for query, views in record["among_all"].items():
            for found in views:
                assert found["oracle_recall"] == 1 and found["identical"] == 0
                assert found["n"] == found["candidates"] == SAMPLES == len(found["ranks"])
                assert found["shared_images"] == 0
                # Latents without the image lie close together: two oracles may be equally near.
                assert found["tied"] == 0 or query == "dummy"


def test_ranks_against_answers(run: Path):
    record = by_model(run, "retrieval.json")
    nothing = record["faithful"]["correctness"]["pooled"]
    assert nothing["right"] == SAMPLES and nothing["auc"] is None
    # The colour that collapsed latents hold is a guess; it is right where the oracle is near it.
    guess = record["collapsed"]["correctness"]["pooled"]
    assert guess["right"] < SAMPLES / 3 and guess["auc_low"] > 0.5


def test_geometry_has_every_measure_of_every_set(run: Path):
    records = by_model(run, "geometry.json")
    for record in records.values():
        rows = record["rows"]
        names = {row["name"] for row in rows if row["measure"] == "norm"}
        assert names == {
            *("own", "teacher-forced", "oracle", "dummy"),
            *("question token", "image mean", "word embeddings"),
        }
        sizes = {row["n"] for row in rows if row["measure"] == "effective rank"}
        assert sizes == {SAMPLES * 4 // 5}
        for name in ("own, oracle", "teacher-forced, oracle"):
            assert {row["measure"] for row in rows if row["name"] == name} >= {
                *("debiased linear CKA", "RSA", "USP", "USP at random pairing"),
                *("cosine to own oracle", "cosine to others' oracle", "slot cosine to own oracle"),
            }

    def value(model: str, name: str, measure: str, space: str) -> float:
        return next(
            row["estimate"]
            for row in records[model]["rows"]
            if (row["name"], row["measure"], row["space"], row["slot"])
            == (name, measure, space, None)
        )

    # Whatever the image, latents of the same question are the same where they have collapsed.
    same = [
        value(model, "own", "cosine between samples alike", "raw")
        for model in ("faithful", "collapsed")
    ]
    assert same[0] < 0.7 and same[1] > 0.98
    for measure in ("debiased linear CKA", "RSA", "cosine to own oracle"):
        both = [value(m, "own, oracle", measure, "centred") for m in ("faithful", "collapsed")]
        assert both[0] > 0.9 > both[1]
    ranks = [value(m, "own", "effective rank", "centred") for m in ("faithful", "collapsed")]
    assert ranks[0] > 1.5 * ranks[1]


def test_a_figure_for_each_model(run: Path):
    for model in ("faithful", "collapsed"):
        with Image.open(run / model / "latents.png") as picture:
            assert min(picture.size) > 2000


def test_given_again_it_captures_nothing_and_says_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(run / "collapsed", tmp_path / "collapsed")
    assert main(Config(model=("collapsed",), samples=SAMPLES, output=tmp_path)) == 0
    said = capsys.readouterr().out
    assert said.count("64 samples captured") == 3 and "that are due" not in said
    for name in ("geometry.json", "retrieval.json"):
        assert by_model(tmp_path, name) == {"collapsed": by_model(run, name)["collapsed"]}
    right = by_model(run, "retrieval.json")["collapsed"]["correctness"]["pooled"]["right"]
    for words in (
        "collapsed: n = 64 samples of 64 images, 0 left out",
        "retrieval of the own oracle, n = 64 among 64",
        "among samples of the same prompt: n = 6",
        f"predict their answer? {right} of 64 right",
        "ranks are centred, and from 51 vectors each",
    ):
        assert words in said
    assert "…" not in said  # nothing is cut off


def test_generated_latents_are_those_that_a_free_running_model_feeds_itself(tmp_path: Path):
    weights = ModelWeights.of(LanternModel("faithful"), scenes(4))
    assert weights.last == 3
    sites = ("latent@slot", "residual.3@lvr_start", "residual.3@slot")
    capture = capture_activations.Config(sites=sites, samples=4, output=tmp_path)
    assert capture_activations.main(capture) == 0
    store = Store(tmp_path)
    torch.testing.assert_close(
        weights.generated(store), store.array("latent@slot"), atol=1e-5, rtol=1e-5
    )


def test_samples_without_an_oracle_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = []
    for number, scene in enumerate(scenes(8, seed=70)):
        scene.open_images()[0].save(tmp_path / f"{number}.png")
        colors = [scene.answer, *[c for c in scene.options if c != scene.answer][:3]]
        options = [f"{letter}. {c}" for letter, c in zip("ABCD", colors, strict=True)]
        line = {"question": f"{number}: {scene.question}", "options": options, "answer": "A"}
        lines.append({**line, "img_path": f"{number}.png", "bbox": list(scene.boxes[0])})
    lines[1]["img_path"] = "missing.png"
    lines[2]["bbox"] = [900, 900, 950, 950]
    data, output = tmp_path / "data.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(Config(model=("faithful",), data=data, output=output)) == 0
    (record,) = json.loads((output / "retrieval.json").read_text())
    assert (record["n"], record["left_out"]) == (6, 2)
    assert record["samples"] == [f"data-{number}" for number in (1, 4, 5, 6, 7, 8)]
    said = capsys.readouterr().out
    assert "n = 6 samples of 6 images, 2 left out" in said
    assert "no two samples share their prompt" in said


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("needs at least one model", {"model": ()}),
        ("no model 'nowhere'", {"model": ("nowhere",), "task": "scenes"}),
        ("there are only 4 samples, and at least 5 are needed", {"samples": 4}),
        ("--alike: no column 'taste'; there are .*color", {"alike": "taste"}),
    ],
)
def test_what_cannot_be_used_is_refused(said: str, wrong: dict[str, Any], tmp_path: Path):
    with pytest.raises(LanternError, match=said):
        main(Config(**{"samples": 5, "output": tmp_path / "run", **wrong}))
    assert not (tmp_path / "run" / "retrieval.json").exists()


def test_a_model_that_opens_no_block_is_refused(untrained_folder: Path, tmp_path: Path):
    config = Config(
        model=(str(untrained_folder),),
        task="scenes",
        samples=5,
        max_new_tokens=4,
        output=tmp_path,
    )
    # What is not of the block can be captured, so only the samples are missing.
    with pytest.raises(LanternError, match="whole latent block|must open a latent block"):
        main(config)


def test_help_explains_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["map_latents", "--help"])
    with pytest.raises(SystemExit):
        run_main(Config, main)
    out = capsys.readouterr().out
    for word in ("--alike", "--data", "--samples", "--seed", "second retrieval"):
        assert word in " ".join(out.replace("│", " ").split())
