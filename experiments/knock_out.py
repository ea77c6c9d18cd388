"""By which way does the answer learn what it says? Cut edges of attention while it is written.

    python -m experiments.knock_out
    python -m experiments.knock_out --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/cuts \\
        --conditions own 'after->slot' 'after->slot:random=1'

An edge is QUERIES->KEYS, several joined by +: queries start (the start marker, where the first
latent is made), slots, end, after (all behind the block) and answer; keys system, template, image,
question, thought, and the queries. `after->slot:layers=2-3` cuts in some layers; with random=1 as
many other keys are cut instead, the control that every cut needs (arXiv 2304.14767). Takes the
options of experiments.ablate_latents, and goes on where it was cut off.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments import ablate_latents
from experiments.console import run_main

EDGES = (
    *("after->slot", "after->image", "after->image+slot", "answer->slot", "answer->image"),
    *("answer->question", "slot->image", "lvr_start+slot->image", "slot->question"),
)


@dataclass(frozen=True)
class Config(ablate_latents.Config):
    """By which way does the answer learn what it says? Cut edges of attention."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    conditions: tuple[str, ...] = ("own", *(f"{e}{r}" for e in EDGES for r in ("", ":random=1")))
    """Edges to cut, QUERIES->KEYS, with :layers=2-3 or :random=1; any other condition too."""
    output: Path = Path("runs/knock_out")
    """Folder of the run; with several models each gets a folder in it."""


if __name__ == "__main__":
    sys.exit(run_main(Config, ablate_latents.main))
