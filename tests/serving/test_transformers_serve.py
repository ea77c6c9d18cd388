"""The server of transformers itself, with an organism: what it decodes, and its sudden end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lantern_probe import organisms
from lantern_probe.records.rows import read_rows

pytestmark = pytest.mark.extra

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}  # fmt: skip


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running server of a checkpoint's folder; its base address, and its process."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [
        *(str(Path(sys.executable).with_name("transformers")), "serve", str(folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
    ]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=ENVIRONMENT, **quiet)
    try:
        for _ in range(600):
            time.sleep(0.1)
            assert process.poll() is None, "the server ended by itself"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("served") / "faithful"
    shutil.copytree(organisms.path("faithful"), found)
    return found


def command(folder: Path, url: str, output: Path, samples: int) -> list[str]:
    return [
        *(sys.executable, "-m", "experiments.ablate_latents", "--model", "faithful"),
        *("--samples", str(samples), "--conditions", "own", "--output", str(output)),
        *("--endpoint", url, "--served-model", str(folder), "--tries", "1", "--timeout", "60"),
    ]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)


def served_rows(output: Path) -> list[dict[str, Any]]:
    if not (output / "run.json").is_file():
        return []
    return [row for row in read_rows(output) if row["condition"].startswith("served:")]


def test_its_answers_are_those_of_stock_and_its_markers_are_stripped(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with served(folder) as (url, _):
        done = run(command(folder, url, output, 40))
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads((output / "served.json").read_text())
    assert summary["verdict"] == "markers stripped" and not summary["failures"]
    stock = next(one for one in summary["agreements"] if one["condition"] == "stock")
    assert stock["answers"] == stock["texts"] == stock["n"] == 40
    telling = summary["telling"]
    assert telling["n"] > 25 and telling["like_own"] == 0
    assert summary["server"]["fields"]["skip_special_tokens"] == "refused"
    assert summary["server"]["floor"]["answers_differ"] == 0
    prompts = {(r["prompt_tokens"], r["served_prompt_tokens"]) for r in served_rows(output)}
    assert all(here == there for here, there in prompts)
    assert "accuracy own minus accuracy stock" in " ".join(done.stdout.split())


def test_a_killed_server_and_a_killed_client_lose_no_row(folder: Path, tmp_path: Path) -> None:
    """Either is killed outright while rows come in; the same command goes on with the rest."""
    output, samples = tmp_path / "run", 70

    def wait_for(number: int, client: subprocess.Popen[bytes]) -> None:
        while len(served_rows(output)) < number:
            assert client.poll() is None, "the client ended before its time"
            time.sleep(0.05)

    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with served(folder) as (url, server):
        arguments = command(folder, url, output, samples)
        client = subprocess.Popen(arguments, env=ENVIRONMENT, cwd=ROOT, **quiet)
        wait_for(5, client)
        client.send_signal(signal.SIGKILL)
        client.communicate()
        client = subprocess.Popen(arguments, env=ENVIRONMENT, cwd=ROOT, **quiet)
        wait_for(15, client)
        server.kill()
        _, said = client.communicate()
    assert client.returncode == 2 and b"goes on from there" in b" ".join(said.split())
    before = {r["sample"]: r for r in served_rows(output) if r["status"] == "ok"}
    assert 15 <= len(before) < samples
    with served(folder, int(url.rpartition(":")[2].removesuffix("/v1"))) as (url, _):
        done = run(command(folder, url, output, samples))
    assert done.returncode == 0, done.stderr
    rows = served_rows(output)
    assert len(rows) == len({row["sample"] for row in rows}) == samples
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row == before.get(row["sample"], row) for row in rows)
