"""How many bits it takes to tell the labels with the help of the features (online code).

Voita & Titov (2003.12298): the labels are sent in growing portions, each coded by a probe trained
on the portions before it. A representation from which little data teaches the labels compresses
them well; the number of bits does not depend on a lucky probe.
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
"""Ends of the portions, as shares of the samples (2003.12298, section 3)."""


@dataclass(frozen=True)
class OnlineCode:
    """The length of the code.

    Attributes:
        bits: Of the online code.
        uniform: Of a code that knows the number of classes only.
        n: Labels sent.
        portions: Ends of the portions that were used.
    """

    bits: float
    uniform: float
    n: int
    portions: tuple[int, ...]

    @property
    def compression(self) -> float:
        """Uniform code length over the online code's: 1 means nothing was learnt."""
        return self.uniform / self.bits


def online_code(
    features: Float[Tensor, "n dim"],
    codes: Int[Tensor, " n"],
    groups: Groups,
    *,
    C: float,
    seed: int = 0,
) -> OnlineCode:
    """The online code length of the labels given the features.

    Samples come in a random order, those of one image together; a portion never parts them. What
    a probe says is mixed with a uniform guess by one in the number of its training samples plus
    one, so that a class it has not seen costs bits, not infinitely many.

    Args:
        features: One site's hidden states.
        codes: Class of each sample, -1 without one.
        groups: The image of each sample.
        C: Inverse penalty of every probe.
        seed: Of the order.

    Raises:
        LanternError: there are fewer than two labels.
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
    bits = ends[0] * math.log2(classes)
    problems = codes[order][None]
    x = features[order]
    for first, last in itertools.pairwise(ends):
        uniform = 1 / classes
        if len(set(problems[0, :first].tolist())) < 2:
            bits += (last - first) * math.log2(classes)
            continue
        train = torch.arange(n) < first
        test = (torch.arange(n) >= first) & (torch.arange(n) < last)
        held = predict_split(x, problems, train, test, torch.full((1, 1), C, dtype=torch.float64))
        share = 1 / (first + 1)
        chance = (1 - share) * held.logprobs[0, 0].double().exp() + share * uniform
        bits -= float(chance.log2().sum())
    return OnlineCode(bits, n * math.log2(classes), n, tuple(ends))
