"""Accuracy that a model loses where a server does not feed its latents back, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.ablation import OWN, ConditionSummary
from lantern_probe.stats import Difference, PairedTest

STOCK = "stock"
"""Condition that plain servers answer like: the model's own text, with no latents fed."""


def is_served(label: str) -> bool:
    """True for the label of a server's rows, which no condition of this package has.

    Args:
        label: Label of a condition.
    """
    return label.startswith("served:")


@dataclass(frozen=True)
class ServedLoss:
    """Loss of a model whose latents are not fed: accuracy under own minus under stock.

    Attributes:
        difference: The difference over the samples with a block, with its 95 % interval.
        test: Test of the difference.
        holm_p: p value of the test after Holm over the model's conditions.
        n: Number of those samples.
        overall: The difference over all samples, with or without a block.
    """

    difference: Difference
    test: PairedTest | None
    holm_p: float | None
    n: int
    overall: float


def served_loss(summaries: Sequence[ConditionSummary]) -> ServedLoss | None:
    """Subtract the accuracy under `stock`, which plain servers answer like, from that under own.

    Args:
        summaries: Summaries of one model's conditions.

    Returns:
        The loss; None where one of the two did not run.
    """
    by_label = {item.condition: item for item in summaries}
    own, stock = by_label.get(OWN), by_label.get(STOCK)
    if own is None or stock is None or stock.difference is None or not stock.n:
        return None
    found = stock.difference
    turned = replace(found, estimate=0.0 - found.estimate, low=-found.high, high=-found.low)
    overall = own.accuracy_all.estimate - stock.accuracy_all.estimate
    return ServedLoss(turned, stock.test, stock.holm_p, stock.n, overall)
