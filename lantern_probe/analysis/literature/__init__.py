"""Published figures, and how they compare with what is measured here.

`figures`: the published figures, from one data file. `accuracies` and `ranks` put them next to
measured ones. `source` says where measured ones come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.analysis.literature.accuracies import (
        AccuracyComparison,
        AccuracyLine,
        PairLine,
        compare_accuracies,
    )
    from lantern_probe.analysis.literature.figures import (
        ALL,
        MARKS,
        Flips,
        PublishedFigure,
        RetrievalFigures,
        Value,
        published_figure,
        published_figures,
    )
    from lantern_probe.analysis.literature.ranks import (
        RetrievalComparison,
        RetrievalLine,
        chance_of,
        compare_retrieval,
    )

__all__ = [
    "ALL",
    "MARKS",
    "AccuracyComparison",
    "AccuracyLine",
    "Flips",
    "PairLine",
    "PublishedFigure",
    "RetrievalComparison",
    "RetrievalFigures",
    "RetrievalLine",
    "Value",
    "chance_of",
    "compare_accuracies",
    "compare_retrieval",
    "published_figure",
    "published_figures",
]

__getattr__ = lazily(
    __name__,
    accuracies="AccuracyComparison AccuracyLine PairLine compare_accuracies",
    figures="ALL MARKS Flips PublishedFigure RetrievalFigures Value published_figure "
    "published_figures",
    ranks="RetrievalComparison RetrievalLine chance_of compare_retrieval",
)
