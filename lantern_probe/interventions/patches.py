"""Patches of activations: one component of one layer, at the positions of one role.

`causal.patching` puts a donor's activations there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import LAYERED, PATCH_ROLES, PATCHED, Site


@dataclass(frozen=True)
class Patch:
    """One patch, measured in a forward row of its own.

        >>> from lantern_probe.interventions import Patch
        >>> from lantern_probe.vocabulary import Site
        >>> Patch(Site("residual", 3, "slot"), slot=5).label
        'residual.3@slot[5]'

    Attributes:
        site: Component, layer and role.
        slot: The only slot that is patched (0-based), at the role `slot`; default None, all
            positions of the role.
        sham: Put the run's own activations back in place of the donor's; default False.

    Raises:
        LanternError: the site cannot be patched, or has no slots.
    """

    site: Site
    slot: int | None = None
    sham: bool = False

    def __post_init__(self) -> None:
        for what, given, known in (
            ("component", self.site.component, PATCHED),
            ("role", self.site.role, PATCH_ROLES),
        ):
            if given not in known:
                raise LanternError(
                    f"{what} {given!r} of site {self.site.label!r} cannot be patched; "
                    f"take one of {', '.join(known)}"
                )
        if self.slot is not None and (self.site.role != "slot" or self.slot < 0):
            raise LanternError(f"site {self.site.label!r} has no slot {self.slot}")

    @property
    def label(self) -> str:
        """The patch as the record names it: `residual.3@slot[5]`, `mlp.0@answer-start:sham`."""
        slot = "" if self.slot is None else f"[{self.slot}]"
        return f"{self.site.label}{slot}{':sham' if self.sham else ''}"


def layer_sites(
    components: Sequence[str], layers: Sequence[int], roles: Sequence[str]
) -> list[Site]:
    """The sites of every component at every role, in every layer where it has layers.

    Args:
        components: Components, of `vocabulary.PATCHED`.
        layers: Layers (0-based).
        roles: Roles, of `vocabulary.PATCH_ROLES`.
    """
    return [
        Site(component, layer, role)
        for component in components
        for layer in (layers if component in LAYERED else [None])
        for role in roles
    ]


def whole(sites: Sequence[Site]) -> list[Patch]:
    """One patch per site: all positions of its role together.

    Args:
        sites: The sites.
    """
    return [Patch(site) for site in sites]


def each_slot(sites: Sequence[Site], slots: int) -> list[Patch]:
    """One patch per slot alone, for the sites at the slots.

    Args:
        sites: Sites; those of other roles are left out.
        slots: Number of slots in a block.
    """
    return [Patch(s, slot) for s in sites if s.role == "slot" for slot in range(slots)]


def shams(sites: Sequence[Site]) -> list[Patch]:
    """One sham per site: own activations put back at all positions of its role.

    Args:
        sites: The sites.
    """
    return [Patch(site, sham=True) for site in sites]
