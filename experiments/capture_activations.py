"""Activations of a model while it answers, at any sites, for probes and other readouts.

    python -m experiments.capture_activations
    python -m experiments.capture_activations --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/capture \\
        --sites 'residual.*@slot' latent@slot vision@image-mean

One pass generates and captures. A run that was cut off goes on where it stopped, more --samples
are added to those that are there, and --shard divides them among processes. Read them with
lantern_probe.records.Store("runs/capture").
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.filesize import decimal
from rich.markup import escape

from experiments.console import console, run_main
from experiments.inputs import Inputs, load_model, load_samples, progress_bar, run_settings
from lantern_probe.capture.batch import store_dtype
from lantern_probe.capture.dataset import Capture, bytes_per_sample, check_condition
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.model.checkpoint import untrain
from lantern_probe.model.sites import layer_count
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.store import Store, check_room, part_folder
from lantern_probe.tasks import Sample
from lantern_probe.vocabulary import parse_sites


@dataclass(frozen=True)
class Config(Inputs):
    """Activations of a model while it answers, at any sites, for probes and other readouts."""

    model: str = "faithful"
    """A bundled organism, a checkpoint folder or a Hub name; the network is used for the last
    only."""
    sites: tuple[str, ...] = ("residual.*@slot", "latent@slot", "vision@image-mean")
    """What to read, COMPONENT@ROLE. Components: residual.LAYERS (output of decoder layers),
    attention.LAYERS, mlp.LAYERS (what they add to it), embedding (input of the first layer),
    latent (what is fed at the slots), vision (merged vision tokens); LAYERS is * or such as
    0-3+7. Roles: slots (all of the first block), lvr_start, lvr_end, answer (the token before the
    answer's first), last-prompt, last-question, question-mean, image-mean, box (mean over the
    image tokens in the evidence box)."""
    condition: str = "own"
    """What is fed at the slots: own, oracle, zeros ..., any condition of ablate_latents that needs
    no other sample's latents."""
    untrained: int | None = None
    """Random weights of this seed in place of the model's: what a probe reads from the shape of
    the model alone. It opens no blocks by itself, so give it texts by --force."""
    force: Path | None = None
    """A capture whose texts are imposed, so that another model, such as an untrained one, is read
    along the same words."""
    output: Path = Path("runs/capture")
    """Folder of the capture."""
    shard: str | None = None
    """i/n: only samples i, i + n, i + 2n ... (i from 0), into shard-i-of-n of the output."""
    store_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the activations; float32 of a tiny model and the model's own by default."""
    parser: Literal["default", "official", "strict"] = "default"
    """How an answer is read from the text."""
    batch_rows: int | None = None
    """Samples generated together, by default 128 for a tiny model and 16 for others; half of that
    whenever memory runs out."""


def pick(samples: Sequence[Sample], shard: str | None) -> tuple[list[Sample], Path | None]:
    """This process's part of the samples, and the folder for it within the output.

    Raises:
        LanternError: the part is not written i/n, or is empty.
    """
    if shard is None:
        return list(samples), None
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if index >= count:
        raise LanternError(f"--shard takes i/n with i from 0 to n - 1, such as 0/4, not {shard!r}")
    if index >= len(samples):
        raise LanternError(f"--shard {shard}: there are only {len(samples)} samples")
    return list(samples[index::count]), part_folder("", index, count)


def forced_texts(folder: Path | None) -> tuple[Mapping[str, Sequence[int]] | None, Row | None]:
    """The texts of another capture by sample, and what it was made of."""
    if folder is None:
        return None, None
    store = Store(folder)
    return {row["sample"]: row["continuation"] for row in store.samples}, store.config


def main(config: Config) -> int:
    """Capture whatever the output does not hold yet; 1 when nothing useful came out."""
    if config.batch_rows is not None and config.batch_rows < 1:
        raise LanternError(f"--batch-rows must be at least 1, not {config.batch_rows}")
    condition = parse_condition(config.condition, config.seed)
    task, everything = load_samples(config, config.model)
    samples, part = pick(everything, config.shard)
    folder = config.output if part is None else config.output / part
    force, forced_by = forced_texts(config.force)
    lantern = load_model(config, config.model)
    if config.untrained is not None:
        untrain(lantern, config.untrained)
    sites = parse_sites(config.sites, layer_count(lantern))
    check_condition(condition, lantern)
    stored = getattr(torch, config.store_dtype) if config.store_dtype else store_dtype(lantern)
    settings = run_settings(config, "capture_activations", config.model, task)
    settings |= {
        "parser": config.parser,
        "condition": condition.label,
        "untrained": config.untrained,
        "forced_by": forced_by,
        "sites": [site.label for site in sites],
        "store_dtype": str(stored).removeprefix("torch."),
    }
    each = bytes_per_sample(lantern, sites, condition=condition, dtype=stored)
    with (
        Run.open(
            folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed
        ) as run,
        progress_bar() as progress,
    ):
        due = sum(not run.has(sample.id, condition.label) for sample in samples)
        free = check_room(folder, each * due)
        console.print(
            f"sites: {len(sites)}; {decimal(each)} a sample, {decimal(each * due)} for the {due} "
            f"samples that are due; {decimal(free)} free",
            markup=False,
            soft_wrap=True,
        )
        bar = progress.add_task(escape(config.model), total=len(samples))
        progress.advance(bar, len(samples) - due)
        Capture(
            lantern,
            samples,
            sites,
            run,
            condition=condition,
            force=force,
            dtype=stored,
            max_new_tokens=config.max_new_tokens,
            batch_rows=config.batch_rows or (128 if lantern.is_tiny else 16),
            parser=config.parser,
            advance=lambda rows: progress.advance(bar, rows),
        ).execute()
        rows = run.rows()
    return report(rows, len(sites), folder)


def report(rows: Sequence[Row], sites: int, folder: Path) -> int:
    """Say what was captured and what is missing; 1 when nothing was."""
    good = [row for row in rows if row["status"] == "ok"]
    lacking = sum(bool(row["missing"]) for row in good)
    console.print(
        f"{len(good)} samples captured in {folder}"
        + (f"; {lacking} of them lack a site (see their column missing)" if lacking else "")
        + (f"; {len(rows) - len(good)} failed, see rows.jsonl" if len(good) < len(rows) else ""),
        markup=False,
        soft_wrap=True,
    )
    return 0 if any(len(row["missing"]) < sites for row in good) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
