"""Measure what the latents look like, and whether they find their oracle.

    python -m experiments.map_latents
    python -m experiments.map_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/map

Captures the model's own latents (free-running) and the oracle latents of the same samples, the
gallery. Two more sets are what the model would have generated: `teacher-forced` while oracle
latents stand in its slots, and `dummy` while zeros do, so that nothing but the prompt is in them.
Slot 0 is the same in all three. In a teacher-forced slot t from 1 on, the model has seen the
oracle's slots before t: finding the oracle there may be copying, and only slot 0 is free of it.

Measured are cosines among all samples and among those of the same question, ranks, norms, drift,
alignment with the oracle, and USP; retrieval of the own oracle among all, and among those of
samples with the same question, which the question's words cannot give away; and how well a sample's
rank predicts its answer. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from .console import console, end_explained, explaining, progress_bar, run_main
from .inputs import Inputs, file_name

COMMAND = "map_latents"


@dataclass(frozen=True)
class Config(Inputs):
    """Measure what the latents look like, and whether they find their oracle."""

    model: tuple[str, ...] = ("faithful", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    alike: str = "prompt"
    """Column whose value samples share where they are alike, for a second cosine and a second
    retrieval: prompt (the question), or any attribute of the samples, such as color or cell."""
    output: Path = Path("runs/map_latents")
    """Folder of the runs; each model gets a folder in it. Given again, the command goes on with
    what is there."""


def report(config: Config, model: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Capture, measure, print and draw one model; its records of geometry and of retrieval."""
    from .captures import capture_latent_sets

    data, latents = capture_latent_sets(config, COMMAND, model, folder)

    from lantern_probe.geometry.latent_sets import (
        measure_correctness,
        measure_geometry,
        measure_retrieval,
        retrieval_record,
    )
    from lantern_probe.geometry.vectors import FORCED, ORACLE, OWN
    from lantern_probe.plots.latents import latents_figure
    from lantern_probe.plots.style import save_figure

    from .tables.geometry import print_geometry, print_retrieval

    with progress_bar() as progress:
        bar = progress.add_task(f"{escape(model)}, measures", total=3)
        found, alike = measure_retrieval(latents, config.alike, config.seed)
        progress.advance(bar)
        correctness = measure_correctness(latents, found[OWN], config.seed)
        progress.advance(bar)
        rows = measure_geometry(latents, config.alike, config.seed)
        progress.advance(bar)
    n, own = len(latents.samples), latents.sets[OWN]
    title = f"{model}: n = {n} samples of {own.image_count} images, {latents.left_out} left out"
    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    print_geometry(rows, (OWN, FORCED), ORACLE, console)
    print_retrieval(found, alike, config.alike, correctness, console)
    save_figure(latents_figure(rows, found, alike, title), folder / "latents.png")
    geometry = {"model": model, "n": n, "left_out": latents.left_out, "rows": rows}
    record = retrieval_record(latents, model, data, config.alike, found, alike, correctness)
    return geometry, record


def main(config: Config) -> int:
    """Capture what is missing, measure, show and draw."""
    config.check(config.model)
    from .captures import check_latent_sets

    folders = {name: config.output / file_name(name) for name in config.model}
    for model, folder in folders.items():
        check_latent_sets(config, COMMAND, model, folder, config.alike)
    records = []
    for model, folder in folders.items():
        with explaining():
            records.append(report(config, model, folder))
    end_explained(config.only_shows)

    from lantern_probe.records.json_files import write_json

    geometry, retrieval = zip(*records, strict=True)
    write_json(config.output / "geometry.json", geometry)
    write_json(config.output / "retrieval.json", retrieval)
    console.print(
        f"geometry.json, retrieval.json and a figure per model are in {config.output}",
        markup=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
