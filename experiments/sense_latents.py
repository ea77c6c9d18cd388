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

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import SWAP_QUESTION

from .console import console, end_explained, explaining, print_failed, progress_bar, run_main
from .inputs import ScaledInputs, file_name

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.engines import Engine
    from lantern_probe.records.rows import Row
    from lantern_probe.tasks import Sample

COMMAND = "sense_latents"


@dataclass(frozen=True)
class Config(ScaledInputs):
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


@dataclass(frozen=True)
class SenseJob:
    """Engine of a measurement; it can be sent to another process."""

    config: Config
    """Inputs of the command."""
    changes: Sequence[str]
    """Labels of changes."""

    def __call__(self, lantern: LanternModel, some: Sequence[Sample]) -> list[Engine]:
        """The engine, without a run.

        Args:
            lantern: The model.
            some: Samples to run.
        """
        from lantern_probe.capture.sensitivity import Sensing

        sensing = Sensing(
            lantern,
            some,
            self.changes,
            None,
            seed=self.config.seed,
            max_new_tokens=self.config.max_new_tokens,
            batch_rows=self.config.rows_together,
        )
        return [sensing]


def sense_model(config: Config, name: str, changes: list[str], progress: Progress) -> list[Row]:
    """The rows of one model, made where they are missing."""
    from .runs import ModelLoader, open_run
    from .scaling import end_part, run_job

    data, samples = config.load_samples(name)
    folder = config.part(config.output / file_name(name))
    # Distances are to all samples, so their number decides a row.
    with open_run(config, folder, COMMAND, name, data, samples, samples=len(samples)) as run:
        samples = run.register(samples)
        wanted = {(sample.id, change) for sample in samples for change in changes}
        load = ModelLoader(config, name)
        run_job(config, run, samples, wanted, load, SenseJob(config, changes), progress)
        rows = run.rows()
    end_part(config)
    return [row for row in rows if (row["sample"], row["condition"]) in wanted]


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
