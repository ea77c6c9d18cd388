"""What may be put into the slots: named, seeded values (METHODS: interventions on the slots).

An intervention is a frozen dataclass, the same object in Python, on the command line
(`swap:seed=1`) and in the record. For each sample it makes a `RowPlan`. Its randomness is drawn
from (its seed, its name, the sample's id), so it does not depend on order, batch or worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Intervention, Replacement, Span, generator, table
from lantern_probe.interventions.kinds import (
    Additive,
    Ban,
    Constant,
    FirstRepeat,
    KSlots,
    Mask,
    MaskImage,
    Mean,
    Noise,
    NoiseMatched,
    NoiseNorm,
    Oracle,
    Own,
    RandomBox,
    RandomBoxOther,
    Shuffle,
    Skip,
    Stock,
    Swap,
    Zeros,
    overlap,
)

STANDARD = (
    *("own", "skip", "ban", "stock", "mask", "zeros", "noise", "noise-matched", "mean"),
    *("first-repeat", "shuffle", "swap", "oracle", "random-box"),
)
"""The conditions of an ablation unless others are asked for."""

CONDITIONS: dict[str, type[Intervention]] = {
    kind.name: kind
    for kind in (
        *(Own, Skip, Ban, Stock, Mask, MaskImage, KSlots),
        *(Zeros, Noise, NoiseNorm, NoiseMatched, Additive, Mean, Constant, FirstRepeat, Shuffle),
        *(Swap, Oracle, RandomBox, RandomBoxOther),
    )
}
"""Every condition that has a name on the command line."""

__all__ = [
    "CONDITIONS",
    "STANDARD",
    "Additive",
    "Ban",
    "Constant",
    "FirstRepeat",
    "Intervention",
    "KSlots",
    "Mask",
    "MaskImage",
    "Mean",
    "Noise",
    "NoiseMatched",
    "NoiseNorm",
    "Oracle",
    "Own",
    "RandomBox",
    "RandomBoxOther",
    "Replacement",
    "Shuffle",
    "Skip",
    "Span",
    "Stock",
    "Swap",
    "Zeros",
    "generator",
    "overlap",
    "parse_condition",
    "table",
]


def parse_condition(text: str) -> Intervention:
    """An intervention from its label: `zeros`, `noise:scale=2`, `zeros:slots=3,frozen=1`.

    Raises:
        LanternError: naming the conditions, or the settings, there are.
    """
    name, _, settings = text.partition(":")
    if name not in CONDITIONS:
        raise LanternError(f"no condition {name!r}; there are {', '.join(CONDITIONS)}")
    kind = CONDITIONS[name]
    known = {f.name: f for f in fields(kind)}
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if key not in known or not equals:
            raise LanternError(
                f"condition {name!r} has no setting {setting!r}; "
                f"it has {', '.join(f'{k} ({f.type})' for k, f in known.items()) or 'none'}"
            )
        try:
            values[key] = _READ[str(known[key].type)](value)
        except (ValueError, KeyError):
            raise LanternError(
                f"condition {text!r}: {key} takes {known[key].type}, not {value!r}"
            ) from None
    missing = [key for key, f in known.items() if f.default is MISSING and key not in values]
    if missing:
        raise LanternError(f"condition {name!r} needs {missing[0]}, as in {name}:{missing[0]}=4")
    condition = kind(**values)
    if isinstance(condition, Replacement):
        Span.parse(condition.slots)
        Span.parse(condition.blocks)
    return condition


def _finite(value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise ValueError
    return value


_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": lambda text: _finite(float(text)),
    "str": str,
    "bool": lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
}
