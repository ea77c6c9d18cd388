"""Tiny trained LanteRn models whose truth is known: controls for every diagnostic.

`names()` lists them, `path(name)` is a checkpoint folder, `card(name)` says what is known.
They are engineered and no evidence about LanteRn.
"""

from lantern_probe.organisms.registry import OrganismCard, card, find_card, names, path

__all__ = ["OrganismCard", "card", "find_card", "names", "path"]
