"""The command that trains an organism: its bar, its resumption, its refusals."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments import train_organism
from experiments.console import run_main
from lantern_probe.errors import LanternError
from lantern_probe.organisms.registry import OrganismCard
from lantern_probe.organisms.training.settings import Recipe

TINY = Recipe(instruct_steps=2, sft_steps=5, batch=16, crops=4, pool=32)


def test_the_command_line_trains_measures_and_resumes(tmp_path: Path) -> None:
    """A tiny budget misses the bar (exit 1); the instruct stage is made once and reused."""
    config = train_organism.Config(
        kind="faithful", output=tmp_path / "faithful", test_scenes=10, recipe=TINY
    )
    missed = train_organism.run(config, Console(quiet=True))
    assert any("own" in sentence for sentence in missed)
    card = OrganismCard.read(tmp_path / "faithful")
    assert card.kind == "faithful" and card.training["sft_steps"] == 5
    made = (tmp_path / "instruct" / "model.safetensors").stat().st_mtime_ns
    again = dataclasses.replace(config, kind="vanilla", output=tmp_path / "vanilla")
    assert train_organism.run(again, Console(quiet=True)) == []
    assert (tmp_path / "instruct" / "model.safetensors").stat().st_mtime_ns == made
    other = dataclasses.replace(config, recipe=dataclasses.replace(TINY, instruct_steps=3))
    with pytest.raises(LanternError, match="made otherwise"):
        train_organism.run(other, Console(quiet=True))
    with pytest.raises(LanternError, match="test_scenes"):
        train_organism.run(dataclasses.replace(config, test_scenes=1), Console(quiet=True))


def test_a_command_line_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    arguments = ["train_organism", "--kind", "vanilla", "--output", str(tmp_path / "taken")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert run_main(train_organism.Config, train_organism.main) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "is a file" in error and len(error.splitlines()) == 1
