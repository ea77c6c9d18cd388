"""A page made from runs: what each has measured, and a browser of its samples."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lantern_probe.errors import LanternError
from lantern_probe.records.found_images import ImageFinder
from lantern_probe.records.overlays import Overlay, read_overlays
from lantern_probe.records.rows import MANIFEST
from lantern_probe.report.files import MARK, PAGE, Files, Folder, OneFile
from lantern_probe.report.images import ImageShelf
from lantern_probe.report.marks import MARKS
from lantern_probe.report.runs import ReportRun, names_of, read_run, run_places
from lantern_probe.report.sections import overview_of, render, section_of
from lantern_probe.report.tables import chunk_bounds, chunk_of, index_of, lay_out


@dataclass
class Report:
    """A page of runs, which can be written again as rows come.

    Attributes:
        runs: Folders of runs, of parts of one, or outputs with several runs in them.
        output: Folder of the page; by default `report` in the folder of the runs.
        image_roots: Folders in which images are looked for first.
        embed: Put data and images into the page. It then may have up to 100 MB.
        live: Make the page look for new data while it is open.
    """

    runs: Sequence[str | Path]
    output: str | Path | None = None
    image_roots: Sequence[str | Path] = ()
    embed: bool = False
    live: bool = False
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    _files: Files | None = None

    @property
    def folder(self) -> Path:
        """Folder of the page."""
        return output_of(self.runs) if self.output is None else Path(self.output)

    def write(self) -> Path:
        """Write the page, in place of an earlier one; return its path.

        Raises:
            LanternError: there is no run, a file of one is corrupt or of a newer version, or the
                page cannot be written or would be too large to hold its data.
        """
        places = run_places(self.runs)
        names = names_of([home for home, _ in places])
        if self._files is None or self.embed:
            self._files = OneFile(self.folder) if self.embed else Folder(self.folder)
        if self.embed:
            self._known = {}
        outputs = [Path(run) for run in self.runs if not (Path(run) / MANIFEST).exists()]
        with _without_collection():
            entries, sections = [], []
            for name, (home, folders) in zip(names, places, strict=True):
                more = outputs if len(places) == 1 and home not in outputs else []
                entry, section = self._run(read_run(name, home, folders), more, self._files)
                entries.append(entry)
                sections.append(section)
        overview = overview_of(entries, outputs, self._files) if len(entries) > 1 else ""
        state = {
            "runs": entries,
            "overview": self._files.data({"html": overview}),
            "live": self.live,
            "marks": MARKS,
            "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._files.finish(state, _page(entries, overview, sections[0]))
        return self.folder / PAGE

    def _run(
        self, run: ReportRun, outputs: Sequence[Path], files: Files
    ) -> tuple[dict[str, Any], str]:
        laid = lay_out(run)
        bounds = chunk_bounds(laid)
        shelf = ImageShelf(
            ImageFinder(run.samples, run.settings, self.image_roots), files.file, self._known
        )
        layers, notes = _layers(run)
        chunks = []
        for start, end in bounds:
            keys = laid.samples[start:end]
            images = {key: shelf.images(run.samples[key]) for key in keys if key in run.samples}
            maps = {key: found for key in keys if (found := _maps(key, layers))}
            chunks.append(files.data(chunk_of(run, laid, (start, end), images, maps)))
        index = files.data(index_of(run, laid, [start for start, _ in bounds]))
        section, facts = section_of(run, outputs, files, notes)
        entry = {
            "name": run.name,
            "status": run.status,
            "samples": len(laid.samples),
            "section": files.data({"html": section}),
            "index": index,
            "chunks": chunks,
            **facts,
        }
        return entry, section


def write_report(
    runs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    image_roots: Sequence[str | Path] = (),
    embed: bool = False,
) -> Path:
    """Write a page about runs, from their files alone; return its path.

        >>> from lantern_probe import Run
        >>> with Run.open("runs/shown", {}, overwrite=True) as run:
        ...     run.append({"sample": "1", "condition": "own", "status": "ok"})
        >>> write_report(["runs/shown"]).name
        'index.html'

    Args:
        runs: Folders of runs, of parts of one, or outputs with several runs in them.
        output: Folder of the page; by default `report` in the folder of the runs.
        image_roots: Folders in which images are looked for before the places that a run records.
        embed: Put data and images into the page, which then may have up to 100 MB; by default they
            lie in files beside it.

    Raises:
        LanternError: there is no run, a file of one is corrupt or of a newer version, or the page
            cannot be written or would be too large to hold its data.
    """
    return Report(runs, output, image_roots, embed).write()


def output_of(runs: Sequence[str | Path]) -> Path:
    """Folder of the page of some runs, where none is given.

    Args:
        runs: Folders given.
    """
    import os

    folders = [Path(run) for run in runs]
    if len(folders) == 1:
        return folders[0] / "report"
    return Path(os.path.commonpath([folder.resolve() for folder in folders])) / "report"


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Leave garbage collection out, which takes most of the time where there are many objects."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _layers(run: ReportRun) -> tuple[list[Overlay], list[str]]:
    layers: list[Overlay] = []
    notes: list[str] = []
    for folder in run.folders:
        try:
            layers += read_overlays(folder)
        except LanternError as error:
            notes.append(f"{error}; it is left out.")
    return layers, notes


def _maps(sample: str, layers: Sequence[Overlay]) -> list[dict[str, Any]]:
    found = []
    for layer in layers:
        maps = layer.maps(sample)
        if maps is None:
            continue
        names, values = maps
        tops = values.max((1, 2))
        scale = np.where(tops > 0, tops, 1)[:, None, None]
        levels = np.clip(np.rint(255 * values / scale), 0, 255).astype(np.uint8)
        found.append(
            {
                "layer": layer.name,
                "names": names,
                "height": values.shape[1],
                "width": values.shape[2],
                "top": [float(f"{top:.4g}") for top in tops],
                "sum": [float(f"{one.sum():.4g}") for one in values],
                "levels": base64.b64encode(levels.tobytes()).decode("ascii"),
            }
        )
    return found


def _page(entries: Sequence[Mapping[str, Any]], overview: str, section: str) -> str:
    folder = resources.files("lantern_probe.report") / "templates"
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    return render(
        "page.html.j2",
        runs=entries,
        overview=overview,
        section=section,
        marks=MARKS,
        mark=MARK.decode("ascii"),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """Hash by which a content security policy allows a text of the page, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
