"""Pairs of twins for a diagnosis: the data's own, else edits of the scene or of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.errors import LanternError
from lantern_probe.interventions.image import BlackBox, BlackImage
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import twin as scene_twin
from lantern_probe.tasks.twins import TWIN, given_pairs, with_twins

CHUNK = 32
"""Pairs that run together: the distances in their rows are to latents of the same chunk."""


@dataclass(frozen=True)
class TwinPairs:
    """Samples in pairs of twins.

    Attributes:
        samples: A sample and its twin in turns, [2 pairs].
        edit: Words for what makes the twins.
        oracle: True if both of every pair have a box from which oracle latents are cropped.
        without: For every sample without a twin, the reason.
    """

    samples: list[Sample]
    edit: str
    oracle: bool
    without: list[str]

    @property
    def number(self) -> int:
        """Number of pairs."""
        return len(self.samples) // 2

    def conditions(self) -> tuple[str, ...]:
        """The conditions that can be run on these pairs."""
        no_box = ("twin-oracle", "oracle")
        return tuple(c for c in CONDITIONS if self.oracle or c not in no_box)


def pair(samples: Sequence[Sample], seed: int = 0) -> TwinPairs:
    """Give every sample a twin: the data's own, else an edit of the scene, else of the image.

    Args:
        samples: Samples of one data set.
        seed: Seed of the edits, default 0.

    Raises:
        LanternError: there are no samples, or none has a twin.
    """
    if not samples:
        raise LanternError("there are no samples to diagnose a model with")
    if any(TWIN in sample.attributes for sample in samples):
        pairs = given_pairs(samples)
        paired = {sample.id for sample in pairs}
        without = [f"sample {s.id!r}: no twin is named" for s in samples if s.id not in paired]
        return TwinPairs(pairs, "the data's own twins", all(s.boxes for s in pairs), without)
    if all(s.made is not None and s.made[0].startswith("scenes") for s in samples):
        pairs, without = with_twins(
            samples, lambda sample: scene_twin(sample, "color", seed), answers_known=True
        )
        return TwinPairs(pairs, "twins by color", True, without)
    edit = BlackBox() if all(s.boxes for s in samples) else BlackImage()
    pairs, without = with_twins(
        samples, lambda sample: edit.apply(sample, samples), answers_known=False
    )
    return TwinPairs(
        pairs, f"twins by {edit.label}, whose right answers are unknown", False, without
    )
