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

from dataclasses import replace

from lantern_probe.interventions.base import Intervention, Replacement, generator
from lantern_probe.interventions.block import Ban, Direct, Force, KSlots, Mask, Skip, Stock
from lantern_probe.interventions.donors import RandomPair, SelfSwap, Swap, Twin, TwinOracle
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
        *(Swap, RandomPair, Twin, TwinOracle, SelfSwap, Oracle, RandomBox, RandomBoxOther),
        *(Erase, EraseRandom, EraseShuffled),
    )
}
"""Every condition by the name that it has on the command line."""

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
    "TwinOracle",
    "Zeros",
    "fed",
    "generator",
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
    condition = parse_named(text, CONDITIONS, "condition")
    if isinstance(condition, Replacement):
        Span.parse(condition.slots)
        Span.parse(condition.blocks, "blocks")
    if hasattr(condition, "seed") and "seed=" not in text:
        condition = replace(condition, seed=seed)  # type: ignore[call-arg]
    return condition
