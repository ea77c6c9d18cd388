"""Give the rows of a run to other programs: as tables, logs or figures.

    python -m experiments.export runs/ablate_latents
    python -m experiments.export runs/ablate_latents --to csv --output rows.csv
    python -m experiments.export runs/ablate_latents --to inspect --images

RUN is the folder of a run, or the folder with the runs of several models, which become one table
with a column model. Nested fields become columns named by their path, such as logprobs.A, and lists
stay one cell; docs/export.md says how nulls and missing fields are told apart, and how to read the
rows back. Files are written whole or not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lantern_probe.errors import LanternError, named

from .console import console, run_main

FORMATS = ("parquet", "csv", "inspect")
FIGURE = "figure:"


@dataclass(frozen=True)
class Config:
    """Give the rows of a run to other programs: as tables, logs or figures."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of the runs of several models."""
    to: str = "parquet"
    """Form: parquet, csv, inspect (a log of inspect_ai for each model and condition), or
    figure:NAME, a figure that an installed package adds."""
    output: Path | None = None
    """File to write, or folder of the logs. By default rows.parquet, rows.csv, inspect or NAME.png
    in the folder of the run."""
    overwrite: bool = False
    """Replace what is there."""
    images: bool = False
    """Put the images into the logs, as far as they can still be found."""


def main(config: Config) -> int:
    """Write the export."""
    figure = config.to.removeprefix(FIGURE) if config.to.startswith(FIGURE) else None
    if figure is None and config.to not in FORMATS:
        raise LanternError(
            f"--to {config.to}: there are {', '.join(FORMATS)} and {FIGURE}NAME of a figure that "
            "an installed package adds"
        )
    if config.images and config.to != "inspect":
        raise LanternError("--images are put into logs; give --to inspect too")
    if figure is not None:
        _draw(config, figure)
    elif config.to == "inspect":
        _write_logs(config)
    else:
        _write_table(config)
    return 0


def _write_table(config: Config) -> None:
    from lantern_probe.records.table_files import (
        columns_file,
        read_runs,
        require_pyarrow,
        write_table,
    )

    to, other = ("parquet", "csv") if config.to == "parquet" else ("csv", "parquet")
    file = config.output or config.run / f"rows.{to}"
    if file.suffix == f".{other}":
        raise LanternError(f"--to {to}, and '{file}' is named as {other}; give --to {other}")
    if to == "parquet":
        require_pyarrow()
    _refuse(config, [file, columns_file(file)] if to == "csv" else [file])
    runs = read_runs(config.run)
    count = write_table(config.run, file, "parquet" if to == "parquet" else "csv")
    _say_unfinished({run.name: str(run.manifest.get("status")) for run in runs})
    console.print(f"{count} rows are in {file}", markup=False, highlight=False, soft_wrap=True)


def _write_logs(config: Config) -> None:
    from lantern_probe.records.inspect_logs import log_files, write_log

    folder = config.output or config.run / "inspect"
    if folder.suffix in (".eval", ".json") or folder.is_file():
        raise LanternError(f"'{folder}': --output of --to inspect is a folder, for several logs")
    found = log_files(config.run, folder)
    _refuse(config, list(found))
    for file, (run, condition) in found.items():
        write_log(file, run, condition, images=config.images)
    _say_unfinished({run.name: str(run.manifest.get("status")) for run, _ in found.values()})
    console.print(
        f"{len(found)} logs are in {folder}; inspect view --log-dir {folder} shows them",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _draw(config: Config, name: str) -> None:
    from lantern_probe import extensions

    added = extensions.look_up("figures", name, ())
    assert added is not None  # this package has no figures of its own
    file = config.output or config.run / f"{name}.png"
    _refuse(config, [file])
    function = added.load()
    if not callable(function):
        raise added.refuse("is no function of a frame and axes")
    from lantern_probe.plots.style import new_figure, save_figure
    from lantern_probe.records.table_files import read_frame

    frame = read_frame(config.run)
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    extensions.checked_call(added, function, frame, axes)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, file)
    console.print(f"the figure is in {file}", markup=False, highlight=False, soft_wrap=True)


def _refuse(config: Config, files: Sequence[Path]) -> None:
    """Refuse files that are there already, and files of a run in any case."""
    from lantern_probe.records.rows import LOCK, MANIFEST, ROWS_FILE
    from lantern_probe.records.samples import SAMPLES_FILE

    for file in files:
        beside = (file.parent / MANIFEST).exists()
        if beside and file.name in (MANIFEST, ROWS_FILE, SAMPLES_FILE, LOCK):
            raise LanternError(f"'{file}' is a file of the run itself; give another --output")
        if file.is_dir():
            raise LanternError(f"'{file}' is a folder; give --output a file")
    there = [str(file) for file in files if file.exists()]
    if there and not config.overwrite:
        raise LanternError(
            f"{named(there)} exist{'s' if len(there) == 1 else ''} already; give another --output, "
            "or --overwrite to replace"
        )


def _say_unfinished(status: dict[str, str]) -> None:
    for name, said in status.items():
        if said != "complete":
            where = "the run" if name == "." else f"the run in {name}"
            console.print(
                f"{where} has the status {said!r}: rows that it lacks are missing here too",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
