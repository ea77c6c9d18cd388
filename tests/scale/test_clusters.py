"""Ray clusters that cannot be had are refused at once, and before Ray is loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.ablate_latents import Config
from lantern_probe.errors import LanternError
from lantern_probe.scale import clusters
from lantern_probe.scale.clusters import check_cluster, find_cluster, processors

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Ray is installed here decides nothing."""
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: object())
    for name in ("RAY_ADDRESS", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_nobody_at_the_address_is_found_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(LanternError, match="nobody answers"):
        find_cluster(f"127.0.0.1:{unused_port()}")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("text", ["somewhere", "host:", "host:0", "host:70000", "", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(LanternError, match="local, auto or HOST:PORT|belongs to no Ray cluster"):
        check_cluster(text, None, None)


def test_a_machine_without_a_cluster_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(LanternError, match="belongs to no Ray cluster"):
        check_cluster("auto", None, None)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{unused_port()}")
    with pytest.raises(LanternError, match="nobody answers"):
        check_cluster("auto", None, None)


def test_numbers_that_no_machine_has_are_refused() -> None:
    for workers, gpus, words in (
        (0, None, "--workers must be at least 1"),
        (processors() + 1, None, f"this machine has {processors()} processors"),
        (None, -1.0, "--gpus-per-worker takes"),
        (None, 1.5, "--gpus-per-worker takes"),
        (None, float("nan"), "--gpus-per-worker takes"),
    ):
        with pytest.raises(LanternError, match=words):
            check_cluster("local", workers, gpus)
    check_cluster("local", processors(), 0.5)


def test_without_the_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LanternError, match=r"lantern-probe\[ray\]"):
        check_cluster("local", None, None)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("--shard or --ray, not both", {"ray": "local", "shard": "0/2"}),
        ("--device or --ray, not both", {"ray": "local", "device": "cuda:1"}),
        ("--device-map or --ray, not both", {"ray": "local", "device_map": "auto"}),
        ("--dry-run or --ray, not both", {"ray": "local", "dry_run": True}),
        ("--workers is about --ray", {"workers": 2}),
        ("--gpus-per-worker is about --ray", {"gpus_per_worker": 1.0}),
        ("i from 0 to n - 1", {"shard": "2/2"}),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, given: dict[str, object]) -> None:
    with pytest.raises(LanternError, match=words):
        Config(**given).check(["faithful"])  # type: ignore[arg-type]


def test_importing_the_package_and_a_command_loads_no_ray() -> None:
    program = (
        "import sys, importlib, pkgutil, lantern_probe, lantern_probe.scale as scale\n"
        "for module in pkgutil.iter_modules(scale.__path__):\n"
        "    importlib.import_module(f'lantern_probe.scale.{module.name}')\n"
        "import experiments.ablate_latents, experiments.scaling, experiments.fleets\n"
        "assert 'ray' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment)
