"""Image and latents crossed: a clean image under corrupted latents, and the reverse.

The rows are those of an exchange of a sample with its twin, which is the same question on an edited
or corrupted image. Four cells, all graded by the *sample's* right answer:

    clean image, clean latents      own of the sample
    clean image, twin's latents     twin of the sample
    twin's image, clean latents     twin of the twin
    twin's image, twin's latents    own of the twin

A model that answers from its latents follows them across images, one that answers from the image
does not (the replacement across attacked images of PKU-ML/latent-reasoning-model-assessment).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.exchange import OWN, by_condition
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row, leads
from lantern_probe.stats import (
    Difference,
    PairedTest,
    accuracy_difference,
    accuracy_test,
    clustered_share,
    holm,
)

EXCHANGE = "twin"

CELLS = (
    "clean image, clean latents",
    "clean image, twin's latents",
    "twin's image, clean latents",
    "twin's image, twin's latents",
)
"""Combinations of image and latents, in the order of the docstring."""

CONTRASTS = (
    ("latents, clean image", 0, 1),
    ("latents, twin's image", 2, 3),
    ("image, clean latents", 0, 2),
    ("image, twin's latents", 1, 3),
)
"""Contrasts of two cells: the accuracy that clean latents, or a clean image, make."""


@dataclass(frozen=True)
class Contrast:
    """Difference of two cells on the same samples.

    Attributes:
        name: The part that differs, and the part that is held.
        first: Index in `CELLS` of the cell with the clean part.
        second: Index of the cell with the twin's.
        difference: Accuracy of the first minus the second, paired, with its interval.
        test: Sign-flip test of the difference, whole pairs flipped (McNemar's where no pair
            repeats); None without samples.
        holm_p: p value of `test` after Holm over the four contrasts.
    """

    name: str
    first: int
    second: int
    difference: Difference
    test: PairedTest | None
    holm_p: float | None


@dataclass(frozen=True)
class Crossed:
    """Four cells of image and latents, and their contrasts.

    Attributes:
        model: Name of the model.
        n: Number of samples with all four cells.
        left_out: Number of samples with a block that lack a cell, because the twin has none.
        cells: Accuracies by the sample's right answer, in the order of `CELLS`, with intervals.
        contrasts: Differences, in the order of `CONTRASTS`.
    """

    model: str
    n: int
    left_out: int
    cells: tuple[Difference, ...]
    contrasts: tuple[Contrast, ...]


def summarize(rows: Sequence[Row], *, model: str) -> Crossed:
    """Summarize the four cells of an exchange with twins.

    Where the twin's right answer is unknown, as for a corrupted image, only the direction from the
    sample to its twin counts; otherwise either of a pair is the sample once.

    Args:
        rows: Rows of one exchange run.
        model: Name of the model.

    Raises:
        LanternError: the run has no own rows with a block, or no rows of `twin`.
    """
    table = by_condition(rows)
    if EXCHANGE not in table:
        raise LanternError(f"the run has no rows of {EXCHANGE!r}")
    own, exchanged = table[OWN], table[EXCHANGE]
    both = any(row["donor_answer"] is not None for row in exchanged.values())
    ways = [key for key, row in own.items() if row["gold"] is not None and (both or leads(row))]
    outcomes: list[list[bool]] = []
    clusters = []
    for key in ways:
        four = _four(key, own, exchanged)
        if four is not None:
            outcomes.append([row["answer"] == own[key]["gold"] for row in four])
            clusters.append(own[key]["cluster"])
    columns = [[one[cell] for one in outcomes] for cell in range(len(CELLS))]
    contrasts = [_contrast(name, one, two, columns, clusters) for name, one, two in CONTRASTS]
    adjusted = holm([None if c.test is None else c.test.p for c in contrasts])
    return Crossed(
        model=model,
        n=len(outcomes),
        left_out=len(ways) - len(outcomes),
        cells=tuple(clustered_share(column, clusters) for column in columns),
        contrasts=tuple(replace(c, holm_p=p) for c, p in zip(contrasts, adjusted, strict=True)),
    )


def _four(key: str, own: Mapping[str, Row], exchanged: Mapping[str, Row]) -> list[Row] | None:
    if key not in exchanged:
        return None
    twin = exchanged[key]["donor"]
    if twin not in own or twin not in exchanged:
        return None
    return [own[key], exchanged[key], exchanged[twin], own[twin]]


def _contrast(
    name: str, one: int, two: int, columns: Sequence[Sequence[bool]], clusters: Sequence[str]
) -> Contrast:
    return Contrast(
        name=name,
        first=one,
        second=two,
        difference=accuracy_difference(columns[one], columns[two], clusters),
        test=accuracy_test(columns[one], columns[two], clusters) if clusters else None,
        holm_p=None,
    )
