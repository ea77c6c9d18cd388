"""Erasing from the slots what a probe reads there, and controls that erase as much of nothing.

A probe that reads an attribute says that it is there; whether the answer uses it, erasing says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Replacement, generator, require
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import Slot, SlotEdit
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.probing.erasure import Eraser

FOLDS = 5
"""Number of folds; the erasers of a sample are fitted on the folds without its image."""


@dataclass(frozen=True)
class Erase(Replacement):
    """The own latents without what a linear probe can read about an attribute.

    At the slots: the own latent, mapped by an eraser per slot that was fitted on other samples.
    Source: LEACE (arXiv 2306.03819).
    Control: `erase-random` (as many directions) and `erase-shuffled` (the same procedure).

    Attributes:
        attribute: Name of an attribute of the samples, or `answer`.
    """

    name: ClassVar[str] = "erase"
    from_pool: ClassVar[bool] = True
    attribute: str

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        erasers = self._erasers(require(pool), fold_of(sample))

        def edit(own: Tensor, slot: Slot) -> Tensor:
            return erasers[slot.index](own.cpu()).to(own)

        return edit

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        return {"rank": [e.rank for e in self._erasers(require(pool), fold_of(sample))]}

    def _erasers(self, pool: LatentPool, fold: int) -> list[Eraser]:
        """One per slot, fitted without the fold; kept with the pool."""
        return pool.cached((self, fold), lambda: self._fit(pool, fold))

    def _fit(self, pool: LatentPool, fold: int) -> list[Eraser]:
        from lantern_probe.probing.erasure import fit_eraser

        labels, latents = training(self.attribute, pool, fold)
        return [fit_eraser(latents[:, slot], labels) for slot in range(latents.shape[1])]


@dataclass(frozen=True)
class EraseShuffled(Erase):
    """The eraser of shuffled values: what erasing costs where there is nothing to erase.

    At the slots: the own latent, mapped by an eraser of the attribute shuffled over the samples.
    Source: the control task (Hewitt & Liang, arXiv 1909.03368), for LEACE.
    Control: none; it is a control of `erase`.

    Attributes:
        attribute: Name of an attribute of the samples, or `answer`.
        seed: Seed of the shuffle; default 0.
    """

    name: ClassVar[str] = "erase-shuffled"
    seed: int = 0

    def _fit(self, pool: LatentPool, fold: int) -> list[Eraser]:
        import torch

        from lantern_probe.probing.erasure import fit_eraser

        labels, latents = training(self.attribute, pool, fold)
        stream = generator(self.seed, self.name, f"{self.attribute}\0{fold}")
        shuffled = [labels[i] for i in torch.randperm(len(labels), generator=stream).tolist()]
        return [fit_eraser(latents[:, slot], shuffled) for slot in range(latents.shape[1])]


@dataclass(frozen=True)
class EraseRandom(Erase):
    """Random directions erased instead, as many as `erase` takes for the same attribute.

    At the slots: the own latent without these directions.
    Source: defined here (docs/methods.md, Erasure).
    Control: none; it is a control of `erase`.

    Attributes:
        attribute: Name of an attribute of the samples, or `answer`.
        seed: Seed of the directions; default 0.
    """

    name: ClassVar[str] = "erase-random"
    seed: int = 0

    def _fit(self, pool: LatentPool, fold: int) -> list[Eraser]:
        from lantern_probe.probing.erasure import fit_eraser, random_eraser

        labels, latents = training(self.attribute, pool, fold)
        erasers = []
        for slot in range(latents.shape[1]):
            rank = fit_eraser(latents[:, slot], labels).rank
            stream = generator(self.seed, self.name, f"{self.attribute}\0{fold}\0{slot}")
            erasers.append(random_eraser(latents[:, slot], rank, stream))
        return erasers


def training(attribute: str, pool: LatentPool, fold: int) -> tuple[list[str], Tensor]:
    """Labels and own latents [n, K, D] of the samples outside a fold that have the attribute.

    Args:
        attribute: Name of an attribute of the samples, or `answer`.
        pool: Own latents of the data set.
        fold: The fold that is left out.

    Raises:
        LanternError: fewer than two samples have it.
    """
    import torch

    values = {
        key: value
        for key, sample in pool.samples.items()
        if (value := attribute_of(sample, attribute)) is not None and fold_of(sample) != fold
    }
    if len(values) < 2:
        known = sorted({name for sample in pool.samples.values() for name in sample.attributes})
        raise LanternError(
            f"fewer than two samples outside the fold have the attribute {attribute!r}; there are "
            f"answer, {', '.join(known)}"
        )
    return list(values.values()), torch.stack([pool.latents[key] for key in values])


def attribute_of(sample: Sample, attribute: str) -> str | None:
    """A sample's value of an attribute as text; None where it has none.

    Args:
        sample: The sample.
        attribute: Name of an attribute, or `answer`.
    """
    value = sample.answer if attribute == "answer" else sample.attributes.get(attribute)
    return None if value is None else str(value)


def fold_of(sample: Sample) -> int:
    """The fold of a sample: the same for all samples of its images and for its twin, in any run.

    Args:
        sample: The sample.
    """
    key = sample.cluster
    digest = hashlib.sha256(key.encode()).digest()
    return digest[0] % FOLDS
