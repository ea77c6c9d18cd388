"""Read the slots as words and as places in the image.

    python -m experiments.read_slots
    python -m experiments.read_slots --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --conditions own oracle \\
        --output runs/slots

Captures the latents and the outputs of all layers at the slots, the question, the end marker and
the answer, and reads them with the model's own head (logit lens): how probable is the right option
among all options, and which rank has it in the whole vocabulary? The direction of the marker that
closes a block is taken out first, since it is what a slot mostly stands for. Beside every value is
the same text read from other samples' vectors, which cannot know it. Then the latents are
compared with the tokens of the image: does a slot point into the evidence box?

What can be read need not be used: an answer that ignores its latents may have readable ones. Needs
questions with options; the maps need boxes. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.errors import LanternError

from .console import console, end_explained, explaining, progress_bar, run_main
from .data import check_columns
from .inputs import Inputs, file_name

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.store import Store
    from lantern_probe.tasks import Sample

COMMAND = "read_slots"

SITES = (
    "latent@slot",
    "residual.*@slot",
    "residual.*@last-question",
    "residual.*@lvr_end",
    "residual.*@answer-start",
)
"""Sites that are captured: the latents, and all layers at the slots and at positions of text."""


@dataclass(frozen=True)
class Config(Inputs):
    """Read the slots as words and as places in the image."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    samples: int | None = 128
    """Number of samples."""
    conditions: tuple[str, ...] = ("own",)
    """Conditions under which is read: own, oracle, zeros and others that look at one sample."""
    targets: tuple[str, ...] = ("answer",)
    """Texts to read: answer, or attributes of the samples whose value is one of the options, such
    as the colour of another object (distractor_color)."""
    maps: int = 4
    """Number of samples whose slots are drawn as maps over the image; 0 for none."""
    output: Path = Path("runs/read_slots")
    """Folder of the runs; each model gets a folder in it, and each condition one in that. Given
    again, the command goes on with what is there."""


def read(
    config: Config, model: str, condition: str, lantern: LanternModel, store: Store, some: set[str]
) -> tuple[list[Any], list[Any]]:
    """Read, print and draw one capture; its word means and its image means."""
    from lantern_probe.analysis import image_readouts, word_readouts
    from lantern_probe.capture.image_readouts import read_image_tokens
    from lantern_probe.capture.word_readouts import read_words
    from lantern_probe.plots.readouts import words_figure
    from lantern_probe.plots.style import save_figure

    from .tables.readouts import print_maps, print_words

    _, samples = config.load_samples(model)
    samples = [sample for sample in samples if sample.id in some]
    words: list[Any] = []
    for target in config.targets:
        title = f"{model}, {condition} latents: {target}"
        with progress_bar() as progress:
            bar = progress.add_task(escape(title), total=len(store.sites))
            found = read_words(
                lantern,
                store,
                samples,
                target=target,
                advance=advancing(progress, bar),
            )
        means = word_readouts.summarize(found, model=model, seed=config.seed)
        print_words(title, means)
        sites, ranks = word_readouts.rank_map(found)
        figure = words_figure(means, sites, ranks, title)
        save_figure(figure, store.folder / f"words_{file_name(target)}.png")
        words += [{"condition": condition, "mean": one} for one in means]
    places: list[Any] = []
    try:
        for centred in (False, True):
            with progress_bar() as progress:
                bar = progress.add_task(f"{escape(model)}, image tokens", total=len(samples))
                reading = read_image_tokens(
                    lantern,
                    store,
                    samples,
                    centred=centred,
                    advance=advancing(progress, bar),
                )
            places += image_readouts.summarize(reading, model=model, seed=config.seed)
    except LanternError as error:
        console.print(f"{model}, {condition}: no maps: {error}", markup=False)
    else:
        print_maps(f"{model}, {condition} latents: where they point", places)
        if config.maps:
            draw_maps(config.maps, lantern, store, samples)
    return words, [{"condition": condition, "mean": one} for one in places]


def advancing(progress: Progress, bar: TaskID) -> Callable[[], None]:
    """A function that moves a bar by one."""
    return lambda: progress.advance(bar)


def draw_maps(count: int, lantern: LanternModel, store: Store, samples: Sequence[Sample]) -> None:
    """Draw the maps of the first samples that have boxes and a block."""
    from lantern_probe.capture.image_readouts import slot_maps
    from lantern_probe.plots.readouts import slot_maps_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.overlays import write_overlay

    pictures = slot_maps(lantern, store, samples, count, centred=True)
    save_figure(slot_maps_figure(pictures, centred=True), store.folder / "maps.png")
    write_overlay(
        store.folder,
        "cosine",
        {
            sample.id: ([f"slot {slot}" for slot in range(len(maps))], maps.cpu().numpy())
            for sample, _, maps in pictures
        },
    )


def main(config: Config) -> int:
    """Capture what is missing, read, show and draw."""
    config.check(config.model)
    if config.maps < 0:
        raise LanternError(f"--maps must be at least 0, not {config.maps}")
    for name, values in (("--conditions", config.conditions), ("--targets", config.targets)):
        if not values:
            raise LanternError(f"{name} needs at least one")
    from .captures import CaptureJob, check_job, run_capture
    from .runs import ModelLoader

    jobs: dict[tuple[str, str], CaptureJob] = {}
    for model in dict.fromkeys(config.model):
        attributes = [target for target in config.targets if target != "answer"]
        check_columns(config, model, targets=attributes)
        data, _ = config.load_samples(model)
        for condition in dict.fromkeys(config.conditions):
            folder = config.output / file_name(model) / file_name(condition)
            job = CaptureJob(folder, SITES, condition)
            check_job(config, COMMAND, model, data, job)
            jobs[model, condition] = job
    words: list[Any] = []
    places: list[Any] = []
    loaders = {model: ModelLoader(config, model) for model, _ in jobs}
    for (model, condition), job in jobs.items():
        load = loaders[model]
        data, samples = config.load_samples(model)
        with explaining():
            some = run_capture(config, COMMAND, load, data, samples, job)
            if not some:
                console.print(f"{model}, {condition}: no sample has a latent block", markup=False)
                continue
            from lantern_probe.records.store import Store

            found = read(config, model, condition, load(), Store(job.folder), some)
            words, places = words + found[0], places + found[1]
    end_explained(config.only_shows)

    from lantern_probe.records.json_files import write_json

    from .tables.readouts import MAPS_LEGEND, WORDS_LEGEND

    if not words:
        return 1
    console.print(WORDS_LEGEND, highlight=False)
    if places:
        console.print(MAPS_LEGEND, highlight=False)
    write_json(config.output / "words.json", words)
    write_json(config.output / "places.json", places)
    console.print(
        f"words.json, places.json and figures are in {config.output}", markup=False, soft_wrap=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
