"""Reproduce published figures next to the same measured here.

    python -m experiments.reproduce                                  # what there is
    python -m experiments.reproduce --figure sft-viscot tetris       # on organisms, today
    python -m experiments.reproduce --figure sft-viscot --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --malformed skip --samples 1200
    python -m experiments.reproduce results/lvr_results --figure lvr7b-blink

Without --model, an organism on a generated task replaces the published model. It shows that figure
and analysis work on a model whose truth is known, and says nothing about LanteRn. With RECORDS
nothing is run: give a run of this project, or result files in the official layout,
CONDITION/blink/blink.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lantern_probe.errors import LanternError

from .console import Explained, console, end_explained, explaining, run_main
from .endpoint_options import EndpointOptions
from .inputs import Inputs

if TYPE_CHECKING:
    from lantern_probe.analysis.literature.figures import PublishedFigure
    from lantern_probe.analysis.literature.source import Source

EVERY = "all"
ABOUT_RUNS = (
    *("data", "task", "samples", "image_root", "sample_ids", "peek", "dry_run"),
    "endpoint",
)
"""Options that mean nothing where records are read."""
PUZZLES = 300
"""Number of puzzles that the program with the intermediate image solves."""


@dataclass(frozen=True)
class Config(EndpointOptions, Inputs):
    """Reproduce published figures next to the same measured here."""

    records: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Records to read in place of running anything: a run's folder, or result files in the
    official layout. Give them before --figure."""
    figure: tuple[str, ...] = ()
    """Figures to make, or all. By default the figures are listed."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the figures, what each needs, and which can be made here."""
    model: str | None = None
    """The published checkpoint, or any other model; by default the figure's organism. With a
    checkpoint give --data (or --task) too. With RECORDS, the model whose retrieval is read."""
    samples: int | None = None
    """Number of samples, from the first. By default the published number, and all of --data."""
    output: Path = Path("runs/reproduce")
    """Folder in which each figure gets a subfolder with figure.pdf, figure.png, figure.json and the
    run."""


def programs() -> dict[str, float]:
    """Solve Tetris puzzles by program, with and without the image: bounds of the accuracies."""
    import numpy as np

    from lantern_probe.stats import wilson
    from lantern_probe.tasks.crops import region
    from lantern_probe.tasks.tetris import CHANCE, answer_from_panel, tetris

    right = 0
    for sample in tetris(PUZZLES):
        image = sample.open_oracle_images()[0]
        picture = np.asarray(image.crop(region(image.size, sample.boxes[0])))
        right += answer_from_panel(sample, picture) == sample.answer
    share = wilson(right, PUZZLES)
    console.print(
        f"On our Tetris generator, a program that has the intermediate image alone is right in "
        f"{share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}] of {PUZZLES} puzzles; the "
        f"question alone gives {CHANCE:.3f}.",
        highlight=False,
        markup=False,
    )
    return {"program with the oracle image": share.estimate, "question alone": CHANCE}


def reproduce(figure: PublishedFigure, config: Config) -> None:
    """Measure or read one figure, print it, draw it and write it to disk."""
    refuse_endpoint(figure, config)
    make = accuracies if figure.kind == "accuracy" else retrieval
    source, drawn, result = make(figure, config)

    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import explained, write_json
    from lantern_probe.records.provenance import provenance

    from .reproduce_sources import COMMAND

    folder = config.output / figure.name
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("pdf", "png"):
        save_figure(drawn, folder / f"figure.{suffix}", dpi=300)
    write_json(
        folder / "figure.json",
        {
            "experiment": COMMAND,
            **provenance(),
            "config": config,
            "published": figure,
            "measured": source,
            **result,
        },
    )
    console.print(
        f"figure.pdf, figure.png and figure.json are in {folder}\n", markup=False, soft_wrap=True
    )


def accuracies(figure: PublishedFigure, config: Config) -> tuple[Source, Any, dict[str, Any]]:
    """The source of the accuracies, their drawing and their record."""
    from .reproduce_sources import read_accuracies, run_accuracies

    if config.records:
        rows, source = read_accuracies(figure, config.records)
    else:
        rows, source = run_accuracies(
            figure, config.model, config, config.output / figure.name / "run"
        )

    from lantern_probe.analysis.literature.accuracies import compare_accuracies
    from lantern_probe.plots.literature import accuracy_figure

    from .tables.literature import print_accuracies

    found = compare_accuracies(figure, rows, seed=config.seed, same=source.same)
    print_accuracies(figure, found, source)
    if not config.records:
        show_run(figure, config)
    references = programs() if figure.data == "Tetris" else {}
    # The dotted lines are bounds for puzzles, and do not apply to another task.
    there = references if not any("the data are" in d for d in source.departures) else {}
    drawn = accuracy_figure(found, heading(figure, source), there)
    return source, drawn, {"comparison": found, "references": references}


def show_run(figure: PublishedFigure, config: Config) -> None:
    """Print what a server's rows say, where one was asked beside the figure's conditions."""
    from .inputs import file_name
    from .reproduce_sources import stood_in
    from .served import show_served

    model, _ = stood_in(figure, config.model, config)
    show_served(config, model, config.output / figure.name / "run" / file_name(model))


def retrieval(figure: PublishedFigure, config: Config) -> tuple[Source, Any, dict[str, Any]]:
    """The source of the retrieval, its drawing and its record."""
    from .reproduce_sources import read_one_retrieval, run_retrieval

    if config.records:
        record, source = read_one_retrieval(figure, config.records, config.model)
    else:
        record, source = run_retrieval(
            figure, config.model, config, config.output / figure.name / "run"
        )

    from lantern_probe.analysis.literature.ranks import compare_retrieval
    from lantern_probe.geometry.vectors import FORCED, OWN
    from lantern_probe.plots.literature import retrieval_figure

    from .tables.literature import print_retrieval

    queries = [compare_retrieval(figure, record, query=q, seed=config.seed) for q in (OWN, FORCED)]
    print_retrieval(figure, queries, source)
    drawn = retrieval_figure(figure, queries, heading(figure, source))
    return source, drawn, {"comparison": queries}


def heading(figure: PublishedFigure, source: Source) -> str:
    """The title of a drawing."""
    what = "measured" if not source.departures else "measured, in another setting"
    published = f"published ({figure.mark}): {figure.source}"
    return f"{figure.title}\n{published}\n{what}: {source.label}"


def check(config: Config) -> list[PublishedFigure]:
    """The requested figures, after a check of the options.

    Raises:
        LanternError: there is no such figure, or an option given with it cannot be used.
    """
    config.check_run()
    config.check_endpoint([config.model or "stand-in"])
    ignored = [
        f"--{name.replace('_', '-')}"
        for name in ABOUT_RUNS
        if config.records and getattr(config, name) not in (None, False)
    ]
    if ignored:
        raise LanternError(f"with RECORDS nothing is run: leave out {', '.join(ignored)}")
    from lantern_probe.analysis.literature.figures import published_figure, published_figures

    from .reproduce_sources import stood_in

    if EVERY in config.figure and not config.peek:
        return list(published_figures().values())
    if EVERY in config.figure:
        every = published_figures().values()
        show_data(config, [figure for figure in every if config.model or figure.stand_in])
    for name in config.figure:
        if name not in published_figures() and Path(name).exists():
            raise LanternError(f"'{name}' is no figure; give RECORDS before --figure")
    figures = [published_figure(name) for name in dict.fromkeys(config.figure)]
    for figure in figures:
        refuse_endpoint(figure, config)
        if not config.records:
            model, inputs = stood_in(figure, config.model, config)
            if not config.peek:
                inputs.check([model])
    if config.peek:
        show_data(config, figures)
    return figures


def refuse_endpoint(figure: PublishedFigure, config: Config) -> None:
    """Refuse to ask a server for a figure of latents.

    Raises:
        LanternError: naming the figure.
    """
    if config.endpoint is not None and figure.kind != "accuracy":
        raise LanternError(
            f"--endpoint: {figure.name} is about latents, which no server shows; leave it out"
        )


def show_data(config: Config, figures: Sequence[PublishedFigure]) -> None:
    """Show the samples of each figure's data.

    Raises:
        LanternError: the data of a figure cannot be read.
        Explained: they have been shown.
    """
    from .reproduce_sources import stood_in

    for figure in figures:
        model, inputs = stood_in(figure, config.model, config)
        with explaining():
            inputs.check([model])
    raise Explained


def main(config: Config) -> int:
    """List the figures, or make the requested ones."""
    if config.list or not config.figure:
        from lantern_probe.analysis.literature.figures import published_figures

        from .tables.literature import print_list

        print_list(published_figures().values())
        return 0
    figures = check(config)
    if EVERY not in config.figure:
        for figure in figures:
            with explaining():
                reproduce(figure, config)
        end_explained(config.only_shows)
        return 0
    made = 0
    for figure in figures:
        try:
            with explaining():
                reproduce(figure, config)
                made += 1
        except LanternError as error:
            console.print(f"{figure.name}: {error}\n", markup=False, highlight=False)
    end_explained(config.only_shows)
    console.print(f"{made} of {len(figures)} figures made")
    return 0 if made else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
