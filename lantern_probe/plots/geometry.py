"""Figures of the geometry of latents, from geometry rows, and of the ranks of retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from lantern_probe.errors import LanternError
from lantern_probe.geometry import GeometryRow
from lantern_probe.geometry.alignment import CKA, RSA
from lantern_probe.geometry.dimensionality import EFFECTIVE_RANK, PARTICIPATION, VARIANCE_SHARE
from lantern_probe.geometry.oracle_preference import USP
from lantern_probe.geometry.similarity import BETWEEN, SLOT_PAIR, WITHIN
from lantern_probe.plots.style import ACCENT, INK, SERIES, SOFT, axes_or_new, bare, legend_below


def plot_by_slot(
    rows: Sequence[GeometryRow], measures: Sequence[str], space: str, ax: Axes | None = None
) -> Axes:
    """Draw measures over the slots: a line with its band for each set of vectors and measure.

    Each set has its colour. The first measure is solid, the second dashed, the third dotted. The
    band is the interval of the row. A set without slots, such as the image tokens, is a horizontal
    line with its band.

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        measures: One to three names of measures, such as `norm`.
        space: `raw`, `centred` or `whitened`.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if row.measure in measures and row.space == space]
    found = [row for row in found if row.index is None]
    _require(found, f"{' or '.join(measures)} in the {space} space")
    ax = axes_or_new(ax, 5.2, 4.2)
    for number, name in enumerate(dict.fromkeys(row.name for row in found)):
        color = SERIES[number % len(SERIES)]
        for measure, style in zip(measures, ("-", "--", ":"), strict=False):
            mine = [row for row in found if (row.name, row.measure) == (name, measure)]
            label = name if len(measures) == 1 else f"{name}: {measure}"
            if mine:
                _draw_set(mine, ax, color=color, style=style, label=label)
    last = max((row.slot for row in found if row.slot is not None), default=0)
    ax.set_xticks(range(last + 1))
    ax.set_xlabel("slot")
    ax.set_ylabel(measures[0] if len(measures) == 1 else space)
    return _finish(ax)


def plot_cosines(
    rows: Sequence[GeometryRow], ax: Axes | None = None, *, space: str = "raw"
) -> Axes:
    """Draw the mean cosine between samples (solid) and between a sample's slots (dashed).

    Near 1, latents are alike: between samples, they do not tell images apart. Sets of reference
    vectors are drawn likewise.

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        ax: Axes to draw on; those of a new figure by default.
        space: `raw`, `centred` or `whitened`.

    Raises:
        LanternError: there is no such row.
    """
    ax = plot_by_slot(rows, (BETWEEN, WITHIN), space, ax)
    ax.set_ylabel(f"mean cosine, {space}")
    return ax


def plot_effective_ranks(
    rows: Sequence[GeometryRow], ax: Axes | None = None, *, space: str = "centred"
) -> Axes:
    """Draw the effective rank (solid) and the participation ratio (dashed) over the slots.

    Both count the dimensions that vectors use. All sets are measured on equally many vectors, the
    number on the y axis.

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        ax: Axes to draw on; those of a new figure by default.
        space: `raw`, `centred` or `whitened`.

    Raises:
        LanternError: there is no such row.
    """
    ax = plot_by_slot(rows, (EFFECTIVE_RANK, PARTICIPATION), space, ax)
    size = next(row.n for row in rows if row.measure == EFFECTIVE_RANK)
    ax.set_ylabel(f"dimensions, {space}, from {size} vectors")
    ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    return ax


def plot_alignment(rows: Sequence[GeometryRow], ax: Axes | None = None) -> Axes:
    """Draw how alike own and oracle latents are over the slots, centred; 0 is chance.

    Solid: debiased linear CKA. Dashed: RSA. Dotted: USP.

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is no such row.
    """
    ax = plot_by_slot(rows, (CKA, RSA, USP), "centred", ax)
    ax.axhline(0, color=SOFT, lw=0.8, zorder=0)
    ax.set_ylabel("own against oracle, centred")
    return ax


def plot_spectrum(
    rows: Sequence[GeometryRow], ax: Axes | None = None, *, slot: int | None = None
) -> Axes:
    """Draw the fraction of the variance along each principal component, on logarithmic axes.

    A line is a set of vectors and its band the interval of the row. Components without variance
    are left out.

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        ax: Axes to draw on; those of a new figure by default.
        slot: 0-based index of the slot to draw; None for the mean over all slots. Sets without
            slots are drawn beside any.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if row.measure == VARIANCE_SHARE and row.estimate > 0]
    plain = {row.name for row in found} - {row.name for row in found if row.slot is not None}
    found = [row for row in found if row.slot == slot or row.name in plain]
    _require(found, f"{VARIANCE_SHARE} at slot {slot}")
    ax = axes_or_new(ax, 5.2, 4.2)
    for number, name in enumerate(dict.fromkeys(row.name for row in found)):
        mine = [row for row in found if row.name == name]
        x = [float(row.index) for row in mine if row.index is not None]
        color = SERIES[number % len(SERIES)]
        ax.plot(x, [row.estimate for row in mine], color=color, label=name)
        ax.fill_between(x, *_ends(mine), color=color, alpha=0.2, lw=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("component")
    ax.set_ylabel("fraction of the variance")
    return _finish(ax)


def plot_cosine_matrix(
    rows: Sequence[GeometryRow],
    name: str,
    ax: Axes | None = None,
    *,
    space: str = "raw",
    measure: str = SLOT_PAIR,
) -> Axes:
    """Draw the mean cosine of each pair of slots as a heat map, from -1 (blue) to 1 (red).

    Args:
        rows: Rows of one model, as `geometry.geometry_rows` returns them.
        name: Name of the set of vectors, such as `own`. With `SLOT_TO_ORACLE` it is
            `own, oracle`, and the map has own slots as rows and oracle slots as columns.
        ax: Axes to draw on; those of a new figure by default.
        space: `raw`, `centred` or `whitened`.
        measure: `geometry.similarity.SLOT_PAIR` (default) or
            `geometry.oracle_preference.SLOT_TO_ORACLE`.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if (row.name, row.measure, row.space) == (name, measure, space)]
    cells = {(row.slot, row.index): row.estimate for row in found if row.index is not None}
    _require(list(cells), f"{measure} of {name} in the {space} space")
    ax = axes_or_new(ax, 4.4, 3.6)
    slots = 1 + max(slot for slot, _ in cells if slot is not None)
    values = [[cells[one, two] for two in range(slots)] for one in range(slots)]
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    for one, line in enumerate(values):
        for two, value in enumerate(line):
            color = "white" if abs(value) > 0.6 else INK
            ax.text(two, one, f"{value:.2f}", ha="center", va="center", color=color, fontsize=7)
    ax.set_xticks(range(slots))
    ax.set_yticks(range(slots))
    own, _, other = name.partition(", ")
    ax.set_ylabel(f"{own} slot")
    ax.set_xlabel(f"{other or own} slot")
    ax.set_title(f"cosine, {space}")
    ax.figure.colorbar(image, ax=ax, shrink=0.8)
    return ax


def plot_ranks(
    ranks: Float[np.ndarray, " n"], candidates: int, ax: Axes | None = None, *, bins: int = 20
) -> Axes:
    """Draw the histogram of the right entry's rank, against ranks that are all equally likely.

    The red line is the count expected in each bin if ranks are uniform. The grey band holds the
    count with 95 % probability if they are also independent. The dashed line is the mean rank.

        >>> plot_ranks(np.array([1.0, 1.0, 2.0, 4.0]), candidates=4).get_xlabel()
        'rank among 4 (mean 2.0, chance 2.5)'

    Args:
        ranks: Rank of each sample's right entry, 1 is best: `Retrieval.ranks`.
        candidates: Number of entries that were ranked: `Retrieval.candidates`.
        ax: Axes to draw on; those of a new figure by default.
        bins: Number of bins of equal width; fewer if there are fewer candidates.

    Raises:
        LanternError: there is no rank, or one is not among the candidates.
    """
    from scipy.stats import binom  # loads for a while

    if not len(ranks) or ranks.min() < 1 or ranks.max() > candidates:
        raise LanternError(f"a histogram needs ranks, all between 1 and {candidates}")
    ax = axes_or_new(ax)
    # Whole ranks per bin, so that every bin but the last has the same chance.
    width = -(-candidates // min(bins, candidates))
    edges = np.append(np.arange(0, candidates, width), candidates) + 0.5
    shares = np.diff(edges) / candidates
    ax.hist(ranks, edges.tolist(), color=INK, rwidth=0.7)
    low, high = (binom.ppf(q, len(ranks), shares) for q in (0.025, 0.975))
    ax.stairs(high, edges, baseline=low, fill=True, color=SOFT, alpha=0.4, lw=0, zorder=0)
    ax.stairs(shares * len(ranks), edges, baseline=None, color=ACCENT, lw=1.2)
    mean = ranks.mean()
    ax.axvline(mean, color=INK, lw=0.8, ls="--")
    ax.set_xlabel(f"rank among {candidates} (mean {mean:.1f}, chance {(candidates + 1) / 2:.1f})")
    ax.set_ylabel("samples")
    return bare(ax)


def _draw_set(rows: Sequence[GeometryRow], ax: Axes, *, color: str, style: str, label: str) -> None:
    """Draw one set in one measure: over the slots if it has any, else as a horizontal line."""
    slots = [row for row in rows if row.slot is not None]
    if not slots:
        low, high = _ends(rows)
        ax.axhline(rows[0].estimate, color=color, ls=style, lw=1, label=label)
        ax.axhspan(low[0], high[0], color=color, alpha=0.15, lw=0)
        return
    x = [float(row.slot) for row in slots if row.slot is not None]
    ax.plot(x, [row.estimate for row in slots], style, marker="o", ms=4, color=color, label=label)
    ax.fill_between(x, *_ends(slots), color=color, alpha=0.2, lw=0)


def _ends(rows: Sequence[GeometryRow]) -> tuple[list[float], list[float]]:
    """Ends of the intervals; the estimate where there is none."""
    low = [row.estimate if row.low is None else row.low for row in rows]
    return low, [row.estimate if row.high is None else row.high for row in rows]


def _require(found: Sequence[object], what: str) -> None:
    if not found:
        raise LanternError(f"no row with {what} to draw")


def _finish(ax: Axes) -> Axes:
    legend_below(ax)
    return bare(ax)
