"""`--temperature`, `--top-p` and `--passes` as a user gives them."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import (
    ablate_latents,
    decompose_markers,
    exchange_latents,
    knock_out,
    read_triggers,
)
from experiments.inputs import AblationInputs
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import read_rows

Command = Callable[..., subprocess.CompletedProcess[str]]

MODEL = ("--model", "faithful", "--samples", 5, "--conditions", "own", "zeros")


def rows_by_key(folder: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    return {(r["sample"], r["condition"], r["pass"]): r for r in read_rows(folder)}


def test_passes_are_sampled_continued_and_averaged(command: Command, tmp_path: Path) -> None:
    hot = (*MODEL, "--temperature", 2, "--top-p", 0.98, "--output", tmp_path)
    first = command("ablate_latents", *hot)
    assert first.returncode == 0, first.stderr
    one = rows_by_key(tmp_path)
    assert {number for _, _, number in one} == {0} and len(one) == 10
    more = command("ablate_latents", *hot, "--passes", 3)
    assert more.returncode == 0, more.stderr
    rows = rows_by_key(tmp_path)
    assert len(rows) == 30 and {key: rows[key] for key in one} == one
    assert len({row["text"] for row in rows.values()}) > 15
    assert "3 passes" in more.stdout and "accuracy by pass: own" in more.stdout

    shares: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for (sample, condition, _), row in rows.items():
        if row["emitted"]:
            shares[condition][sample].append(row["correct"])
    found = {r["condition"]: r for r in json.loads((tmp_path / "summary.json").read_text())}
    for condition, samples in shares.items():
        means = [statistics.fmean(texts) for texts in samples.values()]
        assert found[condition]["accuracy"] == pytest.approx(statistics.fmean(means))
        assert (found[condition]["n"], found[condition]["passes"]) == (len(means), 3)

    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["passes"] == 3 and manifest["config"]["temperature"] == 2
    assert manifest["decoding"]["warpers"] == {"temperature": 2.0, "top_p": 0.98}
    other = command("ablate_latents", *MODEL, "--output", tmp_path)
    assert other.returncode == 2 and "temperature: 2.0 there, absent here" in other.stderr


def test_no_temperature_is_greedy_decoding(command: Command, tmp_path: Path) -> None:
    plain = command("ablate_latents", *MODEL, "--output", tmp_path / "plain")
    cold = command("ablate_latents", *MODEL, "--temperature", 0, "--output", tmp_path / "cold")
    assert plain.returncode == cold.returncode == 0, plain.stderr + cold.stderr
    rows = (tmp_path / "plain" / "rows.jsonl").read_bytes()
    assert (tmp_path / "cold" / "rows.jsonl").read_bytes() == rows and b'"pass"' not in rows
    configs = [
        json.loads((tmp_path / n / "run.json").read_text())["config"] for n in ("plain", "cold")
    ]
    assert configs[0] == configs[1] and "temperature" not in configs[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"temperature": -1.0}, "--temperature must be a number above 0"),
        ({"temperature": math.nan}, "--temperature must be a number above 0"),
        ({"temperature": math.inf}, "--temperature must be a number above 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "--top-p lies above 0 and at most at 1, not at 0"),
        ({"temperature": 1.0, "top_p": 1.5}, "--top-p lies above 0"),
        ({"temperature": 1.0, "top_p": math.nan}, "--top-p lies above 0"),
        ({"temperature": 1.0, "passes": 0}, "--passes must be at least 1, not 0"),
        ({"passes": 4}, "4 times the same text; give a --temperature"),
        ({"temperature": 0.0, "passes": 2}, "2 times the same text"),
        ({"top_p": 0.9}, "--top-p 0.9 does nothing under greedy decoding"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        AblationInputs(**given).check_run()


@pytest.mark.parametrize("module", [decompose_markers, exchange_latents, read_triggers])
def test_a_command_that_reads_one_text_refuses_passes_by_name(module: Any, tmp_path: Path) -> None:
    config = module.Config(temperature=1.0, passes=2, model=("faithful",), output=tmp_path / "run")
    with pytest.raises(LanternError, match=f"{module.COMMAND} reads one text .* --passes 2"):
        module.main(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("module", [ablate_latents, knock_out, decompose_markers, read_triggers])
def test_commands_of_the_engine_take_a_temperature(module: Any) -> None:
    config = module.Config(temperature=0.7, top_p=0.9)
    config.check_run()
    sampling = config.sampling(3)
    assert (sampling.temperature, sampling.top_p, sampling.passes) == (0.7, 0.9, 1)
    assert sampling.seed == 3 and module.Config().sampling(3) is None


def test_a_command_that_reads_one_text_can_sample_it(command: Command, tmp_path: Path) -> None:
    done = command(
        "decompose_markers", "--model", "faithful", "--samples", 6, "--temperature", 1,
        "--output", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["pass"] for row in read_rows(tmp_path)} == {0}
