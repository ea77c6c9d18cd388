"""The command report: a page, a page that follows a run, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.report import Config, main, show_page
from lantern_probe.errors import LanternError
from lantern_probe.records.run import Run

ROOT = Path(__file__).parents[2]


def row(sample: str) -> dict[str, Any]:
    return {
        "sample": sample, "condition": "own", "status": "ok", "cluster": sample, "gold": "red",
        "answer": "red", "text": "it is red",
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with Run.open(tmp_path / "run", {"experiment": "ablate_latents"}) as run:
        run.append(row("a"))
    return tmp_path / "run"


def samples_of(page: Path) -> int:
    text = (page.parent / "data" / "state.js").read_text(encoding="ascii")
    found = json.loads(text.removeprefix("lanternState(").removesuffix(")\n"))
    return int(found["runs"][0]["samples"])


def waited_for(true: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def test_the_command_writes_a_page(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(Config((run,), output=tmp_path / "page")) == 0
    assert str(tmp_path / "page" / "index.html") in capsys.readouterr().out.replace("\n", "")
    assert samples_of(tmp_path / "page" / "index.html") == 1


def test_the_command_writes_one_file(run: Path, tmp_path: Path) -> None:
    assert main(Config((run,), output=tmp_path / "page", embed=True)) == 0
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]


def test_a_page_that_cannot_be_is_said_and_stops_nothing(run: Path, capsys: Any) -> None:
    (run / "report").mkdir()
    (run / "report" / "index.html").write_text("mine")
    show_page(run)
    assert "there is no page" in capsys.readouterr().out


def test_options_that_do_not_fit_are_refused(run: Path) -> None:
    with pytest.raises(LanternError, match="exclude each other"):
        main(Config((run,), watch=True, embed=True))
    with pytest.raises(LanternError, match="give both, or neither"):
        main(Config((run,), port=0))
    with pytest.raises(LanternError, match="between 0 and 65535"):
        main(Config((run,), watch=True, port=70000))


def test_a_page_follows_a_run_until_it_is_interrupted(run: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "experiments.report", str(run), "--watch", "--port", "0"]
    page = run / "report" / "index.html"
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline()]
            while lines[-1] and not lines[-1].startswith("served at"):
                lines.append(process.stdout.readline())
            address = lines[-1].split()[-1]
            assert address.startswith("http://127.0.0.1:") and samples_of(page) == 1
            rows = run / "rows.jsonl"
            with rows.open("ab") as file:
                file.write(json.dumps(row("b")).encode() + b"\n" + b'{"sample": "c", "cond')
            assert waited_for(lambda: samples_of(page) == 2)
            whole = rows.read_bytes()
            rows.write_bytes(b"broken\n")
            assert "stays as it is" in process.stdout.readline() + process.stdout.readline()
            rows.write_bytes(whole + b'ition": "own"}\n')
            assert waited_for(lambda: samples_of(page) == 3)
            with urllib.request.urlopen(address) as answer:
                assert answer.read() == page.read_bytes()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def test_a_port_that_is_taken_is_refused(run: Path) -> None:
    from lantern_probe.report.watch import served

    with served(run, 0) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(LanternError, match=f"--port {port}: .*choose another"):
            main(Config((run,), watch=True, port=port))
