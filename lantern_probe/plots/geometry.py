"""Figures of the geometry of latents, from rows alone, and of the ranks of retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.stats import binom

from lantern_probe.errors import LanternError
from lantern_probe.geometry import GeometryRow
from lantern_probe.geometry.alignment import CKA, RSA
from lantern_probe.geometry.effective_rank import EFFECTIVE_RANK, PARTICIPATION, VARIANCE_SHARE
from lantern_probe.geometry.oracle_preference import USP
from lantern_probe.geometry.similarity import BETWEEN, SLOT_PAIR, WITHIN
from lantern_probe.plots.style import ACCENT, INK, SOFT

COLORS = (INK, ACCENT, "#2a9d8f", "#e9a23b", "#7b5ea7", SOFT)


def plot_by_slot(
    rows: Sequence[GeometryRow], ax: Axes, measures: Sequence[str], space: str
) -> Axes:
    """Any measures over the slots: a line with its band for each set of vectors and measure.

    A set without slots (tokens) is a horizontal line with its band. The second measure is dashed.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if row.measure in measures and row.space == space]
    found = [row for row in found if row.index is None]
    _require(found, f"{' or '.join(measures)} in the {space} space")
    names = list(dict.fromkeys(row.name for row in found))
    for number, name in enumerate(names):
        color = COLORS[number % len(COLORS)]
        for measure, style in zip(measures, ("-", "--", ":"), strict=False):
            mine = [row for row in found if (row.name, row.measure) == (name, measure)]
            if not mine:
                continue
            label = name if len(measures) == 1 else f"{name}: {measure}"
            slots = [row for row in mine if row.slot is not None]
            if slots:
                x = [float(row.slot) for row in slots if row.slot is not None]
                ax.plot(
                    x,
                    [r.estimate for r in slots],
                    style,
                    marker="o",
                    ms=4,
                    color=color,
                    label=label,
                )
                ax.fill_between(x, *_ends(slots), color=color, alpha=0.2, lw=0)
            else:
                low, high = _ends(mine)
                ax.axhline(mine[0].estimate, color=color, ls=style, lw=1, label=label)
                ax.axhspan(low[0], high[0], color=color, alpha=0.15, lw=0)
    last = max((row.slot for row in found if row.slot is not None), default=0)
    ax.set_xticks(range(last + 1))
    ax.set_xlabel("slot")
    ax.set_ylabel(measures[0] if len(measures) == 1 else space)
    return _finish(ax)


def plot_cosines(rows: Sequence[GeometryRow], ax: Axes, space: str = "raw") -> Axes:
    """Cosine between samples (solid) and between the slots of a sample (dashed), with references.

    Raises:
        LanternError: there is no such row.
    """
    plot_by_slot(rows, ax, (BETWEEN, WITHIN), space)
    ax.set_ylabel(f"mean cosine, {space}")
    return ax


def plot_effective_ranks(rows: Sequence[GeometryRow], ax: Axes, space: str = "centred") -> Axes:
    """Effective rank (solid) and participation ratio (dashed), all from equally many vectors.

    Raises:
        LanternError: there is no such row.
    """
    plot_by_slot(rows, ax, (EFFECTIVE_RANK, PARTICIPATION), space)
    size = next(row.n for row in rows if row.measure == EFFECTIVE_RANK)
    ax.set_ylabel(f"dimensions, {space}, from {size} vectors")
    ax.set_ylim(bottom=0)
    return ax


def plot_alignment(rows: Sequence[GeometryRow], ax: Axes) -> Axes:
    """Debiased CKA (solid), RSA (dashed) and USP (dotted) against the oracle latents, centred.

    Raises:
        LanternError: there is no such row.
    """
    plot_by_slot(rows, ax, (CKA, RSA, USP), "centred")
    ax.axhline(0, color=SOFT, lw=0.8, zorder=0)
    ax.set_ylabel("own against oracle, centred")
    return ax


def plot_spectrum(rows: Sequence[GeometryRow], ax: Axes, slot: int | None = None) -> Axes:
    """Share of the variance along each leading component, on logarithmic axes.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if row.measure == VARIANCE_SHARE and row.estimate > 0]
    # What has no slots is shown next to any slot.
    plain = {row.name for row in found} - {row.name for row in found if row.slot is not None}
    found = [row for row in found if row.slot == slot or row.name in plain]
    _require(found, f"{VARIANCE_SHARE} at slot {slot}")
    for number, name in enumerate(dict.fromkeys(row.name for row in found)):
        mine = [row for row in found if row.name == name]
        x = [float(row.index) for row in mine if row.index is not None]
        color = COLORS[number % len(COLORS)]
        ax.plot(x, [row.estimate for row in mine], color=color, label=name)
        ax.fill_between(x, *_ends(mine), color=color, alpha=0.2, lw=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("component")
    ax.set_ylabel("share of the variance")
    return _finish(ax)


def plot_cosine_matrix(
    rows: Sequence[GeometryRow],
    ax: Axes,
    name: str,
    *,
    space: str = "raw",
    measure: str = SLOT_PAIR,
) -> Axes:
    """Mean cosine of each pair of slots as a heat map, from -1 (blue) to 1 (red).

    Args:
        rows: With the `measure` of the set called `name`.
        ax: To draw on.
        name: The set; `own, oracle` for `preference.SLOT_TO_ORACLE` (rows: own, columns: oracle).
        space: Which cosines.
        measure: `similarity.SLOT_PAIR` or `preference.SLOT_TO_ORACLE`.

    Raises:
        LanternError: there is no such row.
    """
    found = [row for row in rows if (row.name, row.measure, row.space) == (name, measure, space)]
    cells = {(row.slot, row.index): row.estimate for row in found if row.index is not None}
    _require(list(cells), f"{measure} of {name} in the {space} space")
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
    ranks: Float[np.ndarray, " n"], candidates: int, ax: Axes, *, bins: int = 20
) -> Axes:
    """How often the right entry has which rank, against ranks that are all equally likely.

    The band holds the count of a bin with 95 % probability if ranks are uniform and independent.

    Args:
        ranks: `Retrieval.ranks`, [n].
        candidates: `Retrieval.candidates`.
        ax: To draw on.
        bins: Bins of equal width; fewer if there are fewer candidates.

    Raises:
        LanternError: there is no rank, or one is not among the candidates.
    """
    if not len(ranks) or ranks.min() < 1 or ranks.max() > candidates:
        raise LanternError(f"a histogram needs ranks, all between 1 and {candidates}")
    # Whole ranks per bin, so that every bin but the last has the same chance.
    width = -(-candidates // min(bins, candidates))
    edges = np.append(np.arange(0, candidates, width), candidates) + 0.5
    shares = np.diff(edges) / candidates
    ax.hist(ranks, edges.tolist(), color=INK, alpha=0.85)
    low, high = (binom.ppf(q, len(ranks), shares) for q in (0.025, 0.975))
    ax.stairs(high, edges, baseline=low, fill=True, color=SOFT, alpha=0.4, lw=0)
    ax.stairs(shares * len(ranks), edges, baseline=None, color=ACCENT, lw=1.2)
    mean = ranks.mean()
    ax.axvline(mean, color=INK, lw=0.8, ls="--")
    ax.set_xlabel(f"rank among {candidates} (mean {mean:.1f}, chance {(candidates + 1) / 2:.1f})")
    ax.set_ylabel("samples")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _ends(rows: Sequence[GeometryRow]) -> tuple[list[float], list[float]]:
    """Ends of the intervals, the estimate itself where there is none."""
    low = [row.estimate if row.low is None else row.low for row in rows]
    return low, [row.estimate if row.high is None else row.high for row in rows]


def _require(found: Sequence[object], what: str) -> None:
    if not found:
        raise LanternError(f"no row with {what} to draw")


def _finish(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return ax
