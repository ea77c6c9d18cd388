"""Corruptions of the image: what they change, and what they leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lantern_probe.analysis.ablation import reference, summarize
from lantern_probe.causal import ablation
from lantern_probe.causal.ablation import Ablation
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.interventions.image import (
    CORRUPTIONS,
    Corruption,
    parse_corruption,
    parse_image_corruption,
)
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample, load_task
from lantern_probe.tasks.crops import crop_box

SAMPLES = load_task("scenes", 6, 4242)


def pixels(sample: Sample) -> np.ndarray:
    return np.asarray(sample.open_images()[0])


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_only_what_is_seen_changes(name: str) -> None:
    sample = SAMPLES[0]
    seen = parse_corruption(name).apply(sample, SAMPLES)
    changes = name not in ("clean", "hide-image")
    assert np.array_equal(pixels(seen), pixels(sample)) != changes
    assert seen.open_images()[0].size == sample.open_images()[0].size
    assert (seen.id, seen.text, seen.answer, seen.boxes) == (
        sample.id,
        sample.text,
        sample.answer,
        sample.boxes,
    )
    # Oracle latents are cropped from the image as it was.
    assert np.array_equal(
        np.asarray(seen.open_oracle_images()[0]), np.asarray(sample.open_oracle_images()[0])
    )


def test_black_box_covers_the_oracle_crop_and_nothing_else() -> None:
    sample = SAMPLES[1]
    seen = pixels(parse_corruption("black-box").apply(sample, SAMPLES))
    left, top, right, bottom = crop_box((84, 84), sample.boxes[0])
    inside = np.zeros((84, 84), dtype=bool)
    inside[top:bottom, left:right] = True
    assert (seen[inside] == 0).all()
    assert np.array_equal(seen[~inside], pixels(sample)[~inside])


def test_the_oracle_of_a_grey_scene_stays_the_hidden_one() -> None:
    grey = load_task("scenes-grey", 1, 7)[0]
    seen = parse_corruption("blur").apply(grey, [grey])
    assert np.array_equal(
        np.asarray(seen.open_oracle_images()[0]), np.asarray(grey.open_oracle_images()[0])
    )


def test_a_swapped_image_is_anothers_and_seeded() -> None:
    swap, other = parse_corruption("swap-image"), parse_corruption("swap-image:seed=1")
    found = [pixels(swap.apply(sample, SAMPLES)) for sample in SAMPLES]
    for sample, image in zip(SAMPLES, found, strict=True):
        donors = [s for s in SAMPLES if np.array_equal(pixels(s), image)]
        assert donors and donors[0].id != sample.id and donors[0].text != sample.text
    assert all(
        np.array_equal(a, pixels(swap.apply(s, SAMPLES)))
        for a, s in zip(found, SAMPLES, strict=True)
    )
    again = [pixels(other.apply(sample, SAMPLES)) for sample in SAMPLES]
    assert any(not np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    with pytest.raises(LanternError, match="has no other image"):
        swap.apply(SAMPLES[0], [SAMPLES[0]])


def test_a_stronger_blur_leaves_less() -> None:
    spread = [
        pixels(parse_corruption(f"blur:radius={radius}").apply(SAMPLES[0], SAMPLES)).std()
        for radius in (0.01, 0.05, 0.3)
    ]
    assert spread[0] > spread[1] > spread[2]


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(LanternError, match="no corruption 'fog'; there are clean, black-box"):
        parse_corruption("fog")
    with pytest.raises(LanternError, match="radius above 0"):
        parse_corruption("blur:radius=0")
    for name in ("clean", "hide-image"):
        with pytest.raises(LanternError, match="leaves the image as it is"):
            parse_image_corruption(name)
    bare = replace(SAMPLES[0], boxes=())
    with pytest.raises(LanternError, match="has no box to black out"):
        parse_corruption("black-box").apply(bare, SAMPLES)
    outside = replace(SAMPLES[0], boxes=((900, 900, 950, 950),))
    with pytest.raises(LanternError, match="has no area inside an image"):
        parse_corruption("black-box").apply(outside, SAMPLES)
    missing = replace(SAMPLES[0], images=("/nowhere.png",))
    with pytest.raises(LanternError, match="no image at"):
        parse_corruption("blur").apply(missing, SAMPLES)


def test_labels() -> None:
    assert Corruption().suffix("zeros") == "zeros"
    assert parse_corruption("blur:radius=0.1").suffix("zeros:slots=3") == (
        "zeros:slots=3@blur:radius=0.1"
    )
    hidden = parse_corruption("hide-image").hide(RowPlan(hide=("slot",)))
    assert hidden.hide == ("slot", "image")
    assert reference("zeros@blur") == "own@blur" and reference("own@blur") == reference("ban")


def test_conditions_cross_with_corruptions_on_known_models(tmp_path: Path) -> None:
    """faithful answers from its slots when the image is hidden behind them; bypass could too, but
    needs its own; without the evidence nobody answers; a failing sample costs only its rows."""
    samples = load_task("scenes", 24, 99)
    samples[3] = replace(samples[3], boxes=())
    conditions = [parse_condition(name) for name in ("own", "zeros", "swap", "ban")]
    found = {}
    for name in ("faithful", "bypass"):
        lantern = LanternModel(name)
        with Run.open(tmp_path / name, {}) as run:
            for image in ("clean", "black-box", "hide-image"):
                Ablation(lantern, samples, conditions, run, parse_corruption(image)).execute()
        rows = read_rows(tmp_path / name)
        assert len(rows) == 24 * 4 * 3
        failed = {(r["sample"], r["condition"]) for r in rows if r["status"] == "failed"}
        assert failed == {(samples[3].id, f"{c.label}@black-box") for c in conditions}
        found[name] = {s.condition: s for s in summarize(rows, model=name)}

    def accuracy(name: str, label: str) -> float:
        return found[name][label].accuracy.estimate

    for name in found:
        assert accuracy(name, "own") >= 0.95 and accuracy(name, "own@hide-image") >= 0.9
        assert accuracy(name, "own@black-box") <= 0.4
        assert accuracy(name, "zeros@hide-image") <= 0.4
        assert accuracy(name, "ban@hide-image") <= 0.4
        assert found[name]["own@black-box"].failed == 1
    assert accuracy("bypass", "ban") >= 0.95 and accuracy("bypass", "zeros") >= 0.95
    donor = found["faithful"]["swap@hide-image"].donor
    assert donor is not None and donor.estimate >= 0.9
    # Compared with own under the same corruption.
    zeros, own = (found["bypass"][f"{c}@hide-image"] for c in ("zeros", "own"))
    assert zeros.difference is not None
    by_hand = zeros.accuracy.estimate - own.accuracy.estimate
    assert zeros.difference.estimate == pytest.approx(by_hand)


def test_an_image_is_hidden_on_the_prefixes_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are those of a run of its own, and no prefix is run again for them."""
    lantern, samples = LanternModel("faithful"), load_task("scenes", 6, 99)
    conditions = [parse_condition(name) for name in ("own", "zeros", "swap", "ban")]
    run_prefixes, counted = ablation.run_prefixes, []

    def counting(lantern: Any, some: Any, **settings: Any) -> Any:
        counted.append(len(some))
        return run_prefixes(lantern, some, **settings)

    monkeypatch.setattr(ablation, "run_prefixes", counting)
    with Run.open(tmp_path / "together", {}) as run:
        Ablation(lantern, samples, conditions, run, hidden=conditions[1:]).execute()
        assert sum(counted) == len(samples)
        Ablation(lantern, samples, conditions, run, hidden=conditions).execute()
        assert sum(counted) == len(samples)
    with Run.open(tmp_path / "apart", {}) as run:
        for image in ("clean", "hide-image"):
            Ablation(lantern, samples, conditions, run, parse_corruption(image)).execute()
    rows = [
        {(r["sample"], r["condition"]): (r["text"], r.get("donor")) for r in read_rows(folder)}
        for folder in (tmp_path / "together", tmp_path / "apart")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 2 * 4 * len(samples)
    with (
        Run.open(tmp_path / "other", {}) as run,
        pytest.raises(LanternError, match="'black-box' there are no prefixes for 'hide-image'"),
    ):
        Ablation(lantern, samples, conditions, run, parse_corruption("black-box"), conditions)


def test_latents_of_one_corruption_are_not_those_of_another(tmp_path: Path) -> None:
    lantern = LanternModel("faithful")
    conditions = [parse_condition("swap")]
    with Run.open(tmp_path, {}) as run:
        for image in ("clean", "blur"):
            Ablation(lantern, SAMPLES, conditions, run, parse_corruption(image)).execute()
    assert {p.name for p in (tmp_path / "own_latents").iterdir()} == {"clean", "blur"}


def test_an_image_that_cannot_be_read_fails_under_every_corruption(tmp_path: Path) -> None:
    Image.new("RGB", (84, 84)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    samples = [
        replace(SAMPLES[0], id=name, images=(str(tmp_path / f"{name}.png"),)) for name in "ab"
    ]
    with Run.open(tmp_path / "run", {}) as run:
        for image in ("clean", "black-image"):
            Ablation(
                LanternModel("faithful"),
                samples,
                [parse_condition("skip")],
                run,
                parse_corruption(image),
            ).execute()
    rows = {(r["sample"], r["condition"]): r["status"] for r in read_rows(tmp_path / "run")}
    assert rows == {
        (name, label): "ok" if name == "a" else "failed"
        for name in "ab"
        for label in ("own", "skip", "own@black-image", "skip@black-image")
    }
