"""Interventions: what may be changed in a run, as named, seeded values.

An intervention is a frozen dataclass, the same object in Python, on the command line
(`swap:seed=1`) and in the record. For each sample it makes a `RowPlan`. Its randomness is drawn
from (its seed, its name, the sample's id), so it does not depend on order, batch or worker.
docs/methods.md, Interventions on the slots, has the table.

Conditions act on the latent block (`block`, `replacements`, `matched`, `donors`, `regions`,
`erasing`) or on edges of attention (`edges`). Corruptions act on the image (`image`), patches on
activations (`patches`). The docstring of every class says what is fed at the slots, its source, and
the control that it needs. Importing this room, and reading labels, loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import is_dataclass, replace

from lantern_probe import extensions
from lantern_probe.interventions.base import Intervention, Replacement, generator
from lantern_probe.interventions.block import Ban, Direct, Force, KSlots, Mask, Skip, Stock
from lantern_probe.interventions.donors import (
    RandomPair,
    SelfSwap,
    Swap,
    Twin,
    TwinFixedWords,
    TwinOracle,
)
from lantern_probe.interventions.edges import Cut, KnockOut, parse_cut
from lantern_probe.interventions.erasing import Erase, EraseRandom, EraseShuffled
from lantern_probe.interventions.image import CORRUPTIONS, Corruption, parse_corruption
from lantern_probe.interventions.matched import Pause, Rescale
from lantern_probe.interventions.patches import Patch
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.interventions.regions import Oracle, RandomBox, RandomBoxOther
from lantern_probe.interventions.replacements import (
    Additive,
    Constant,
    FirstRepeat,
    Mean,
    Noise,
    NoiseMatched,
    NoiseNorm,
    Own,
    Shuffle,
    Zeros,
)
from lantern_probe.model.blocks import fed
from lantern_probe.vocabulary import STANDARD, Span, parse_named

CONDITIONS: dict[str, type[Intervention]] = {
    kind.name: kind
    for kind in (
        *(Own, Skip, Ban, Stock, Direct, Mask, Force, KSlots),
        *(Zeros, Noise, NoiseNorm, NoiseMatched, Additive, Mean, Constant, FirstRepeat, Shuffle),
        *(Pause, Rescale),
        *(Swap, RandomPair, Twin, TwinFixedWords, TwinOracle, SelfSwap),
        *(Oracle, RandomBox, RandomBoxOther),
        *(Erase, EraseRandom, EraseShuffled),
    )
}
"""Conditions of this package by the name that they have on the command line.

Other packages add theirs through entry points; see `lantern_probe.extensions`.
"""

__all__ = [
    "CONDITIONS",
    "CORRUPTIONS",
    "STANDARD",
    "Additive",
    "Ban",
    "Constant",
    "Corruption",
    "Cut",
    "Direct",
    "Erase",
    "EraseRandom",
    "EraseShuffled",
    "FirstRepeat",
    "Force",
    "Intervention",
    "KSlots",
    "KnockOut",
    "LatentPool",
    "Mask",
    "Mean",
    "Noise",
    "NoiseMatched",
    "NoiseNorm",
    "Oracle",
    "Own",
    "Patch",
    "Pause",
    "RandomBox",
    "RandomBoxOther",
    "RandomPair",
    "Replacement",
    "Rescale",
    "SelfSwap",
    "Shuffle",
    "Skip",
    "Span",
    "Stock",
    "Swap",
    "Twin",
    "TwinFixedWords",
    "TwinOracle",
    "Zeros",
    "fed",
    "generator",
    "packages_of",
    "parse_condition",
    "parse_corruption",
]


def parse_condition(text: str, seed: int = 0) -> Intervention:
    """Read a condition from its label: `zeros`, `noise:scale=2`, `swap:seed=1`, `after->slot`.

        >>> parse_condition("zeros:slots=3").label
        'zeros:slots=3'
        >>> parse_condition("swap", seed=7).label
        'swap:seed=7'
        >>> parse_condition("after->slot:layers=2-3").label
        'after->slot:layers=2-3'

    Args:
        text: The label of a condition, or of a cut (QUERIES->KEYS).
        seed: Seed of a condition that draws at random and whose label names no seed.

    Raises:
        LanternError: the condition or a setting is unknown; the message lists what there is.
    """
    condition: Intervention
    if "->" in text:
        cut = parse_cut(text)
        if cut.random and "seed=" not in text:
            cut = replace(cut, seed=seed)
        return KnockOut(cut)
    name = text.partition(":")[0]
    condition = parse_named(text, {name: _kind(name)}, "condition")
    if isinstance(condition, Replacement):
        Span.parse(condition.slots)
        Span.parse(condition.blocks, "blocks")
    if hasattr(condition, "seed") and "seed=" not in text:
        condition = replace(condition, seed=seed)  # type: ignore[call-arg]
    return condition


def packages_of(labels: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe, for `run.json`, the packages that conditions come from; `{}` for this package's.

    Args:
        labels: Labels of conditions, as rows have them.
    """
    names = [label.partition("@")[0].partition(":")[0] for label in labels]
    return extensions.records("conditions", names, CONDITIONS)


def _kind(name: str) -> type[Intervention]:
    """The class of a condition, of this package or of another one."""
    kind = extensions.find("conditions", name, CONDITIONS)
    if kind is CONDITIONS.get(name):
        return CONDITIONS[name]
    added = extensions.look_up("conditions", name, CONDITIONS)
    assert added is not None
    if not isinstance(kind, type) or not issubclass(kind, Intervention) or not is_dataclass(kind):
        raise added.refuse(
            "is no frozen dataclass of lantern_probe.interventions.Intervention, or of Replacement"
        )
    if getattr(kind, "name", None) != name:
        raise added.refuse(
            f"is named {getattr(kind, 'name', None)!r} in its class; write name = {name!r} there"
        )
    return kind
