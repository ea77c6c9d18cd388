"""The work of an ablation benchmark: rows, lengths and candidates, the same for every engine.

Only the standard library is imported, so that an earlier commit of the package can be given the
same work.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

EIGHT = ("own", "skip", "ban", "stock", "mask", "zeros", "noise", "first-repeat")

CONDITIONS = {
    8: EIGHT,
    18: (
        *EIGHT,
        *(f"noise:seed={seed}" for seed in range(1, 6)),
        *(f"zeros:slots={slot}" for slot in range(3)),
        *("noise:scale=2", "noise:scale=3"),
    ),
}

MEDIAN, SPREAD, SHORTEST = 45, 0.4, 20
"""Drawn lengths are log-normal, in tokens."""

ENDLESS = 0.05
"""Fraction of the texts that never end, and are cut off at twice the usual length."""


@dataclass(frozen=True)
class Case:
    """One ablation.

    Attributes:
        image_tokens: Image tokens of a prompt; the prompt has 19 more.
        conditions: Number of conditions, 8 or 18.
        rows: Number of texts, rounded down to whole samples.
        new_tokens: Tokens of a text.
        drawn: Draw every text's length instead.
        scored: Ask with four candidates of two tokens, other ones in each sample, and score them.
        seed: Seed of the weights, the scenes and the lengths.
    """

    image_tokens: int
    conditions: int
    rows: int
    new_tokens: int
    drawn: bool = False
    scored: bool = False
    seed: int = 0

    @classmethod
    def parse(cls, text: str, rows: int, new_tokens: int, seed: int) -> Case:
        """Read a case: `256x8`, `1089x18`, `256x8-drawn`, `256x8-scored`.

        Raises:
            ValueError: it is written in another way.
        """
        shape, *flags = text.split("-")
        image_tokens, conditions = map(int, shape.split("x"))
        if conditions not in CONDITIONS or not {*flags} <= {"drawn", "scored"}:
            raise ValueError(text)
        drawn, scored = "drawn" in flags, "scored" in flags
        return cls(image_tokens, conditions, rows, new_tokens, drawn, scored, seed)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return max(1, self.rows // self.conditions)

    @property
    def labels(self) -> tuple[str, ...]:
        """The conditions."""
        return CONDITIONS[self.conditions]

    @property
    def longest(self) -> int:
        """The token limit of all texts."""
        return self.new_tokens * (2 if self.drawn else 1)

    def lengths(self) -> list[list[int]]:
        """For every sample and condition, the tokens of the text."""
        draw = random.Random(self.seed)

        def one() -> int:
            if not self.drawn:
                return self.new_tokens
            if draw.random() < ENDLESS:
                return self.longest
            length = int(MEDIAN * draw.lognormvariate(0.0, SPREAD))
            return min(max(length, SHORTEST), self.longest)

        return [[one() for _ in self.labels] for _ in range(self.samples)]

    def options(self, words: Sequence[str], sample: int) -> tuple[str, ...]:
        """The candidates of a sample; none unless they are scored."""
        pairs = [" ".join(pair) for pair in permutations(words, 2)]
        four = (pairs[(sample + 7 * number) % len(pairs)] for number in range(4))
        return tuple(dict.fromkeys(four)) if self.scored else ()

    def biases(self, start: int, tag: int, ends: Sequence[int], strength: float) -> list[list]:
        """A sequence bias under which texts open a block, and hold an answer if it is scored."""
        tags = [[[tag], strength]] if self.scored else []
        return [[[start], strength], *tags, *([[end], -1e4] for end in ends)]
