"""Samples in pairs of twins, for everything that exchanges latents between the two of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.errors import LanternError
from lantern_probe.interventions.image import parse_image_corruption
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import twin as scene_twin
from lantern_probe.tasks.twins import (
    GIVEN,
    TWIN,
    UNRELATED,
    given_pairs,
    unrelated_pairs,
    with_twins,
)

if TYPE_CHECKING:
    from lantern_probe.records.run import Run

Fail = Callable[[Sample, LanternError], list[dict[str, Any]]]
"""Makes the rows of a sample that cannot be run."""

CHUNK = 32
"""Pairs that run together: the distances in their rows are to latents of the same chunk."""

SCENE_TWINS = ("color", "shape", "cell")
"""Edits of scenes after which the right answer is known."""


class TwinPairs(list[Sample]):
    """A sample and its twin in turns, [2 pairs], beside the samples that have none.

    Attributes:
        twin: Label of what makes the twins.
        without: The samples without a twin, each with the reason.
    """

    def __init__(
        self, samples: Sequence[Sample], twin: str, without: Sequence[tuple[Sample, str]] = ()
    ) -> None:
        super().__init__(samples)
        self.twin = twin
        self.without = list(without)

    @property
    def number(self) -> int:
        """Number of pairs."""
        return len(self) // 2

    @property
    def edit(self) -> str:
        """Words for what makes the twins."""
        if self.twin == GIVEN:
            return "the data's own twins"
        if self.twin == UNRELATED:
            return "unrelated pairs"
        known = "" if self.twin in SCENE_TWINS else ", whose right answers are unknown"
        return f"twins by {self.twin}{known}"

    @property
    def oracle(self) -> bool:
        """True if both of every pair have a box from which oracle latents are cropped."""
        edited = self.twin not in (GIVEN, UNRELATED, *SCENE_TWINS)
        return not edited and all(sample.boxes for sample in self)

    def conditions(self) -> tuple[str, ...]:
        """The conditions of a diagnosis that can be run on these pairs."""
        no_box = ("twin-oracle", "oracle")
        return tuple(c for c in CONDITIONS if self.oracle or c not in no_box)


def pair(
    samples: Sequence[Sample],
    twin: str | None = None,
    seed: int = 0,
    *,
    among: Sequence[Sample] = (),
) -> TwinPairs:
    """Give every sample a twin.

        >>> from lantern_probe import load_task
        >>> pairs = pair(load_task("scenes", 2))
        >>> pairs.edit, [sample.id for sample in pairs]
        ('twins by color', ['scenes-0-0', 'scenes-0-0~color0', 'scenes-0-1', 'scenes-0-1~color0'])

    Args:
        samples: Samples of one data set.
        twin: Label of the edit: an edit of scenes (`SCENE_TWINS`), a corruption of the image,
            `data` for the twins that samples name, or `unrelated` for another sample with another
            answer; by default as `usual_twin` has it.
        seed: Seed of the edits, default 0.
        among: For the twins that samples name, all samples of the data, if they are more than the
            samples; pairs of which either is among the samples are taken.

    Raises:
        LanternError: there are no samples, none has a twin, or there is no such edit.
    """
    twin = twin or usual_twin(among or samples)
    if twin in (GIVEN, UNRELATED):
        return _found_pairs(samples, twin, among)
    if twin in SCENE_TWINS:
        pairs, reasons = with_twins(
            samples,
            lambda sample: scene_twin(sample, twin, seed),  # type: ignore[arg-type]
            answers_known=True,
        )
    else:
        corruption = parse_image_corruption(twin)
        pairs, reasons = with_twins(
            samples, lambda sample: corruption.apply(sample, samples), answers_known=False
        )
    return TwinPairs(pairs, twin, list(zip(_lost(samples, pairs), reasons, strict=True)))


def usual_twin(samples: Sequence[Sample]) -> str:
    """The twins that data allow: their own, else another colour of scenes, else a black image.

    Args:
        samples: Samples of one data set.

    Raises:
        LanternError: there are no samples.
    """
    if not samples:
        raise LanternError("there are no samples to pair with twins")
    if any(TWIN in sample.attributes for sample in samples):
        return GIVEN
    if all(s.made is not None and s.made[0].startswith("scenes") for s in samples):
        return "color"
    return "black-box" if all(sample.boxes for sample in samples) else "black-image"


@overload
def record_pairs(run: Run, samples: TwinPairs, fail: Fail, *, lost: bool = True) -> TwinPairs: ...


@overload
def record_pairs(
    run: Run, samples: Sequence[Sample], fail: Fail, *, lost: bool = True
) -> list[Sample]: ...


def record_pairs(
    run: Run, samples: Sequence[Sample], fail: Fail, *, lost: bool = True
) -> list[Sample]:
    """Record samples before they are run, and those without a twin as failed.

    Args:
        run: Run of the samples.
        samples: Samples to run; `TwinPairs` know those without a twin.
        fail: Makes the rows of a sample that cannot be run.
        lost: True (default) to record those without a twin; False where another process does.

    Returns:
        All of them, under the ids by which the run has recorded them; pairs stay pairs.
    """
    if not isinstance(samples, TwinPairs):
        return run.register(samples)
    found = run.register([*samples, *(sample for sample, _ in samples.without)])
    without = [
        (sample, why)
        for sample, (_, why) in zip(found[len(samples) :], samples.without, strict=True)
    ]
    rows = [row for sample, why in without if lost for row in fail(sample, LanternError(why))]
    run.append_many([row for row in rows if not run.has(row["sample"], row["condition"])])
    return TwinPairs(found[: len(samples)], samples.twin, without)


def _found_pairs(samples: Sequence[Sample], twin: str, among: Sequence[Sample]) -> TwinPairs:
    """Pairs of samples that the data hold."""
    if twin == GIVEN:
        pairs = _picked(samples, among) if among else given_pairs(samples)
        why = "no other sample of the data is its twin"
    else:
        pairs = unrelated_pairs(samples)
        why = (
            "no sample of another answer is left to pair it with; take an even number of samples, "
            "with no answer above one half of them"
        )
    lost = [(sample, f"sample {sample.id!r}: {why}") for sample in _lost(samples, pairs)]
    return TwinPairs(pairs, twin, lost)


def _picked(samples: Sequence[Sample], among: Sequence[Sample]) -> list[Sample]:
    ids = {sample.id for sample in samples}
    pairs = given_pairs(among)
    found = []
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        if ids & {one.id, other.id}:
            found += [one, other]
    if not found:
        raise LanternError("the picked samples: none of them names a twin, or is one")
    return found


def _lost(samples: Sequence[Sample], pairs: Sequence[Sample]) -> list[Sample]:
    paired = {sample.id for sample in pairs}
    return [sample for sample in samples if sample.id not in paired]
