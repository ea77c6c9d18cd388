"""Markers of a latent block in a served text; the one place that names them in this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lantern_probe.model.prompting import Prompting
from lantern_probe.serving.reply import Reply


@dataclass(frozen=True)
class Markers:
    """Texts of the tokens of a block, and of those that end a text.

    Attributes:
        start: Text of the token that opens a block.
        slot: Text of the token of a slot.
        end: Text of the token that closes a block.
        ends: Texts of the tokens that end or pad a text.
    """

    start: str
    slot: str
    end: str
    ends: tuple[str, ...]

    @classmethod
    def of(cls, asking: Prompting) -> Markers:
        """The markers of a model.

        Args:
            asking: Processor of the model.
        """
        start, slot, end = asking.markers()
        return cls(start, slot, end, asking.ends)

    def without_ends(self, text: str) -> str:
        """A text without the tokens that end it, as local texts are written.

        Args:
            text: Served text.
        """
        found = text.rstrip()
        while ending := next((end for end in self.ends if end and found.endswith(end)), None):
            found = found.removesuffix(ending).rstrip()
        return found if found != text.rstrip() else text

    def seen(self, reply: Reply, asking: Prompting) -> dict[str, Any]:
        """Everything about blocks that a reply shows, as fields of a row.

        Args:
            reply: The reply.
            asking: Processor of the model, which counts tokens.
        """
        text = self.without_ends(reply.text)
        parts = [self.without_ends(reply.content)]
        parts += ["<think>", reply.thoughts, "</think>"] if reply.thoughts else []
        there = sum(map(asking.count, parts))
        missing = None if reply.tokens is None else reply.tokens - there
        return {
            "opened": text.count(self.start),
            "opened_in_content": reply.content.count(self.start),
            "slot_tokens": text.count(self.slot),
            "missing_tokens": missing,
        }
