"""Erasing from the slots what a probe reads there, and controls that erase as much of nothing.

A probe that reads an attribute says that it is there; whether the answer uses it, erasing says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lantern_probe.errors import LanternError
from lantern_probe.interventions.base import Change, generator, require
from lantern_probe.interventions.pool import LatentPool, fold_of
from lantern_probe.model.blocks import Slot, SlotEdit
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.probing.erasure import Eraser


@dataclass(frozen=True)
class Erase(Change):
    """The own latents without what a linear probe can read about an attribute.

    At the slots: the stored own latent, mapped by an eraser per slot that was fitted on other
        samples; with `rerolled`, the latent that is made after the erased ones before it.
    Source: LEACE (arXiv 2306.03819).
    Control: `erase-random` (as much variance) and `erase-shuffled` (the same procedure).

    Attributes:
        attribute: Name of an attribute of the samples, or `answer`.
    """

    name: ClassVar[str] = "erase"
    from_pool: ClassVar[bool] = True
    attribute: str

    def edit(self, sample: Sample, lantern: LanternModel, pool: LatentPool | None) -> SlotEdit:
        erasers = self._erasers(require(pool), fold_of(sample))

        def erase(own: Tensor, slot: Slot) -> Tensor:
            return erasers[slot.index](own.cpu()).to(own)

        return self.changed(sample, pool, erase)

    def details(self, sample: Sample, pool: LatentPool | None) -> dict[str, Any]:
        fold = fold_of(sample)
        return {
            **super().details(sample, pool),
            "rank": [eraser.rank for eraser in self._erasers(require(pool), fold)],
            "removed": self._removed(require(pool), fold),
        }

    def _removed(self, pool: LatentPool, fold: int) -> list[float]:
        """Fraction of the variance that each slot's eraser removes in the fold left out."""

        def measure() -> list[float]:
            import torch

            from lantern_probe.probing.erasure import removed_variance

            inside = [pool.latents[key] for key, s in pool.samples.items() if fold_of(s) == fold]
            latents, erasers = torch.stack(inside), self._erasers(pool, fold)
            return [
                round(removed_variance(eraser, latents[:, slot]), 4)
                for slot, eraser in enumerate(erasers)
            ]

        return pool.cached((self, fold, "removed"), measure)

    def _erasers(self, pool: LatentPool, fold: int) -> list[Eraser]:
        """One per slot, fitted without the fold; kept with the pool."""
        bare = self.at(slots="", blocks="", frozen=False)
        return pool.cached((replace(bare, rerolled=False), fold), lambda: self._fit(pool, fold))

    def _fit(self, pool: LatentPool, fold: int) -> list[Eraser]:
        from lantern_probe.probing.erasure import fit_eraser

        labels, latents, _ = training(self.attribute, pool, fold)
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

        labels, latents, _ = training(self.attribute, pool, fold)
        stream = generator(self.seed, self.name, f"{self.attribute}\0{fold}")
        shuffled = [labels[i] for i in torch.randperm(len(labels), generator=stream).tolist()]
        return [fit_eraser(latents[:, slot], shuffled) for slot in range(latents.shape[1])]


@dataclass(frozen=True)
class EraseRandom(Erase):
    """Random directions erased instead: as many as `erase` takes, and as much variance.

    The directions are weighted towards large or small variance until the eraser removes as much of
    it from samples that it was not fitted on as that of the attribute does.

    At the slots: the own latent, stored or re-rolled as in `erase`, without these directions.
    Source: defined here (docs/methods.md, Erasure).
    Control: none; it is a control of `erase`.

    Attributes:
        attribute: Name of an attribute of the samples, or `answer`.
        seed: Seed of the directions; default 0.
    """

    name: ClassVar[str] = "erase-random"
    seed: int = 0

    def _fit(self, pool: LatentPool, fold: int) -> list[Eraser]:
        from lantern_probe.probing.erasure import matched_eraser

        labels, latents, folds = training(self.attribute, pool, fold)
        return [
            matched_eraser(
                latents[:, slot],
                labels,
                folds,
                generator(self.seed, self.name, f"{self.attribute}\0{fold}\0{slot}"),
            )
            for slot in range(latents.shape[1])
        ]


def training(attribute: str, pool: LatentPool, fold: int) -> tuple[list[str], Tensor, list[int]]:
    """Labels, own latents [n, K, D] and folds of the samples outside a fold with the attribute.

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
    latents = torch.stack([pool.latents[key] for key in values])
    return list(values.values()), latents, [fold_of(pool.samples[key]) for key in values]


def attribute_of(sample: Sample, attribute: str) -> str | None:
    """A sample's value of an attribute as text; None where it has none.

    Args:
        sample: The sample.
        attribute: Name of an attribute, or `answer`.
    """
    value = sample.answer if attribute == "answer" else sample.attributes.get(attribute)
    return None if value is None else str(value)
