"""A warning of markers that stand in a text although no state was fed behind them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lantern_probe.model.blocks import Block

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

_log = logging.getLogger(__name__)

UNFED = (
    "a text has the marker %s with no state fed behind it: that is the condition 'stock', plain "
    "decoding, and neither the reasoner's own nor a run without blocks"
)
"""Warning of markers in a text that was decoded plainly."""


def warn_of_unfed(lantern: LanternModel, texts: Tensor, blocks: Sequence[Sequence[Block]]) -> None:
    """Say so, once, where a text has a start marker and no block.

    Args:
        lantern: The model.
        texts: Generated tokens, [rows, length].
        blocks: For every row its latent blocks.
    """
    if lantern.lvr is None:
        return
    for row, known in zip(texts, blocks, strict=True):
        if not known and bool((row == lantern.lvr.start).any()):
            _log.warning(UNFED, lantern.processor.tokenizer.decode([lantern.lvr.start]))
            return
