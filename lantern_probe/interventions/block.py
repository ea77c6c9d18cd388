"""Conditions on the latent block itself: skipped, banned, hidden, or of another length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Intervention
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import CloseText, RowPlan
from lantern_probe.tasks.answers import TAG, answer_content
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

_CLOSED = re.compile(r"</answer\s*\S", re.IGNORECASE)
"""The end of an answer in a tag."""


@dataclass(frozen=True)
class Skip(Intervention):
    """The end marker right after the start marker: markers without slots.

    It means the same under every protocol: the start marker keeps its own embedding, the end marker
    is forced behind it, and no state is fed. Under `lvr` the official loop would force none, and
    under `monet` its `LATENT_SIZE=0` still feeds one state.

    At the slots: nothing; the block has none.
    Source: official `no_lvr` (`empty_latent`) of LanteRn; that of LVR-7B's public records is
        `stock`.
    Control: `ban` (no markers either) and `zeros` (slots without content).
    """

    name: ClassVar[str] = "skip"
    keeps: ClassVar[str] = "markers"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(mode="skip")


@dataclass(frozen=True)
class Ban(Intervention):
    """No token of a block can be generated: no markers, no slots.

    The text is the model's own up to where it first chose one of them. A start marker at the end of
    the prompt stays, and opens nothing.

    At the slots: nothing; the text has no block.
    Source: the decomposition into markers, slots and format (arXiv 2606.01287); no released code.
    Control: `skip` (markers without slots) and `direct` (no thought either).
    """

    name: ClassVar[str] = "ban"
    keeps: ClassVar[str] = "format"
    needs_block: ClassVar[bool] = False

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(ban=True)


@dataclass(frozen=True)
class Stock(Intervention):
    """transformers' plain `generate`: nothing is forced, and nothing is fed.

    At the slots: the token embedding, at each slot token that the model writes itself.
    Source: official `qwen_generate`.
    Control: `skip`, which has the markers and surely no slots.
    """

    name: ClassVar[str] = "stock"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(mode="stock")


@dataclass(frozen=True)
class Mask(Intervention):
    """From the end marker on nothing may attend to the slots: removal with positions kept.

    At the slots: the own latents, seen by later slots and by nothing after the block.
    Source: discussed for LaViT-3B (docs/methods.md, Interventions on the slots).
    Control: `after->slot:random=1`, which hides as many image tokens.
    """

    name: ClassVar[str] = "mask"
    keeps: ClassVar[str] = "markers, slots unseen"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(hide=("slot",))


@dataclass(frozen=True)
class Force(Intervention):
    """A block where the text opens none: what would it have brought?

    At the slots: the own latents. A text with a block of its own stays as it is. In any other the
        start marker is written at the place, before its answer, at which it was likeliest.
    Source: trigger endogeneity (docs/methods.md, Triggers); no released code.
    Control: `ban` on the same samples; accuracy with and without a block is no effect.
    """

    name: ClassVar[str] = "force"
    keeps: ClassVar[str] = "everything"
    needs_block: ClassVar[bool] = False

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        return RowPlan(force=True)


@dataclass(frozen=True)
class Direct(Intervention):
    """The answer at once, `<answer>` right after the prompt: no thought, no markers, no slots.

    In place of the tag it is the protocol's own lead, such as `\\boxed{`. The text ends with that
    answer: after its `</answer>` or bracket, with its line, or where a second lead would open.

    At the slots: nothing; the text has no block.
    Source: the decomposition into markers, slots and format (arXiv 2606.01287).
    Control: `ban`, which leaves the thought.
    """

    name: ClassVar[str] = "direct"
    keeps: ClassVar[str] = "neither"
    needs_block: ClassVar[bool] = False

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        opening = lantern.processor.tokenizer.encode(lantern.answer_lead, add_special_tokens=False)
        return RowPlan(ban=True, opening=tuple(opening), close=after_answer(lantern))


def after_answer(lantern: LanternModel) -> CloseText:
    """End a text with its first answer: the end-of-text token right after `</answer>`.

    Of another lead it is the bracket that closes it, or the end of its line. A second lead before
    it ends the text too, since parsers read the last one.

    Args:
        lantern: The model.

    Raises:
        LanternError: the model has no end-of-text token.
    """
    tokenizer, ends = lantern.processor.tokenizer, lantern.eos_ids
    if not ends:
        raise LanternError(f"{lantern.origin} has no end-of-text token to end an answer with")
    end = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else min(ends)
    lead = lantern.answer_lead
    opened = re.compile(re.escape(lead), re.IGNORECASE)

    def closed(text: str) -> bool:
        if lead == TAG:
            return _CLOSED.search(text) is not None
        inside, whole = answer_content(text, lead), opened.split(text)[-1]
        return inside is not None and len(inside) < len(whole.strip(" \t:*"))

    def close(written: Sequence[int], following: int) -> int | None:
        text = tokenizer.decode(list(written), clean_up_tokenization_spaces=False)
        longer = tokenizer.decode([*written, following], clean_up_tokenization_spaces=False)
        return end if closed(text) or len(opened.findall(longer)) > 1 else None

    return close


@dataclass(frozen=True)
class KSlots(Intervention):
    """A block of k slots instead of the model's K: the sweep over the budget.

    At the slots: the own latents, k of them, or fewer where the model may end a block early.
    Source: the K-sweep (docs/methods.md, Bottleneck and emission).
    Control: `k-slots` at the model's own K, which is `own`, and `skip`, which is k = 0.

    Attributes:
        k: Number of slots in a block.
    """

    name: ClassVar[str] = "k-slots"
    k: int

    def check(self, latent_size: int) -> None:
        if self.k < 0:
            raise LanternError(f"a block cannot have {self.k} slots")

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        self.check(lantern.latent_size)
        return RowPlan(size=self.k)
