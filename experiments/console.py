"""What every command line shares: one console, and one way to end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from transformers.utils import logging as transformers_logging

from lantern_probe.errors import LanternError

WIDTH = 98
"""The widest table; a narrower terminal wraps its lines, and nothing is cut off."""

console = Console()
if console.width < WIDTH:
    console = Console(width=WIDTH)
Config = TypeVar("Config")


def print_table(table: Table, console: Console = console) -> None:
    """Print a table as wide as it is; a narrower terminal wraps its lines, and nothing is lost."""
    options = console.options.update(max_width=10_000)
    table.width = max(1, Measurement.get(console, options, table).maximum)
    console.print(table, crop=False)


def titled_table(title: str) -> Table:
    """An empty table below its title, which is taken as written."""
    return Table(
        title=escape(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def print_caption(text: str, console: Console = console) -> None:
    """What a reader has to know of the table above."""
    console.print(text, style="italic", markup=False, highlight=False)
    console.print()


def run_main(config: type[Config], main: Callable[[Config], int]) -> int:
    """Parse the command line into `config` and run `main`.

    Returns:
        Its exit code; 2 with one line on stderr when an input cannot be used; 130 when
        interrupted, with what was recorded so far kept.
    """
    transformers_logging.set_verbosity_error()
    try:
        return main(tyro.cli(config, description=config.__doc__))
    except LanternError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # what is written to files is explained where it is written
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; what was recorded so far is kept")
        return 130
