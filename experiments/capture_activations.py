"""Store the activations of a model, at any sites, while it answers.

    python -m experiments.capture_activations
    python -m experiments.capture_activations --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/states \\
        --sites 'residual.*@slot' latent@slot vision@image-mean

One pass generates and captures. A capture that was cut off goes on where it stopped. More --samples
are added to those already captured, and --shard divides them among processes. Read a capture with
lantern_probe.records.Store("runs/states").
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lantern_probe.errors import LanternError

from .console import end_explained, explaining, run_main
from .inputs import Parser, ScaledInputs, StoreDtype

COMMAND = "capture_activations"


@dataclass(frozen=True)
class Config(ScaledInputs):
    """Store the activations of a model, at any sites, while it answers."""

    model: str = "faithful"
    """A bundled organism, a checkpoint folder or a Hub name. The network is used for a Hub name
    only."""
    sites: tuple[str, ...] = ("residual.*@slot", "latent@slot", "vision@image-mean")
    """Sites to read, COMPONENT@ROLE. Components: residual.LAYERS (output of decoder layers),
    attention.LAYERS and mlp.LAYERS (their updates of it), embedding (input of the first layer),
    latent (vectors fed at the slots), vision (merged vision tokens). LAYERS is * or such as
    0-3+7. Roles: slot (all slots of the first block), lvr_start, lvr_end, answer-start (the token
    before the answer's first), last-prompt, last-question, question-mean, image-mean, box (mean
    over the image tokens in the evidence box)."""
    conditions: tuple[str, ...] = ("own",)
    """Conditions under which the model answers: own, oracle, zeros or any other condition of
    ablate_latents that needs no other sample's latents. With several, each gets a folder in the
    output."""
    untrained: int | None = None
    """Seed of random weights in place of the model's. A probe of them reads what the shape of the
    model alone gives. Such a model opens no blocks, so impose texts by --force."""
    force: Path | None = None
    """Folder of a capture whose texts are imposed, so that another model is read along the same
    words."""
    output: Path = Path("runs/capture_activations")
    """Folder of the capture. Given again, the command goes on where it stopped."""
    store_dtype: StoreDtype | None = None
    """Dtype of the stored activations. By default float32 of a tiny model and the model's own
    dtype of others."""
    parser: Parser = "default"
    """Parser of the answers: default reads letters and words, official and strict read
    letters as the published evaluations did, and installed packages may add more."""


def main(config: Config) -> int:
    """Capture every sample that the output lacks; exit code 1 if no site was captured."""
    config.check([config.model])
    if not config.conditions:
        raise LanternError("--conditions needs at least one condition")
    from lantern_probe.tasks.answers import check_parser

    from .captures import CaptureJob, check_job, run_capture
    from .runs import ModelLoader

    check_parser(config.parser)
    data, samples = config.load_samples(config.model)
    jobs = [
        CaptureJob(
            folder,
            config.sites,
            condition,
            config.untrained,
            config.force,
            config.store_dtype,
            config.parser,
        )
        for condition, folder in config.folders(config.conditions).items()
    ]
    for job in jobs:
        check_job(config, COMMAND, config.model, data, job)
    load = ModelLoader(config, config.model)
    captured = []
    for job in jobs:
        with explaining():
            captured.append(run_capture(config, COMMAND, load, data, samples, job))
    if config.division is not None and not config.explain_resume and not config.dry_run:
        return 0  # of a part nothing can be said yet
    end_explained(config.only_shows)
    return 0 if all(captured) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
