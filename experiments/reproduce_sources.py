"""Sources of measured numbers: a run made now, the folder of one, or official result files.

Each source lists its departures from the published setting, and the statements that could not be
checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lantern_probe.analysis.literature.figures import ALL, PublishedFigure
from lantern_probe.analysis.literature.source import Source, kind_of
from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained, write_json
from lantern_probe.records.official import OFFICIAL_NAMES, condition_names, read_published
from lantern_probe.records.rows import Row, read_manifest, read_rows, refuse_passes, reread
from lantern_probe.tasks import folder_kind

from .ablations import ablation_parts, report_problems, run_ablation
from .captures import capture_latent_sets, check_latent_sets
from .console import progress_bar
from .inputs import Inputs, file_name
from .served import with_stock

COMMAND = "reproduce"

ALIKE = "prompt"
"""Column whose value is equal for samples that are alike: the question."""

GREY = "scenes-grey"
"""Generated task whose images contain no evidence."""


Given = TypeVar("Given", bound=Inputs)


def stood_in(figure: PublishedFigure, model: str | None, inputs: Given) -> tuple[str, Given]:
    """Fill in the model, the task and the number of samples that were not given.

    Args:
        figure: Published figure.
        model: Name of the model; None for the figure's organism.
        inputs: Inputs as given.

    Returns:
        Name of the model, and the complete inputs.

    Raises:
        LanternError: no model was given, and the figure has no organism.
    """
    task = inputs.task
    if model is None:
        if figure.stand_in is None:
            raise LanternError(
                f"no organism stands in for {figure.name}; give RECORDS (result files), or a "
                "--model with its --data"
            )
        model = figure.stand_in[0]
        if inputs.data is None and task is None:
            task = figure.stand_in[1]
    n = inputs.samples
    if n is None and inputs.data is None and inputs.sample_ids is None:
        n = figure.n.get(ALL)
    return model, replace(inputs, task=task, samples=n)


def source_of(figure: PublishedFigure, model: str, inputs: Inputs, n: int) -> Source:
    """The source of what was run just now."""
    if inputs.data is None:
        task = inputs.task or "its own task"
        return Source.of(figure, model, task, kind_of(task) or task, n)
    if inputs.data.is_dir():
        return Source.of(figure, model, inputs.data.name, folder_kind(inputs.data), n)
    # Other data sets are folders; the origin of JSON lines cannot be told from the file.
    kind = None if figure.data == "VisCoT" else "multiple-choice JSON lines"
    return Source.of(figure, model, inputs.data.name, kind, n)


def run_accuracies(
    figure: PublishedFigure, model: str | None, inputs: Inputs, output: Path
) -> tuple[dict[str, list[Row]], Source]:
    """Run the missing rows of the figure's conditions, and read all rows by condition."""
    model, inputs = stood_in(figure, model, inputs)
    folder = output / file_name(model)
    images = figure.images if figure.images and inputs.task != GREY else "clean"
    conditions = with_stock(inputs, figure.conditions)
    parts = ablation_parts(conditions, ("clean", images), inputs.seed)
    report_problems(list(run_ablation(inputs, COMMAND, [model], parts, output=folder).values()))
    rows, _ = by_condition(figure, folder)
    return rows, source_of(figure, model, inputs, answered(rows))


def read_accuracies(
    figure: PublishedFigure, paths: Sequence[Path]
) -> tuple[dict[str, list[Row]], Source]:
    """Read the rows of a run, or of official result files, by this project's condition names.

    Raises:
        LanternError: there are no rows, or a path is neither a run nor result files.
    """
    runs = [path for path in paths if (path / "run.json").is_file()]
    if len(runs) == len(paths) == 1:
        settings = read_manifest(runs[0])["config"]
        rows, departures = by_condition(figure, runs[0])
        if not rows:
            raise LanternError(f"the run in '{runs[0]}' has no rows yet")
        model, data = str(settings["model"]), str(settings["data"])
        kind, how = kind_of(data), f", from '{runs[0]}'"
        found = Source.of(figure, model, data, kind, answered(rows), how)
        return rows, Source(found.label, (*found.departures, *departures), found.trust)
    if runs:
        raise LanternError("give one run, or result files, not several runs or both")
    return _read_files(figure, [pair for path in paths for pair in result_files(figure, path)])


def _read_files(
    figure: PublishedFigure, files: Sequence[tuple[str | None, Path]]
) -> tuple[dict[str, list[Row]], Source]:
    given = condition_names([path for _, path in files]) if len(files) > 1 else [files[0][1].stem]
    names = [
        OFFICIAL_NAMES.get(found or name, found or name)
        for (found, _), name in zip(files, given, strict=True)
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LanternError(f"several result files are of {', '.join(twice)}; give one of them")
    read = read_published([path for _, path in files], names=names, parser=figure.parser)
    rows = {file.condition: list(file.rows) for file in read}
    notes = tuple(f"{file.condition}: {note}" for file in read for note in file.notes)
    n = answered(rows)
    departures = [f"n is {n}, not {figure.n[ALL]}"] if n != figure.n.get(ALL, n) else []
    trust = []
    if figure.records:
        trust.append(f"the files, which name neither model nor data, are of {figure.title}")
    else:
        departures.append(f"result files do not say that they are of {figure.model or 'theirs'}")
    label = f"result files of {len(files)} conditions, n = {n}"
    same = figure.records and n == figure.n[ALL]
    return rows, Source(label, tuple(departures), tuple(trust), notes, same)


def result_files(figure: PublishedFigure, path: Path) -> list[tuple[str | None, Path]]:
    """The figure's result files under a folder in the official layout, with their conditions.

    If the path is a file, its condition is None.

    Raises:
        LanternError: the folder has no result files.
    """
    if path.is_file():
        return [(None, path)]
    name = figure.file_name
    found = sorted(path.glob(f"*/{name}/{name}.json"))
    if not found:
        inside = sorted(folder.parent.name for folder in path.glob("*/run.json"))
        hint = f"; give one of the runs in it: {', '.join(inside)}" if inside else ""
        raise LanternError(
            f"'{path}' is no run (it has no run.json), and no folder of result files "
            f"(CONDITION/{name}/{name}.json){hint}"
        )
    return [(file.parent.parent.name, file) for file in found]


def by_condition(figure: PublishedFigure, folder: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Read a run's rows by condition, with the figure's parser, and list departures.

    For a figure of corrupted images, only the rows under that corruption, if there are any.
    """
    found: dict[str, list[Row]] = {}
    rows = read_rows(folder)
    refuse_passes(rows, f"'{folder}': a comparison with published figures")
    for row in rows:
        if figure.parser in row.get("parsed", {}):
            row = reread(row, figure.parser, folder)
        found.setdefault(str(row["condition"]), []).append(row)
    if not figure.images:
        return found, []
    ending = f"@{figure.images}"
    under = {
        name.removesuffix(ending): rows for name, rows in found.items() if name.endswith(ending)
    }
    if under:
        return under, []
    return found, [f"the images are not under {figure.images}"]


def answered(rows: Mapping[str, Sequence[Row]]) -> int:
    """Number of samples with an answer and a label, under the condition with most of them."""
    return max(
        (
            sum(row["status"] == "ok" and row["correct"] is not None for row in some)
            for some in rows.values()
        ),
        default=0,
    )


def run_retrieval(
    figure: PublishedFigure, model: str | None, inputs: Inputs, output: Path
) -> tuple[Mapping[str, Any], Source]:
    """Capture the missing samples, and measure retrieval as `map_latents` records it."""
    model, inputs = stood_in(figure, model, inputs)
    check_latent_sets(inputs, COMMAND, model, output / file_name(model), ALIKE)
    data, latents = capture_latent_sets(inputs, COMMAND, model, output / file_name(model))

    from lantern_probe.geometry.latent_sets import (
        measure_correctness,
        measure_retrieval,
        retrieval_record,
    )
    from lantern_probe.geometry.vectors import OWN

    with progress_bar() as progress:
        bar = progress.add_task("retrieval", total=1)
        found, alike = measure_retrieval(latents, ALIKE, inputs.seed)
        progress.advance(bar)
    correctness = measure_correctness(latents, found[OWN], inputs.seed)
    record = retrieval_record(latents, model, data, ALIKE, found, alike, correctness)
    write_json(output / "retrieval.json", [record])
    (written,) = read_retrieval(output)
    return written, source_of(figure, model, inputs, len(latents.samples))


def read_one_retrieval(
    figure: PublishedFigure, paths: Sequence[Path], model: str | None
) -> tuple[Mapping[str, Any], Source]:
    """Read the only record of retrieval under the paths, or the model's.

    Raises:
        LanternError: there are several such records, or none.
    """
    records = [record for path in paths for record in read_retrieval(path)]
    names = {str(record["model"]) for record in records}
    if model is not None:
        records = [record for record in records if record["model"] == model]
    if len(records) != 1:
        raise LanternError(
            f"the records have retrieval of {', '.join(sorted(names))}; choose one by --model"
        )
    (record,) = records
    data = str(record.get("data", "not recorded"))
    name, n = str(record["model"]), int(record["n"])
    return record, Source.of(figure, name, data, kind_of(data), n, ", from records")


def read_retrieval(path: Path) -> list[Mapping[str, Any]]:
    """Read the retrieval records of a run of `map_latents`.

    Raises:
        LanternError: the path has no such records.
    """
    file = path / "retrieval.json" if path.is_dir() else path
    with explained(file):
        text = file.read_text(encoding="utf-8")
    try:
        records = json.loads(text)
    except ValueError:
        records = None
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and {"model", "n"} <= record.keys() for record in records
    ):
        raise LanternError(f"'{file}' is no retrieval record of experiments.map_latents")
    return records
