"""The array of docs/cluster on a real Slurm of one node: a task is killed, and all run again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from experiments.ablate_latents import Config, main

from .slurm import Slurm, is_there

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(not is_there(), reason="needs root, and Debian's slurm-wlm and munge"),
]

ROOT = Path(__file__).parents[2]
CONDITIONS = ("own", "zeros", "mean", "swap")
SECONDS = 400


def until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def task_process(index: int) -> psutil.Process | None:
    """The process of a task of an array, once it runs Python."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_ARRAY_TASK_ID") != str(index):
                continue
            if "experiments.ablate_latents" in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


def test_an_array_with_a_killed_task_is_run_again_and_merged_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(
        Config(
            model=("faithful",),
            samples=21,
            batch_rows=8,
            conditions=CONDITIONS,
            output=tmp_path / "plain",
        )
    )
    for name, value in {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
    }.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "slurm"
    place.mkdir()
    command = (
        *("bash", str(ROOT / "docs" / "cluster" / "submit.sh"), "3"),
        *(str(tmp_path / "parts"), str(tmp_path / "whole"), "ablate_latents"),
        *("--model", "faithful", "--samples", "21", "--batch-rows", "8"),
        *("--conditions", *CONDITIONS),
    )
    with Slurm(place) as slurm:
        merge = slurm.said(*command)
        assert merge.isdecimal(), merge
        until(lambda: task_process(1), "the second task does not start")
        process = task_process(1)
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
        until(lambda: slurm.state(merge) <= {"CANCELLED"}, "the merge is not cancelled")
        assert not (tmp_path / "whole").exists()
        again = slurm.said(*command)
        until(
            lambda: (
                (tmp_path / "whole" / "run.json").exists()
                or slurm.state(again) & {"CANCELLED", "FAILED"}
            ),
            "the array does not end",
        )
        logs = "".join(log.read_text()[-400:] for log in sorted(place.glob("*.out")))
        assert (tmp_path / "whole").exists(), logs
    one, other = (tmp_path / name / "rows.jsonl" for name in ("plain", "whole"))
    assert one.read_bytes() == other.read_bytes()
