"""Published figures of latent visual reasoning, next to the same measured here.

    python -m experiments.reproduce                                  # what there is
    python -m experiments.reproduce --figure sft-viscot tetris       # on organisms, today
    python -m experiments.reproduce --figure sft-viscot --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --malformed skip --samples 1200
    python -m experiments.reproduce --figure lvr7b-blink --records results/lvr_results

Without --model, an organism stands in, on a generated task. That shows that figure and analysis
work, on a model whose truth is known, and says nothing about LanteRn. With --records nothing is
run: give a run of this project, or result files in the official layout, CONDITION/blink/blink.json.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments.console import console, run_main
from experiments.inputs import Inputs
from experiments.reproduce_sources import (
    read_accuracies,
    read_one_retrieval,
    run_accuracies,
    run_retrieval,
)
from experiments.tables.literature import print_accuracies, print_list, print_retrieval
from lantern_probe.analysis.literature.accuracies import compare_accuracies
from lantern_probe.analysis.literature.figures import (
    PublishedFigure,
    published_figure,
    published_figures,
)
from lantern_probe.analysis.literature.ranks import compare_retrieval
from lantern_probe.analysis.literature.source import Source
from lantern_probe.errors import LanternError
from lantern_probe.geometry.vectors import FORCED, OWN
from lantern_probe.plots.literature import accuracy_figure, retrieval_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import explained, write_json
from lantern_probe.records.provenance import provenance
from lantern_probe.stats import wilson
from lantern_probe.tasks.crops import crop_box
from lantern_probe.tasks.tetris import CHANCE, answer_from_panel, tetris

EVERY = "all"
PUZZLES = 300
"""How many puzzles the program that has the intermediate image is tried on."""


@dataclass(frozen=True)
class Config(Inputs):
    """Published figures of latent visual reasoning, next to the same measured here."""

    figure: tuple[str, ...] = ()
    """Which ones, or all; without any, the list of them."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show what there is, what each needs, and what can be made here."""
    model: str | None = None
    """The published checkpoint, or any other; by default the figure's organism. With a checkpoint,
    give --data (or --task) too; with --records, the model whose retrieval is read."""
    records: tuple[Path, ...] = ()
    """Run nothing, and read these: a run's folder, or result files in the official layout."""
    batch_rows: int | None = None
    """Rows decoded together; by default as many as the free memory holds."""
    output: Path = Path("runs/reproduce")
    """Each figure gets a folder in it, with figure.pdf, figure.png, figure.json and the run."""


def programs() -> dict[str, float]:
    """What programs make of the Tetris generator: the ceiling of the published accuracies."""
    right = 0
    for sample in tetris(PUZZLES):
        image = sample.open_oracle_images()[0]
        picture = np.asarray(image.crop(crop_box(image.size, sample.boxes[0])))
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
    """Measure or read one figure, print it, draw it, write it down."""
    folder = config.output / figure.name
    result: dict[str, Any]
    if figure.kind == "accuracy":
        if config.records:
            rows, source = read_accuracies(figure, config.records)
        else:
            run = folder / "run"
            rows, source = run_accuracies(figure, config.model, config, config.batch_rows, run)
        found = compare_accuracies(figure, rows, seed=config.seed)
        print_accuracies(figure, found, source)
        references = programs() if figure.data == "Tetris" else {}
        # The dotted lines are of puzzles, and say nothing about another task.
        there = references if not any("the data are" in d for d in source.departures) else {}
        drawn = accuracy_figure(found, heading(figure, source), there)
        result = {"comparison": found, "references": references}
    else:
        if config.records:
            record, source = read_one_retrieval(figure, config.records, config.model)
        else:
            record, source = run_retrieval(figure, config.model, config, folder / "run")
        queries = [
            compare_retrieval(figure, record, query=q, seed=config.seed) for q in (OWN, FORCED)
        ]
        print_retrieval(figure, queries, source)
        drawn = retrieval_figure(figure, queries, heading(figure, source))
        result = {"comparison": queries}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("pdf", "png"):
        save_figure(drawn, folder / f"figure.{suffix}", dpi=300)
    write_json(
        folder / "figure.json",
        {
            "experiment": "reproduce",
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


def heading(figure: PublishedFigure, source: Source) -> str:
    """Of the drawing."""
    what = "measured" if not source.departures else "measured, in another setting"
    published = f"published ({figure.mark}): {figure.source}"
    return f"{figure.title}\n{published}\n{what}: {source.label}"


def main(config: Config) -> int:
    """The list, or the figures asked for."""
    if config.list or not config.figure:
        print_list(published_figures().values())
        return 0
    ignored = [
        f"--{name.replace('_', '-')}"
        for name in ("data", "task", "samples", "image_root")
        if config.records and getattr(config, name) is not None
    ]
    if ignored:
        raise LanternError(f"--records runs nothing: leave out {', '.join(ignored)}")
    if EVERY not in config.figure:
        for figure in [published_figure(name) for name in dict.fromkeys(config.figure)]:
            reproduce(figure, config)
        return 0
    made = 0
    for figure in published_figures().values():
        try:
            reproduce(figure, config)
            made += 1
        except LanternError as error:
            console.print(f"{figure.name}: {error}\n", markup=False, highlight=False)
    console.print(f"{made} of {len(published_figures())} figures made")
    return 0 if made else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
