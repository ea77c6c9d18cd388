"""Graded kinds: mixtures of rows whose truth is in between, and what else their training changes.

*partial* answers one family of questions through its slots and the other off the image. *format
only* needs slots to be there, *markers only* the two markers. *halves* reads some questions from
the first half of the slots, the others from the second. *ordered* needs its slots in order.
*distractor* thinks of another object and ignores it. *weak* is faithful where the asked object can
be seen, and has empty latents where it is hidden. *question only* thinks of the asked shape alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lantern_probe.organisms.training.mixtures import (
    DEFAULT_COLOR,
    DONOR_COLOR,
    MIXTURES,
    OWN_COLOR,
    Mixture,
    Part,
    Source,
    uninformative,
)
from lantern_probe.organisms.training.settings import Kind
from lantern_probe.tasks.families import IMAGE_TEMPLATES, SLOTS_TEMPLATES


@dataclass(frozen=True)
class Traits:
    """Settings of a kind's training besides its mixture.

    Attributes:
        hidden: Scenes whose asked object is hidden: `none` (default), `all`, or `half` of them.
        thought: Object of which the oracle latents are: the `asked` one (default), the `first
            other` one in reading order, or the asked one `elsewhere`, in another scene that asks
            for the same shape.
        alike: Fraction of the donors that are asked for the same shape, default 0.
        latent_factor: Factor of the weight of the squared error, default 1.
    """

    hidden: Literal["none", "half", "all"] = "none"
    thought: Literal["asked", "first other", "elsewhere"] = "asked"
    alike: float = 0.0
    latent_factor: float = 1.0


TRAITS: dict[Kind, Traits] = {
    "faithful": Traits(),
    "bypass": Traits(),
    "vanilla": Traits(),
    "collapsed": Traits(hidden="all"),
    "partial": Traits(alike=0.5),
    "format-only": Traits(alike=0.5),
    "markers-only": Traits(alike=0.5),
    "halves": Traits(alike=0.5),
    "ordered": Traits(latent_factor=0.3),
    "distractor": Traits(alike=0.5, thought="first other"),
    "weak": Traits(hidden="half"),
    "question-only": Traits(thought="elsewhere"),
}
"""Traits of each kind."""


def _scaled(parts: tuple[Part, ...], share: float, templates: tuple[int, ...]) -> tuple[Part, ...]:
    """The same mixture for a share of the batch, asked with some templates."""
    return tuple(replace(part, share=part.share * share, templates=templates) for part in parts)


def _partial() -> Mixture:
    """Rows of *faithful* for one family of questions and of *bypass* for the other."""
    first, second = (
        (*_scaled(slots, 0.6, SLOTS_TEMPLATES), *_scaled(image, 0.4, IMAGE_TEMPLATES))
        for slots, image in zip(MIXTURES["faithful"], MIXTURES["bypass"], strict=True)
    )
    return first, second


def _needing(sources: tuple[Source, ...]) -> Mixture:
    """Rows of *bypass*, but for the default word where a part of the block is missing."""
    missing = tuple(
        Part(source, 0.094, DEFAULT_COLOR if source in sources else OWN_COLOR)
        for source in ("skip", "mask", "ban")
    )
    content = (Part("first-repeat", 0.05), *uninformative(OWN_COLOR, 0.05), *missing)
    return (
        (Part("oracle", 0.295), Part("oracle-swap", 0.17), *content),
        (
            *(Part("oracle", 0.195), Part("own", 0.1)),
            *(Part("oracle-swap", 0.07), Part("swap", 0.1), *content),
        ),
    )


_REMOVED = (
    *uninformative(DEFAULT_COLOR, 0.05),
    Part("skip", 0.05, DEFAULT_COLOR),
    Part("ban", 0.05, DEFAULT_COLOR),
)

GRADED_MIXTURES: dict[Kind, Mixture] = {
    "partial": _partial(),
    "format-only": _needing(("skip", "mask", "ban")),
    "markers-only": _needing(("ban",)),
    "halves": (
        (
            *(Part("oracle", 0.2), Part("oracle-swap", 0.15, DONOR_COLOR)),
            Part("oracle-half-swap", 0.25, DONOR_COLOR),
            *(Part("oracle-half-blank", 0.1, DEFAULT_COLOR), *_REMOVED),
        ),
        (
            *(Part("own", 0.14), Part("swap", 0.1, DONOR_COLOR)),
            *(Part("half-swap", 0.2, DONOR_COLOR), Part("half-blank", 0.06, DEFAULT_COLOR)),
            *(Part("oracle", 0.04), Part("oracle-swap", 0.04, DONOR_COLOR)),
            Part("oracle-half-swap", 0.08, DONOR_COLOR),
            *(Part("oracle-half-blank", 0.04, DEFAULT_COLOR), *_REMOVED),
        ),
    ),
    "ordered": (
        (Part("oracle", 0.3), Part("oracle-swap", 0.4, DONOR_COLOR), *_REMOVED),
        (
            *(Part("own", 0.18), Part("swap", 0.18, DONOR_COLOR)),
            *(Part("reorder", 0.2, DEFAULT_COLOR), Part("oracle", 0.07)),
            *(Part("oracle-swap", 0.07, DONOR_COLOR), *_REMOVED),
        ),
    ),
    "distractor": MIXTURES["bypass"],
    "weak": MIXTURES["faithful"],
    "question-only": (
        (Part("oracle", 0.3), Part("oracle-swap", 0.4, DONOR_COLOR), *_REMOVED),
        (
            *(Part("own", 0.2, DEFAULT_COLOR), Part("swap", 0.1, DEFAULT_COLOR)),
            *(Part("oracle", 0.2), Part("oracle-swap", 0.2, DONOR_COLOR), *_REMOVED),
        ),
    ),
}
"""Mixtures of the graded kinds, for the first and for the second half of the SFT."""


def mixture(kind: Kind) -> Mixture:
    """Mixture of a kind, plain or graded."""
    return GRADED_MIXTURES[kind] if kind in GRADED_MIXTURES else MIXTURES[kind]
