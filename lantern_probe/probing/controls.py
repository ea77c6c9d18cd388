"""What a probe is held against: labels without content, and inputs without latents.

A probe's accuracy alone says little: labels may be guessed from the question, a rich probe learns
random labels too, and many probes find something by chance (METHODS: probes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.folds import Groups


@dataclass(frozen=True, eq=False)
class Labels:
    """A column as classes.

    Attributes:
        classes: Names, in the order of their numbers.
        codes: Class of each sample, -1 without one, [n].
        left_out: Samples whose value is too rare to be predicted in every fold.
    """

    classes: list[Any]
    codes: Int[Tensor, " n"]
    left_out: int

    @property
    def majority(self) -> float:
        """Share of the most frequent class among the labelled samples."""
        labelled = self.codes[self.codes >= 0]
        return int(torch.bincount(labelled).max()) / len(labelled)


def encode(values: Sequence[Any], groups: Groups, least: int) -> Labels:
    """Classes of a column; None and NaN have none, nor have values in fewer than `least` groups.

    Raises:
        LanternError: fewer than two classes are left.
    """
    named = [None if missing(value) else value for value in values]
    where: dict[Any, set[Any]] = {}
    for value, group in zip(named, groups, strict=True):
        where.setdefault(value, set()).add(group)
    where.pop(None, None)
    classes = sorted((v for v, g in where.items() if len(g) >= least), key=lambda v: (str(v), v))
    if len(classes) < 2:
        raise LanternError(
            f"a probe needs two classes that occur in at least {least} images each; there are "
            f"{len(classes)} of {len(where)} values"
        )
    number = {value: index for index, value in enumerate(classes)}
    codes = [-1 if value is None else number.get(value, -1) for value in named]
    rare = sum(value is not None and value not in number for value in named)
    return Labels(classes, torch.tensor(codes), rare)


def missing(value: Any) -> bool:
    """Whether a sample has no value: None, or NaN, which is how a column of numbers says so."""
    return value is None or (isinstance(value, float) and value != value)


def control_task(
    codes: Int[Tensor, " n"], types: Sequence[Any], seed: int = 0
) -> Int[Tensor, " n"]:
    """A random label for every *type* of input, the same wherever the type occurs.

    Hewitt & Liang (1909.03368): such labels can only be memorised, so what a probe makes of them
    is its capacity, and accuracy minus control accuracy its selectivity. Types get the labels of
    samples drawn at random, so that the classes are about as frequent as in truth.

    Args:
        codes: The true labels, -1 without one.
        types: Of each sample, such as its question.
        seed: Of the draw.
    """
    rng = np.random.default_rng([seed, 1])
    names = sorted({str(t) for t in types})
    drawn = rng.choice(codes[codes >= 0].numpy(), size=len(names))
    label = dict(zip(names, drawn.tolist(), strict=True))
    control = torch.tensor([label[str(t)] for t in types])
    return control.where(codes >= 0, torch.tensor(-1))


def shuffled(
    values: Tensor, groups: Groups, count: int, seed: int = 0
) -> Float[Tensor, "count n"] | Int[Tensor, "count n"]:
    """The values under `count` random permutations of whole groups, for permutation tests.

    Questions on one image are not independent, so groups of equal size change places as a whole;
    a group that is the only one of its size stays where it is.

    Args:
        values: Labels or targets [n].
        groups: The image of each sample [n].
        count: Number of permutations.
        seed: Of their generator: the same permutations for every site, so that the largest score
            over all sites has a null distribution too.
    """
    rng = np.random.default_rng([seed, 2])
    members: dict[Any, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    by_size: dict[int, list[list[int]]] = {}
    for indices in members.values():
        by_size.setdefault(len(indices), []).append(indices)
    rows = torch.empty(count, len(values), dtype=values.dtype)
    for row in rows:
        for blocks in by_size.values():
            order = rng.permutation(len(blocks))
            into = torch.tensor(blocks)
            row[into.flatten()] = values[into[order].flatten()]
    return rows


def question_features(prompts: Sequence[str]) -> Float[Tensor, "n words"]:
    """Which words and pairs of words a question has: what can be known without any image."""
    counts = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"\S+")
    try:
        table = counts.fit_transform(prompts)
    except ValueError:
        raise LanternError("the samples' questions hold no words") from None
    dense = torch.tensor(table.toarray(), dtype=torch.float32)
    return dense[:, dense.std(0) > 0] if len(dense) > 1 else dense
