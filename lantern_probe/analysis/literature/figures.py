"""Published figures: what was reported, by whom, and how we know.

All of them stand in `figures.toml`, and nowhere else in the code.
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
"""The split that is no split."""


@dataclass(frozen=True)
class Value:
    """One published number about one condition, or a range where a range was published.

    Attributes:
        measure: What is shared out of `n`: right answers (an unparsed text is wrong), texts that
            were not parsed, or right answers among the samples parsed under every condition.
        condition: Label of the condition, in this project's names.
        split: Category of the samples, or `all`.
        low: The share, in [0, 1].
        high: The same, or the end of a range.
        n: Out of how many samples; None where that was not published.
    """

    measure: Measure
    condition: str
    split: str
    low: float
    high: float
    n: int | None

    @property
    def count(self) -> int | None:
        """How many samples that is; None for a range, or without n."""
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
    """Retrieval of the own oracle latents among those of n samples.

    Attributes:
        recall: Share with the right one among the first 1, 5, 10.
        mean_rank: 1 is best.
        mrr: Mean reciprocal rank.
    """

    recall: dict[int, float]
    mean_rank: float
    mrr: float


@dataclass(frozen=True)
class PublishedFigure:
    """One figure or table of the literature.

    Attributes:
        name: As given on the command line.
        title: What it is of.
        kind: What was measured.
        mark: How we know, see `MARKS`.
        source: Where it stands.
        shows: What the numbers show at face value, in our words.
        note: What else a reader should know.
        caveat: Why a run of ours is never the published setting; empty where it can be.
        images: Corruption of the images under which it was measured; empty for clean ones.
        parser: How the published answers were read.
        model: The checkpoint's name on the Hub; None where none was published.
        data: Name of the data set.
        n: Samples by split; a split is missing where its n was not published.
        stand_in: The organism and the generated task that show the same today, if any do.
        records: Whether the per-sample records were published.
        values: Accuracies and shares of what was not parsed.
        flips: Paired counts.
        flips_mark: How we know these.
        retrieval: Of a figure of that kind.
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
        """What official result files of its data are called: CONDITION/blink/blink.json."""
        return self.data.lower().replace("*", "star")

    @property
    def conditions(self) -> tuple[str, ...]:
        """Labels of all conditions, in the order published."""
        return tuple(dict.fromkeys(value.condition for value in self.values))

    @property
    def splits(self) -> tuple[str, ...]:
        """`all`, and the categories that were reported by themselves."""
        return tuple(dict.fromkeys(value.split for value in self.values))


@cache
def published_figures() -> dict[str, PublishedFigure]:
    """All of them by name, in the order of METHODS: accuracies, then retrieval."""
    text = resources.files(__package__).joinpath("figures.toml").read_text(encoding="utf-8")
    return {name: _figure(name, table) for name, table in tomllib.loads(text).items()}


def published_figure(name: str) -> PublishedFigure:
    """One of them.

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
