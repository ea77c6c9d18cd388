"""Twins: every sample of a data set beside one that differs from it in a known way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lantern_probe.errors import LanternError
from lantern_probe.tasks.clusters import joined
from lantern_probe.tasks.sample import Sample

TWIN = "twin"
"""Attribute with the id of the other sample of the pair."""

TWIN_ANSWER = "twin_answer"
"""Attribute with the answer that the other sample's evidence determines, where that is known."""

UNRELATED = "unrelated"
"""Word on the command line for pairs of unrelated samples, in place of edited twins."""

GIVEN = "data"
"""Word on the command line for the twins that the data themselves have."""


def with_twins(
    samples: Sequence[Sample], make: Callable[[Sample], Sample], *, answers_known: bool
) -> tuple[list[Sample], list[str]]:
    """Put every sample's twin after it.

    Each of a pair has the other's id as the attribute `twin`. The common attribute `pair` makes the
    two one cluster for statistics; pairs of one image are one cluster together.

    Args:
        samples: Samples of a data set.
        make: Function that makes a sample's twin, with the same question. It raises `LanternError`
            where there is none.
        answers_known: True if the twin's image determines its answer (an edited scene), False if
            not (a blurred image).

    Returns:
        The pairs in one list; and for every sample without a twin, the reason.

    Raises:
        LanternError: no sample has a twin.

    Examples:
        >>> from lantern_probe.tasks.scenes import scenes, twin
        >>> from lantern_probe.tasks.twins import with_twins
        >>> pairs, without = with_twins(scenes(2), twin, answers_known=True)
        >>> [sample.id for sample in pairs]
        ['scenes-0-0', 'scenes-0-0~color0', 'scenes-0-1', 'scenes-0-1~color0']
    """
    pairs: list[Sample] = []
    without: list[str] = []
    for sample in samples:
        try:
            twin = make(sample)
        except LanternError as error:
            reason = str(error)
            known_by = f"sample {sample.id!r}"
            without.append(reason if known_by in reason else f"{known_by}: {reason}")
            continue
        twin = replace(twin, id=f"{sample.id}~") if twin.id == sample.id else twin
        for one, other in ((sample, twin), (twin, sample)):
            known: dict[str, str | None] = {TWIN: other.id, "pair": sample.id}
            if answers_known:
                known[TWIN_ANSWER] = other.answer
            pairs.append(replace(one, attributes={**one.attributes, **known}))
    if not pairs:
        reason = f": {without[0]}" if without else ""
        raise LanternError(f"none of {len(samples)} samples has a twin{reason}")
    # The image of a twin is made from its sample's, and says nothing more.
    return _of_one_image(pairs, pairs[::2]), without


def given_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """Put the twin that a sample names after it; samples without one are left out.

    Args:
        samples: Samples of which some have the id of another one, edited, as the attribute `twin`.

    Returns:
        The pairs in one list, with the attributes `twin`, `twin_answer` and `pair` on both.

    Raises:
        LanternError: no sample names a twin, or a sample would be in two pairs.
    """
    by_id = {sample.id: sample for sample in samples}
    partner: dict[str, str] = {}
    pairs: list[Sample] = []
    for sample in samples:
        twin = by_id.get(str(sample.attributes.get(TWIN)))
        if twin is None or partner.get(sample.id) == twin.id:
            continue
        if sample.id in partner or twin.id in partner:
            both = sample.id if sample.id in partner else twin.id
            raise LanternError(f"sample {both!r} is the twin of two samples; each has one")
        partner |= {sample.id: twin.id, twin.id: sample.id}
        for one, other in ((sample, twin), (twin, sample)):
            known = {TWIN: other.id, TWIN_ANSWER: other.answer, "pair": sample.id}
            pairs.append(replace(one, attributes={**one.attributes, **known}))
    if not pairs:
        raise LanternError(
            f"none of {len(samples)} samples names a twin; give its column by --fields twin=COLUMN"
        )
    return _of_one_image(pairs, pairs)


def unrelated_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """Pair samples with different answers.

    Each sample is paired with the first one waiting whose answer differs. Samples for which no
    other is left are dropped.

    Returns:
        The pairs in one list, with the attributes `twin`, `twin_answer` and `pair`.

    Raises:
        LanternError: all samples have the same answer.
    """
    pairs: list[Sample] = []
    waiting: list[Sample] = []
    for sample in samples:
        other = next((one for one in waiting if one.answer != sample.answer), None)
        if other is None:
            waiting.append(sample)
            continue
        waiting.remove(other)
        for one, twin in ((other, sample), (sample, other)):
            known = {TWIN: twin.id, TWIN_ANSWER: twin.answer, "pair": other.id}
            pairs.append(replace(one, attributes={**one.attributes, **known}))
    if not pairs:
        raise LanternError("unrelated pairs need samples of different answers")
    return _of_one_image(pairs, pairs)


def _of_one_image(pairs: Sequence[Sample], of_images: Sequence[Sample]) -> list[Sample]:
    """Make pairs that share an image, or a cluster of the data, one cluster.

    Args:
        pairs: Samples with the attribute `pair`.
        of_images: Those of them whose images are looked at.
    """
    keys = {s.id: str(s.attributes.get("cluster") or s.image_key or s.id) for s in of_images}
    looked = [sample for sample in pairs if sample.id in keys]
    groups = joined([[s.attributes["pair"] for s in looked], [keys[s.id] for s in looked]])
    group = {s.attributes["pair"]: number for s, number in zip(looked, groups, strict=True)}
    members = Counter(group.values())
    found = []
    for sample in pairs:
        number = group[sample.attributes["pair"]]
        if members[number] > 1:
            known = {**sample.attributes, "cluster": keys[looked[number].id]}
            sample = replace(sample, attributes=known)
        found.append(sample)
    return found


def linked_twins(samples: Sequence[Sample], where: str, *, partly: bool = False) -> list[Sample]:
    """Make samples that name their twins one cluster with them, and give each its twin's answer.

    Args:
        samples: Samples, of which some have the id of an edited one as the attribute `twin`.
        where: Name of the data, for messages.
        partly: True if rows were left out, and their samples' twins go without; default False.

    Raises:
        LanternError: a twin is not there, or is the sample itself.
    """
    by_id = {sample.id: sample for sample in samples}
    links: dict[str, str] = {}
    for sample in samples:
        twin = sample.attributes.get(TWIN)
        if twin == sample.id or (twin is not None and twin not in by_id and not partly):
            fault = "is that sample itself" if twin == sample.id else "is not among the samples"
            raise LanternError(f"{where}: the twin {twin!r} of sample {sample.id!r} {fault}")
        if twin in by_id:
            links[sample.id] = str(twin)
    # Ids under which another sample is reached, and its own: equal ones link the two.
    pairs = joined([[s.id for s in samples], [links.get(s.id, s.id) for s in samples]])
    members = Counter(pairs)
    linked = []
    for sample, pair in zip(samples, pairs, strict=True):
        known = {name: value for name, value in sample.attributes.items() if name != TWIN}
        if sample.id in links:
            known[TWIN] = links[sample.id]
            known[TWIN_ANSWER] = by_id[links[sample.id]].answer
        if members[pair] > 1:
            known["pair"] = samples[pair].id
        linked.append(replace(sample, attributes=known))
    return linked
