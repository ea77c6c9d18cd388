"""Parts of a page that need no script: what a run has measured, and several runs at a glance."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lantern_probe.report.files import Files
from lantern_probe.report.results import NOT_RESULTS, card_view, read_result, result_tables
from lantern_probe.report.runs import ReportRun
from lantern_probe.report.summary import about, condition_table, key_figures
from lantern_probe.tasks.images import UNREADABLE

FIGURES = (".png", ".svg")
"""Suffixes of the figures that a command draws into its run."""

LARGEST_FIGURE = 20_000_000
"""Bytes of a figure above which it is left out."""


def render(template: str, **values: Any) -> str:
    """Fill in a template; every value is escaped, and one that is missing is an error.

    Args:
        template: Name of the template.
        values: Values by name.
    """
    environment = Environment(
        loader=PackageLoader("lantern_probe.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def section_of(
    run: ReportRun, outputs: Sequence[Path], files: Files, notes: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """The part of a page about one run, and a few facts about it for the list of runs.

    Args:
        run: The run.
        outputs: Further folders with figures and results of it.
        files: Takes figures and results.
        notes: Sentences on the state of its files, besides its own.
    """
    said = [*run.notes, *notes]
    if run.status != "complete":
        said.append(
            f"The run is {run.status}: tables are of the rows that there are, and figures and "
            "result files may be older than these."
        )
    card = None
    if (path := run.home / "card.json").is_file():
        content, why = read_result(path)
        card = card_view(content)
        if card is None:
            said.append(why or "card.json is no card that this version reads; it is left out.")
    table = condition_table(run)
    folders = [run.home, *outputs]
    html = render(
        "section.html.j2",
        run=run,
        card=card,
        figures=key_figures(run, table),
        table=table,
        pictures=_pictures(folders, files, said, ["card.png"] if card else []),
        results=_results(folders, files, said),
        about=about(run),
        notes=said,
    )
    own = next((line for line in table.lines if line.label == "own"), None) if table else None
    return html, {
        "reading": card.reading if card else "",
        "accuracy": own.accuracy if own else "",
        "model": str(run.settings.get("model", "")),
        "data": str(run.settings.get("data", "")),
    }


def overview_of(entries: Sequence[Mapping[str, Any]], outputs: Sequence[Path], files: Files) -> str:
    """The part of a page that lists several runs, with what their commands wrote about all.

    Args:
        entries: Facts about every run.
        outputs: Folders in which several runs lie.
        files: Takes figures and results.
    """
    notes: list[str] = []
    pictures = _pictures(outputs, files, notes, [])
    results = _results(outputs, files, notes)
    return render("overview.html.j2", runs=entries, pictures=pictures, results=results, notes=notes)


def _results(folders: Sequence[Path], files: Files, notes: list[str]) -> list[tuple[str, str]]:
    """Name, and name of the data, of every result file in some folders."""
    found = []
    for path in sorted(p for folder in folders for p in folder.glob("*.json")):
        if path.name in NOT_RESULTS or not path.is_file():
            continue
        content, why = read_result(path)
        if why:
            notes.append(why)
        elif tables := result_tables(content, path.name):
            html = render("results.html.j2", tables=tables)
            found.append((path.name, files.data({"html": html})))
    return found


def _pictures(
    folders: Sequence[Path], files: Files, notes: list[str], left_out: Sequence[str]
) -> list[tuple[str, str, tuple[int, int] | None]]:
    """Name, file, and width and height of every figure in some folders."""
    found = []
    for path in sorted(p for folder in folders for p in folder.iterdir() if p.suffix in FIGURES):
        if path.name in left_out or not path.is_file():
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            notes.append(f"{path.name} cannot be read ({error.strerror}); it is left out.")
            continue
        if len(data) > LARGEST_FIGURE:
            notes.append(f"{path.name} is too large for a page; it is left out.")
            continue
        size = None
        if path.suffix == ".png":
            try:
                with Image.open(io.BytesIO(data)) as image:
                    size = image.size
            except UNREADABLE:
                notes.append(f"{path.name} is no image; it is left out.")
                continue
        name = f"{hashlib.sha256(data).hexdigest()[:20]}{path.suffix}"
        files.file(name, data)
        found.append((path.name, name, size))
    return found
