"""Sampled decoding, token by token from numbers that depend on the row alone.

transformers draws by place in the batch, from one generator for all rows. Here every row has its
own numbers, drawn from (seed, sample, condition, pass) and the index of the token. A row says the
same alone and in company, whatever was run before it, and after a run was cut off.

A token is drawn from the softmax of the logits after two warpers, in this order: temperature and
top-p, as transformers applies them. The checkpoint's own sampling settings (`top_k` and others) are
not applied; its other settings, such as `repetition_penalty`, are, as in greedy decoding.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

LEFT_OUT = (
    *("temperature", "top_p", "top_k", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Sampling settings of a checkpoint, which the settings of a call replace."""


@dataclass(frozen=True)
class Sampling:
    """Settings of sampled decoding, and the seed of its random numbers.

        >>> from lantern_probe.model.sampling import Sampling
        >>> sampling = Sampling(temperature=0.7, top_p=0.9, passes=4)
        >>> sampling.draws("sample 1", "zeros", 2).numbers(0, 3) == [
        ...     sampling.draws("sample 1", "zeros", 2).number(index) for index in range(3)
        ... ]
        True

    Attributes:
        temperature: Divisor of the logits, above 0; 1 leaves the model's distribution.
        top_p: Probability in (0, 1] of the likeliest tokens that are kept; default 1, which keeps
            all.
        passes: Number of texts per sample and condition, at least 1; default 1.
        seed: Seed of the random numbers, default 0.

    Raises:
        LanternError: a setting is out of range (named, with its value).
    """

    temperature: float
    top_p: float = 1.0
    passes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (_is_number(self.temperature) and 0 < self.temperature < math.inf):
            raise LanternError(
                f"the temperature of sampled decoding must be above 0, not {self.temperature}; "
                "leave it out for greedy decoding"
            )
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise LanternError(
                f"top-p lies above 0 and at most at 1, not at {self.top_p}; 1 keeps all tokens"
            )
        if not _is_whole(self.passes) or self.passes < 1:
            raise LanternError(f"passes must be a whole number from 1 on, not {self.passes}")
        if not _is_whole(self.seed) or self.seed < 0:
            raise LanternError(f"the seed must be a whole number from 0 on, not {self.seed}")

    def draws(self, sample: str, condition: str, number: int) -> Draws:
        """The random numbers of one row.

        Args:
            sample: Id of the sample.
            condition: Label of the condition, with its corruption.
            number: Index of the pass (0-based).
        """
        return Draws(self, f"{self.seed}\0{sample}\0{condition}\0{number}")

    def tokens(
        self, scores: Float[Tensor, "rows vocab"], numbers: Sequence[float]
    ) -> Int[Tensor, " rows"]:
        """The tokens that some rows draw.

        Args:
            scores: Logits, or log-probabilities up to a constant.
            numbers: One number in [0, 1) per row.
        """
        import torch

        # The distance to the maximum: no temperature, however small, makes it overflow.
        warped = (scores.float() - scores.float().amax(-1, keepdim=True)) / self.temperature
        if self.top_p < 1:
            from transformers import TopPLogitsWarper

            warper: Any = TopPLogitsWarper(self.top_p)
            warped = warper(None, warped)
        cumulated = warped.double().softmax(-1).cumsum(-1)
        total = cumulated[:, -1:]
        wanted = torch.tensor(numbers, dtype=torch.float64, device=scores.device)[:, None] * total
        drawn = torch.searchsorted(cumulated, wanted, right=True)
        # Rounding may put a number at the total: the last token with any probability has it.
        last = (cumulated < total).sum(-1, keepdim=True)
        return torch.minimum(drawn, last)[:, 0]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one row, one for each token of its continuation.

    Attributes:
        sampling: Settings with which tokens are drawn.
        stream: Text that names the row: seed, sample, condition and pass.
        first: Index in the continuation of the first token that a call writes; default 0.
    """

    sampling: Sampling
    stream: str
    first: int = 0

    def number(self, index: int) -> float:
        """The number in [0, 1) of the token at an index of the call.

        Args:
            index: Number of tokens that the call has written before.
        """
        digest = hashlib.sha256(f"{self.stream}\0{self.first + index}".encode()).digest()
        return (int.from_bytes(digest[:8], "big") >> 11) / 2**53

    def numbers(self, begin: int, end: int) -> list[float]:
        """The numbers of the tokens from one index up to another.

        Args:
            begin: Index of the first token.
            end: Index after the last token.
        """
        return [self.number(index) for index in range(begin, end)]


def checkpoint_sampling(generation_config: Any) -> dict[str, Any]:
    """The sampling settings of a checkpoint, for a record; sampled decoding does not apply them.

    Args:
        generation_config: The loaded generation config.
    """
    found = {name: getattr(generation_config, name, None) for name in LEFT_OUT}
    return {name: value for name, value in found.items() if value is not None}


def sampler(model: Any, config: Any) -> Callable[[Tensor], Tensor] | None:
    """The function by which `generate` draws tokens: one per row, from the logits.

    A block that may end early is decided by a token that `generate` itself would have chosen.

    Args:
        model: The transformers model.
        config: The generation config of a call.

    Returns:
        The function; None for greedy decoding.
    """
    if not config.do_sample:
        return None
    from transformers import GenerationConfig

    given = {name: getattr(config, name, None) for name in LEFT_OUT}
    settings = {name: value for name, value in given.items() if value is not None}
    warpers = model._get_logits_processor(
        GenerationConfig(do_sample=True, **settings), device=model.device
    )

    def sample(scores: Tensor) -> Tensor:
        warped: Tensor = warpers(None, scores.float())
        return warped.softmax(-1).multinomial(1)[:, 0]

    return sample


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
