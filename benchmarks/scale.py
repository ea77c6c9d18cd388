"""What do workers cost? Rows per processor second in one process, and with workers on Ray.

    python -m benchmarks.scale --output benchmarks/results/scale-cpu.json

An ablation of an organism runs in this process, then with one worker and with two on a local Ray
cluster, once they have loaded their models. Processor time is that of this process and of the
workers; Ray's own processes are left out, and cost time on the clock only. The share that
coordination takes is that of this process, which hands out chunks and writes rows. Recovery is the
time from the death of a worker to the readiness of its replacement.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.circumstances import circumstances
from experiments.ablate_latents import Config as Ablate
from experiments.ablations import AblationJob, ablation_parts
from experiments.console import console, run_main
from experiments.fleets import make_replica
from experiments.scaling import for_worker
from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import write_json
from lantern_probe.records.run import Run
from lantern_probe.records.work import Task, block_size
from lantern_probe.records.writer import Writer, carry_out
from lantern_probe.scale.clusters import processors
from lantern_probe.scale.fleet import Fleet, disconnect
from lantern_probe.scale.replica import Ready, packed
from lantern_probe.vocabulary import STANDARD


@dataclass(frozen=True)
class Config:
    """What do workers cost? Rows per processor second in one process, and with workers on Ray."""

    model: str = "faithful"
    """A bundled organism, or a checkpoint folder."""
    samples: int = 128
    """Number of samples."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of workers."""
    conditions: tuple[str, ...] = STANDARD
    """Conditions of the ablation."""
    output: Path | None = None
    """File for the figures; none by default."""


def main(config: Config) -> int:
    """Measure, print and write the figures; 1 when rows differ."""
    if most := [number for number in config.workers if number > processors()]:
        raise LanternError(f"--workers {most[0]}: this machine has {processors()} processors")
    inputs = Ablate(model=(config.model,), samples=config.samples, conditions=config.conditions)
    _, samples = inputs.load_samples(config.model)
    parts = ablation_parts(config.conditions)
    job = AblationJob(inputs, config.model, parts, [s.id for s in samples], "default", None)
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        plain, rows = in_process(inputs, config.model, job, samples, Path(place) / "plain")
        records.append({"way": "one process", **plain})
        same = True
        for number in config.workers:
            folder = Path(place) / str(number)
            found, others = with_workers(inputs, config.model, job, samples, folder, number)
            found["slower_a_processor_second"] = 1 - found["rate"] / plain["rate"]
            records.append({"way": f"{number} workers", **found})
            same = same and others == rows
    disconnect()
    for record in records:
        console.print(", ".join(f"{name} {_short(value)}" for name, value in record.items()))
    console.print(f"rows equal to the bit: {same}")
    if config.output is not None:
        write_json(config.output, {**circumstances(), "same_rows": same, "ways": records})
    return 0 if same else 1


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _sorted_rows(folder: Path) -> list[bytes]:
    return sorted((folder / "rows.jsonl").read_bytes().splitlines())


def in_process(
    inputs: Ablate, name: str, job: AblationJob, samples: Sequence[Any], folder: Path
) -> tuple[dict[str, Any], list[bytes]]:
    """Run the ablation here; its figures and rows."""
    lantern = inputs.load_model(name)
    with Run.open(folder, {}) as run:
        some = run.register(samples)
        engines = job(lantern, some)
        writer = Writer(run, some, block_size(engines))
        began, clock = time.process_time(), time.perf_counter()
        carry_out(writer, engines)
        spent, seconds = time.process_time() - began, time.perf_counter() - clock
    rows = _sorted_rows(folder)
    figures = {"rows": len(rows), "rate": len(rows) / spent, "seconds": seconds}
    return figures | {"chunk": engines[0].size}, rows


class Watched:
    """Workers of a fleet, with the processor time that they have taken."""

    def __init__(self) -> None:
        self.processes: list[int] = []
        self.times: list[float] = []

    def check(self, ready: Ready) -> None:
        """Note a worker that is ready."""
        self.processes.append(ready.process)
        self.times.append(time.perf_counter())

    def spent(self) -> float:
        """Seconds of the processor, of all workers that are alive."""
        found = 0.0
        for number in self.processes:
            if psutil.pid_exists(number):
                times = psutil.Process(number).cpu_times()
                found += times.user + times.system
        return found


def with_workers(
    inputs: Ablate, name: str, job: AblationJob, samples: Sequence[Any], folder: Path, number: int
) -> tuple[dict[str, Any], list[bytes]]:
    """Run the ablation by workers, then kill one; the figures and rows."""
    watched = Watched()
    make = partial(make_replica, for_worker(inputs, 0), name, job, 0.0)
    with (
        Run.open(folder, {}) as run,
        Fleet("local", number, 0, make, run.register(samples), watched.check) as fleet,
    ):
        outlines = fleet.first(number).outlines
        writer = Writer(run, samples, block_size(outlines))
        before, here = watched.spent(), time.process_time()
        clock = time.perf_counter()
        tasks: list[Task] = []
        for index, outline in enumerate(outlines):
            outline.with_samples(samples)
            writer.begin(outline)
            for stage in range(outline.stages):
                tasks = list(writer.tasks(outline, stage))
                pool = packed(writer.pool(outline), str(index)) if stage else None
                for _, done in fleet.stream(index, tasks, pool):
                    assert done is not None
                    writer.write(done)
        seconds, driver = time.perf_counter() - clock, time.process_time() - here
        workers = watched.spent() - before
        # A worker dies; the chunk that it is given is run by its replacement.
        killed = time.perf_counter()
        os.kill(watched.processes[-1], signal.SIGKILL)
        whole = [Task(0, task.units) for task in tasks]
        for _ in fleet.stream(0, whole, None):
            pass
        recovery = watched.times[-1] - killed if len(watched.times) > number else None
    rows = _sorted_rows(folder)
    return {
        "rows": len(rows),
        "rate": len(rows) / (driver + workers),
        "coordination": driver / (driver + workers),
        "seconds": seconds,
        "recovery_seconds": recovery,
    }, rows


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
