"""One row of a run on the console: its text with the blocks marked, its answer, its scores."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from lantern_probe.tasks.printable import printable

from ..sample_text import INDENT, LABEL, print_field

BLOCK = re.compile(
    r"<\|lvr_start\|>(?P<slots>(?:\s*<\|lvr_sep\|>)*)(?P<end>\s*<\|lvr_end\|>)?|<\|lvr_end\|>"
)
"""A latent block as texts hold it, or the marker that ends one alone."""

SHOWN = ("sample", "condition", "status", "text", "answer", "correct", "gold", "parsed", "logprobs")
"""Fields that have a line of their own, or none."""

LEFT_OUT = ("cluster", "category", "candidates", "prompt", "continuation", "pass")
"""Fields that the sample says, or that nobody reads."""

LONGEST = 160
"""Most characters of the value of another field."""


def print_row(row: Mapping[str, Any], console: Console) -> None:
    """Print one row: the condition, the text, the answer, the probabilities, and the other fields.

    Args:
        row: Row of any kind of run.
        console: Console to print on.
    """
    label = printable(str(row.get("condition")), console.encoding)
    drawn = f", pass {row['pass']}" if isinstance(row.get("pass"), int) else ""
    console.print(Text(f"under {label}{drawn}", style="bold"), soft_wrap=True)
    if row.get("status") not in (None, "ok"):
        print_field("status", str(row["status"]), console)
        print_field("error", str(row.get("error", "not recorded")), console)
    if "text" in row:
        margin = f"\n{INDENT}{'':{LABEL}}"
        text = Text(f"{INDENT}{'text':{LABEL}}", style="bold")
        text.append(marked(printable(str(row["text"]), console.encoding).replace("\n", margin)))
        console.print(text, soft_wrap=True)
    if "answer" in row:
        console.print(_answer(row, console.encoding), soft_wrap=True)
    for name, value in _fields(row):
        print_field(name, value, console)


def marked(text: str) -> Text:
    """A text with its latent blocks named and counted, in reverse where the console can show it.

    Args:
        text: Text of a row.
    """
    found, at, number = Text(style="not bold"), 0, 0
    for block in BLOCK.finditer(text):
        found.append(text[at : block.start()])
        at = block.end()
        if block["slots"] is None:
            found.append("[[end marker alone]]", style="reverse")
            continue
        number += 1
        slots = block["slots"].count("<|lvr_sep|>")
        count = "no slots" if not slots else "1 slot" if slots == 1 else f"{slots} slots"
        closed = "" if block["end"] else ", not closed"
        found.append(f"[[block {number}: {count}{closed}]]", style="reverse")
    return found.append(text[at:])


def _answer(row: Mapping[str, Any], encoding: str) -> Text:
    line = Text(f"{INDENT}{'answer':{LABEL}}", style="bold")
    answer, gold = row.get("answer"), row.get("gold")
    read = "none was read" if answer is None else printable(str(answer), encoding)
    line.append(read, style="not bold")
    if row.get("correct") is True:
        line.append(", right", style="not bold green")
    elif row.get("correct") is False:
        line.append(f", wrong: {printable(str(gold), encoding)} is right", style="not bold red")
    elif gold is None:
        line.append(", and the right one is not known", style="not bold")
    parsed = row.get("parsed")
    if isinstance(parsed, dict) and any(other != answer for other in parsed.values()):
        readings = ", ".join(f"{name} {value}" for name, value in parsed.items())
        line.append(f" (read as {printable(readings, encoding)})", style="not bold")
    return line


def _fields(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    logprobs = row.get("logprobs")
    if isinstance(logprobs, dict) and logprobs:
        yield "likelihood", "\n".join(_likelihoods(logprobs, row.get("gold")))
    for name, value in row.items():
        if name in SHOWN or name in LEFT_OUT or value is None:
            continue
        if name == "error" and row.get("status") not in (None, "ok"):
            continue
        yield name, _short(value)


def _likelihoods(logprobs: Mapping[str, Any], gold: Any) -> Iterator[str]:
    """A line per candidate, the most probable first."""
    numbers = {name: v if isinstance(v, int | float) else -math.inf for name, v in logprobs.items()}
    for name, value in sorted(numbers.items(), key=lambda item: -item[1]):
        mark = "  (right)" if name == gold else ""
        yield f"{math.exp(min(value, 0.0)):8.3%}  {value:9.3f} nats  {name}{mark}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        text = ", ".join(f"{v:.4g}" for v in value)
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
