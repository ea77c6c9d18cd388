"""Estimates of a run, with what each number is based on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lantern_probe.records.rows import Row


@dataclass(frozen=True)
class Tokens:
    """Tokens of prompts, each sample's once."""

    prompt: int
    """Tokens of the counted prompts, image tokens included."""
    image: int
    """Image tokens among them."""
    counted: int
    """Number of samples whose prompts were counted."""
    bad: int
    """Number of samples that were looked at and cannot be asked."""
    samples: int
    """Number of samples that are due."""

    @property
    def complete(self) -> bool:
        """True if every sample was looked at."""
        return self.counted + self.bad == self.samples

    def total(self, tokens: int) -> int:
        """Tokens of all due samples, from those of the counted.

        Args:
            tokens: Tokens of the counted samples.
        """
        if self.complete or not self.counted:
            return tokens
        share = self.counted / (self.counted + self.bad)
        return round(tokens / self.counted * self.samples * share)


@dataclass(frozen=True)
class Measured:
    """One batch that was run and not recorded."""

    samples: int
    """Number of samples."""
    rows: Sequence[Row]
    """Its rows."""
    seconds: float
    """Seconds that it took."""
    warm: bool
    """True if other samples were run before, False if it was the first that the model did."""

    @property
    def good(self) -> list[Row]:
        """The rows that could be made."""
        return [row for row in self.rows if row.get("status") != "failed"]

    @property
    def failed(self) -> list[Row]:
        """The rows that could not be made."""
        return [row for row in self.rows if row.get("status") == "failed"]

    @property
    def generated(self) -> list[int]:
        """Generated tokens of each row that records them."""
        lengths = [row.get("tokens", row.get("continuation")) for row in self.good]
        return [
            length if isinstance(length, int) else len(length)
            for length in lengths
            if length is not None
        ]


@dataclass
class Estimate:
    """The amount, the time and the memory that one run will take."""

    title: str
    """Name of what is run."""
    samples: int
    """Number of samples."""
    conditions: int
    """Number of conditions."""
    rows: int
    """Number of rows, those included that are there already."""
    due: int
    """Number of rows that are not there yet."""
    tokens: Tokens | None = None
    """Tokens of the prompts; None if nothing is due."""
    limit: int = 0
    """Most generated tokens of a row."""
    loading: float = 0.0
    """Seconds that the model took to load."""
    batch: Measured | None = None
    """The measured batch; None if none could be run."""
    problem: str | None = None
    """Reason why no batch could be run."""
    memory: int | None = None
    """Most bytes that were held at once; None if nothing was run."""
    memory_of: str = ""
    """Words that say by what."""

    @property
    def seconds(self) -> float | None:
        """Seconds that the due rows will take; None if no row of the batch could be made."""
        if self.batch is None or not self.batch.good:
            return None
        return self.batch.seconds / len(self.batch.good) * self.due
