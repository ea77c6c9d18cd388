"""Twins: every sample of a data set beside one that differs from it in a known way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample

TWIN = "twin"
"""Attribute with the id of the other sample of the pair."""

TWIN_ANSWER = "twin_answer"
"""Attribute with the answer that the other sample's evidence determines, where that is known."""

UNRELATED = "unrelated"
"""Word on the command line for pairs of unrelated samples, in place of edited twins."""


def with_twins(
    samples: Sequence[Sample], make: Callable[[Sample], Sample], *, answers_known: bool
) -> tuple[list[Sample], list[str]]:
    """Put every sample's twin after it.

    Each of a pair has the other's id as the attribute `twin`. The common attribute `pair` makes the
    two one cluster for statistics.

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
    return pairs, without


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
    return pairs


def own_pairs(samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """Pair samples with the twins that the data themselves name.

    The attribute `twin` of a sample holds the id of the edited sample; one of the two may leave it
    out.

    Args:
        samples: Samples of a data set, twins among them.

    Returns:
        The pairs in one list, with the attributes `twin`, `pair` and, where known, `twin_answer`;
        and for every sample that has no twin, the reason.

    Raises:
        LanternError: no sample has a twin.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs: list[Sample] = []
    without: list[str] = []
    paired: set[str] = set()
    for sample in samples:
        name = sample.attributes.get(TWIN)
        if name is None or sample.id in paired:
            continue
        twin = by_id.get(str(name))
        if twin is None or twin is sample or twin.id in paired:
            why = "is the sample itself" if twin is sample else "is the twin of another"
            why = "is not among the samples" if twin is None else why
            without.append(f"sample {sample.id!r}: the twin {str(name)!r} {why}")
            continue
        paired |= {sample.id, twin.id}
        for one, other in ((sample, twin), (twin, sample)):
            known: dict[str, str | None] = {TWIN: other.id, "pair": sample.id}
            if other.answer is not None:
                known[TWIN_ANSWER] = other.answer
            pairs.append(replace(one, attributes={**one.attributes, **known}))
    named = {sample.id for sample in samples if TWIN in sample.attributes}
    without += [
        f"sample {sample.id!r}: no twin is named"
        for sample in samples
        if sample.id not in paired and sample.id not in named
    ]
    if not pairs:
        raise LanternError(f"none of {len(samples)} samples has a twin: {'; '.join(without[:3])}")
    return pairs, without
