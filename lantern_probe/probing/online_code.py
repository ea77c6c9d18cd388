"""Description length of labels given features: the online code (arXiv 2003.12298).

The labels are sent in growing portions, each coded by a probe trained on the portions before it
(Voita & Titov). Features from which a few samples teach the labels compress them well. The number
of bits sums over many probes, so that a single lucky one matters little.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.classify import predict_split
from lantern_probe.probing.folds import Groups

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Ends of the portions as fractions of the samples (arXiv 2003.12298, section 3)."""


@dataclass(frozen=True)
class OnlineCode:
    """Length of an online code beside those of codes without features.

    Attributes:
        bits: Length of the online code in bits.
        frequencies: Length in bits of the online code that learns the class frequencies only, in
            the same order and portions.
        uniform: Length in bits of a code that knows only the number of classes.
        frequency: Length in bits of the frequency code: the same portions, each coded by the class
            frequencies of the portions before it.
        n: Number of labels sent.
        portions: Number of samples sent at the end of each portion, rising to n.
    """

    bits: float
    frequencies: float
    uniform: float
    frequency: float
    n: int
    portions: tuple[int, ...]

    @property
    def compression(self) -> float:
        """Ratio of the length of the frequencies' code to that of the online code.

        It is 1 if the features taught nothing, and less if they misled.
        """
        return self.frequencies / self.bits


def online_code(
    features: Float[Tensor, "n dim"],
    codes: Int[Tensor, " n"],
    groups: Groups,
    *,
    C: float,
    seed: int = 0,
) -> OnlineCode:
    """Measure the online code length of labels given features (arXiv 2003.12298).

    Features that are the same for all samples give the code of the class frequencies: classes that
    are not equally frequent are compressed without any features, and that is the baseline. Samples
    come in a random order, those of one image together, and a portion never splits an
    image. A probe trained on m samples is mixed with a uniform guess of weight 1 / (m + 1): a class
    it has not seen then costs a finite number of bits. A portion whose training samples are of one
    class is sent with the uniform code. The frequency code follows the same rules; it is what a
    probe of constant features would need.

    Args:
        features: Hidden states at one site, [n, dim].
        codes: Class of each sample, [n], counted from 0; -1 for a sample without one.
        groups: Image of each sample, [n].
        C: Inverse penalty of every probe.
        seed: Seed of the order of the images, default 0.

    Raises:
        LanternError: there are fewer than two labels or fewer than two classes.

    Examples:
        Two classes far apart are learnt from a few samples:

        >>> import torch
        >>> from lantern_probe.probing.online_code import online_code
        >>> classes = torch.tensor([0, 1] * 64)
        >>> states = torch.stack([10.0 * classes, -10.0 * classes], dim=1)
        >>> code = online_code(states, classes, groups=range(128), C=1.0)
        >>> print(f"{code.bits:.1f} of {code.frequencies:.1f} bits")
        16.3 of 131.8 bits
    """
    return online_codes(features, codes[None], groups, Cs=[C], seed=seed)[0]


def online_codes(
    features: Float[Tensor, "n dim"],
    problems: Int[Tensor, "p n"],
    groups: Groups,
    *,
    Cs: Sequence[float],
    seed: int = 0,
) -> list[OnlineCode]:
    """Measure the online codes of several labellings of the same samples, such as control labels.

    Each equals that of `online_code`, with as many classes as the first labelling has; the features
    are prepared once for all.

    Args:
        features: Hidden states at one site, [n, dim].
        problems: Class of each sample under each labelling, [p, n]; -1 for a sample without one,
            which no labelling may give a class.
        groups: Image of each sample, [n].
        Cs: Inverse penalty of every labelling.
        seed: Seed of the order of the images, default 0.

    Raises:
        LanternError: there are fewer than two labels, fewer than two classes, or other samples have
            labels under another labelling.
    """
    labelled = (problems[0] >= 0).nonzero()[:, 0].tolist()
    classes = int(problems[0].max()) + 1
    if len(labelled) < 2 or classes < 2:
        raise LanternError(f"an online code needs two labels and two classes, not {len(labelled)}")
    if not torch.equal(problems >= 0, (problems[:1] >= 0).expand_as(problems)):
        raise LanternError("online codes of several labellings need labels of the same samples")
    order = _order(labelled, groups, seed)
    ends = _portions(order, groups)
    n = len(order)
    sent, x = problems[:, order], features[order]
    penalties = torch.tensor([list(Cs)], dtype=torch.float64)
    bits = [ends[0] * math.log2(classes)] * len(sent)
    frequency = list(bits)
    for first, last in itertools.pairwise(ends):
        before, portion = sent[:, :first], sent[:, first:last]
        many = (before != before[:, :1]).any(1)
        for row in (~many).nonzero()[:, 0].tolist():
            bits[row] += (last - first) * math.log2(classes)
            frequency[row] += (last - first) * math.log2(classes)
        rows = many.nonzero()[:, 0]
        if not len(rows):
            continue
        train = torch.arange(n) < first
        test = (torch.arange(n) >= first) & (torch.arange(n) < last)
        held = predict_split(x, sent[rows], train, test, penalties[:, rows])
        chance = mixed_with_uniform(held.logprobs[0].double().exp(), first, classes)
        counts = torch.nn.functional.one_hot(before[rows], classes).sum(1).double()
        guess = mixed_with_uniform(counts.gather(1, portion[rows]) / first, first, classes)
        for row, one, other in zip(rows.tolist(), chance, guess, strict=True):
            bits[row] -= float(one.log2().sum())
            frequency[row] -= float(other.log2().sum())
    uniform = n * math.log2(classes)
    return [
        OnlineCode(one, uniform, other, n, tuple(ends))
        for one, other in zip(bits, frequency, strict=True)
    ]


def mixed_with_uniform(
    probabilities: Float[Tensor, "*any"], trained: int, classes: int
) -> Float[Tensor, "*any"]:
    """Mix probabilities with a uniform guess of weight 1 / (trained + 1), so that none is zero.

    Args:
        probabilities: Probability of the true class, of any shape.
        trained: Number of samples that the probabilities were learnt from.
        classes: Number of classes.
    """
    share = 1 / (trained + 1)
    return (1 - share) * probabilities + share / classes


def _order(labelled: Sequence[int], groups: Groups, seed: int) -> list[int]:
    """Indices of the labelled samples in the order of sending, images in a random order."""
    names = list(dict.fromkeys(groups[i] for i in labelled))
    shuffled = np.random.default_rng([seed, 3]).permutation(len(names))
    place = {names[k]: rank for rank, k in enumerate(shuffled)}
    return sorted(labelled, key=lambda i: (place[groups[i]], i))


def _portions(order: Sequence[int], groups: Groups) -> list[int]:
    """Ends of the portions, moved up to where an image ends."""
    n = len(order)
    ends: list[int] = []
    for fraction in FRACTIONS:
        end = min(n, max(1, math.ceil(fraction * n)))
        while end < n and groups[order[end]] == groups[order[end - 1]]:
            end += 1
        if not ends or end > ends[-1]:
            ends.append(end)
    bits = frequencies = ends[0] * math.log2(classes)
    problems = codes[order][None]
    x = features[order]
    for first, last in itertools.pairwise(ends):
        uniform = 1 / classes
        before = torch.bincount(problems[0, :first], minlength=classes)
        if int((before > 0).sum()) < 2:
            bits += (last - first) * math.log2(classes)
            frequencies += (last - first) * math.log2(classes)
            continue
        # What a probe predicts, mixed as below, if its features are constant.
        learnt = (before.double() + uniform) / (first + 1)
        frequencies -= float(learnt[problems[0, first:last]].log2().sum())
        train = torch.arange(n) < first
        test = (torch.arange(n) >= first) & (torch.arange(n) < last)
        held = predict_split(x, problems, train, test, torch.full((1, 1), C, dtype=torch.float64))
        share = 1 / (first + 1)
        chance = (1 - share) * held.logprobs[0, 0].double().exp() + share * uniform
        bits -= float(chance.log2().sum())
    return OnlineCode(bits, frequencies, n * math.log2(classes), n, tuple(ends))
