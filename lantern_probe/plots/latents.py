"""One model's geometry and retrieval in one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lantern_probe.analysis.format import number, p_value
from lantern_probe.geometry import GeometryRow
from lantern_probe.geometry.norms import NORM
from lantern_probe.geometry.oracle_preference import SLOT_TO_ORACLE
from lantern_probe.geometry.retrieval import Retrieval
from lantern_probe.geometry.retrieval_within import AlikeRetrieval
from lantern_probe.geometry.vectors import FORCED, IMAGE, ORACLE, OWN, QUESTION, WORDS
from lantern_probe.plots import geometry as panels
from lantern_probe.plots.style import new_figure


def latents_figure(
    rows: Sequence[GeometryRow],
    found: Mapping[str, Sequence[Retrieval]],
    alike: Mapping[str, Sequence[AlikeRetrieval]],
    title: str,
) -> Figure:
    """Draw nine panels: the geometry of a model's latents, and the retrieval of their oracles.

    The panels are those of `plots.geometry`. The last two have the ranks among all oracles, and
    above them the mean place among samples alike (0 first, 0.5 chance, 1 last).

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        found: Views of `geometry.retrieval.retrieve` for `own` and `teacher-forced` queries.
        alike: Views of `geometry.retrieval_within.retrieve_alike` for the same queries.
        title: Title of the whole figure.

    Raises:
        LanternError: a row that a panel needs is missing.
    """
    figure = new_figure(16, 15)
    axes = figure.subplots(3, 3)
    mine = [row for row in rows if row.name not in (QUESTION, WORDS, IMAGE)]
    panels.plot_cosines(mine, axes[0, 0]).set_title("cosines between samples, between slots")
    panels.plot_effective_ranks(mine, axes[0, 1]).set_title("dimensions used")
    without = [row for row in rows if row.name != IMAGE]
    panels.plot_by_slot(without, (NORM,), "raw", axes[0, 2]).set_title("norms")
    panels.plot_spectrum(without, axes[1, 0]).set_title("spectrum, mean over the slots")
    panels.plot_cosine_matrix(rows, OWN, axes[1, 1]).set_title("own latents: cosine, raw")
    both = f"{OWN}, {ORACLE}"
    panels.plot_cosine_matrix(rows, both, axes[1, 2], space="centred", measure=SLOT_TO_ORACLE)
    axes[1, 2].set_title("own to oracle: cosine, centred")
    panels.plot_alignment(rows, axes[2, 0]).set_title("alike with the oracle?")
    for name, ax in ((OWN, axes[2, 1]), (FORCED, axes[2, 2])):
        pooled = next(view for view in found[name] if view.view == "pooled")
        panels.plot_ranks(pooled.ranks, pooled.candidates, ax)
        place = next(view.place for view in alike[name] if view.view == "pooled")
        ax.set_title(
            f"{name} latents, pooled: rank of their oracle\n"
            f"among samples alike: place {number(place.estimate)}, p {p_value(place.p)}"
            if math.isfinite(place.estimate)
            else f"{name} latents, pooled: rank of their oracle"
        )
    figure.suptitle(title)
    return figure
