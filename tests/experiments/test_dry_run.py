"""Estimates in place of a run: what is counted, what is measured, and that nothing is changed."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments import rehearsal
from experiments.ablate_latents import Config, main
from experiments.capture_activations import Config as CaptureConfig
from experiments.capture_activations import main as capture
from experiments.console import Explained
from experiments.estimates import Estimate, Measured, Tokens
from experiments.patch_latents import Config as PatchConfig
from experiments.patch_latents import main as patch
from experiments.tables.estimates import duration
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows

from .of_data import OF_DATA

IDS = tuple(f"scenes-0-{n}" for n in (1, 2, 3, 5, 8, 13))
MORE: dict[str, dict[str, Any]] = {
    "reproduce": {"figure": ("tetris",), "task": "scenes"},
    "exchange_latents": {"subsets": 0},
    "patch_latents": {"components": ("residual",), "roles": ("slot",)},
}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which temporary folders are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def said(text: str, quantity: str) -> list[str]:
    """The values of one quantity in every table."""
    return re.findall(rf"^ *{quantity}  +(\S+(?: [a-zA-Z]+)?)", text, re.MULTILINE)


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file, with the time of its last change."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", OF_DATA)
def test_every_command_that_takes_data_can_be_estimated(
    name: str, tmp_path: Path, temporary: Path, capsys: Any
) -> None:
    module = importlib.import_module(f"experiments.{name}")
    default = {field.name: field.default for field in fields(module.Config)}["model"]
    model = ("faithful",) if isinstance(default, tuple) else "faithful"
    config = module.Config(
        model=model, sample_ids=IDS, dry_run=True, output=tmp_path / "run", **MORE.get(name, {})
    )
    with pytest.raises(Explained):
        module.main(config)
    shown = capsys.readouterr().out
    assert all(int(rows.replace(",", "")) > 0 for rows in said(shown, "rows due")), shown
    assert said(shown, "time of rows") and said(shown, "peak memory"), shown
    assert {*said(shown, "samples")} <= {"6", "12"}, shown
    assert not (tmp_path / "run").exists() and list(temporary.iterdir()) == []


ABLATION = Config(model=("faithful",), samples=6, conditions=("own", "zeros", "swap"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two conditions that is complete."""
    output = tmp_path_factory.mktemp("ablation") / "run"
    assert main(replace(ABLATION, conditions=("own", "zeros"), output=output)) == 0
    return output


def test_rows_that_are_there_are_subtracted_and_the_run_stays_as_it_was(
    run: Path, capsys: Any
) -> None:
    before = contents(run)
    with pytest.raises(Explained):
        main(replace(ABLATION, output=run, dry_run=True))
    shown = capsys.readouterr().out
    assert said(shown, "conditions") == ["3"]
    assert [said(shown, f"rows{some}") for some in ("", " there", " due")] == [
        *(["18"], ["12"], ["6"]),
    ]
    assert "6 rows of 6 samples in" in shown  # those that are due, and no others
    assert contents(run) == before


def test_a_run_that_is_complete_loads_no_model(
    run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Config, "load_model", lambda *given: pytest.fail("it was loaded"))
    with pytest.raises(Explained):
        main(replace(ABLATION, conditions=("zeros",), output=run, dry_run=True))
    assert "nothing is due" in capsys.readouterr().out


def test_a_start_over_is_counted_whole_and_deletes_nothing(run: Path, capsys: Any) -> None:
    before = contents(run)
    with pytest.raises(Explained):
        main(replace(ABLATION, output=run, dry_run=True, overwrite=True))
    shown = capsys.readouterr().out
    assert said(shown, "rows due") == ["18"] and contents(run) == before


def test_a_folder_that_would_be_refused_is_refused_by_its_own_name(
    run: Path, tmp_path: Path
) -> None:
    before = contents(run)
    for change in ({"seed": 1}, {"samples": 5}, {"allow_changed": ("code",), "seed": 2}):
        with pytest.raises(LanternError, match=re.escape(f"'{run}' holds a run of another")):
            main(replace(ABLATION, output=run, dry_run=True, **change))
    assert contents(run) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(LanternError, match="holds files but no run"):
        main(replace(ABLATION, output=tmp_path / "other", dry_run=True))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_the_numbers_are_those_of_the_run(tmp_path: Path, capsys: Any) -> None:
    """All rows are in the batch here, so that its tokens are those of the run."""
    config = replace(ABLATION, output=tmp_path / "run")
    with pytest.raises(Explained):
        main(replace(config, dry_run=True))
    shown = capsys.readouterr().out
    assert main(config) == 0
    rows = read_rows(tmp_path / "run")
    assert said(shown, "rows due") == [str(len(rows))]
    assert said(shown, "generated tokens") == [f"~{sum(row['tokens'] for row in rows)}"]
    lantern = config.load_model("faithful")
    inputs = [lantern.inputs([sample]) for sample in config.load_samples("faithful")[1]]
    assert said(shown, "prompt tokens") == [str(sum(i["input_ids"].shape[1] for i in inputs))]
    grids = [int(i["image_grid_thw"].prod()) // 4 for i in inputs]
    assert said(shown, "image tokens") == [str(sum(grids))]


def test_a_pair_of_which_one_is_due_is_run_whole(tmp_path: Path, capsys: Any) -> None:
    config = PatchConfig(
        model=("faithful",), samples=2, components=("residual",), roles=("slot",), layers="0"
    )
    config = replace(config, output=tmp_path / "run")
    assert patch(config) == 0
    path = tmp_path / "run" / "rows.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["sample"] != "scenes-0-0"]
    path.write_text("".join(kept))
    capsys.readouterr()
    with pytest.raises(Explained):
        patch(replace(config, dry_run=True))
    shown = capsys.readouterr().out
    due = len(lines) - len(kept)
    assert said(shown, "rows due") == [str(due)]
    assert f"{due} rows of 2 samples in" in shown and "no batch" not in shown


def test_a_capture_says_its_place_on_disk_and_is_not_made(tmp_path: Path, capsys: Any) -> None:
    config = CaptureConfig(samples=4, conditions=("own", "zeros"), output=tmp_path / "run")
    with pytest.raises(Explained):
        capture(replace(config, dry_run=True))
    shown = capsys.readouterr().out
    assert shown.count("for the 4 samples that are due") == 2
    assert said(shown, "rows due") == ["4", "4"] and not (tmp_path / "run").exists()


def test_samples_that_cannot_be_run_are_counted_and_named(tmp_path: Path, capsys: Any) -> None:
    Image.new("RGB", (84, 84), (30, 60, 200)).save(tmp_path / "good.png")
    lines = [
        {"id": str(n), "question": "what color is the square ?", "options": ["A. red", "B. blue"],
         "answer": "B", "img_path": image, "bbox": [0, 0, 40, 40]}
        for n, image in enumerate(["gone.png", "good.png", "good.png"])
    ]  # fmt: skip
    (tmp_path / "file.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = replace(ABLATION, samples=None, conditions=("own", "zeros"), dry_run=True)
    config = replace(config, data=tmp_path / "file.jsonl", output=tmp_path / "run")
    with pytest.raises(Explained):
        main(config)
    shown = capsys.readouterr().out
    assert said(shown, "rows due") == ["6"] and "1 sample cannot be asked" in shown
    assert "2 of 6 rows of the batch could not be made" in shown and "gone.png" in shown
    with pytest.raises(Explained):
        main(replace(config, sample_ids=("0",)))
    shown = capsys.readouterr().out
    assert said(shown, "rows due") == ["2"] and said(shown, "time of rows") == []
    assert "2 of 2 rows of the batch could not be made" in shown


def test_a_batch_that_cannot_be_run_is_said_and_the_counts_stay(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> Measured:
        raise LanternError("no such batch")

    monkeypatch.setattr(rehearsal, "measure", refuse)
    with pytest.raises(Explained):
        main(replace(ABLATION, output=tmp_path / "run", dry_run=True))
    shown = capsys.readouterr().out
    assert said(shown, "rows due") == ["18"] and said(shown, "time of rows") == []
    assert "no batch could be measured: no such batch" in shown


def test_an_estimate_grows_with_what_is_due_and_leaves_failed_rows_out() -> None:
    rows = [{"status": "ok", "tokens": 10}, {"status": "ok", "tokens": 30}, {"status": "failed"}]
    estimate = Estimate("model", 20, 3, 60, 50, batch=Measured(1, rows, 4.0, warm=True))
    assert estimate.seconds == 100.0 and estimate.batch is not None
    assert estimate.batch.generated == [10, 30] and len(estimate.batch.failed) == 1
    assert Measured(1, [{"status": "ok", "continuation": [1, 2]}], 1.0, warm=True).generated == [2]
    assert replace(estimate, batch=Measured(1, rows[2:], 4.0, warm=True)).seconds is None


def test_tokens_of_samples_that_were_not_counted_are_the_mean() -> None:
    whole = Tokens(prompt=100, image=60, counted=4, bad=1, samples=5)
    assert whole.complete and whole.total(whole.prompt) == 100
    part = Tokens(prompt=100, image=60, counted=4, bad=1, samples=50)
    assert not part.complete and part.total(part.prompt) == 1000  # 40 of 50 can be asked


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_durations_are_written_in_units_of_their_size(seconds: float, text: str) -> None:
    assert duration(seconds) == text
