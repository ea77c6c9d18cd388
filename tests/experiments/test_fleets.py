"""Workers on a local Ray cluster: rows as of one process, whoever dies."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments import ablations, fleets
from experiments.ablate_latents import Config, main
from lantern_probe.errors import LanternError
from lantern_probe.records.writer import Writer

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs the extra ray", allow_module_level=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of Ray, on import
]

ROOT = Path(__file__).parents[2]
CONDITIONS = ("own", "zeros", "mean", "swap")
GIVEN: dict[str, Any] = {
    "model": ("faithful",), "samples": 21, "batch_rows": 8, "conditions": CONDITIONS,
}  # fmt: skip
COMMAND = (
    *(sys.executable, "-m", "experiments.ablate_latents", "--model", "faithful"),
    *("--samples", "21", "--batch-rows", "8", "--conditions", *CONDITIONS),
)
SECONDS = 240


def rows(folder: Path) -> list[bytes]:
    file = folder / "rows.jsonl"
    return sorted(file.read_bytes().splitlines()) if file.exists() else []


def status(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["status"])


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster, which all commands of this module use."""
    from lantern_probe.scale.fleet import connect, disconnect

    connect("local")  # before ray is imported, as a command does
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    disconnect()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("plain")
    main(Config(**GIVEN, output=folder))
    return rows(folder)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes of the workers, as they say that they are ready."""
    found: list[int] = []
    check_of = fleets._check_of

    def noting(run: Any) -> Any:
        check = check_of(run)

        def both(ready: Any) -> None:
            check(ready)
            found.append(ready.process)

        return both

    monkeypatch.setattr(fleets, "_check_of", noting)
    return found


@dataclass(frozen=True)
class Faulty:
    """A job with a sample that kills its process, or raises."""

    job: Any
    poison: str = ""
    bad: str = ""

    def __call__(self, lantern: Any, some: Sequence[Any]) -> Sequence[Any]:
        engines = self.job(lantern, some)
        for engine in engines:
            engine.__class__ = with_faults(type(engine), self.poison, self.bad)
        return engines


def with_faults(kind: Any, poison: str, bad: str) -> Any:
    class WithFaults(kind):
        def run_units(self, stage: int, units: Any, sink: Any) -> None:
            ids = {key for key, _ in units}
            if poison in ids:
                os.kill(os.getpid(), signal.SIGKILL)
            if bad in ids:
                raise RuntimeError("a sample that raises")
            kind.run_units(self, stage, units, sink)

    return WithFaults


def run_faulty(folder: Path, monkeypatch: pytest.MonkeyPatch, **faults: str) -> None:
    job = ablations.AblationJob
    monkeypatch.setattr(ablations, "AblationJob", lambda *given: Faulty(job(*given), **faults))
    main(Config(**GIVEN, output=folder, ray="local", workers=2))


def test_two_workers_one_of_which_is_killed_give_the_rows_of_one_process(
    plain: list[bytes], workers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, killed = Writer.write, []

    def kill_once(self: Writer, done: Any) -> None:
        write(self, done)
        if not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    monkeypatch.setattr(Writer, "write", kill_once)
    main(Config(**GIVEN, output=tmp_path / "run", ray="local", workers=2))
    assert killed and len(set(workers)) >= 2
    assert rows(tmp_path / "run") == plain and status(tmp_path / "run") == "complete"


def test_nobody_outside_this_machine_can_reach_it_and_nothing_is_left_at_home() -> None:
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    # An address of IPv4 may come in the form of IPv6.
    assert listening
    assert all(ip_address(one.removeprefix("::ffff:")).is_loopback for one in listening)
    assert not (Path.home() / ".ray" / "auth_token").exists()
    # Ray starts this program for its own bookkeeping; without pages it is no dashboard.
    dashboards = [p.cmdline() for p in family if "dashboard/dashboard.py" in " ".join(p.cmdline())]
    assert all("--disable-frontend" in line for line in dashboards)


def test_a_sample_that_kills_its_worker_fails_alone(
    plain: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_faulty(tmp_path / "run", monkeypatch, poison="scenes-0-5")
    found = [json.loads(row) for row in rows(tmp_path / "run")]
    failed = [row for row in found if row["status"] == "failed"]
    assert {row["sample"] for row in failed} == {"scenes-0-5"} and len(failed) == len(CONDITIONS)
    assert all("every worker that ran this sample died" in row["error"] for row in failed)
    assert len(found) == len(plain)


def test_a_sample_that_raises_fails_alone_and_as_it_does_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_faulty(tmp_path / "fleet", monkeypatch, bad="scenes-0-5")
    found = [json.loads(row) for row in rows(tmp_path / "fleet")]
    failed = [row for row in found if row["status"] == "failed"]
    assert {row["sample"] for row in failed} == {"scenes-0-5"} and len(failed) == len(CONDITIONS)
    assert failed[0]["error"].startswith("RuntimeError: a sample that raises (in ")
    assert "test_fleets.py" in failed[0]["error"]
    main(Config(**GIVEN, output=tmp_path / "process"))
    assert rows(tmp_path / "process") == rows(tmp_path / "fleet")


def test_a_worker_of_another_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"code": {"version": "0", "sha256": "0"}, "versions": {}}
    monkeypatch.setattr(fleets, "made_with", lambda: other)
    with pytest.raises(LanternError, match=r"would make other rows \(code or versions"):
        main(Config(**GIVEN, output=tmp_path / "run", ray="local", workers=1))
    assert rows(tmp_path / "run") == []


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*COMMAND, "--output", str(folder), "--ray", "local", "--workers", "2"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell's `&` ignores it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def until(done: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_ends_leaves_no_process_and_a_run_that_goes_on(
    kill: signal.Signals, plain: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    driver = start(folder)
    until(lambda: rows(folder) or driver.poll() is not None, "no row came")
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(kill)
    code = driver.wait(timeout=SECONDS)
    until(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), "left over")
    if kill == signal.SIGINT:
        assert code == 130 and status(folder) == "interrupted"
    else:
        assert code == -signal.SIGKILL and status(folder) == "running"
    assert 0 < len(rows(folder)) < len(plain)
    main(Config(**GIVEN, output=folder))
    assert rows(folder) == plain
