"""The figure of one model's latents has its nine panels, from rows and retrieval."""

from __future__ import annotations

import numpy as np
import pytest

from lantern_probe.errors import LanternError
from lantern_probe.geometry import VectorSet, geometry_rows
from lantern_probe.geometry.retrieval import retrieve
from lantern_probe.geometry.retrieval_within import retrieve_alike
from lantern_probe.geometry.vectors import FORCED, ORACLE, OWN, QUESTION
from lantern_probe.plots.latents import latents_figure


def test_the_nine_panels_hold_geometry_and_ranks() -> None:
    own, noise = np.random.default_rng(0).standard_normal((2, 20, 3, 6))
    sets = {name: VectorSet.of(name, x) for name, x in ((OWN, own), (FORCED, noise))}
    oracle = VectorSet.of(ORACLE, own)
    rows = geometry_rows(sets[OWN], oracle, [VectorSet.of(QUESTION, own[:, 0])])
    found = {name: retrieve(x, oracle, permutations=19) for name, x in sets.items()}
    labels = [i % 4 for i in range(20)]
    alike = {name: retrieve_alike(x, oracle, labels, permutations=19) for name, x in sets.items()}
    figure = latents_figure(rows, found, alike, "tiny: n = 20")
    assert figure.get_suptitle() == "tiny: n = 20"
    titles = [ax.get_title() for ax in figure.axes[:9]]
    assert titles[:3] == ["cosines between samples, between slots", "dimensions used", "norms"]
    assert titles[7].startswith("own latents, pooled: rank of their oracle\namong samples alike: ")
    assert "place .000" in titles[7], "own latents are their oracles"
    assert figure.axes[7].get_xlabel() == "rank among 20 (mean 1.0, chance 10.5)"
    norms = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert norms == [OWN, ORACLE, QUESTION]
    cosines = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert not any(QUESTION in text for text in cosines)
    # Samples that are all of different questions have no place among those alike.
    alone = retrieve_alike(sets[OWN], oracle, range(20), permutations=19)
    figure = latents_figure(rows, found, {**alike, OWN: alone}, "tiny")
    assert figure.axes[7].get_title() == "own latents, pooled: rank of their oracle"
    with pytest.raises(LanternError, match="to draw"):
        latents_figure([], found, alike, "nothing")
