"""The figures of a conformance check, and the bar they have to meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

STATE_TOLERANCE = 1e-3
"""Largest relative difference of a state that agrees.

Another processor's float32 stays below a hundredth of it; rounding to bfloat16 exceeds it more
than twice.
"""
TIE_GAP = 1e-3
"""Logits of a near-tie are less than this apart."""
TIE_FRACTION = 0.01
"""Largest fraction of the compared tokens that may be near-ties."""
COMPRESSION_TOLERANCE = 1e-4
"""Largest absolute difference of an oracle latent that agrees."""


@dataclass(frozen=True)
class TokenDifference:
    """A generated token that is not the recorded one."""

    case: str
    """Name of the case."""
    row: int
    """Row of its batch, 0-based."""
    step: int
    """Index among the generated tokens, 0-based."""
    recorded: int
    """The recorded token id."""
    ours: int | None
    """This model's token id; None if its text had already ended."""
    gap: float
    """Our token's logit minus the recorded one's; infinite where our token was forced."""
    near_tie: bool
    """True if the two are our two largest logits and less than `TIE_GAP` apart."""


@dataclass(frozen=True)
class StateDifference:
    """A state that differs from the recorded one by more than the tolerance."""

    case: str
    """Name of the case."""
    row: int
    """Row of its batch, 0-based."""
    latent: int
    """Index among the row's latents over all blocks, 0-based."""
    kind: Literal["produced", "fed"]
    """`produced`: the model's own state. `fed`: the input at a slot."""
    difference: float
    """Relative difference; infinite if one of the two does not exist."""


@dataclass(frozen=True)
class Deviation:
    """The first difference of a free-running row."""

    token: TokenDifference
    """The first token that differs; its `gap` is the size of the deviation."""
    state_difference: float
    """Largest relative difference of the latents that the row was fed before this token."""


@dataclass
class Report:
    """The agreement with one folder of recordings.

    A relative difference is the largest absolute component of the difference over the root mean
    square of the recorded state.
    """

    cases: int = 0
    """Recorded generations that were compared."""
    tokens: int = 0
    """Tokens compared in the forced runs; those that a latent block forces are not counted."""
    token_differences: list[TokenDifference] = field(default_factory=list)
    """Tokens of the forced runs that differ, near-ties included."""
    states: int = 0
    """Own latents that the model produced in the forced runs of the condition `own`."""
    state_difference: float = 0.0
    """Largest relative difference of a produced state."""
    fed: int = 0
    """Slots that were fed in the forced runs, over all conditions."""
    fed_difference: float = 0.0
    """Largest relative difference of what is fed at a slot, by the run or by the condition."""
    state_differences: list[StateDifference] = field(default_factory=list)
    """Produced and fed states beyond the tolerance."""
    rows: int = 0
    """Rows that were run freely."""
    rows_identical: int = 0
    """Rows run freely whose tokens are all identical; not judged."""
    deviations: list[Deviation] = field(default_factory=list)
    """First difference of every other row run freely; not judged."""
    left_out: int = 0
    """Rows in which the official loop departs from its own single rows; they are not compared."""
    crops: int = 0
    """Crop boxes compared."""
    crops_identical: int = 0
    """Crop boxes that agree in all four numbers."""
    compressions: int = 0
    """Oracle compressions compared."""
    compression_difference: float = 0.0
    """Largest absolute difference of an oracle latent."""

    @property
    def near_ties(self) -> list[TokenDifference]:
        """Token differences of the forced runs that are near-ties."""
        return [difference for difference in self.token_differences if difference.near_tie]

    @property
    def wrong_tokens(self) -> list[TokenDifference]:
        """Token differences of the forced runs that are no near-ties."""
        return [difference for difference in self.token_differences if not difference.near_tie]

    @property
    def passed(self) -> bool:
        """True if the bar is met; recordings without tokens or without states do not meet it."""
        return (
            self.tokens > 0
            and self.states > 0
            and not self.wrong_tokens
            and len(self.near_ties) <= TIE_FRACTION * self.tokens
            and not self.state_differences
            and self.crops_identical == self.crops
            and self.compression_difference <= COMPRESSION_TOLERANCE
        )
