"""The own latents of a data set, kept in the folder of its run, by sample and pass.

Conditions that need the own latents of all samples come after the others. The latents are on disk
before the own row is, so that a resumed run does not make them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from lantern_probe.interventions.pool import LatentPool
from lantern_probe.tasks.sample import Sample

OWN_LATENTS = "own_latents"
"""Folder of own latents within a run's folder."""


WORDS = "\0words "
"""Prefix of the names under which words are kept; no sample's id has the first character."""


def folders_of(name: str, passes: int | None) -> list[str]:
    """The folders of own latents under one corruption of the images, by pass.

    Args:
        name: Name of the corruption.
        passes: Number of passes; None for greedy decoding, which has one without a folder of its
            own.
    """
    folder = f"{OWN_LATENTS}/{name}"
    return [folder] if passes is None else [f"{folder}/pass-{p}" for p in range(passes)]


def pools_of(
    samples: Iterable[Sample], latents: Sequence[Mapping[str, Tensor]]
) -> list[LatentPool]:
    """The pool of each pass: the own latents of all samples whose text has a block.

    Args:
        samples: The samples of the run.
        latents: Own latents by id of the sample, and the token ids after the block by the id behind
            `WORDS`, for every pass.
    """
    # In the order of ids: random draws must not depend on the order of the data.
    ordered = sorted(samples, key=lambda sample: sample.id)
    found = []
    for own in latents:
        some = [sample for sample in ordered if sample.id in own]
        words = {s.id: tuple(own[WORDS + s.id].tolist()) for s in some}
        found.append(LatentPool({s.id: s for s in some}, {s.id: own[s.id] for s in some}, words))
    return found
