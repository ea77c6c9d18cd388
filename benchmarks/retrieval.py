"""Retrieval at the size of a large evaluation: how long, and how much memory?

    python -m benchmarks.retrieval --output benchmarks/results/retrieval-cpu.json

Normal random latents, each oracle holding a little of its own latent, so that retrieval is
better than chance but far from perfect. All views, the gallery against itself, and the
permutation tests are part of the time. Memory is the highest resident size of the process above
that before the data were made: it includes the two sets of latents themselves.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.circumstances import circumstances
from experiments.console import console, run_main
from lantern_probe.geometry import VectorSet
from lantern_probe.geometry.retrieval import retrieve
from lantern_probe.records.json_files import write_json


@dataclass(frozen=True)
class Config:
    """Retrieval at the size of a large evaluation: how long, and how much memory?"""

    samples: int = 6_000
    """Queries, and entries of the gallery."""
    slots: int = 8
    """Latent slots."""
    width: int = 2_048
    """Dimensions of a latent."""
    shared: float = 0.01
    """Part of the own latent in its oracle."""
    permutations: int = 1_999
    """Random pairings of the tests."""
    threads: int = 1
    """Threads of the matrix products."""
    seed: int = 0
    """Of the data and the pairings."""
    output: Path | None = None
    """JSON file for the figures."""


def highest_gb() -> float:
    """The highest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(config: Config) -> int:
    """Run it once and print and write the figures."""
    before, load = highest_gb(), os.getloadavg()[0]
    rng = np.random.default_rng(config.seed)
    shape = (config.samples, config.slots, config.width)
    latents = rng.standard_normal(shape, dtype=np.float32)
    oracles = rng.standard_normal(shape, dtype=np.float32)
    for one, other in zip(latents, oracles, strict=True):
        other += np.float32(config.shared) * one
    own, oracle = VectorSet.of("own", latents), VectorSet.of("oracle", oracles)
    with threadpool_limits(config.threads):
        started, used = time.perf_counter(), time.process_time()
        views = retrieve(own, oracle, permutations=config.permutations, seed=config.seed)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
    figures = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_gb": highest_gb() - before,
        "latents_gb": 2 * latents.nbytes / 1e9,
        "views": [
            {
                "view": view.view,
                "mean_rank": view.mean_rank.estimate,
                "z": view.mean_rank.z,
                "p": view.mean_rank.p,
                "oracle_recall": view.oracle_recall,
            }
            for view in views
        ],
        "load_before": load,  # of other processes: time on a busy machine says little
        **circumstances("retrieval", config, ("numpy",)),
    }
    console.print(
        f"{config.samples} samples x {config.slots} slots x {config.width} dimensions: "
        f"{seconds:.1f} s ({cpu:.1f} s of CPU), {figures['peak_memory_gb']:.2f} GB, of which the "
        f"latents {figures['latents_gb']:.2f} GB"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
