"""Measure how far the latents move when the image or the question changes.

    python -m experiments.sense_latents
    python -m experiments.sense_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/sense

Runs every sample as it is and with its input changed. Shows how far the latents move, next to how
far different samples are apart, and next to how far the states of the text and of the image tokens
move. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import SWAP_QUESTION

from .console import console, end_explained, explaining, print_failed, progress_bar, run_main
from .inputs import Inputs, file_name

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.rows import Row
    from lantern_probe.records.run import Run
    from lantern_probe.tasks import Sample

    from .runs import Advance

COMMAND = "sense_latents"


@dataclass(frozen=True)
class Config(Inputs):
    """Measure how far the latents move when the image or the question changes."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    images: tuple[str, ...] = ("black-box", "black-image", "blur", "swap-image", SWAP_QUESTION)
    """Changes of the input: corruptions of the image as in ablate_latents, and swap-question,
    which puts another sample's question to the same image."""
    samples: int | None = 96
    """Number of samples."""
    output: Path = Path("runs/sense_latents")
    """Folder of the runs; each model gets a folder in it. Given again, the command goes on with
    what is there."""


def labels_of(config: Config) -> list[str]:
    """The changes as rows name them.

    Raises:
        LanternError: there is no such change, or one that changes nothing.
    """
    from lantern_probe.interventions.image import parse_image_corruption

    if not config.images:
        raise LanternError("--images needs at least one change of the input")
    found = [
        text if text == SWAP_QUESTION else parse_image_corruption(text).label
        for text in config.images
    ]
    return list(dict.fromkeys(found))


def sense_model(config: Config, name: str, changes: list[str], progress: Progress) -> list[Row]:
    """The rows of one model, made where they are missing."""
    from .runs import ModelLoader, open_run, run_due

    data, samples = config.load_samples(name)
    folder = config.output / file_name(name)
    # Distances are to all samples, so their number decides a row.
    with open_run(config, folder, COMMAND, name, data, samples, samples=len(samples)) as run:
        samples = run.register(samples)

        def engine(
            lantern: LanternModel, run: Run, some: Sequence[Sample], advance: Advance
        ) -> None:
            from lantern_probe.capture.sensitivity import Sensing

            bar = progress.add_task(f"{escape(name)}, unchanged", total=len(some))
            Sensing(
                lantern,
                some,
                changes,
                run,
                seed=config.seed,
                max_new_tokens=config.max_new_tokens,
                batch_rows=config.rows_together,
                looked=lambda count: progress.advance(bar, count),
                advance=advance,
            ).execute()

        wanted = {(sample.id, change) for sample in samples for change in changes}
        run_due(run, samples, wanted, ModelLoader(config, name), engine, progress)
        return [row for row in run.rows() if (row["sample"], row["condition"]) in wanted]


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing useful came out."""
    config.check(config.model)
    changes = labels_of(config)
    with progress_bar() as progress:
        rows = {}
        for name in dict.fromkeys(config.model):
            with explaining():
                rows[name] = sense_model(config, name, changes, progress)
    end_explained(config.only_shows)

    from lantern_probe.analysis import sensitivity
    from lantern_probe.plots.sensitivity import sensitivity_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json

    from .tables.sensitivity import LEGEND, print_sensitivities

    everything: list[sensitivity.Sensitivity] = []
    for name, some in rows.items():
        print_failed(name, some)
        found = sensitivity.summarize(some, model=name)
        if found:
            print_sensitivities(found)
            figure = config.output / file_name(name) / "sensitivity.png"
            save_figure(sensitivity_figure(found), figure)
            everything += found
    console.print(LEGEND, highlight=False)
    if not everything:
        return 1
    write_json(config.output / "sensitivity.json", everything)
    console.print(f"rows, sensitivity.json and figures are in {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
