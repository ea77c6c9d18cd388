"""A data set and its twins: every sample beside one that differs from it in a known way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample

TWIN = "twin"
"""The attribute under which each of a pair has the other's id."""


TWIN_ANSWER = "twin_answer"
"""The attribute with the answer that the twin's evidence calls for, where that is known."""


def with_twins(
    samples: Sequence[Sample], make: Callable[[Sample], Sample], *, answers_known: bool
) -> tuple[list[Sample], list[str]]:
    """Samples, each followed by its twin.

    Both carry the other's id as the attribute `twin`, and are one cluster for statistics, by the
    attribute `pair`.

    Args:
        samples: A data set.
        make: The twin of a sample; of the same question.
        answers_known: Whether the twin's `answer` is what its image calls for. An image that was
            blurred calls for nothing known.

    Returns:
        The pairs in one list, and for every sample without a twin why it has none.

    Raises:
        LanternError: no sample has a twin.
    """
    pairs: list[Sample] = []
    without: list[str] = []
    for sample in samples:
        try:
            twin = make(sample)
        except LanternError as error:
            without.append(str(error))
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


UNRELATED = "unrelated"


def unrelated_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """Samples in pairs of different answers, each the first that fits; one may be left over.

    Raises:
        LanternError: all have the same answer.
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
