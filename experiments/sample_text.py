"""One sample as text: what is asked, what is right, what is known about it."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lantern_probe.tasks.printable import printable

from .console import console as main_console

INDENT = "  "
LABEL = 14
"""Columns of a label."""


def print_plain(text: str, console: Console = main_console, style: str = "") -> None:
    """Print a text of data exactly: no markup, no wrapping, and no character that moves the cursor.

    Args:
        text: The text.
        console: Console to print on.
        style: Style of the whole text; none by default.
    """
    console.print(Text(printable(text, console.encoding), style=style), soft_wrap=True)


def print_field(label: str, value: str, console: Console = main_console) -> None:
    """Print a label and its value; further lines of the value are indented.

    Args:
        label: The label.
        value: The value.
        console: Console to print on.
    """
    lines = printable(value, console.encoding).split("\n")
    margin = f"\n{INDENT}{'':{LABEL}}"
    text = Text(f"{INDENT}{label:{LABEL}}", style="bold")
    text.append(Text(margin.join(lines), style="not bold"))
    console.print(text, soft_wrap=True)


def print_sample(
    record: Mapping[str, Any], images: Sequence[str], console: Console = main_console
) -> None:
    """Print what a sample asks: the exact prompt, candidates, answer, boxes, attributes, cluster.

    Args:
        record: Sample as `samples.jsonl` has it.
        images: A line on each image.
        console: Console to print on.
    """
    print_field("prompt", str(record.get("prompt", "not recorded")), console)
    options = [str(option) for option in record.get("options") or ()]
    if record.get("lettered"):
        lines = [f"{a}: {b}" for a, b in zip(string.ascii_uppercase, options, strict=False)]
        print_field("candidates", "\n".join(lines), console)
    else:
        print_field("candidates", "\n".join(options) or "none: an open question", console)
    answer = record.get("answer")
    print_field("right answer", "not known" if answer is None else str(answer), console)
    for name in ("accepted", "match"):  # of free texts
        if value := record.get(name):
            print_field(name, value if isinstance(value, str) else "\n".join(value), console)
    for number, line in enumerate(images, start=1):
        print_field(f"image {number}", line, console)
    if not images:
        print_field("images", "none", console)
    boxes = [f"[{', '.join(f'{edge:g}' for edge in box)}]" for box in record.get("boxes") or ()]
    about = "left, top, right, bottom in pixels of image 1"
    print_field("boxes", f"{' '.join(boxes)}  ({about})" if boxes else "none", console)
    attributes = record.get("attributes") or {}
    print_field("attributes", "\n".join(f"{k}: {v}" for k, v in attributes.items()) or "none",
                console)  # fmt: skip
    print_field("cluster", str(record.get("cluster", "not recorded")), console)
