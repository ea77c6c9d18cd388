"""Write the tables of readings into README.md and docs/diagnosis.md, from the results of pools.

    python -m experiments.evaluate_readings tests/organisms/pools/test --output ...
    python docs/readings.py

The commands that make the results are in tests/organisms/pools/README.md.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.tables.readings import bound_of_organisms, columns, confusion, totals, verdict
from lantern_probe.analysis.estimands import ABOUT

ROOT = Path(__file__).parents[1]
POOLS = ROOT / "tests" / "organisms" / "pools"
BEGIN, END = "<!--readings-->", "<!--/readings-->"
SIZE = 256
"""Number of pairs of the confusion matrices."""
SPLITS = {
    "test": "Test: organisms and mixtures that were not looked at",
    "development": "Development: organisms that were looked at while the rules were written",
}

Lines = Iterator[str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    """Lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def results(split: str) -> list[dict[str, Any]]:
    """Content of readings.json of one split."""
    return json.loads((POOLS / split / "readings.json").read_text(encoding="utf-8"))


def coverage(split: str) -> list[dict[str, str]]:
    """Lines of coverage.csv of one split."""
    with (POOLS / split / "coverage.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def matrix(records: Sequence[Mapping[str, Any]]) -> Lines:
    """The confusion matrix of one split, after a sentence on it."""
    found = confusion(records, SIZE)
    names = columns(found)
    rows = [[right, *(str(found[right][name] or "-") for name in names)] for right in sorted(found)]
    yield from table(["right \\ read as", *names], rows)


def sizes(records: Sequence[Mapping[str, Any]]) -> Lines:
    """Evaluations of every size that were right, undecided and wrong."""
    rows = []
    for n in sorted({one["n"] for one in records}):
        total = totals(records, n)
        numbers = (n, total["draws"], total["hits"], total["undecided"], total["wrong"])
        rows.append([f"{number:,}" for number in numbers])
    yield from table(["pairs", "evaluations", "right", "undecided", "wrong"], rows)


def organisms(records: Sequence[Mapping[str, Any]]) -> Lines:
    """Readings of every organism and mixture at `SIZE` pairs."""
    rows = []
    for one in records:
        if one["n"] == SIZE:
            share = "" if one["share"] is None else decimal(one["share"])
            words = ", ".join(f"{word} {count}" for word, count in one["readings"].items())
            follows = "-" if one["follows"] is None else decimal(one["follows"])
            rows.append([f"`{one['name']}`", share, follows, " or ".join(one["right"]), words])
    yield from table(["organism", "share", "*follows*", "right", "read as"], rows)


def decimal(value: float, signed: bool = False) -> str:
    """A share without the zero before its point."""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def calibration(cells: Sequence[Mapping[str, str]]) -> Lines:
    """Bias and coverage by estimand and size, over all organisms and mixtures."""
    found: dict[tuple[str, int], list[Mapping[str, str]]] = defaultdict(list)
    for cell in cells:
        if cell["coverage"]:
            found[cell["estimand"], int(cell["n"])].append(cell)
    every = sorted({n for _, n in found})
    rows = []
    for name in ABOUT:
        shown = []
        for n in every:
            some = found.get((name, n))
            if not some:
                shown.append("-")
                continue
            worst = max(some, key=lambda cell: abs(float(cell["bias"])))
            error = f" ± {decimal(float(worst['bias_error']))}" if worst["bias_error"] else ""
            held = [float(cell["coverage"]) for cell in some]
            shown.append(
                f"{decimal(float(worst['bias']), signed=True)}{error}; "
                f"{decimal(sum(held) / len(held))} ({decimal(min(held))})"
            )
        rows.append([name, *shown])
    yield from table(["estimand", *(f"n = {n}" for n in every)], rows)


def of_page() -> Lines:
    """Lines of docs/diagnosis.md."""
    for split, title in SPLITS.items():
        if not (POOLS / split / "readings.json").is_file():
            continue
        records = results(split)
        names = list(dict.fromkeys(one["name"] for one in records))
        yield from (f"### {title}", "")
        yield f"{verdict(records, SIZE)} Organisms: {', '.join(f'`{name}`' for name in names)}."
        yield from ("", *sizes(records), "", *matrix(records), "", *organisms(records), "")
        yield "Bias of the largest size ± its Monte Carlo error; mean coverage (lowest):"
        yield from ("", *calibration(coverage(split)), "")


def of_readme() -> Lines:
    """Lines of README.md: a block of text, with columns side by side."""
    records = results("test")
    found = confusion(records, SIZE)
    names = columns(found)
    head = ["right \\ read as", *names]
    rows = [[right, *(str(found[right][name] or "-") for name in names)] for right in sorted(found)]
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    bad, every, bound = bound_of_organisms(records, SIZE)
    yield "```text"
    yield f"How often diagnose errs: evaluations of {SIZE} pairs on organisms that were not looked"
    yield f"at while its rules were tried. {bad} of {every} have a wrong reading (exact upper 95 %"
    yield f"bound of that share: {bound:.2f}). Draws of one pool are not independent organisms."
    yield ""
    for row in [head, *rows]:
        first, *others = row
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
    yield from ("```", "")


def page(path: Path, lines: Lines) -> str:
    """The page with the present tables in their place."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n{END}{after}"


PAGES = {ROOT / "README.md": of_readme, ROOT / "docs" / "diagnosis.md": of_page}

if __name__ == "__main__":
    for path, lines in PAGES.items():
        path.write_text(page(path, lines()), encoding="utf-8")
