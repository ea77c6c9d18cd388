"""Words that captured vectors stand for, beside the same readout of vectors that cannot know them.

A reading is made from a capture on disk and the head of the model, without generating anything.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.analysis.word_readouts import MEASURES, WordReading
from lantern_probe.capture.lens import LogitLens, Words, words_of
from lantern_probe.errors import LanternError
from lantern_probe.records.store import Store
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

ANSWER = "answer"
"""The target that is the right answer; every other target is an attribute of the samples."""

VECTORS_TOGETHER = 256
"""Number of vectors whose logits over the whole vocabulary are in memory at once."""

CROSSED = 256
"""Most samples among which vectors are exchanged for the permutation test, the first by id."""


def text_of(sample: Sample, target: str) -> str | None:
    """The option that a target names, as its text; None where the sample has none.

    Args:
        sample: The sample; the answer of one with lettered options is an option's text too.
        target: `answer`, or the name of an attribute.
    """
    value = sample.answer if target == ANSWER else sample.attributes.get(target)
    if target == ANSWER and sample.lettered and value in sample.candidates:
        value = sample.options[string.ascii_uppercase.index(str(value))]
    return value if isinstance(value, str) and value in sample.options else None


def read_words(
    lantern: LanternModel,
    store: Store,
    samples: Sequence[Sample],
    *,
    target: str = ANSWER,
    advance: Callable[[], None] = lambda: None,
) -> list[WordReading]:
    """Read the text of a target from every site of a capture.

    Args:
        lantern: The model that was captured.
        store: The capture, of latents and residuals at any role.
        samples: Samples, with the options among which a text is told; those that were not
            captured, or whose text cannot be told from the other options by its first token, are
            left out.
        target: `answer` (default), or an attribute whose value is one of the options.
        advance: Function called after each site.

    Raises:
        LanternError: no sample has a text that can be read.
    """
    by_id = {sample.id: sample for sample in samples}
    tokenizer = lantern.processor.tokenizer
    places, texts, words = [], [], []
    vocabularies: dict[tuple[str, ...], Words] = {}
    for place, row in enumerate(store.samples):
        sample = by_id.get(row["sample"])
        text = None if sample is None else text_of(sample, target)
        if sample is None or text is None:
            continue
        if sample.options not in vocabularies:
            vocabularies[sample.options] = words_of(tokenizer, sample.options)
        known = vocabularies[sample.options]
        if text in known.texts and len(known.texts) > 1:
            places.append(place)
            texts.append(text)
            words.append(known)
    if not places:
        raise LanternError(
            f"no captured sample has options among which {target!r} can be told by its first "
            "token; a readout needs a question with options, and a target that is one of them"
        )
    rows = [store.samples[place] for place in places]
    lens = LogitLens.of(lantern)
    random = lens.untrained()
    found = []
    for site in store.sites:
        states = store.array(site)[places]
        if not site.startswith("latent"):
            states = lens.normed(states.to(lens.device, lantern.hf.dtype)).cpu()
        own, crossed = _measures(lens, states, words, texts)
        untrained = None
        if site.startswith("latent"):
            untrained = _measures(random, states, words, texts, crossed=0)[0]["probability"]
        found.append(
            WordReading(
                site=site,
                target=target,
                samples=[row["sample"] for row in rows],
                clusters=[row["cluster"] for row in rows],
                texts=texts,
                chance=np.array([1 / len(known.texts) for known in words]),
                own=own,
                crossed=crossed,
                untrained=untrained,
                end_cosine=lens.end_cosines(states).double().cpu().numpy(),
            )
        )
        advance()
    return found


def _measures(
    lens: LogitLens,
    states: Float[Tensor, "samples slots dim"],
    words: Sequence[Words],
    texts: Sequence[str],
    crossed: int = CROSSED,
) -> tuple[
    dict[str, Float[np.ndarray, "samples slots"]], Float[np.ndarray, "crossed crossed slots"]
]:
    """All measures of all vectors, NaN where a vector is, and the crossed probabilities."""
    count, slots = states.shape[:2]
    crossed = min(crossed, count)
    own = {name: np.full((count, slots), np.nan) for name in MEASURES}
    matrix = np.full((crossed, crossed, slots), np.nan)
    # Samples with the same options, so that their texts are scored together.
    groups: dict[Words, list[int]] = {}
    for index, known in enumerate(words):
        groups.setdefault(known, []).append(index)
    step = max(1, VECTORS_TOGETHER // slots)
    for first in range(0, count, step):
        logits = lens.logits(states[first : first + step])  # [some, slots, vocabulary]
        some = range(first, first + len(logits))
        for known, members in groups.items():
            mine = [index for index in members if index in some]
            asked = [index for index in members if index < crossed] if first < crossed else []
            if not mine and not asked:
                continue
            scores = known.scores(logits)
            shares = scores.softmax(-1).double().cpu().numpy()
            for index in mine:
                at, place = index - first, known.texts.index(texts[index])
                figures = _figures(logits[at], scores[at], place)
                finite = bool(torch.isfinite(logits[at]).all())
                for name in MEASURES if finite else ():
                    own[name][index] = figures[name]
            upto = min(first + step, crossed) - first
            for index in asked:
                place = known.texts.index(texts[index])
                matrix[index, first : first + upto] = shares[:upto, :, place]
    return own, matrix


def _figures(
    logits: Float[Tensor, "slots vocabulary"], scores: Float[Tensor, "slots texts"], place: int
) -> dict[str, Float[np.ndarray, " slots"]]:
    own = scores[:, place]
    rest = torch.cat([scores[:, :place], scores[:, place + 1 :]], dim=-1).amax(-1)
    found = {
        "rank": (logits > own[:, None]).sum(-1) + 1,
        "probability": scores.softmax(-1)[:, place],
        "margin": own - rest,
        "first": own > rest,
    }
    return {name: value.double().cpu().numpy() for name, value in found.items()}
