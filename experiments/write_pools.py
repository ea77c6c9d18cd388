"""Write runs on pairs of twins as small tables, to draw evaluations from.

    python -m experiments.exchange_latents --model faithful --samples 4000 --subsets 0 \\
        --conditions own self-swap twin twin-oracle oracle mask skip ban --output runs/faithful
    python -m experiments.write_pools runs/faithful --output pools
    python -m experiments.evaluate_readings pools

A table keeps of every row what estimands read, and the probability of the right answer: some 300 kB
for 4,000 pairs. It is named by its model, and equal runs make equal files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from lantern_probe.errors import LanternError

from .console import console, run_main


@dataclass(frozen=True)
class Config:
    """Write runs on pairs of twins as small tables, to draw evaluations from."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs on pairs of twins, each of one model."""
    output: Path = Path("runs/pools")
    """Folder of the tables; one of the same model is replaced."""


def main(config: Config) -> int:
    """Write a table for every run."""
    if not config.runs:
        raise LanternError("give at least one folder of a run")
    from lantern_probe.records.json_files import explained
    from lantern_probe.records.rows import read_manifest, read_rows

    from .evaluate_readings import model_of

    names = [model_of(read_manifest(folder), folder) for folder in config.runs]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise LanternError(f"two runs are of {doubled}, and would be one table; give one of them")
    from lantern_probe.analysis.battery import POOL_SUFFIX
    from lantern_probe.analysis.pool_tables import write_pool

    with explained(config.output):
        config.output.mkdir(parents=True, exist_ok=True)
    for folder, name in zip(config.runs, names, strict=True):
        path = config.output / f"{name}{POOL_SUFFIX}"
        lines = write_pool(read_rows(folder), path)
        console.print(f"{path}: {lines} rows, {path.stat().st_size} bytes", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
