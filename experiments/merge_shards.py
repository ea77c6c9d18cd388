"""Put the shards of a run together into the run that one process makes.

    python -m experiments.merge_shards runs/ablate_latents --output runs/whole

Give the folder that holds the shards, or each shard by name. Refused by name is what does not
belong together: other settings, conditions, commits, packages, samples or pools; and what is not
whole: a shard, a sample or a row that is missing, or there twice. Shards are only read. The command
that made them, with the merged run as its --output, then shows the results without a model.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .console import console, run_main

COMMAND = "merge_shards"


@dataclass(frozen=True)
class Config:
    """Put the shards of a run together into the run that one process makes."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folder that holds the shards of one run, or the folder of each shard."""
    output: Path
    """Folder of the whole run, new or empty."""
    allow_changed: tuple[str, ...] = ()
    """Parts of the records that may differ between shards, such as decoding (of another GPU) or
    threads."""


def main(config: Config) -> int:
    """Check the shards and merge them."""
    from lantern_probe.scale.merge import find_parts, merge

    folders = find_parts(config.runs)
    rows = merge(folders, config.output, config.allow_changed)
    console.print(
        f"{rows} rows of {len(folders)} shards are in {config.output}",
        markup=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
