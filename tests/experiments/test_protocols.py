"""`--protocol` on the command line: taken, recorded, and refused where the files say otherwise."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lantern_probe import organisms

Command = Callable[..., subprocess.CompletedProcess[str]]
CONDITIONS = ("own", "skip", "ban", "stock", "swap", "oracle", "direct")


@pytest.fixture
def ablate(command: Command, tmp_path: Path) -> Command:
    asked = ("--task", "scenes", "--samples", 8, "--output", tmp_path / "run")
    return partial(command, "ablate_latents", *asked)


def renamed(folder: Path, **names: str) -> Path:
    """The faithful organism with the tokens and keys of another reasoner.

    What is recorded at a slot of LVR is never read, and it learns to write the end marker itself as
    LanteRn does: the weights of the one are those of the other.
    """
    shutil.copytree(organisms.path("faithful"), folder)
    (folder / "organism.json").unlink()
    for file in folder.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def lvr(tmp_path: Path) -> Path:
    texts = {"<|lvr_sep|>": "<|lvr|>", "lvr_sep_id": "lvr_id"}
    return renamed(tmp_path / "lvr", **texts)


def test_a_faithful_organism_is_faithful_under_lvr(ablate: Command, lvr: Path, tmp_path: Path):
    done = ablate("--model", lvr, "--protocol", "lvr", "--conditions", *CONDITIONS)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["status"] == "ok"]
    right = {
        name: sum(bool(row["correct"]) for row in rows if row["condition"].startswith(name))
        for name in ("own", "oracle", "skip", "swap")
    }
    assert right["own"] == right["oracle"] == 8
    assert right["skip"] <= 3 and right["swap"] <= 3
    fed = {row["condition"]: row["fed"] for row in rows}
    assert fed["own"] == [8] and fed["skip"] == [0] and fed["ban"] == fed["stock"] == []
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert '"name": "lvr"' in json.dumps(recorded)


def test_a_protocol_that_contradicts_the_model_is_refused(ablate: Command, tmp_path: Path):
    done = ablate("--model", "faithful", "--protocol", "lvr")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "does not follow the protocol 'lvr'" in done.stderr and "lantern" in done.stderr
    assert not (tmp_path / "run").exists()
    done = ablate("--model", "faithful", "--protocol", tmp_path / "none.toml")
    assert done.returncode == 2 and "none.toml" in done.stderr
