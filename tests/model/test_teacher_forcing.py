"""Which texts a row can be made to write; that it writes them is tested with the capture."""

from __future__ import annotations

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import LvrTokens, RowPlan
from lantern_probe.model.teacher_forcing import check_followable


def test_a_text_of_other_blocks_is_no_text_to_follow():
    lvr = LvrTokens(start=90, sep=91, end=92, size=8)
    own = [5, lvr.start, *[lvr.sep] * lvr.size, lvr.end, 6]
    skipped, three = [5, lvr.start, lvr.end, 6], [lvr.start, *[lvr.sep] * 3, lvr.end]
    block, skip, ban = RowPlan(), RowPlan(mode="skip"), RowPlan(ban=True)
    for plan, texts in {
        block: [own, own * 2, own[:6], [5, 6], [lvr.sep, 6]],
        skip: [skipped, [5]],
        RowPlan(size=3): [three],
        ban: [[5, lvr.sep]],
        RowPlan(mode="stock"): [own, skipped, three],
    }.items():
        for text in texts:
            check_followable(text, plan, lvr)
    for plan, texts in {
        block: [skipped, three, [5] + own + three],
        skip: [own],
        ban: [own],
    }.items():
        for text in texts:
            with pytest.raises(LanternError, match="token [0-9]+ opens another block"):
                check_followable(text, plan, lvr)
    with pytest.raises(LanternError, match="empty"):
        check_followable([], block, lvr)
