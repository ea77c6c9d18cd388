"""Make a page of runs: card, tables, figures, and a browser of samples.

    python -m experiments.report runs/ablate_latents
    python -m experiments.report runs/diagnosis --image-root images --embed
    python -m experiments.report runs/ablate_latents --watch --port 8000

The page is made from the files of the runs, without the model, and opens from a disk as well as
from a server. It needs no network. Runs that were cut off, or are still being written, are shown as
far as they are. With --watch it is written again as rows come, and an open page follows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from lantern_probe.errors import LanternError

from .console import console, run_main


@dataclass(frozen=True)
class Config:
    """Make a page of runs: card, tables, figures, and a browser of samples."""

    run: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, or outputs with several runs in them."""
    output: Path | None = None
    """Folder of the page; by default the folder report in that of the runs."""
    image_root: tuple[Path, ...] = ()
    """Folders in which images are looked for before the places that the run records."""
    embed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Put data and images into the page, which then may have up to 100 MB."""
    watch: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the page again whenever rows have come, until Ctrl-C."""
    port: int | None = None
    """With --watch, serve the page on this port of 127.0.0.1; 0 takes a free one."""


def main(config: Config) -> int:
    """Write the page, and go on writing it if asked to."""
    if not config.run:
        raise LanternError("give the folder of a run, such as runs/ablate_latents")
    if config.watch and config.embed:
        raise LanternError("--watch and --embed exclude each other: an embedded page cannot follow")
    if config.port is not None and not config.watch:
        raise LanternError("--port serves a page that --watch writes; give both, or neither")
    if config.port is not None and not 0 <= config.port < 65536:
        raise LanternError(f"--port must be between 0 and 65535, not {config.port}")
    for root in config.image_root:
        if not root.is_dir():
            raise LanternError(f"--image-root: there is no folder '{root}'")

    from lantern_probe.report.runs import run_places

    run_places(config.run)  # refuses what is no run before anything heavy is loaded

    from lantern_probe.report import Report

    report = Report(config.run, config.output, config.image_root, config.embed, config.watch)
    page = report.write()
    console.print(f"the page is {page}", markup=False, highlight=False, soft_wrap=True)
    if config.watch:
        from lantern_probe.report.watch import follow, served

        with served(report.folder, config.port) as address:
            if address:
                console.print(f"served at {address}", markup=False, highlight=False)
            console.print("it is written again as rows come; Ctrl-C ends this", markup=False)
            follow(report, lambda text: console.print(text, markup=False, highlight=False))
    return 0


def show_page(folder: Path) -> None:
    """Write the page of what a command has just run, and say where it is or why it is not.

    Args:
        folder: Output of the command.
    """
    from lantern_probe.report import write_report

    try:
        said = f"the page is {write_report([folder])}"
    except LanternError as error:
        said = f"there is no page: {error}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
