"""Replace the latents in many ways, and compare the answers.

    python -m experiments.ablate_latents
    python -m experiments.ablate_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/sft

Without arguments it runs the bundled organisms, tiny models whose truth is known, on the images
their truth is stated for. Every condition runs on every sample, from one shared prefix. Rows go to
rows.jsonl as they come. A run that was cut off goes on where it stopped. With --seeds 5 whatever
draws at random runs under five seeds, and a line of the table is the mean over them. Shown beside
the accuracies are the norms of the fed states and their cosine to the end marker, slot by slot, and
how many discordant pairs hinge on how a text is read.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lantern_probe.vocabulary import STANDARD

from .console import run_main
from .endpoint_options import EndpointOptions
from .inputs import AblationInputs, SeedOptions
from .opinions import OpinionOptions, show_opinions

COMMAND = "ablate_latents"


@dataclass(frozen=True)
class Config(EndpointOptions, OpinionOptions, SeedOptions, AblationInputs):
    """Replace the latents in many ways, and compare the answers."""

    conditions: tuple[str, ...] = STANDARD
    """Conditions on the latents, with settings such as noise:scale=2 or swap:seed=1; own is always
    run. Cuts of attention are conditions too, as in knock_out."""
    images: tuple[str, ...] = ("clean",)
    """Corruptions of the image, under each of which every condition runs: clean, black-box (the
    evidence is black), black-image, blur:radius=0.05, swap-image, hide-image (nothing after the
    block attends to the image); clean is always run."""
    output: Path = Path("runs/ablate_latents")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""


def main(config: Config) -> int:
    """Run the ablation and show it; 1 when nothing useful came out."""
    config.check_endpoint(config.model)
    config.check_seeds()
    config.check(config.model)
    config.check_opinions()
    from .ablations import ablation_parts, run_ablation, show_ablation
    from .audits import audit_pairs, show_fed_states
    from .served import show_served, with_stock

    conditions = with_stock(config, config.conditions)
    parts = ablation_parts(conditions, config.images, config.seed, config.seeds)
    found = run_ablation(config, COMMAND, config.model, parts, parser=config.parser)
    status = show_ablation(list(found.values()), config.output)
    show_opinions(config, found, config.output)
    for folder, summaries in found.items():
        show_served(config, summaries[0].model, folder)
    show_fed_states(found, config.output)
    audit_pairs(found, config.output)
    return status


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
