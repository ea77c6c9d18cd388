"""Controls of a probe: labels without content, and inputs without latents.

A probe's accuracy alone says little. Labels may be guessed from the question, a rich probe learns
random labels too (Hewitt & Liang, arXiv 1909.03368), and some of many probes succeed by chance. See
docs/methods.md, Probes.
"""

from __future__ import annotations

import math
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
from lantern_probe.vocabulary import VALUE


@dataclass(frozen=True, eq=False)
class Labels:
    """Classes of the samples, made from a column of values.

    Attributes:
        classes: Value of each class, in the order of the codes.
        codes: Class of each sample, [n], counted from 0; -1 for a sample without one.
        left_out: Number of samples whose value is too rare to be predicted in every fold.
    """

    classes: list[Any]
    codes: Int[Tensor, " n"]
    left_out: int

    @property
    def majority(self) -> float:
        """Fraction of the labelled samples that are of the most frequent class."""
        labelled = self.codes[self.codes >= 0]
        return int(torch.bincount(labelled).max()) / len(labelled)


def encode(values: Sequence[Any], groups: Groups, least: int) -> Labels:
    """Turn a column into classes.

    Args:
        values: Value of each sample, [n]. None and NaN are no class.
        groups: Image of each sample, [n].
        least: Number of groups in which a value must occur to be a class.

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
    """True for None and for NaN, which stands for no value in a column of numbers."""
    return value is None or (isinstance(value, float) and value != value)


def numbers(name: str, values: Sequence[Any]) -> list[float | None]:
    """The values of a column as numbers; None for a sample without one.

    Args:
        name: Name of the target, for the message of the error.
        values: Value of each sample, [n].

    Raises:
        LanternError: a value is no finite number, or all are the same.
    """
    found: list[float | None] = []
    for value in values:
        try:
            number = None if missing(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or (number is not None and not math.isfinite(number)):
            raise LanternError(
                f"{name!r} asks for numbers, and {value!r} is none; write "
                f"{name.removesuffix(VALUE)!r} to read the column as classes"
            )
        found.append(number)
    if len(set(found) - {None}) < 2:
        raise LanternError(f"{name!r} holds fewer than two different numbers; leave it out")
    return found


def control_task(
    codes: Int[Tensor, " n"], types: Sequence[Any], seed: int = 0
) -> Int[Tensor, " n"]:
    """Draw a random label for every *type* of input, the same wherever the type occurs.

    Such labels can only be memorised (Hewitt & Liang, arXiv 1909.03368). A probe's accuracy on them
    is its capacity. Its selectivity is its accuracy above the majority class, minus the same of
    these labels, whose majority is another. Types get the labels of
    samples drawn at random, so that classes are about as frequent as in truth.

    Args:
        codes: True class of each sample, [n]; -1 for a sample without one.
        types: Type of each sample, [n], such as its question.
        seed: Seed of the draw, default 0.

    Returns:
        Control class of each sample, [n]; -1 where the true class is.
    """
    rng = np.random.default_rng([seed, 1])
    names = sorted({str(t) for t in types})
    drawn = rng.choice(codes[codes >= 0].numpy(), size=len(names))
    label = dict(zip(names, drawn.tolist(), strict=True))
    control = torch.tensor([label[str(t)] for t in types])
    return control.where(codes >= 0, torch.tensor(-1))


def lone_types(types: Sequence[Any], groups: Groups) -> str | None:
    """Why control tasks of these types can teach a probe nothing; None where they can.

    A control label is learnt from other samples of the same type. Folds keep an image together, so
    these must be of other images. Where most samples have none, the control is a permutation of the
    labels, and no score on it can be a capacity.

    Args:
        types: Type of each sample, [n], such as its question.
        groups: Image of each sample, [n].
    """
    images: dict[str, set[Any]] = {}
    for kind, group in zip(types, groups, strict=True):
        images.setdefault(str(kind), set()).add(group)
    alone = sum(len(images[str(kind)]) == 1 for kind in types)
    if 2 * alone <= len(types):
        return None
    return (
        f"{alone} of {len(types)} samples have a question that no other image has, so that the "
        "control task is a permutation: no selectivity"
    )


def shuffled(
    values: Tensor, groups: Groups, count: int, seed: int = 0
) -> Float[Tensor, "count n"] | Int[Tensor, "count n"]:
    """Permute the values over whole groups, `count` times, for permutation tests.

    Questions on one image are not independent, so groups of equal size change places as a whole. A
    group whose size is unique stays where it is.

    Args:
        values: Labels or targets, [n].
        groups: Image of each sample, [n].
        count: Number of permutations.
        seed: Seed of the permutations, default 0. The same seed gives the same permutations for
            every site, so that the largest score over all sites has a null distribution too.

    Returns:
        Permuted values, [count, n].
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
    """Indicators of the words and word pairs in each question.

    They are the input of a baseline that sees no image.

    Args:
        prompts: Question of each sample, [n].

    Returns:
        Zeros and ones, [n, words]; a column for each word or pair that some questions have and
        others lack.

    Raises:
        LanternError: no question has a word.
    """
    counts = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"\S+")
    try:
        table = counts.fit_transform(prompts)
    except ValueError:
        raise LanternError("the samples' questions hold no words") from None
    dense = torch.tensor(table.toarray(), dtype=torch.float32)
    return dense[:, dense.std(0) > 0] if len(dense) > 1 else dense
