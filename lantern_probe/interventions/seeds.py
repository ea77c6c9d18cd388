"""Conditions and corruptions that draw at random, under one seed or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lantern_probe.interventions import CORRUPTIONS, Intervention, parse_condition
from lantern_probe.interventions.edges import KnockOut
from lantern_probe.interventions.image import Corruption, parse_corruption


def draws(condition: Intervention | Corruption) -> bool:
    """True if a condition or a corruption draws at random, and so has a seed.

    >>> from lantern_probe.interventions import parse_condition
    >>> [draws(parse_condition(text)) for text in ("zeros", "swap", "after->slot:random=1")]
    [False, True, True]
    """
    if isinstance(condition, KnockOut):
        return condition.cut.random
    return hasattr(condition, "seed")


def under_seeds(text: str, seeds: Sequence[int]) -> list[Intervention]:
    """Read a condition under each of some seeds; once if it draws nothing or names its seed.

        >>> [condition.label for condition in under_seeds("swap", range(3))]
        ['swap', 'swap:seed=1', 'swap:seed=2']
        >>> [condition.label for condition in under_seeds("swap:seed=7", range(3))]
        ['swap:seed=7']

    Args:
        text: Label of a condition.
        seeds: Seeds, at least one.

    Raises:
        LanternError: there is no such condition or setting.
    """
    # A condition that draws nothing is the same under every seed.
    return list(dict.fromkeys(parse_condition(text, seed) for seed in seeds))


def corruptions_under_seeds(text: str, seeds: Sequence[int]) -> list[Corruption]:
    """Read a corruption under each of some seeds; once if it draws nothing or names its seed.

    Args:
        text: Label of a corruption.
        seeds: Seeds, at least one.

    Raises:
        LanternError: there is no such corruption or setting.
    """
    corruption = parse_corruption(text)
    if not draws(corruption) or "seed=" in text:
        return [corruption]
    return [replace(corruption, seed=seed) for seed in seeds]  # type: ignore[call-arg]


def seed_of(condition: Intervention | Corruption) -> int | None:
    """Seed of a condition or a corruption; None if it draws nothing."""
    if not draws(condition):
        return None
    return condition.cut.seed if isinstance(condition, KnockOut) else int(condition.seed)  # type: ignore[union-attr]


def spelled(label: str) -> str:
    """The label of a row with every seed in it, the default one too.

        >>> [spelled(label) for label in ("zeros", "swap", "swap@swap-image", "after->slot")]
        ['zeros', 'swap:seed=0', 'swap:seed=0@swap-image:seed=0', 'after->slot']

    Args:
        label: Label of a condition, with its corruption or without.
    """
    text, at, image = label.partition("@")
    kind = CORRUPTIONS.get(image.partition(":")[0])
    return _spelled(text, draws(parse_condition(text))) + (
        at and at + _spelled(image, kind is not None and hasattr(kind, "seed"))
    )


def _spelled(text: str, drawn: bool) -> str:
    if not drawn or "seed=" in text:
        return text
    return f"{text}{',' if ':' in text else ':'}seed=0"
