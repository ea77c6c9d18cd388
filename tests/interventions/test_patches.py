"""Patches: how they are named, and what cannot be patched."""

from __future__ import annotations

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch, each_slot, layer_sites, shams, whole
from lantern_probe.vocabulary import Site


def test_patches_and_their_labels():
    sites = layer_sites(("embedding", "mlp"), (0, 2), ("slot", "answer-start"))
    assert [patch.label for patch in whole(sites)] == [
        *("embedding@slot", "embedding@answer-start", "mlp.0@slot", "mlp.0@answer-start"),
        *("mlp.2@slot", "mlp.2@answer-start"),
    ]
    assert [patch.label for patch in each_slot(sites, 2)][:3] == [
        *("embedding@slot[0]", "embedding@slot[1]", "mlp.0@slot[0]"),
    ]
    assert shams(sites)[2].label == "mlp.0@slot:sham"


@pytest.mark.parametrize(
    ("site", "slot", "message"),
    [
        (Site("latent", None, "slot"), None, "component 'latent'.*take one of embedding"),
        (Site("mlp", 1, "image-mean"), None, "role 'image-mean'.*take one of box"),
        (Site("mlp", 1, "answer-start"), 0, "'mlp.1@answer-start' has no slot 0"),
    ],
)
def test_what_cannot_be_patched_is_refused(site: Site, slot: int | None, message: str):
    with pytest.raises(LanternError, match=message):
        Patch(site, slot)
