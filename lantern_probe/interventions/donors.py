"""Latents of another sample: of any other, of the sample's twin, or, as a sham, of itself.

A twin is the same question on an image edited in a known way (docs/methods.md, Latent
exchange).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import CloseText, RowPlan, SlotEdit, fed
from lantern_probe.tasks.crops import evidence, first_image
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.twins import TWIN, TWIN_ANSWER

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass(frozen=True)
class Swap(Replacement):
    """Another sample's own latents; never one of the same image or question.

    At the slots: the own latents of a donor drawn from the data set.
    Source: arXiv 2606.05753; ReaLVR.
    Control: `self-swap`, and several seeds, which draw other donors.

    Attributes:
        seed: Seed of the draw of donors; default 0.
    """

    name: ClassVar[str] = "swap"
    from_pool: ClassVar[bool] = True
    seed: int = 0

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        """The sample whose latents are fed.

        Args:
            sample: The sample that gets them.
            pool: Own latents of the data set.

        Raises:
            LanternError: there is no pool, or no allowed donor in it.
        """
        return require(pool).donor(sample, generator(self.seed, self.name, sample.id))

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).latents[self.donor(sample, pool).id])

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        donor = self.donor(sample, pool)
        return {"donor": donor.id, "donor_answer": answer_among(donor, sample)}


@dataclass(frozen=True)
class Twin(Replacement):
    """The own latents of the sample's twin: if they are used, the twin's answer comes out.

    At the slots: the own latents of the same question on the edited image.
    Source: ReaLVR (docs/methods.md, Latent exchange).
    Control: `self-swap`, and `swap` (an unrelated donor).
    """

    name: ClassVar[str] = "twin"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        twin = sample.attributes.get(TWIN)
        if twin is None:
            raise LanternError(f"sample {sample.id!r} has no twin to exchange latents with")
        if twin not in require(pool).latents:
            raise LanternError(f"the twin {twin!r} of {sample.id!r} emitted no whole latent block")
        return fed(require(pool).latents[twin])

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        answer = sample.attributes.get(TWIN_ANSWER)
        return {"donor": sample.attributes[TWIN], "donor_answer": answer}


@dataclass(frozen=True)
class TwinFixedWords(Twin):
    """The twin's own latents, followed by the words of the sample's own text up to its answer.

    The words are forced; the answer itself is the model's. What the twin's latents do to it thus
    goes from the latents to the answer, and not by way of other words between them.

    At the slots: the own latents of the same question on the edited image.
    Source: the natural indirect effect with a mediator between held fixed (docs/methods.md, Causal
        mediation).
    Control: `twin`, whose words are free, and `own`.
    """

    name: ClassVar[str] = "twin-fixed-words"

    def plan(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> RowPlan:
        plan = super().plan(sample, lantern, pool)
        return replace(plan, close=words_fixed(sample, lantern, require(pool).words.get(sample.id)))


def words_fixed(sample: Sample, lantern: LanternModel, words: Sequence[int] | None) -> CloseText:
    """Force the words of a sample's own text after its first block, up to its answer.

    Args:
        sample: The sample.
        lantern: The model.
        words: Token ids of the own text after its first block; None if there is none.

    Raises:
        LanternError: there are no words.
    """
    if words is None:
        raise LanternError(f"sample {sample.id!r} has no own text whose words could be held fixed")
    from lantern_probe.model.answer_tokens import find_answer

    place = find_answer(lantern.processor.tokenizer, words, sample.candidates)
    fixed = tuple(words if place is None else words[: place.start])
    end = lantern.require_lvr().end

    def close(written: Sequence[int], following: int) -> int | None:
        if end not in written:
            return None
        behind = len(written) - list(written).index(end) - 1
        return fixed[behind] if behind < len(fixed) else None

    return close


@dataclass(frozen=True)
class SelfSwap(Replacement):
    """The sample's own latents, put back as another's would be: the sham of every exchange.

    At the slots: the own latents of the sample's first block, as known from a plain run.
    Source: latent exchange (ReaLVR).
    Control: none; it is the control of `swap`, `twin` and `shuffle`.
    """

    name: ClassVar[str] = "self-swap"
    from_pool: ClassVar[bool] = True

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        return fed(require(pool).own(sample))


@dataclass(frozen=True)
class TwinOracle(Twin):
    """The oracle latents of the sample's twin: the exchange with latents that hold the evidence.

    At the slots: the compressed vision features of the twin's evidence box.
    Source: defined here (docs/methods.md, The conclusion: could carry).
    Control: `oracle` (the sample's own evidence), and `twin`.
    """

    name: ClassVar[str] = "twin-oracle"

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        from lantern_probe.model.oracle import region_latents

        twin = require(pool).samples.get(str(sample.attributes.get(TWIN)))
        if twin is None:
            raise LanternError(f"sample {sample.id!r} has no twin with a latent block")
        return fed(region_latents(lantern, first_image(twin), evidence(twin)))


@dataclass(frozen=True)
class RandomPair(Swap):
    """The own latents of another pair's twin: an edit like the twin's, of another scene.

    At the slots: the latents of a sample's or a twin's opposite number in another pair. Pairs are
        put on a circle at random, and each lends to the next: every pair lends once.
    Source: the swap controls of viniferagy/lvr-eval-mechanistic-audit (random pair).
    Control: `twin` (the edit of the own pair), `self-swap`, and several seeds.

    Attributes:
        seed: Seed of the order of pairs; default 0.
    """

    name: ClassVar[str] = "random-pair"

    def donor(self, sample: Sample, pool: LatentPool | None) -> Sample:
        """The sample whose latents are fed.

        Args:
            sample: The sample that gets them.
            pool: Own latents of the data set.

        Raises:
            LanternError: there is no pool, the sample has no twin, or there is no other pair.
        """
        made = require(pool)
        if sample.attributes.get(TWIN) is None:
            raise LanternError(f"sample {sample.id!r} has no twin, hence no pair")
        circle: list[str] = made.cached((self.name, self.seed), lambda: self._circle(made))
        own = str(sample.attributes["pair"])
        first = sample.id == own
        if own not in circle or len(circle) < 2:
            raise LanternError(
                f"sample {sample.id!r}: no other pair has a whole latent block in both of its texts"
            )
        pair = circle[(circle.index(own) + 1) % len(circle)]
        return made.samples[str(made.samples[pair].attributes[TWIN]) if first else pair]

    def _circle(self, pool: LatentPool) -> list[str]:
        """The pairs both of whose samples have latents, in random order."""
        import torch

        whole = sorted(
            key
            for key, sample in pool.samples.items()
            if sample.attributes.get("pair") == key and sample.attributes.get(TWIN) in pool.samples
        )
        stream = generator(self.seed, self.name, "")
        return [whole[i] for i in torch.randperm(len(whole), generator=stream).tolist()]

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        known = TWIN_ANSWER in sample.attributes
        return super().details(sample, pool) | ({} if known else {"donor_answer": None})


def answer_among(donor: Sample, sample: Sample) -> str | None:
    """The sample's candidate that says what the donor's answer says; None if none does.

    Letters are compared by the texts of their options: B of one question is not B of another.

    Args:
        donor: The sample whose answer is looked for.
        sample: The sample among whose candidates it is looked for.
    """
    if donor.answer is None or donor.answer not in donor.candidates:
        return None
    said = donor.options[donor.candidates.index(donor.answer)].strip().lower()
    texts = [option.strip().lower() for option in sample.options]
    return sample.candidates[texts.index(said)] if said in texts else None
