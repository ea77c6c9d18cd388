"""The official outputs, in process and through the command line."""

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

from experiments.check_conformance import check, same_tokens
from lantern_probe.errors import LanternError

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_bar_is_met(conformance: Path):
    report = check(conformance)
    assert report.singles == 48 and report.singles_identical == 48
    assert report.batched_rows == 72 and report.batched_rows_identical >= 65
    assert report.latent_difference <= 1e-4
    assert report.crops == report.crops_identical == 24
    assert report.compressions == 2 and report.compression_difference <= 1e-4
    assert report.passed


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
    arrays["batch0/bias20/zeros/sequences"][0, 80] += 1
    np.savez(folder / "generation.npz", **arrays)
    return folder


@pytest.fixture
def run(command: Command) -> Command:
    return partial(command, "check_conformance")


def test_a_difference_fails(run: Command, tampered: Path):
    done = run(str(tampered), "--output", str(tampered / "report.json"))
    assert done.returncode == 1 and "1 of 2" in done.stdout and "does not conform" in done.stdout
    report = json.loads((tampered / "report.json").read_text())
    assert report["singles_identical"] == 1 and report["passed"] is False


def test_a_folder_that_is_none_is_refused(run: Command, tmp_path: Path):
    done = run(str(tmp_path))
    assert done.returncode == 2 and "is no conformance folder" in done.stderr
    with pytest.raises(LanternError):
        check(tmp_path)


def test_what_is_padded_behind_the_end_does_not_count():
    def same(ours: list[int], theirs: list[int]) -> bool:
        return same_tokens(torch.tensor(ours), torch.tensor(theirs), prompt=2, eos={2})

    assert same([2, 9, 5, 2, 0, 0], [2, 9, 5, 2, 2]) and same([2, 9, 5, 2], [2, 9, 5, 2, 0])
    assert not same([2, 9, 5, 2], [2, 9, 6, 2]) and not same([2, 9, 5, 5], [2, 9, 5])


def test_torn_recordings_are_refused(conformance: Path, tmp_path: Path):
    folder = shutil.copytree(conformance, tmp_path / "torn")
    whole = (folder / "generation.npz").read_bytes()
    (folder / "generation.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LanternError, match="is no conformance folder"):
        check(folder)
    (folder / "generation.npz").write_bytes(whole)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(LanternError, match="is no conformance folder"):
        check(folder)
