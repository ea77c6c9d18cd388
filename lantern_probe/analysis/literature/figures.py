"""Published figures: the numbers reported, their sources, and how each is known.

All numbers are in `figures.toml`, and nowhere else in the code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answers import Parser

Kind = Literal["accuracy", "retrieval"]
Measure = Literal["accuracy", "unparsed", "jointly parsed"]
MARKS = {
    "P": "read in the primary text or the official code",
    "N": "from second-hand notes only",
    "C": "computed from published per-sample records",
}
ALL = "all"
"""Name of the split that holds all samples."""


@dataclass(frozen=True)
class Value:
    """One published number about one condition, or a range where a range was published.

    Attributes:
        measure: `accuracy` (an unparsed text is wrong), `unparsed`, or `jointly parsed` (accuracy
            among the samples parsed under every condition).
        condition: Label of the condition, in this project's names.
        split: Category of the samples, or `all`.
        low: Published fraction in [0, 1], or the lower end of its range.
        high: Published fraction in [0, 1], or the upper end of its range.
        n: Number of samples; None if it was not published.
    """

    measure: Measure
    condition: str
    split: str
    low: float
    high: float
    n: int | None

    @property
    def count(self) -> int | None:
        """Number of samples that the fraction amounts to; None for a range, or without n."""
        return None if self.n is None or self.low != self.high else round(self.low * self.n)


@dataclass(frozen=True)
class Flips:
    """Two conditions on the same samples: b right under the first only, c under the second only."""

    first: str
    second: str
    b: int
    c: int


@dataclass(frozen=True)
class RetrievalFigures:
    """Published retrieval of each sample's oracle latents among those of n samples.

    Attributes:
        recall: Recall at k by k (1, 5, 10), a fraction in [0, 1].
        mean_rank: Mean rank, from 1 (best) to n.
        mrr: Mean reciprocal rank, in (0, 1].
    """

    recall: dict[int, float]
    mean_rank: float
    mrr: float


@dataclass(frozen=True)
class PublishedFigure:
    """One figure or table of the literature.

    Attributes:
        name: Name on the command line.
        title: Title: model and data.
        kind: `accuracy` or `retrieval`.
        mark: Kind of evidence for the numbers, one of `MARKS`.
        source: Paper or repository, with the table or section.
        shows: Finding that the numbers suggest at face value, in this project's words.
        note: Further remarks for the reader; may be empty.
        caveat: Reason why a run of this project is never the published setting; empty if it can
            be.
        images: Corruption of the images under which it was measured; empty for clean images.
        parser: Parser that read the published answers.
        model: Name of the checkpoint on the Hub; None if none was published.
        data: Name of the data set.
        n: Number of samples by split; a split is missing if its n was not published.
        stand_in: Organism and generated task that replace model and data; None if there are none.
        records: True if the per-sample records were published.
        values: Published accuracies and fractions of unparsed texts.
        flips: Published paired counts.
        flips_mark: Kind of evidence for the paired counts, one of `MARKS`.
        retrieval: Published retrieval; None for a figure of kind `accuracy`.
    """

    name: str
    title: str
    kind: Kind
    mark: str
    source: str
    shows: str
    note: str
    caveat: str
    images: str
    parser: Parser
    model: str | None
    data: str
    n: dict[str, int]
    stand_in: tuple[str, str] | None
    records: bool
    values: tuple[Value, ...]
    flips: tuple[Flips, ...]
    flips_mark: str
    retrieval: RetrievalFigures | None

    @property
    def file_name(self) -> str:
        """Name of the official result files of its data: `blink` for CONDITION/blink/blink.json."""
        return self.data.lower().replace("*", "star")

    @property
    def conditions(self) -> tuple[str, ...]:
        """Labels of all conditions, in the order published."""
        return tuple(dict.fromkeys(value.condition for value in self.values))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: `all`, and the categories that were reported by themselves."""
        return tuple(dict.fromkeys(value.split for value in self.values))


@cache
def published_figures() -> dict[str, PublishedFigure]:
    """All figures by name (docs/methods.md, Published figures to reproduce)."""
    text = resources.files(__package__).joinpath("figures.toml").read_text(encoding="utf-8")
    return {name: _figure(name, table) for name, table in tomllib.loads(text).items()}


def published_figure(name: str) -> PublishedFigure:
    """The published figure of one name.

    Raises:
        LanternError: there is none of that name.
    """
    if name not in published_figures():
        raise LanternError(f"no figure {name!r}; there are {', '.join(published_figures())}")
    return published_figures()[name]


def _figure(name: str, table: Mapping[str, Any]) -> PublishedFigure:
    n = table.get("n", {})
    n = n if isinstance(n, dict) else {ALL: n}
    flips, found = table.get("flips"), table.get("retrieval")
    return PublishedFigure(
        name=name,
        title=table["title"],
        kind=table["kind"],
        mark=table["mark"],
        source=table["source"],
        shows=table["shows"],
        note=table.get("note", ""),
        caveat=table.get("caveat", ""),
        images=table.get("images", ""),
        parser="strict" if table.get("records") else "official",
        model=table.get("model"),
        data=table["data"],
        n=n,
        stand_in=tuple(table["stand_in"]) if "stand_in" in table else None,
        records=table.get("records", False),
        values=tuple(_values(table, n)),
        flips=tuple(Flips(*pair) for pair in flips["counts"]) if flips else (),
        flips_mark=flips["mark"] if flips else "",
        retrieval=found
        and RetrievalFigures(
            {int(k): share for k, share in found["recall"].items()},
            found["mean_rank"],
            found["mrr"],
        ),
    )


def _values(table: Mapping[str, Any], n: Mapping[str, int]) -> list[Value]:
    values = []
    for condition, given in table.get("accuracy", {}).items():
        for split, share in (given if isinstance(given, dict) else {ALL: given}).items():
            low, high = share if isinstance(share, list) else (share, share)
            values.append(Value("accuracy", condition, split, low, high, n.get(split)))
    counts: list[tuple[Measure, str]] = [("accuracy", "correct"), ("unparsed", "unparsed")]
    for measure, field in counts:
        for condition, count in table.get(field, {}).items():
            share = count / n[ALL]
            values.append(Value(measure, condition, ALL, share, share, n[ALL]))
    joint = dict(table.get("jointly_parsed", {}))
    size = joint.pop("n", None)
    for condition, share in joint.items():
        values.append(Value("jointly parsed", condition, ALL, share, share, size))
    return values
