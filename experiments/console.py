"""One console and one way to end, shared by all command lines."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import docstring_parser
import tyro
from rich.console import Console
from rich.markup import escape

from lantern_probe import extensions
from lantern_probe.errors import LanternError, named

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

WIDTH = 98
"""Width of the widest table in characters; a narrower terminal wraps its lines."""

console = Console()
if console.width < WIDTH:
    console = Console(width=WIDTH)
Config = TypeVar("Config")


class Explained(Exception):
    """A comparison, an estimate or samples have been shown in place of a run."""


ROOMS = ("experiments.", "benchmarks.")
"""Packages whose modules are started with `python -m`."""


def explaining() -> contextlib.suppress:
    """Go on with the next run where something has been shown in place of one."""
    return contextlib.suppress(Explained)


def end_explained(asked: bool) -> None:
    """End the command if it was to show something in place of runs.

    Args:
        asked: True if they were.

    Raises:
        Explained: they were.
    """
    if asked:
        raise Explained


def print_table(table: Table, console: Console = console) -> None:
    """Print a table at its full width; a narrower terminal wraps its lines, and nothing is cut."""
    from rich.measure import Measurement

    options = console.options.update(max_width=10_000)
    table.width = max(1, Measurement.get(console, options, table).maximum)
    console.print(table, crop=False)


def titled_table(title: str) -> Table:
    """An empty table below its title, in which markup is not interpreted."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=escape(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def print_caption(text: str, console: Console = console) -> None:
    """Print the explanation of the table above."""
    console.print(text, style="italic", markup=False, highlight=False)
    console.print()


def print_failed(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Name and count the samples that could not be run, with the reason of the first.

    Args:
        name: Name of the model.
        rows: Rows of the run.
    """
    failed = [row for row in rows if row.get("status") == "failed"]
    if failed:
        samples = list(dict.fromkeys(str(row["sample"]) for row in failed))
        console.print(
            f"{name}: {len(failed)} rows failed, of {len(samples)} samples ({named(samples)}); the "
            f"first: {failed[0].get('error')}; the rows with status failed in rows.jsonl say why, "
            "and --retry-failed runs them again",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def progress_bar() -> Progress:
    """A bar per model: rows done, time taken, time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def quiet_transformers() -> None:
    """Keep messages of transformers other than errors off the console."""
    from transformers.utils import logging

    logging.set_verbosity_error()


def run_main(
    config: type[Config], main: Callable[[Config], int], program: str | None = None
) -> int:
    """Parse the command line into a configuration and run a command with it.

    Args:
        config: Class of the configuration; `--help` begins with the docstring of its module.
        main: Function that runs the command and returns its exit code.
        program: Name of the command in `--help`; by default `python -m` and its module.

    Returns:
        Exit code of the command. It is 2, with one line on stderr, if an input cannot be used, and
        130 if the command was interrupted; rows recorded before are kept.
    """
    about = sys.modules[config.__module__].__doc__ or config.__doc__ or ""
    if program is None:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = f"python -m {spec.name}" if spec and spec.name.startswith(ROOMS) else None
    else:
        name = config.__module__.rpartition(".")[2]
        about = about.replace(f"python -m experiments.{name}", program)
    if {"-h", "--help"} & {*sys.argv}:
        _join_lines(config)
        about = "\n\n".join(filter(None, (about.strip(), _added(config))))
    try:
        return main(tyro.cli(config, prog=program, description=about))
    except Explained:
        return 0
    except LanternError as error:
        _complain(" ".join(f"error: {error}".splitlines()))
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # what is written to files is explained where it is written
        _complain(f"error: {error}")
        return 2
    except Exception as error:
        if (blamed := extensions.blame(error)) is None:
            raise
        _complain(" ".join(f"error: {blamed}".splitlines()))
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what was recorded so far is kept")
        return 130


def _join_lines(config: type[Any]) -> None:
    """Join the lines of every field's text; tyro would break it where the source does."""
    hints = get_type_hints(config, include_extras=True)
    texts = {
        text.arg_name: " ".join(text.description.split())
        for cls in reversed(config.__mro__[:-1])
        for text in docstring_parser.parse_from_object(cls).params
        if text.description
    }
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(hints[field.name]):
            _join_lines(hints[field.name])
        elif field.name in texts:
            help_ = tyro.conf.arg(help=texts[field.name])
            config.__annotations__[field.name] = Annotated[hints[field.name], help_]


EXTENSIBLE: dict[str, extensions.Kind] = {
    "conditions": "conditions",
    "task": "data",
    "parser": "parsers",
    "to": "figures",
}
"""Fields of configurations whose values other packages may add, with the kind of extension."""


def _added(config: type[Any]) -> str:
    """One line on what installed packages add to a command."""
    fields = {field.name for field in dataclasses.fields(config)}
    return extensions.listing(kind for name, kind in EXTENSIBLE.items() if name in fields)


def _complain(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
