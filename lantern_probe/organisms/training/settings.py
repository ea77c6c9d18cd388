"""The kinds of organisms, and the sizes and rates of their training; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "faithful",
    "bypass",
    "collapsed",
    "vanilla",
    "partial",
    "format-only",
    "markers-only",
    "halves",
    "ordered",
    "distractor",
    "weak",
    "question-only",
]
KINDS: tuple[Kind, ...] = ("faithful", "bypass", "collapsed", "vanilla")
"""Plain kinds, whose truth is all or nothing."""
GRADED: tuple[Kind, ...] = (
    *("partial", "format-only", "markers-only", "halves"),
    *("ordered", "distractor", "weak", "question-only"),
)
"""Graded kinds, which are in between: they need some slots, some questions or the markers only."""

VERSION = "1"
"""Version of the recipe, written into every organism's card."""

TRAIN_SEED, DEVELOPMENT_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""Seeds of the scenes for training, development and test; the training seed is added to each. They
are far apart and far from the small seeds that users choose, so that test scenes were seen neither
in training nor in tuning."""

SFT_STEPS: dict[Kind, int] = {
    "faithful": 600,
    "bypass": 700,
    "collapsed": 500,
    "vanilla": 300,
    "partial": 600,
    "format-only": 400,
    "markers-only": 320,
    "halves": 500,
    "ordered": 900,
    "distractor": 600,
    "weak": 500,
    "question-only": 320,
}
"""Default number of SFT steps by kind."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of the training; the defaults make the shipped organisms."""

    instruct_steps: int = 700
    """Number of steps of the instruct stage."""
    sft_steps: int | None = None
    """Number of steps of the SFT; None takes the kind's default (`SFT_STEPS`)."""
    batch: int = 64
    """Number of rows in a batch."""
    crops: int = 16
    """Number of further rows in an instruct batch, whose image is the crop of one object."""
    pool: int = 8192
    """Number of scenes whose features are cached for the SFT."""
    instruct_rate: float = 2e-3
    """Peak learning rate of the instruct stage."""
    sft_rate: float = 1e-3
    """Peak learning rate of the SFT."""
    latent_weight: float = 1.0
    """Weight of the squared error between latents and oracle latents."""
    answer_weight: float = 3.0
    """Weight of the answer word relative to other words; vanilla uses 1, as the official recipe."""
