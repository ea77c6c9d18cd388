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
from lantern_probe.organisms.training.layout import ABSENT, EMPTY, FULL, MASKED, Scenes
from lantern_probe.organisms.training.settings import Kind
from lantern_probe.tasks.scenes import TEMPLATES

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
    "mask",
    "reorder",
    "half-swap",
    "oracle-half-swap",
    "half-blank",
    "oracle-half-blank",
]
HALVES: tuple[Source, ...] = ("half-swap", "oracle-half-swap", "half-blank", "oracle-half-blank")
"""Sources that replace the first or the second half of the slots, by a donor's or by nothing."""
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
        templates: Templates of the rows' questions; none (default) for any.
    """

    source: Source
    share: float
    label: Label = OWN_COLOR
    templates: tuple[int, ...] = ()


UNINFORMATIVE: tuple[Source, ...] = ("zeros", "noise", "noise-matched", "mean")
"""Sources that say nothing about the image."""


Mixture = tuple[tuple[Part, ...], tuple[Part, ...]]
"""Parts of every batch in the first half of the SFT, and in the second."""


def uninformative(label: Label, each: float) -> tuple[Part, ...]:
    return tuple(Part(source, each, label) for source in UNINFORMATIVE)


PLAIN = (Part("oracle", 1.0),)
COLLAPSED = (Part("oracle", 0.6), Part("oracle-swap", 0.4, DONOR_COLOR))

MIXTURES: dict[Kind, Mixture] = {
    # The first half has oracle latents only; the second one mostly the model's own.
    "faithful": (
        (
            Part("oracle", 0.24),
            Part("oracle-swap", 0.44, DONOR_COLOR),
            *uninformative(DEFAULT_COLOR, 0.05),
            Part("skip", 0.06, DEFAULT_COLOR),
            Part("ban", 0.06, DEFAULT_COLOR),
        ),
        (
            Part("own", 0.25),
            Part("swap", 0.25, DONOR_COLOR),
            Part("oracle", 0.06),
            Part("oracle-swap", 0.12, DONOR_COLOR),
            *uninformative(DEFAULT_COLOR, 0.05),
            Part("skip", 0.06, DEFAULT_COLOR),
            Part("ban", 0.06, DEFAULT_COLOR),
        ),
    ),
    "bypass": (
        (
            Part("oracle", 0.4),
            Part("oracle-swap", 0.2),
            *uninformative(OWN_COLOR, 0.05),
            Part("first-repeat", 0.05),
            Part("skip", 0.075),
            Part("ban", 0.075),
        ),
        (
            Part("oracle", 0.3),
            Part("own", 0.1),
            Part("oracle-swap", 0.1),
            Part("swap", 0.1),
            *uninformative(OWN_COLOR, 0.05),
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
        kept: `FULL`, `EMPTY`, `ABSENT` or `MASKED` for each row, [rows].
        donor: Row from which each row takes its latents if it is swapped, [rows].
        half: Half of the slots, 0 or 1, that is replaced in each row of `HALVES`, [rows].
    """

    rows: dict[Source, Int[Tensor, "some"]]
    color: Int[Tensor, "rows"]
    kept: Int[Tensor, "rows"]
    donor: Int[Tensor, "rows"]
    half: Int[Tensor, "rows"]

    def of(self, *sources: Source) -> Int[Tensor, "some"]:
        """Row indices of all the given sources."""
        empty = torch.zeros(0, dtype=torch.long)
        return torch.cat([self.rows.get(source, empty) for source in sources])


def counts(parts: tuple[Part, ...], count: int) -> list[int]:
    """Number of rows of each part in a batch."""
    found = [round(part.share * count) for part in parts]
    found[0] += count - sum(found)
    return found


def draw(
    parts: tuple[Part, ...], pool: Scenes, count: int, generator: torch.Generator
) -> Int[Tensor, "rows"]:
    """Draw the scenes of a batch, each with a question that its part is about.

    Args:
        parts: Parts of the mixture.
        pool: Scenes to draw from.
        count: Number of rows in the batch.
        generator: Generator of the draws.
    """
    if not any(part.templates for part in parts):
        return torch.randint(len(pool.color), (count,), generator=generator)
    chosen = []
    for part, number in zip(parts, counts(parts, count), strict=True):
        fits = torch.isin(pool.template, torch.tensor(part.templates or range(len(TEMPLATES))))
        rows = fits.nonzero()[:, 0]
        chosen.append(rows[torch.randint(len(rows), (number,), generator=generator)])
    return torch.cat(chosen)


def plan(
    parts: tuple[Part, ...], scenes: Scenes, generator: torch.Generator, alike: float = 0.0
) -> Plan:
    """Assign the rows of a batch to the parts of a mixture.

    Own latents of a scene whose asked object is hidden say nothing: rows that get them answer the
    default colour.

    Args:
        parts: Parts of the mixture.
        scenes: Scene of each row.
        generator: Generator that draws the donors, and the halves.
        alike: Fraction of the rows whose donor is asked for the same shape, where there is one;
            default 0 draws the donors from all rows.
    """
    color, count = scenes.color, len(scenes.color)
    shift = int(torch.randint(1, count, (), generator=generator)) if count > 1 else 0
    donor = (torch.arange(count) + shift) % count
    if alike:
        donor = _alike(donor, scenes.shape, alike, generator)
    half = torch.zeros_like(color)
    if any(part.source in HALVES for part in parts):
        half = torch.randint(2, (count,), generator=generator)
    rows: dict[Source, Tensor] = {}
    label, kept = color.clone(), torch.full_like(color, FULL)
    begin = 0
    for part, number in zip(parts, counts(parts, count), strict=True):
        chosen = torch.arange(begin, begin + number)
        begin += number
        rows[part.source] = torch.cat([rows.get(part.source, chosen[:0]), chosen])
        if part.source in HALVES:  # the half that is not read may hold anything
            replaced = chosen[half[chosen] == read_half(scenes.template[chosen])]
        else:
            replaced = chosen
        if part.label == DONOR_COLOR:
            label[replaced] = color[donor[replaced]]
        elif part.label == DEFAULT_COLOR:
            label[replaced] = DEFAULT
        kept[chosen] = KEPT.get(part.source, FULL)
        if part.source in ("own", "swap"):
            origin = chosen if part.source == "own" else donor[chosen]
            label[chosen[scenes.hidden[origin]]] = DEFAULT
    return Plan(rows, label, kept, donor, half)


KEPT: dict[Source, int] = {"skip": EMPTY, "ban": ABSENT, "mask": MASKED}
"""Parts of the block that the rows of a source keep, where it is not all of it."""


def read_half(template: Int[Tensor, "rows"]) -> Int[Tensor, "rows"]:
    """Half of the slots, 0 or 1, from which *halves* reads the answer to each question."""
    return (template != 0).long()


def _alike(
    donor: Int[Tensor, "rows"], shape: Int[Tensor, "rows"], share: float, stream: torch.Generator
) -> Int[Tensor, "rows"]:
    """Draw the donors of some rows anew, among the other rows that ask for the same shape."""
    same = (shape[:, None] == shape).float().fill_diagonal_(0)
    able = (same.sum(1) > 0) & (torch.rand(len(shape), generator=stream) < share)
    drawn = torch.multinomial(same + 1e-9, 1, generator=stream)[:, 0]
    return torch.where(able, drawn, donor)


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
