"""Scenes of two families: the tasks on which truths are between 0 and 1, or differ by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import TEMPLATES, scenes

MIXED, SEEN = "scenes-mixed", "scenes-seen"
"""Names of the tasks of two families; a colon and the share follow, as in `scenes-mixed:0.25`."""
HALVES = "scenes-halves"
"""Name of the task whose categories are those that the organism *halves* reads differently."""
SLOTS_TEMPLATES, IMAGE_TEMPLATES = (0,), (1, 2)
"""Indices into `TEMPLATES` of the wordings that the organism *partial* answers through its slots,
and of those it answers off the image."""


def mixed_scenes(n: int, seed: int = 0, *, share: float, start: int = 0) -> list[Sample]:
    """Generate scenes whose questions are of two families, mixed in a given share.

    The attribute `family` is `slots` for the wording that the organism *partial* answers through
    its slots, and `image` for the wordings it answers off the image. The families are drawn, so
    that a list's own share scatters about the given one: `family_share` measures it. Scene i
    depends on (seed, i, share) only, and shows what scene i of `scenes` shows. A scene that is in
    the family `slots` at one share is so at every larger share.

    Args:
        n: Number of scenes.
        seed: Seed of the series, default 0.
        share: Probability of the family `slots`, between 0 and 1.
        start: Index of the first scene, default 0.

    Raises:
        LanternError: a number is negative, or the share is not between 0 and 1.

    Examples:
        >>> from lantern_probe.tasks.families import family_share, mixed_scenes
        >>> samples = mixed_scenes(200, share=0.25)
        >>> samples[1].attributes["family"], samples[1].question
        ('image', 'look at the picture and name the color of the square .')
        >>> family_share(samples)
        0.26
    """
    _check_share(share)
    mixed = []
    for sample in scenes(n, seed, start=start):
        assert sample.made is not None
        rng = np.random.default_rng([seed, sample.made[2], len(TEMPLATES)])
        family = "slots" if rng.random() < share else "image"
        wordings = SLOTS_TEMPLATES if family == "slots" else IMAGE_TEMPLATES
        template = wordings[int(rng.integers(len(wordings)))]
        name = f"{MIXED}:{float(share)}"
        mixed.append(
            replace(
                sample,
                id=f"{name}-{seed}-{sample.made[2]}",
                question=TEMPLATES[template].format(shape=sample.attributes["shape"]),
                attributes={**sample.attributes, "template": template, **_family(family)},
                made=(name, seed, sample.made[2]),
            )
        )
    return mixed


def seen_scenes(n: int, seed: int = 0, *, share: float, start: int = 0) -> list[Sample]:
    """Generate scenes whose asked object is visible in a given share of them, and grey in others.

    The attribute `family` is `visible` or `hidden`, drawn for each scene; `family_share` measures
    the share of a list. Scene i depends on (seed, i, share) only.

    Args:
        n: Number of scenes.
        seed: Seed of the series, default 0.
        share: Probability of a visible object, between 0 and 1.
        start: Index of the first scene, default 0.

    Raises:
        LanternError: a number is negative, or the share is not between 0 and 1.
    """
    _check_share(share)
    seen = []
    for sample in scenes(n, seed, start=start):
        assert sample.made is not None
        index = sample.made[2]
        visible = np.random.default_rng([seed, index, len(TEMPLATES)]).random() < share
        shown = sample if visible else scenes(1, seed, hide_asked=True, start=index)[0]
        name = f"{SEEN}:{float(share)}"
        seen.append(
            replace(
                shown,
                id=f"{name}-{seed}-{index}",
                attributes={**shown.attributes, **_family("visible" if visible else "hidden")},
                made=(name, seed, index),
            )
        )
    return seen


def halves_scenes(n: int, seed: int = 0, *, start: int = 0) -> list[Sample]:
    """Generate scenes whose category is the half of the slots from which *halves* reads them.

    Scene i is scene i of `scenes`, with the category `first half` for the first wording of the
    question and `second half` for the others.

    Args:
        n: Number of scenes.
        seed: Seed of the series, default 0.
        start: Index of the first scene, default 0.
    """
    found = []
    for sample in scenes(n, seed, start=start):
        assert sample.made is not None
        half = "first half" if sample.attributes["template"] in SLOTS_TEMPLATES else "second half"
        index = sample.made[2]
        found.append(
            replace(
                sample,
                id=f"{HALVES}-{seed}-{index}",
                attributes={**sample.attributes, "category": half},
                made=(HALVES, seed, index),
            )
        )
    return found


def family_share(samples: Sequence[Sample]) -> float:
    """Share of the samples of the family `slots` or `visible`: the truth of a mixture.

    Raises:
        LanternError: there are no samples, or one tells no family.
    """
    families = [sample.attributes.get("family") for sample in samples]
    if not families or None in families:
        raise LanternError("a share needs samples with the attribute family; none is told here")
    return sum(family in ("slots", "visible") for family in families) / len(families)


def _family(name: str) -> dict[str, str]:
    """The family, which is the category of the question too: tables by category are by family."""
    return {"family": name, "category": name}


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:  # a NaN is refused as well
        raise LanternError(f"the share of a mixture must be between 0 and 1, not {share}")


def family_task(name: str, n: int, seed: int) -> list[Sample] | None:
    """Generate the samples of a task of two families; None if the name is no such task.

    Args:
        name: Name of the task with the share after a colon, such as `scenes-mixed:0.25`; or
            `scenes-halves`.
        n: Number of samples.
        seed: Seed of the series.

    Raises:
        LanternError: the share is missing or not between 0 and 1.
    """
    if name == HALVES:
        return halves_scenes(n, seed)
    task, _, share = name.partition(":")
    if task not in (MIXED, SEEN):
        return None
    try:
        number = float(share)
    except ValueError:
        raise LanternError(
            f"the task {name!r} needs a share between 0 and 1 after a colon, as in {task}:0.25"
        ) from None
    make = mixed_scenes if task == MIXED else seen_scenes
    return make(n, seed, share=number)
