"""Show one sample of a run: its question, and each text.

    python -m experiments.show runs/ablate_latents scenes-0-3
    python -m experiments.show runs/ablate_latents/faithful scenes-0-3 --condition own zeros

Prints the prompt, the right answer, and for every condition the text with its latent blocks marked,
the answer that was read in it, and the probabilities of the candidates. Images that can be found
are drawn with their boxes into the folder peek of the run. No model is loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lantern_probe.errors import LanternError, named

from .console import console, run_main

if TYPE_CHECKING:
    from lantern_probe.records.rows import Row

    from .run_samples import RunSample


@dataclass(frozen=True)
class Config:
    """Show one sample of a run: its question, and its text under each condition."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run."""
    id: Annotated[str, tyro.conf.Positional]
    """Id of the sample."""
    condition: tuple[str, ...] = ()
    """Conditions to show; all by default."""
    picture: bool = True
    """Draw the images, as far as they can be found, into the folder peek of the run."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the sample and its rows as JSON, and nothing else."""


def chosen(found: RunSample, conditions: Sequence[str]) -> list[Row]:
    """The rows to show, own first and the others in the order written.

    Args:
        found: The sample and its rows.
        conditions: Labels of conditions; all if there are none.

    Raises:
        LanternError: the sample has no row under one of them.
    """
    known = list(dict.fromkeys(str(row.get("condition")) for row in found.rows))
    if lacking := [label for label in conditions if label not in known]:
        there = named(known, 12) if known else "none"
        raise LanternError(
            f"--condition: sample {found.id!r} has no row under {named(lacking)}; there are {there}"
        )
    rows = [r for r in found.rows if not conditions or str(r.get("condition")) in conditions]
    return sorted(rows, key=lambda row: row.get("condition") != "own")


def main(config: Config) -> int:
    """Find the sample and show it."""
    from .run_samples import find_sample

    found = find_sample(config.run, config.id)
    rows = chosen(found, config.condition)
    if config.json:
        whole = {"run": str(found.folder), "sample": found.record, "rows": rows}
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return 0

    from .sample_text import print_plain, print_sample
    from .tables.row_text import print_row

    for note in found.notes:
        print_plain(note)
    print_plain(f"sample {found.id} of {found.folder}", style="bold")
    print_plain(found.about)
    if found.record is None:
        print_plain("the run has recorded no samples: it is of an early version")
    else:
        print_sample(found.record, [image.about for image in found.images])
    for row in rows:
        console.print()
        print_row(row, console)
    if not rows:
        print_plain("there are no rows of it yet")
    if config.picture and any(image.source is not None for image in found.images):
        console.print()
        print_plain(draw(found))
    return 0


def draw(found: RunSample) -> str:
    """Draw the images of a sample; a sentence that says where, or why not.

    Args:
        found: The sample.
    """
    from lantern_probe.records.run_folder import PEEK

    from .inputs import file_name
    from .peek import write_picture
    from .run_samples import as_sample

    path = found.folder / PEEK / f"{file_name(found.id)[:100] or 'sample'}.png"
    try:
        write_picture([as_sample(found)], path)
    except LanternError as error:
        return f"there is no picture: {error}"
    return f"it is drawn in {path}"


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
