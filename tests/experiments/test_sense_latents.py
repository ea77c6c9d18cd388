"""`python -m experiments.sense_latents` on models of which it is known what they notice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.sense_latents import Config, labels_of, main
from lantern_probe.records.rows import read_rows
from lantern_probe.records.samples import read_samples
from lantern_probe.tasks.scenes import scenes

CHANGES = ("swap-image", "swap-question")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sense") / "run"
    config = Config(
        model=("faithful", "collapsed"), samples=16, images=CHANGES, batch_rows=5, output=output
    )
    assert main(config) == 0
    return output


def test_a_collapsed_model_does_not_notice_its_image(run: Path) -> None:
    shares = {
        (s["model"], s["change"]): s["share"]["estimate"]
        for s in json.loads((run / "sensitivity.json").read_text())
        if s["site"] == "latent@slot" and s["slot"] is None
    }
    assert shares["collapsed", "swap-image"] < 0.1 < 0.25 < shares["faithful", "swap-image"]
    assert min(shares["collapsed", "swap-question"], shares["faithful", "swap-question"]) > 0.7
    assert (run / "collapsed" / "sensitivity.png").stat().st_size > 5000


def test_rows_say_how_far_every_site_moved(run: Path) -> None:
    rows = read_rows(run / "faithful")
    # Another sample's image makes no cluster: each sample is its own, whatever it was shown.
    own = {key: sample["cluster"] for key, sample in read_samples(run / "faithful").items()}
    assert len(set(own.values())) == len(own) == 16
    assert {(row["sample"], row["cluster"]) for row in rows} == set(own.items())
    assert {(row["sample"], row["condition"]) for row in rows} == {
        (sample.id, change) for sample in scenes(16) for change in CHANGES
    }
    sites = {
        "latent@slot": 8,
        **{f"residual.3@{role}": 1 for role in ("image-mean", "last-question", "lvr_start")},
    }
    for row in rows:
        for kind in ("moved", "between"):
            assert {site: len(values) for site, values in row[kind].items()} == sites
            assert all(0 <= value <= 2 for values in row[kind].values() for value in values)
        assert row["finish"] == "closed" and row["status"] == "ok"
    manifest = json.loads((run / "faithful" / "run.json").read_text())
    assert manifest["config"]["experiment"] == "sense_latents" and manifest["threads"] >= 1
    assert set(read_samples(run / "faithful")) == {sample.id for sample in scenes(16)}


def test_a_run_goes_on_where_it_stopped(run: Path) -> None:
    file = run / "faithful" / "rows.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[:21]))
    config = Config(model=("faithful",), samples=16, images=CHANGES, output=run)
    assert main(config) == 0
    again = file.read_text().splitlines(keepends=True)
    assert again[:21] == whole[:21]
    found = [{json.loads(line)["sample"] for line in lines} for lines in (whole, again)]
    assert len(again) == len(whole) and found[0] == found[1]
    for old, new in zip(sorted(whole), sorted(again), strict=True):  # other batches round otherwise
        old, new = (json.loads(line)["moved"]["latent@slot"] for line in (old, new))
        assert new == pytest.approx(old, abs=1e-4)


def test_a_change_is_known_by_its_label() -> None:
    config = Config(images=("blur:radius=0.05", "blur", "blur:radius=0.1"))
    assert labels_of(config) == ["blur", "blur:radius=0.1"]


def test_an_image_that_cannot_be_read_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for number, scene in enumerate(scenes(5, seed=70)):
        scene.open_images()[0].save(tmp_path / f"{number}.png")
        colors = [scene.answer, *[c for c in scene.options if c != scene.answer][:3]]
        options = [f"{letter}. {c}" for letter, c in zip("ABCD", colors, strict=True)]
        line = {"question": scene.question, "options": options, "answer": "A"}
        lines.append({**line, "img_path": f"{number}.png", "bbox": list(scene.boxes[0])})
    lines[2]["img_path"] = "missing.png"
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "run"
    config = Config(model=("faithful",), data=data, images=("black-box",), output=output)
    assert main(config) == 0
    assert "faithful: 1 rows failed" in capsys.readouterr().out
    failed = [row for row in read_rows(output / "faithful") if row["status"] != "ok"]
    assert [row["sample"] for row in failed] == ["data-3"] and "missing.png" in failed[0]["error"]
