"""`python -m experiments.preregister`, and the runs that follow its file."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import preregister
from experiments.ablate_latents import Config, main
from experiments.capture_activations import Config as CaptureConfig
from experiments.capture_activations import main as capture
from experiments.diagnose import Config as DiagnoseConfig
from experiments.diagnose import main as diagnose
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.stats import detectable_difference

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plans") / "plan.json"
    config = preregister.Config(
        primary="swap",
        conditions=("own", "swap", "zeros", "mask"),
        samples=8,
        margin=0.1,
        discordance=0.5,
        output=file,
    )
    assert preregister.main(config) == 0
    return file


def config(plan: Path | None, folder: Path, **changes: Any) -> Config:
    found = Config(
        model=("faithful",),
        samples=8,
        conditions=("swap", "zeros", "noise"),
        preregistration=plan,
        output=folder,
    )
    return replace(found, **changes)


def test_the_file_has_margin_family_primary_n_and_the_smallest_difference(plan: Path) -> None:
    content = json.loads(plan.read_text())
    seen = detectable_difference(8, 0.5, family=3)
    assert content["primary"] == "swap" and content["conditions"] == ["swap", "zeros", "mask"]
    assert (content["samples"], content["margin"]) == (8, 0.1)
    assert content["detectable"] == (seen and seen.difference)


def test_labels_are_those_of_the_rows(tmp_path: Path) -> None:
    found = preregister.planned_family(
        preregister.Config(
            primary="swap", conditions=("swap", "zeros@black-box", "after->slot"), seed=3
        )
    )
    assert found == ("swap:seed=3", ("swap:seed=3", "zeros@black-box", "after->slot"))


def test_a_run_follows_its_plan_and_says_what_is_exploratory(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(config(plan, folder)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "swap:seed=0 (primary)" in shown and "noise:seed=0 (exploratory)" in shown
    assert "over the preregistered family of 3" in shown and "within 10.0 points" in shown
    assert "planned and not run: mask" in shown
    manifest = read_manifest(folder)
    assert manifest["preregistration"]["sha256"] == hashlib.sha256(plan.read_bytes()).hexdigest()
    assert (manifest["margin"], manifest["planned_samples"], manifest["ran_samples"]) == (0.1, 8, 8)
    records = {r["condition"]: r for r in json.loads((folder / "summary.json").read_text())}
    assert [records[c]["exploratory"] for c in ("own", "swap", "zeros", "noise")] == [
        None, False, False, True
    ]  # fmt: skip
    assert records["swap"]["role"] == "primary" and records["swap"]["family"] == 3
    assert records["noise"]["family"] == 4 and records["swap"]["margin"] == 0.1
    assert records["swap"]["preregistration"] == manifest["preregistration"]["sha256"]
    assert (records["swap"]["planned_samples"], records["swap"]["ran_samples"]) == (8, 8)

    # A start that does not name the file follows it as well.
    with pytest.raises(LanternError, match="and --margin is 0.02"):
        main(config(None, folder, margin=0.02))
    with pytest.raises(LanternError, match="primary condition of .* is swap"):
        main(config(None, folder, conditions=("zeros",)))
    assert main(config(None, folder, conditions=("swap", "mean"))) == 0
    assert "mean (exploratory)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 7}, "plans 8 samples, and this run would have 7"),
        ({"sample_ids": ("scenes-0-1",), "samples": None}, "plans 8 samples, .* have 1"),
        ({"margin": 0.02}, "fixes the margin of equivalence at 0.1, and --margin is 0.02"),
        ({"conditions": ("zeros",)}, "is swap, and this run has own, zeros; add swap"),
    ],
)
def test_a_contradiction_is_refused_before_the_folder_is_made(
    plan: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(LanternError, match=message):
        main(config(plan, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_file_that_comes_after_the_first_row_is_refused_also_with_overwrite(
    plan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert main(config(None, folder)) == 0
    before = (folder / "rows.jsonl").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(LanternError, match="comes after the first row"):
            main(config(plan, folder, overwrite=overwrite))
    assert (folder / "rows.jsonl").read_bytes() == before
    assert "preregistration" not in read_manifest(folder)


def test_more_samples_than_planned_and_failed_ones_are_said(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(config(plan, tmp_path / "run", samples=9)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 samples were planned and 9 ran" in shown and "invalidates p" in shown
    records = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (records[0]["planned_samples"], records[0]["ran_samples"]) == (8, 9)


def test_a_margin_that_is_chosen_later_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(config(None, folder, margin=0.03)) == 0
    assert main(config(None, folder)) == 0  # without the flag it is the run's
    assert "margin of equivalence is" not in capsys.readouterr().out
    assert main(config(None, folder, margin=0.2)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "is 0.2 now, and was 0.03 when the first row was written" in shown
    assert read_manifest(folder)["margin"] == 0.03


def test_commands_that_compare_nothing_record_the_file_and_heed_n(
    plan: Path, tmp_path: Path
) -> None:
    job = CaptureConfig(
        model="faithful", samples=8, preregistration=plan, output=tmp_path / "capture"
    )
    assert capture(job) == 0
    assert read_manifest(tmp_path / "capture")["preregistration"]["primary"] == "swap"
    assert len(read_rows(tmp_path / "capture")) == 8
    with pytest.raises(LanternError, match="plans 8 samples"):
        capture(replace(job, samples=4, output=tmp_path / "other"))


def test_a_diagnosis_needs_its_number_of_pairs_beforehand(plan: Path, tmp_path: Path) -> None:
    job = DiagnoseConfig(model=("faithful",), preregistration=plan, output=tmp_path / "run")
    with pytest.raises(LanternError, match="--minutes would choose the number of pairs"):
        diagnose(job)
    with pytest.raises(LanternError, match="primary condition of .* is swap, and this run has own"):
        diagnose(replace(job, samples=8))


def test_the_command_writes_once(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "plan.json"
    done = command("preregister", "--primary", "swap", "--samples", 64, "--output", file)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "primary condition swap" in text and "samples of a model 64" in text
    again = command("preregister", "--primary", "swap", "--output", file)
    assert again.returncode == 2 and "never rewritten" in again.stderr
