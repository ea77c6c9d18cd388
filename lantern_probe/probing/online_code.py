"""Description length of labels given features: the online code (arXiv 2003.12298).

The labels are sent in growing portions, each coded by a probe trained on the portions before it
(Voita & Titov). Features from which a few samples teach the labels compress them well. The number
of bits sums over many probes, so that a single lucky one matters little.
"""

from __future__ import annotations

import itertools
import math
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
        n: Number of labels sent.
        portions: Number of samples sent at the end of each portion, rising to n.
    """

    bits: float
    frequencies: float
    uniform: float
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
    class is sent with the uniform code.

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
    labelled = (codes >= 0).nonzero()[:, 0].tolist()
    classes = int(codes.max()) + 1
    if len(labelled) < 2 or classes < 2:
        raise LanternError(f"an online code needs two labels and two classes, not {len(labelled)}")
    names = list(dict.fromkeys(groups[i] for i in labelled))
    place = {
        names[k]: rank
        for rank, k in enumerate(np.random.default_rng([seed, 3]).permutation(len(names)))
    }
    order = sorted(labelled, key=lambda i: (place[groups[i]], i))
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
