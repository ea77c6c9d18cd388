"""Do the latents notice when the image or the question changes?

    python -m experiments.sense_latents
    python -m experiments.sense_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/sense

Runs every sample as it is and with its input changed, and measures how far the latents move, next
to how far different samples are apart, and next to how far the states of the text and of the image
tokens move. swap-question puts another sample's question to the same image. Goes on where it was
cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from experiments.console import console, run_main
from experiments.inputs import Inputs, file_name, load_model, load_samples, run_settings
from experiments.tables.sensitivity import print_sensitivities
from lantern_probe.analysis import sensitivity
from lantern_probe.analysis.sensitivity import Sensitivity
from lantern_probe.capture.batch import capture_batch
from lantern_probe.capture.sensitivity import between, distances
from lantern_probe.errors import LanternError
from lantern_probe.interventions import generator
from lantern_probe.interventions.image import parse_image_corruption
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.sites import layer_count
from lantern_probe.plots.sensitivity import sensitivity_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample
from lantern_probe.vocabulary import Site, parse_sites

QUESTION = "swap-question"


@dataclass(frozen=True)
class Config(Inputs):
    """Do the latents notice when the image or the question changes?"""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    changes: tuple[str, ...] = ("black-box", "black-image", "blur", "swap-image", QUESTION)
    """What is done to the input: corruptions of the image as in ablate_latents --images, and
    swap-question."""
    samples: int | None = 96
    """How many samples."""
    output: Path = Path("runs/sense_latents")
    """Folder of the run; each model gets a folder in it."""
    batch_rows: int = 32
    """Samples run together."""


def changed(sample: Sample, change: str, samples: Sequence[Sample], seed: int) -> Sample:
    """The sample under one change of its input.

    Raises:
        LanternError: it cannot be changed like this.
    """
    if change != QUESTION:
        return parse_image_corruption(change).apply(sample, samples)
    stream = generator(seed, QUESTION, sample.id)
    for index in torch.randperm(len(samples), generator=stream).tolist():
        other = samples[index]
        if other.text != sample.text:
            return replace(sample, question=other.question, prompt=other.prompt)
    raise LanternError(f"sample {sample.id!r}: all samples ask the same question")


def read(
    lantern: LanternModel, samples: Sequence[Sample], sites: Sequence[Site], config: Config
) -> dict[str, dict[str, Tensor]]:
    """Activations by sample and site, [slots, D]; what cannot be run is left out."""
    limit = config.max_new_tokens
    kwargs: dict[str, Any] = {} if limit is None else {"max_new_tokens": limit}
    found: dict[str, dict[str, Tensor]] = {}
    for first in range(0, len(samples), config.batch_rows):
        batch = list(samples[first : first + config.batch_rows])
        good = [sample for sample in batch if usable(lantern, sample)]
        if not good:
            continue
        captured = capture_batch(lantern, good, sites, dtype=torch.float32, **kwargs)
        for index, sample in enumerate(good):
            found[sample.id] = {
                label: array[index] for label, array in captured.activations.items()
            }
    return found


def usable(lantern: LanternModel, sample: Sample) -> bool:
    """Whether the sample's image can be read."""
    try:
        lantern.inputs([sample])
    except LanternError:
        return False
    return True


def sense_model(config: Config, name: str, folder: Path) -> list[Row]:
    """The rows of one model, made where they are missing."""
    task, samples = load_samples(config, name)
    settings = run_settings(config, "sense_latents", name, task)
    settings["samples"] = len(samples)  # distances are to all of them
    with Run.open(
        folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed
    ) as run:
        due = [c for c in config.changes if not all(run.has(s.id, c) for s in samples)]
        if due:
            lantern = load_model(config, name)
            last = layer_count(lantern) - 1
            labels = ["latent@slot", f"residual.{last}@image-mean"]
            labels += [f"residual.{last}@last-question", f"residual.{last}@lvr_start"]
            sites = parse_sites(labels, layer_count(lantern))
            clean = read(lantern, samples, sites, config)
            for change in track(due, escape(name), console=console):
                run.append_many(rows_of(lantern, samples, change, clean, sites, config, run))
        wanted = {sample.id for sample in samples}
        return [
            row
            for row in run.rows()
            if row["sample"] in wanted and row["condition"] in config.changes
        ]


def rows_of(
    lantern: LanternModel,
    samples: Sequence[Sample],
    change: str,
    clean: dict[str, dict[str, Tensor]],
    sites: Sequence[Site],
    config: Config,
    run: Run,
) -> list[Row]:
    """One row per sample under one change."""
    seen, failed = [], {}
    for sample in samples:
        try:
            seen.append(changed(sample, change, samples, config.seed))
        except LanternError as error:
            failed[sample.id] = str(error)
    after = read(lantern, seen, sites, config)
    apart: dict[str, dict[str, list[float]]] = {key: {} for key in clean}
    for label in (site.label for site in sites):
        # A sample without a block lacks the slots.
        keys = [key for key in clean if bool(clean[key][label].isfinite().all())]
        if len(keys) > 1:
            spread = between(torch.stack([clean[key][label] for key in keys]))
            for key, values in zip(keys, spread, strict=True):
                apart[key][label] = values.tolist()
    rows: list[Row] = []
    for sample in samples:
        row: Row = {"sample": sample.id, "condition": change}
        if run.has(sample.id, change):
            continue
        if sample.id not in after or sample.id not in clean:
            reason = failed.get(sample.id, "its image cannot be read")
            rows.append(row | {"status": "failed", "error": reason})
            continue
        moved = {
            label: distances(clean[sample.id][label][None], state[None])[0].tolist()
            for label, state in after[sample.id].items()
            if label in apart[sample.id] and bool(state.isfinite().all())
        }
        image = sample.image_key
        rows.append(
            row | {"status": "ok", "cluster": image, "moved": moved, "between": apart[sample.id]}
        )
    return rows


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing useful came out."""
    for change in config.changes:
        if change != QUESTION:
            parse_image_corruption(change)
    if config.batch_rows < 1:
        raise LanternError("--batch-rows must be at least 1")
    everything: list[Sensitivity] = []
    for name in dict.fromkeys(config.model):
        folder = config.output / file_name(name)
        rows = sense_model(config, name, folder)
        failed = sum(row["status"] != "ok" for row in rows)
        if failed:
            console.print(f"{name}: {failed} rows failed, see rows.jsonl", markup=False)
        found = sensitivity.summarize(rows, model=name)
        if found:
            print_sensitivities(found)
            save_figure(sensitivity_figure(found), folder / "sensitivity.png")
            everything += found
    console.print(
        "cosine distance between a site's state before and after the change [95 % bootstrap "
        "interval, clustered by image], and as a share of the mean distance between samples: 0 not "
        "noticed, 1 as another sample",
        highlight=False,
    )
    if not everything:
        return 1
    write_json(config.output / "sensitivity.json", everything)
    console.print(f"rows, sensitivity.json and figures are in {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
