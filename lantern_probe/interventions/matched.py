"""Slots whose norm, or whose number, is matched: own directions at another length, plain tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Replacement
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import RowPlan, Slot, SlotEdit
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.lantern import LanternModel

PAUSES = (".", "...", "the", "a")
"""Ordinary tokens for a pause, the first that the tokenizer has; a row names the one taken."""

NORMS = ("text", "image")
"""Norms that `rescale` can give to a latent."""


@dataclass(frozen=True)
class Rescale(Replacement):
    """The own direction at the length of an ordinary input embedding: does the norm matter?

    At the slots: the own latent, rescaled to the median norm of the prompt's text embeddings, or,
        with `to=image`, of its merged image tokens. The prompt is the one that the model reads, a
        corrupted image included.
    Source: the norm regime of arXiv 2605.12374 (own definition of the reference norm).
    Control: `own` (the same direction at its own norm) and `noise-norm` (the own norm in another
        direction).

    Attributes:
        to: `text` (default) or `image`.
    """

    name: ClassVar[str] = "rescale"
    to: str = "text"

    def check(self, latent_size: int) -> None:
        super().check(latent_size)
        if self.to not in NORMS:
            raise LanternError(f"condition 'rescale': to takes text or image, not {self.to!r}")

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        def edit(own: Tensor, slot: Slot) -> Tensor:
            norm = None if slot.norms is None else getattr(slot.norms, self.to)
            if norm is None:
                raise LanternError(
                    f"condition {self.label!r}: the norms of the prompt of {sample.id!r} are not "
                    "known; it needs a prompt with such tokens, read in one forward"
                )
            length = own.float().norm()
            # A latent without length has no direction to keep.
            return own if not length else (own.float() * (norm / length)).to(own)

        return edit


@dataclass(frozen=True)
class Pause(Replacement):
    """K times one ordinary token in place of the latents: the budget without any latent.

    At the slots: the token embedding of one ordinary word or sign, at each slot. Number of slots,
        positions, markers and weights are those of `own`.
    Source: pause and filler tokens (arXiv 2310.02226, 2404.15758), as a control of latents.
    Control: `stock` and `zeros` (other slots without content), and another token.

    Attributes:
        token: Text of the token; by default the first of `PAUSES` that the tokenizer has. The row's
            `pause_token` names it.
    """

    name: ClassVar[str] = "pause"
    token: str = ""

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        text, _ = self.chosen(lantern)
        return replace(super().plan(sample, lantern, pool), notes=(("pause_token", text),))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        _, number = self.chosen(lantern)
        from lantern_probe.model.placement import weight_of  # loads torch

        embedding = weight_of(lantern.hf.get_input_embeddings())[number]
        return lambda own, slot: embedding.to(own)

    def chosen(self, lantern: LanternModel) -> tuple[str, int]:
        """The token's text and id.

        Args:
            lantern: The model whose tokenizer has it.

        Raises:
            LanternError: the text is not one ordinary token.
        """
        tokenizer = lantern.processor.tokenizer
        for text in (self.token,) if self.token else PAUSES:
            number = _ordinary(tokenizer, text)
            if number is not None:
                return text, number
        wanted = f"{self.token!r} is not" if self.token else f"none of {' '.join(PAUSES)} is"
        raise LanternError(
            f"condition {self.label!r}: {wanted} one ordinary token of this tokenizer; name "
            "another, as in pause:token=the"
        )


def _ordinary(tokenizer: Any, text: str) -> int | None:
    """Id of a text that is one token, neither special nor unknown; None for any other."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if (
        len(ids) != 1
        or ids[0] == tokenizer.unk_token_id
        or ids[0] in tokenizer.added_tokens_decoder
    ):
        return None
    return int(ids[0])
