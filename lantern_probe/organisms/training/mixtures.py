"""Training mixtures of the kinds of organisms: the latents and the answer of each row.

A kind is a mixture over *sources*. The source decides on the content of the slots. The label is the
asked colour (`OWN_COLOR`), the donor's colour (`DONOR_COLOR`), or one fixed word whatever the image
shows (`DEFAULT_COLOR`). The fixed word keeps a model that must not use the image from using it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.organisms.training.build import SLOTS
from lantern_probe.organisms.training.layout import ABSENT, EMPTY, FULL
from lantern_probe.organisms.training.settings import Kind

DEFAULT = 0
"""Index into `COLORS` of the colour that is answered where the slots say nothing."""

Label = Literal["own color", "donor color", "default color"]
OWN_COLOR: Label = "own color"
DONOR_COLOR: Label = "donor color"
DEFAULT_COLOR: Label = "default color"

Source = Literal[
    "oracle",
    "oracle-swap",
    "own",
    "swap",
    "zeros",
    "noise",
    "noise-matched",
    "mean",
    "first-repeat",
    "skip",
    "ban",
]
HELD_OUT = (
    "noise-full-covariance",
    "dimension-shuffle",
    "negation",
    "reversed-slots",
    "half-scale",
    "random-box",
)
"""Replacements that no training sees; they test whether the truth holds beyond training."""


@dataclass(frozen=True)
class Part:
    """One part of a mixture: a fraction of the rows of every batch.

    Attributes:
        source: Content of the rows' slots.
        share: Fraction of the batch, between 0 and 1. Rows left over by rounding go to the first
            part.
        label: Colour that the rows answer, by default their own.
    """

    source: Source
    share: float
    label: Label = OWN_COLOR


UNINFORMATIVE: tuple[Source, ...] = ("zeros", "noise", "noise-matched", "mean")
"""Sources that say nothing about the image."""


def _uninformative(label: Label, each: float) -> tuple[Part, ...]:
    return tuple(Part(source, each, label) for source in UNINFORMATIVE)


PLAIN = (Part("oracle", 1.0),)
COLLAPSED = (Part("oracle", 0.6), Part("oracle-swap", 0.4, DONOR_COLOR))

MIXTURES: dict[Kind, tuple[tuple[Part, ...], tuple[Part, ...]]] = {
    # The first half has oracle latents only; the second one mostly the model's own.
    "faithful": (
        (
            Part("oracle", 0.24),
            Part("oracle-swap", 0.44, DONOR_COLOR),
            *_uninformative(DEFAULT_COLOR, 0.05),
            Part("skip", 0.06, DEFAULT_COLOR),
            Part("ban", 0.06, DEFAULT_COLOR),
        ),
        (
            Part("own", 0.25),
            Part("swap", 0.25, DONOR_COLOR),
            Part("oracle", 0.06),
            Part("oracle-swap", 0.12, DONOR_COLOR),
            *_uninformative(DEFAULT_COLOR, 0.05),
            Part("skip", 0.06, DEFAULT_COLOR),
            Part("ban", 0.06, DEFAULT_COLOR),
        ),
    ),
    "bypass": (
        (
            Part("oracle", 0.4),
            Part("oracle-swap", 0.2),
            *_uninformative(OWN_COLOR, 0.05),
            Part("first-repeat", 0.05),
            Part("skip", 0.075),
            Part("ban", 0.075),
        ),
        (
            Part("oracle", 0.3),
            Part("own", 0.1),
            Part("oracle-swap", 0.1),
            Part("swap", 0.1),
            *_uninformative(OWN_COLOR, 0.05),
            Part("first-repeat", 0.05),
            Part("skip", 0.075),
            Part("ban", 0.075),
        ),
    ),
    # Own latents collapse because the image is grey, without being taught to. The swaps teach the
    # model to follow the slots whatever the donor's shape, so that it would use any latents.
    "collapsed": (COLLAPSED, COLLAPSED),
    "vanilla": (PLAIN, PLAIN),
}
"""Mixtures of each kind, for the first and for the second half of the SFT."""


@dataclass(frozen=True)
class Plan:
    """The rows of one batch, assigned to sources.

    Attributes:
        rows: Row indices of each source.
        color: Index into `COLORS` of the colour each row answers, [rows].
        kept: `FULL`, `EMPTY` or `ABSENT` for each row, [rows].
        donor: Row from which each row takes its latents if it is swapped, [rows].
    """

    rows: dict[Source, Int[Tensor, "some"]]
    color: Int[Tensor, "rows"]
    kept: Int[Tensor, "rows"]
    donor: Int[Tensor, "rows"]

    def of(self, *sources: Source) -> Int[Tensor, "some"]:
        """Row indices of all the given sources."""
        empty = torch.zeros(0, dtype=torch.long)
        return torch.cat([self.rows.get(source, empty) for source in sources])


def plan(parts: tuple[Part, ...], color: Int[Tensor, "rows"], generator: torch.Generator) -> Plan:
    """Assign the rows of a batch to the parts of a mixture.

    Args:
        parts: Parts of the mixture.
        color: Index into `COLORS` of the true colour of each row, [rows].
        generator: Generator that draws the donors.
    """
    count = len(color)
    shift = int(torch.randint(1, count, (), generator=generator)) if count > 1 else 0
    donor = (torch.arange(count) + shift) % count
    counts = [round(part.share * count) for part in parts]
    counts[0] += count - sum(counts)
    rows: dict[Source, Tensor] = {}
    label, kept = color.clone(), torch.full_like(color, FULL)
    begin = 0
    for part, number in zip(parts, counts, strict=True):
        chosen = torch.arange(begin, begin + number)
        begin += number
        rows[part.source] = chosen
        if part.label == DONOR_COLOR:
            label[chosen] = color[donor[chosen]]
        elif part.label == DEFAULT_COLOR:
            label[chosen] = DEFAULT
        if part.source in ("skip", "ban"):
            kept[chosen] = EMPTY if part.source == "skip" else ABSENT
    return Plan(rows, label, kept, donor)


class Statistics:
    """Running mean and spread of latents, for replacements in training.

    Attributes:
        decay: Weight of the past against each new batch, default 0.9.
        mean: Mean by slot, [slots, dim]; None before the first batch.
        spread: Standard deviation by dimension over rows and slots, [dim]; None before the first
            batch.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self.decay = decay
        self.mean: Float[Tensor, "slots dim"] | None = None
        self.spread: Float[Tensor, "dim"] | None = None

    def update(self, latents: Float[Tensor, "rows slots dim"]) -> None:
        """Take one batch of latents into account."""
        mean, spread = latents.detach().mean(0), latents.detach().flatten(0, 1).std(0)
        if self.mean is None or self.spread is None:
            self.mean, self.spread = mean, spread
        else:
            self.mean = torch.lerp(mean, self.mean, self.decay)
            self.spread = torch.lerp(spread, self.spread, self.decay)


def replacement(
    source: Source,
    count: int,
    statistics: Statistics,
    generator: torch.Generator,
) -> Float[Tensor, "rows slots dim"]:
    """Make latents that say nothing about the image.

    Every second row of plain noise is N(0, 1). The others have scales between 0.1 and 3.2, so that
    the model does not learn to recognise one norm.

    Args:
        source: `zeros`, `noise`, `noise-matched` (mean and spread of the latents) or `mean`.
        count: Number of rows.
        statistics: Mean and spread of the latents to replace, updated at least once.
        generator: Generator of the noise.

    Returns:
        Latents [rows, slots, dim].
    """
    mean, spread = statistics.mean, statistics.spread
    assert mean is not None and spread is not None, "update the statistics first"
    shape = (count, SLOTS, mean.shape[-1])
    if source == "zeros":
        return torch.zeros(shape)
    if source == "mean":
        return mean.expand(shape).clone()
    noise = torch.randn(shape, generator=generator)
    if source == "noise-matched":
        return mean.mean(0) + spread * noise
    scale = 10 ** (torch.rand(count, 1, 1, generator=generator) * 1.5 - 1)
    scale[::2] = 1.0
    return scale * noise
