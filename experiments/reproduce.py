"""Published figures of latent visual reasoning, next to the same measured here.

    python -m experiments.reproduce                                  # what there is
    python -m experiments.reproduce --figure sft-viscot tetris       # on organisms, today
    python -m experiments.reproduce --figure sft-viscot --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images              # the published setting
    python -m experiments.reproduce --figure lvr7b-blink --records results/lvr_results

Without --model, an organism stands in, on a generated task. That shows that figure and analysis
work, on a model whose truth is known, and says nothing about LanteRn. With --records nothing is
run: give a run of this project, or result files in the official layout, CONDITION/blink/blink.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments import ablate_latents, map_latents
from experiments.compare_records import reread
from experiments.console import console, run_main
from experiments.inputs import Inputs, file_name, progress_bar, taken
from experiments.map_figure import FORCED, OWN
from experiments.reproduction_tables import print_accuracies, print_list, print_retrieval
from lantern_probe.errors import LanternError
from lantern_probe.jsonfile import explained
from lantern_probe.literature import (
    ALL,
    PublishedFigure,
    compare_accuracies,
    compare_retrieval,
    published_figure,
    published_figures,
)
from lantern_probe.literature.drawing import accuracy_figure, retrieval_figure
from lantern_probe.oracle import crop_box
from lantern_probe.plots import save_figure
from lantern_probe.provenance import provenance
from lantern_probe.published import OFFICIAL_NAMES, condition_names, read_published
from lantern_probe.records import Row, read_manifest, read_rows, write_json
from lantern_probe.stats import wilson
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
    give --data (or --task) too."""
    records: tuple[Path, ...] = ()
    """Run nothing, and read these: a run's folder, or result files in the official layout."""
    batch_rows: int | None = None
    """Rows decoded together; by default as many as the free memory holds."""
    output: Path = Path("runs/reproduce")
    """Each figure gets a folder in it, with figure.pdf, figure.png, figure.json and the run."""


@dataclass(frozen=True)
class Source:
    """Where the measured numbers come from.

    Attributes:
        label: In words, for headings.
        departures: In what this is not the published setting; empty where it is, as far as told.
    """

    label: str
    departures: tuple[str, ...]


def stood_in(figure: PublishedFigure, config: Config) -> tuple[str, Config]:
    """The model, and the inputs with the task and the number of samples filled in.

    Raises:
        LanternError: the figure has no stand-in, or a checkpoint was given without data.
    """
    model, task = config.model, config.task
    if model is None:
        if figure.stand_in is None:
            raise LanternError(
                f"no organism stands in for {figure.name}; give --records with result files, or a "
                "--model with its --data"
            )
        model = figure.stand_in[0]
        if config.data is None and task is None:
            task = figure.stand_in[1]
    n = config.samples
    if n is None and config.data is None:
        n = figure.n.get(ALL)
    return model, taken(
        Config, config, task=task, samples=n, output=config.output, batch_rows=config.batch_rows
    )


def setting(figure: PublishedFigure, model: str, inputs: Inputs, n: int) -> Source:
    """What was run, and how it differs from what was published."""
    data = inputs.data.name if inputs.data is not None else inputs.task or "its own task"
    departures = []
    if model != figure.model:
        departures.append(f"the model is {model}, not {figure.model or 'theirs (not released)'}")
    if inputs.data is None:
        departures.append(f"the data are {data}, not {figure.data}")
    if n != figure.n.get(ALL, n):
        departures.append(f"n is {n}, not {figure.n[ALL]}")
    return Source(f"{model} on {data}, n = {n}", tuple(departures))


def run_accuracies(figure: PublishedFigure, config: Config) -> tuple[dict[str, list[Row]], Source]:
    """Run what is missing of the figure's conditions, and read their rows."""
    model, inputs = stood_in(figure, config)
    folder = config.output / figure.name / "run" / file_name(model)
    run = taken(
        ablate_latents.Config,
        inputs,
        model=(model,),
        conditions=figure.conditions,
        batch_rows=config.batch_rows,
        output=folder,
    )
    ablate_latents.report_problems(list(ablate_latents.ablate_models(run).values()))
    rows = by_condition(folder)
    return rows, setting(figure, model, inputs, len(rows["own"]))


def read_accuracies(
    figure: PublishedFigure, paths: Sequence[Path]
) -> tuple[dict[str, list[Row]], Source]:
    """The rows of a run, or of official result files by this project's names.

    Raises:
        LanternError: there are none, or a path is neither.
    """
    runs = [path for path in paths if (path / "run.json").is_file()]
    if len(runs) == len(paths) == 1:
        settings = read_manifest(runs[0])["config"]
        rows = by_condition(runs[0])
        if not rows:
            raise LanternError(f"the run in '{runs[0]}' has no rows yet")
        n = max(len(some) for some in rows.values())
        label = f"{settings['model']} on {settings['data']}, n = {n}, from '{runs[0]}'"
        departures = []
        if settings["model"] != figure.model:
            departures.append(f"the model is {settings['model']}, not {figure.model}")
        if n != figure.n.get(ALL, n):
            departures.append(f"n is {n}, not {figure.n[ALL]}")
        return rows, Source(label, tuple(departures))
    if runs:
        raise LanternError("give one run, or result files, not several runs or both")
    files = [file for path in paths for file in result_files(figure, path)]
    names = [condition.split("/")[0] for condition in condition_names(files)]
    read = read_published(files, names=[OFFICIAL_NAMES.get(name, name) for name in names])
    found = {file.condition: list(file.rows) for file in read}
    n = max(len(some) for some in found.values())
    departures = [f"n is {n}, not {figure.n[ALL]}"] if n != figure.n.get(ALL, n) else []
    label = f"result files of {len(files)} conditions (they name no model), n = {n}"
    return found, Source(label, tuple(departures))


def result_files(figure: PublishedFigure, path: Path) -> list[Path]:
    """The figure's result files under a folder in the official layout; or the file itself.

    Raises:
        LanternError: there are none.
    """
    if path.is_file():
        return [path]
    name = figure.file_name
    found = sorted(path.glob(f"*/{name}/{name}.json"))
    if not found:
        inside = sorted(folder.parent.name for folder in path.glob("*/run.json"))
        hint = f"; give one of the runs in it: {', '.join(inside)}" if inside else ""
        raise LanternError(
            f"'{path}' is no run (it has no run.json), and no folder of result files "
            f"(CONDITION/{name}/{name}.json){hint}"
        )
    return found


def by_condition(folder: Path) -> dict[str, list[Row]]:
    """A run's rows by condition; letters as the official parser reads them, as was published."""
    found: dict[str, list[Row]] = {}
    for row in read_rows(folder):
        if "official" in row.get("parsed", {}):
            row = reread(row, "official", folder)
        found.setdefault(str(row["condition"]), []).append(row)
    return found


def retrieval_records(
    figure: PublishedFigure, config: Config
) -> tuple[list[Mapping[str, Any]], Source]:
    """Retrieval as `map_latents` records it: read, or captured and measured.

    Raises:
        LanternError: a record cannot be read, or nothing could be captured.
    """
    if config.records:
        records = [record for path in config.records for record in read_retrieval(path)]
        names = {str(record["model"]) for record in records}
        if config.model is not None:
            records = [record for record in records if record["model"] == config.model]
        if len(records) != 1:
            raise LanternError(
                f"--records has retrieval of {', '.join(sorted(names))}; choose one by --model"
            )
        n, model = int(records[0]["n"]), str(records[0]["model"])
        departures = [] if model == figure.model else [f"the model is {model}, not {figure.model}"]
        if n != figure.n[ALL]:
            departures.append(f"n is {n}, not {figure.n[ALL]}")
        return records, Source(f"{model}, n = {n}, from records", tuple(departures))
    model, inputs = stood_in(figure, config)
    folder = config.output / figure.name / "run"
    run = taken(map_latents.Config, inputs, model=(model,), output=folder)
    latents = map_latents.capture(run, model, folder / file_name(model))
    with progress_bar() as progress:
        bar = progress.add_task("retrieval", total=1)
        found, alike = map_latents.measure_retrieval(latents, run.alike, config.seed)
        progress.advance(bar)
    correctness = map_latents.measure_correctness(latents, found[OWN], config.seed)
    record = map_latents.retrieval_record(latents, model, run.alike, found, alike, correctness)
    write_json(folder / "retrieval.json", [record])
    return read_retrieval(folder), setting(figure, model, inputs, len(latents.samples))


def read_retrieval(path: Path) -> list[Mapping[str, Any]]:
    """The records of a run of `map_latents`.

    Raises:
        LanternError: there are none there.
    """
    file = path / "retrieval.json" if path.is_dir() else path
    with explained(file):
        text = file.read_text(encoding="utf-8")
    try:
        records = json.loads(text)
        assert isinstance(records, list) and all("model" in record for record in records)
    except (ValueError, AssertionError, TypeError):
        raise LanternError(f"'{file}' is no retrieval record of experiments.map_latents") from None
    return records


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
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any]
    if figure.kind == "accuracy":
        if config.records:
            rows, source = read_accuracies(figure, config.records)
        else:
            rows, source = run_accuracies(figure, config)
        found = compare_accuracies(figure, rows, seed=config.seed)
        print_accuracies(figure, found, source.label, source.departures)
        references = programs() if figure.data == "Tetris" else {}
        drawn = accuracy_figure(found, heading(figure, source), references)
        result = {"comparison": found, "references": references}
    else:
        (record,), source = retrieval_records(figure, config)
        queries = [
            compare_retrieval(figure, record, query=q, seed=config.seed) for q in (OWN, FORCED)
        ]
        print_retrieval(figure, queries, source.label, source.departures)
        drawn = retrieval_figure(figure, queries, heading(figure, source))
        result = {"comparison": queries}
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
    return f"{figure.title} (published, {figure.mark}: {figure.source})\n{what}: {source.label}"


def main(config: Config) -> int:
    """The list, or the figures asked for."""
    if config.list or not config.figure:
        print_list(published_figures().values())
        return 0
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
