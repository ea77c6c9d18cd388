"""Organisms: tiny trained LanteRn models whose truth is known, as controls for every diagnostic.

`names()` lists them, `path(name)` gives a checkpoint folder, and `card(name)` tells what is known
about one. They are engineered, and are no evidence about LanteRn. `training` makes them; it is the
only part of this room that needs the model stack.
"""

from __future__ import annotations

from lantern_probe.organisms.registry import OrganismCard, card, find_card, names, path

__all__ = ["OrganismCard", "card", "find_card", "names", "path"]
