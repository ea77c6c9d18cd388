"""Samples picked by their ids: which they are, in which order, and what a run records of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.ablate_latents import Config, main
from experiments.capture_activations import Config as CaptureConfig
from experiments.capture_activations import main as capture
from experiments.exchange_latents import Config as ExchangeConfig
from experiments.patch_latents import Config as PatchConfig
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.tasks import load_task

PICKED = ("scenes-0-7", "scenes-0-2")
POOLED = Config(model=("faithful",), conditions=("own", "swap"), sample_ids=PICKED)


def test_picked_samples_come_in_the_order_of_the_data() -> None:
    data, samples = POOLED.load_samples("faithful")
    assert data == "scenes"
    assert [sample.id for sample in samples] == ["scenes-0-2", "scenes-0-7"]
    twice = replace(POOLED, sample_ids=(*PICKED, PICKED[0]))
    assert len(twice.load_samples("faithful")[1]) == 2


def test_a_task_is_generated_as_far_as_the_ids_reach() -> None:
    far = replace(POOLED, sample_ids=("scenes-0-300",))
    ((sample,), (same,)) = far.load_samples("faithful")[1], load_task("scenes", 301)[300:]
    assert (sample.id, sample.question, sample.answer) == (same.id, same.question, same.answer)


@pytest.mark.parametrize(
    ("ids", "said"),
    {
        ("scenes-0-7", "scene-0-8"): "no sample scene-0-8; near: scenes-0-8",
        ("scenes-1-3",): "no sample scenes-1-3; near: scenes-0-3",
        ("scenes-0-1000000000000",): "no sample scenes-0-1000000000000",
        ("",): "has no sample",
        ("-5",): "its ids are such as scenes-0-0, scenes-0-1",
        (): "--sample-ids needs at least one id",
    }.items(),
)
def test_an_id_that_does_not_exist_is_refused_by_name(ids: tuple[str, ...], said: str) -> None:
    with pytest.raises(LanternError, match=said.replace("(", r"\(")) as refused:
        replace(POOLED, sample_ids=ids).load_samples("faithful")
    assert len(str(refused.value).splitlines()) == 1


def test_a_number_and_ids_are_not_given_together() -> None:
    with pytest.raises(LanternError, match="--samples or --sample-ids, not both"):
        replace(POOLED, samples=10).load_samples("faithful")
    # The default number of a command is not given.
    config = PatchConfig(model=("faithful",), sample_ids=("scenes-0-90",))
    assert len(config.load_samples("faithful")[1]) == 1


def test_lines_of_a_file_are_picked_by_their_own_ids(tmp_path: Path) -> None:
    lines = [
        {"id": key, "question": "what ?", "options": ["A. a", "B. b"], "answer": "A",
         "img_path": "x.png", "bbox": [0, 0, 9, 9]}
        for key in (f"q{n}" for n in range(20))
    ]  # fmt: skip
    path = tmp_path / "file.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    config = Config(data=path, sample_ids=("q11", "q3"))
    assert [sample.id for sample in config.load_samples("faithful")[1]] == ["q3", "q11"]
    with pytest.raises(LanternError, match=r"no sample q33; near: q3"):
        replace(config, sample_ids=("q33",)).load_samples("faithful")


@pytest.mark.parametrize("config", [ExchangeConfig(), PatchConfig()])
def test_a_picked_sample_comes_with_its_twin(config: ExchangeConfig | PatchConfig) -> None:
    _, samples = replace(config, sample_ids=PICKED).asked("faithful")
    assert [sample.id.partition("~")[0] for sample in samples] == [
        *("scenes-0-2", "scenes-0-2", "scenes-0-7", "scenes-0-7"),
    ]


def test_a_picked_line_comes_with_the_twin_that_its_data_names(tmp_path: Path) -> None:
    rows = [f"q{n},what ?,a,b,A,x.png,{'q9' if n == 2 else ''}" for n in range(10)]
    path = tmp_path / "file.csv"
    path.write_text("id,question,A,B,answer,image,twin\n" + "\n".join(rows) + "\n")
    config = ExchangeConfig(data=path, twin="data", samples=96)
    for picked in ("q2", "q9"):
        _, samples = replace(config, sample_ids=(picked,)).asked("faithful")
        assert [sample.id for sample in samples] == ["q2", "q9"]
    with pytest.raises(LanternError, match="none of them names a twin"):
        replace(config, sample_ids=("q3",)).asked("faithful")


def test_the_pool_is_the_picked_samples_and_the_run_knows_them(tmp_path: Path) -> None:
    config = replace(POOLED, output=tmp_path / "run")
    assert main(config) == 0
    swapped = [row for row in read_rows(tmp_path / "run") if row["condition"] == "swap"]
    assert {row["sample"]: row["donor"] for row in swapped} == {
        "scenes-0-2": "scenes-0-7",
        "scenes-0-7": "scenes-0-2",
    }
    assert read_manifest(tmp_path / "run")["config"]["sample_ids"] == sorted(PICKED)
    assert main(replace(config, sample_ids=PICKED[::-1])) == 0  # the order says nothing
    for other in (("scenes-0-2", "scenes-0-9"), None):
        changed = replace(config, sample_ids=other, samples=None if other else 2)
        with pytest.raises(LanternError, match="sample_ids"):
            main(changed)


def test_a_capture_takes_picked_samples_beside_those_it_has(tmp_path: Path) -> None:
    config = CaptureConfig(samples=2, sites=("latent@slot",), output=tmp_path / "run")
    assert capture(config) == 0
    assert capture(replace(config, samples=None, sample_ids=("scenes-0-40",))) == 0
    captured = [row["sample"] for row in read_rows(tmp_path / "run")]
    assert captured == ["scenes-0-0", "scenes-0-1", "scenes-0-40"]
