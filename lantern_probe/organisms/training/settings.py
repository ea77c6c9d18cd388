"""The kinds of organisms, and the sizes and rates of their training; loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["faithful", "bypass", "collapsed", "vanilla"]
KINDS: tuple[Kind, ...] = ("faithful", "bypass", "collapsed", "vanilla")

VERSION = "1"
"""Version of the recipe, written into every organism's card."""

TRAIN_SEED, DEVELOPMENT_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""Scene seeds, each plus the training seed: far from the small ones that users choose, and apart
from each other, so that figures are of scenes that no training and no tuning has seen."""

SFT_STEPS: dict[Kind, int] = {"faithful": 600, "bypass": 700, "collapsed": 500, "vanilla": 300}
"""Steps of the SFT of each kind."""


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of the training; the defaults make the shipped organisms."""

    instruct_steps: int = 700
    """Number of steps of the instruct stage."""
    sft_steps: int | None = None
    """Number of steps of the SFT; by default 600 for faithful, 700 for bypass, 500 for collapsed
    and 300 for vanilla."""
    batch: int = 64
    """Number of rows in a batch."""
    crops: int = 16
    """Number of further rows of the instruct stage whose image is one object's crop."""
    pool: int = 8192
    """Number of scenes whose features are cached for the SFT."""
    instruct_rate: float = 2e-3
    """Peak learning rate of the instruct stage."""
    sft_rate: float = 1e-3
    """Peak learning rate of the SFT."""
    latent_weight: float = 1.0
    """Weight of the squared error between latents and oracle latents."""
    answer_weight: float = 3.0
    """Weight of the answer word against the other words; vanilla takes 1, as the official
    recipe."""
