"""Rows in, results out: one module per question, none of which needs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.analysis.ablation import ConditionSummary, summarize

__all__ = [
    "ConditionSummary",
    "summarize",
]

__getattr__ = lazily(
    __name__,
    ablation="ConditionSummary summarize",
)
