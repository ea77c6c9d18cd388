"""Diagnoses of organisms, whose truth is known, from Python."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from lantern_probe import LanternError, LanternModel, Run, diagnose, load_task
from lantern_probe.analysis.battery import CONDITIONS, EDGES
from lantern_probe.analysis.reading import Thresholds
from lantern_probe.causal.diagnosis import Battery
from lantern_probe.causal.twin_pairs import CHUNK, pair
from lantern_probe.records.rows import read_rows
from lantern_probe.tasks.sample import Sample


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.mark.slow
def test_forty_scenes_tell_a_faithful_model(faithful: LanternModel, tmp_path):
    card = diagnose(faithful, load_task("scenes", 40, seed=7), output=tmp_path / "run")
    assert card.reading == "faithful"
    assert card.estimates["follows"].value == 1.0
    assert card.settings["pairs"] == 40
    rows = read_rows(tmp_path / "run")
    assert sum(row["condition"] in CONDITIONS for row in rows) == 80 * len(CONDITIONS)
    assert sum(row["condition"] in EDGES for row in rows) == 80 * len(EDGES)
    again = diagnose(faithful, load_task("scenes", 40, seed=7), output=tmp_path / "run")
    assert again == card


def test_twins_are_the_scenes_own_edit_with_known_answers():
    pairs = pair(load_task("scenes", 3))
    assert (pairs.number, pairs.oracle) == (3, True)
    assert pairs[0].answer != pairs[1].answer
    assert pairs.edit == "twins by color"


def plain(name: str, **more) -> Sample:
    image = Image.new("RGB", (90, 90), "red")
    return Sample(
        id=name, images=(image,), question="what?", options=("a", "b"), answer="a", **more
    )


def test_twins_of_the_data_come_before_any_edit():
    one = plain("1", boxes=((0, 0, 9, 9),), attributes={"twin": "2"})
    two = replace(plain("2", boxes=((0, 0, 9, 9),)), answer="b")
    pairs = pair([one, two])
    assert [sample.id for sample in pairs] == ["1", "2"]
    assert pairs.oracle
    assert "own twins" in pairs.edit


def test_without_boxes_the_image_goes_black_and_there_is_no_oracle():
    pairs = pair([plain("1"), plain("2")])
    assert not pairs.oracle
    assert "black-image" in pairs.edit
    assert not {"oracle", "twin-oracle"} & {*pairs.conditions()}


def test_no_samples_are_refused():
    with pytest.raises(LanternError, match="no samples"):
        pair([])


def test_rows_do_not_depend_on_how_many_pairs_are_run(faithful: LanternModel, tmp_path):
    samples = load_task("scenes", CHUNK + 2)
    rows = []
    for name, steps in (("once", [CHUNK + 2]), ("steps", [3, CHUNK, CHUNK + 2])):
        with Run.open(tmp_path / name, {}) as run:
            battery = Battery(lambda: faithful, pair(samples), run)
            for pairs in steps:
                battery.until(pairs)
        found = read_rows(tmp_path / name)
        rows.append({(r["sample"], r["condition"]): (r["text"], r["correct"]) for r in found})
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2 * (CHUNK + 2) * len(CONDITIONS)


def test_samples_without_a_twin_fail_and_are_counted(faithful: LanternModel, tmp_path):
    one, two, alone = load_task("scenes", 3)
    one = replace(one, attributes={**one.attributes, "twin": two.id})
    card = diagnose(faithful, [one, two, alone], output=tmp_path / "run", max_new_tokens=30)
    reason = f"sample {alone.id!r}: no other sample of the data is its twin"
    assert card.without_twin == [reason]
    assert card.as_record()["without_twin"] == [reason]
    assert any("without a twin, and left out: 1 samples" in line for line in card.lines())
    failed = [row for row in read_rows(tmp_path / "run") if row["status"] == "failed"]
    failed = [row for row in failed if row["condition"] in CONDITIONS]
    assert {row["sample"] for row in failed} == {alone.id}
    assert sorted(row["condition"] for row in failed) == sorted(CONDITIONS)
    assert {row["error"] for row in failed} == {reason}


def test_other_thresholds_are_another_run(faithful: LanternModel, tmp_path):
    samples = load_task("scenes", 2)
    diagnose(faithful, samples, output=tmp_path / "run", max_new_tokens=30)
    with pytest.raises(LanternError, match=r"delta.*0\.05.*0\.1"):
        diagnose(faithful, samples, output=tmp_path / "run", thresholds=Thresholds(delta=0.1))


def test_pairs_of_picked_samples_take_a_twin_that_was_not_picked():
    one, two, other = load_task("scenes", 3)
    one = replace(one, attributes={**one.attributes, "twin": two.id})
    pairs = pair([two], among=[one, two, other])
    assert [sample.id for sample in pairs] == [one.id, two.id]
    assert pairs.without == []
    with pytest.raises(LanternError, match="none of them names a twin"):
        pair([other], "data", among=[one, two, other])
