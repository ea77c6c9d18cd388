"""The official outputs through the command line, on every kind of processor at hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lantern_probe.errors import LanternError
from lantern_probe.model.conformance import check

Command = Callable[..., subprocess.CompletedProcess[str]]
CAPABILITY = torch.backends.cpu.get_cpu_capability()


@pytest.fixture
def run(command: Command) -> Command:
    return partial(command, "check_conformance")


@pytest.mark.slow
@pytest.mark.parametrize(
    "capability",
    [
        "default",
        pytest.param(
            "avx2", marks=pytest.mark.skipif("AVX" not in CAPABILITY, reason="no such processor")
        ),
        pytest.param(
            "avx512", marks=pytest.mark.skipif(CAPABILITY != "AVX512", reason="no such processor")
        ),
    ],
)
def test_the_bar_is_met_on_other_processors(
    capability: str,
    run: Command,
    conformance: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
    done = run(conformance, "--output", tmp_path / "report.json")
    assert done.returncode == 0 and "lantern conforms" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"] and report["tokens"] == 6500 and report["states"] == 200
    assert report["state_difference"] <= 1e-5 and report["fed_difference"] == 0
    assert report["token_differences"] == report["state_differences"] == []
    assert report["crops_identical"] == 24 and report["compression_difference"] <= 1e-4
    assert report["rows"] == 120 == report["rows_identical"] + len(report["deviations"])


@pytest.fixture
def tampered(conformance: Path, tmp_path: Path) -> Path:
    """A folder with two cases, of which the second was not written by this model."""
    folder = tmp_path / "tampered"
    folder.mkdir()
    shutil.copytree(conformance / "checkpoint", folder / "checkpoint")
    shutil.copy(conformance / "compression.npz", folder)
    manifest = json.loads((conformance / "manifest.json").read_text())
    manifest["cases"] = manifest["cases"][:2]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    arrays = dict(np.load(conformance / "generation.npz"))
    arrays["batch0/bias20/zeros/sequences"] = arrays["batch0/bias20/zeros/sequences"].copy()
    arrays["batch0/bias20/zeros/sequences"][0, 51 + 30] = 300
    np.savez(folder / "generation.npz", **arrays)
    return folder


def test_a_difference_fails(run: Command, tampered: Path):
    done = run(tampered, "--output", tampered / "report.json")
    assert done.returncode == 1 and "does not conform" in done.stdout
    assert "batch0/bias20/zeros row 0 step 30: recorded 300" in done.stdout
    assert "free: rows token-identical   1 of 2 (not judged)" in done.stdout
    report = json.loads((tampered / "report.json").read_text())
    assert report["passed"] is False and report["state_differences"] == []
    first, (deviation,) = report["token_differences"][0], report["deviations"]
    for token in (first, deviation["token"]):
        assert token["case"] == "batch0/bias20/zeros" and not token["near_tie"]
        assert (token["step"], token["recorded"], token["ours"]) == (30, 300, 349)


def test_a_folder_that_is_none_is_refused(run: Command, tmp_path: Path):
    done = run(tmp_path)
    assert done.returncode == 2 and "is no conformance folder" in done.stderr
    with pytest.raises(LanternError):
        check(tmp_path)


def test_torn_recordings_are_refused(conformance: Path, tmp_path: Path):
    folder = shutil.copytree(conformance, tmp_path / "torn")
    whole = (folder / "generation.npz").read_bytes()
    (folder / "generation.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LanternError, match="is no conformance folder"):
        check(folder)
    (folder / "generation.npz").write_bytes(whole)
    for manifest in ("[]", "{}", '{"cases": [{}], "crops": []}'):
        (folder / "manifest.json").write_text(manifest)
        with pytest.raises(LanternError, match="is no conformance folder"):
            check(folder)
