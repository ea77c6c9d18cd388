"""Cut edges of attention while the answer is written.

    python -m experiments.knock_out
    python -m experiments.knock_out --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/cuts \\
        --conditions own 'after->slot' 'after->slot:random=1'

An edge is QUERIES->KEYS, several sets joined by +. Queries are lvr_start (the start marker, where
the first latent is made), slot, lvr_end, after (everything behind the slots) and answer. Keys are
system, template, image, box (its tokens in an evidence box), rest (its other tokens), question,
thought, and the queries. `after->slot:layers=2-3` cuts in some layers only.

With random=1 random image tokens are cut instead, the control that every cut needs (arXiv
2304.14767), and slots, markers and text are never drawn. For box they are as many tokens of the
rest, for image one half (random=1) or the other half (random=1,other=1), else as many as the keys,
where there are as many. Image tokens together with other keys have no control: cut them apart.
Each control is drawn under --seeds seeds, and shown as their mean. A run that was cut off goes on
where it stopped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from .console import run_main
from .inputs import AblationInputs, SeedOptions
from .opinions import OpinionOptions, show_opinions

COMMAND = "knock_out"

EDGES = (
    *("after->slot", "after->image", "after->image+slot", "answer->slot", "answer->image"),
    *("answer->question", "slot->image", "lvr_start+slot->image", "slot->question"),
)


def with_controls(edge: str) -> tuple[str, ...]:
    """An edge and its random controls: two halves for the image, none for the image with others.

    The question has none here, since a small image has fewer tokens than a long question.
    """
    keys = edge.partition("->")[2]
    if keys == "image":
        return edge, f"{edge}:random=1", f"{edge}:random=1,other=1"
    return (edge, f"{edge}:random=1") if keys == "slot" else (edge,)


@dataclass(frozen=True)
class Config(OpinionOptions, SeedOptions, AblationInputs):
    """Cut edges of attention while the answer is written."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    conditions: tuple[str, ...] = (
        "own",
        *(label for edge in EDGES for label in with_controls(edge)),
    )
    """Edges to cut, QUERIES->KEYS, with :layers=2-3 or :random=1; own is always run. Conditions on
    the latents, as in ablate_latents, can be given too."""
    images: tuple[str, ...] = ("clean",)
    """Corruptions of the image, under each of which every cut is made, as in ablate_latents; clean
    is always run."""
    output: Path = Path("runs/knock_out")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""


def main(config: Config) -> int:
    """Run the cuts and show them; 1 when nothing useful came out."""
    config.check_seeds()
    config.check(config.model)
    config.check_opinions()
    from .ablations import ablation_parts, run_ablation, show_ablation

    parts = ablation_parts(config.conditions, config.images, config.seed, config.seeds)
    found = run_ablation(config, COMMAND, config.model, parts, parser=config.parser)
    status = show_ablation(list(found.values()), config.output)
    show_opinions(config, found, config.output)
    return status


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
