"""Figures: every function draws results on the axes it is given, and returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.plots.style import ACCENT, INK, SOFT, save_figure

__all__ = [
    "ACCENT",
    "INK",
    "SOFT",
    "save_figure",
]

__getattr__ = lazily(
    __name__,
    style="ACCENT INK SOFT save_figure",
)
