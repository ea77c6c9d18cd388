"""The numbers of one look at a model in training, from rows, and the names they are logged under.

There is no reading: a reading is of a finished model and fixed beforehand, and not of a curve that
is looked at at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lantern_probe.analysis.card import accuracies, comparable
from lantern_probe.analysis.estimands import Estimate, Look, estimates, from_units
from lantern_probe.analysis.exchange import OWN
from lantern_probe.errors import LanternError
from lantern_probe.records.rows import Row
from lantern_probe.stats import Proportion

PREFIX = "monitor/"
"""First part of every name under which numbers are logged."""


def log_key(name: str) -> str:
    """The name under which an estimate is logged.

        >>> log_key("carries over")
        'monitor/carries_over'

    Args:
        name: Name of the estimate on the card.
    """
    return PREFIX + name.replace(" ", "_").replace("-", "_")


@dataclass(frozen=True)
class Monitored(Mapping[str, Estimate]):
    """The numbers of one look at a model in training: a mapping of estimates by name.

    Attributes:
        estimates: Estimates by name, with intervals and n; those without enough pairs have no
            value.
        accuracy: Accuracy by condition, with its 95 % Wilson interval by pair.
        emitted: Fraction of the texts under `own` that have a block.
        reasons: Sentences about where conditions differ in what was cut off, parsed or given a
            block, so that the estimates do not compare like with like.
        pairs: Number of pairs that were run.
        failed: Number of samples that failed in some condition.
        without: For every sample without a twin, the reason.
        edit: Words for what makes the twins.
        seconds: Duration of the look.
    """

    estimates: Mapping[str, Estimate]
    accuracy: Mapping[str, Proportion]
    emitted: float
    reasons: Sequence[str]
    pairs: int
    failed: int
    without: Sequence[str]
    edit: str
    seconds: float

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def logs(self) -> dict[str, float]:
        """The numbers by the names under which they are logged.

        Each estimate gives `monitor/follows`, `monitor/follows_low`, `monitor/follows_high` and
        `monitor/follows_n`; spaces in names are underscores. Without a value there is only n.
        """
        found: dict[str, float] = {}
        for name, estimate in self.estimates.items():
            key = log_key(name)
            found[f"{key}_n"] = estimate.n
            if estimate.value is not None:
                found[key] = estimate.value
                found[f"{key}_low"], found[f"{key}_high"] = estimate.low, estimate.high
        own = self.accuracy.get(OWN)
        if own is not None:
            found[f"{PREFIX}accuracy"] = own.estimate
        found[f"{PREFIX}emitted"] = self.emitted
        found[f"{PREFIX}comparable"] = float(not self.reasons)
        found[f"{PREFIX}seconds"] = self.seconds
        return found


def monitored(
    rows: Sequence[Row],
    *,
    pairs: int,
    delta: float,
    edit: str,
    without: Sequence[str] = (),
    seconds: float = 0.0,
) -> Monitored:
    """Compute the numbers of one look.

    Args:
        rows: Rows of the look, with the conditions of a diagnosis.
        pairs: Number of pairs that were run.
        delta: Largest difference between conditions, in what decides whether an answer can be
            read, that is let pass.
        edit: Words for what makes the twins.
        without: For every sample without a twin, the reason; default none.
        seconds: Duration of the look, default 0.

    Raises:
        LanternError: no row ran with its own latents.
    """
    own = [row for row in rows if row["condition"] == OWN and row["status"] == "ok"]
    failed = [row for row in rows if row["status"] == "failed"]
    if not own:
        reason = failed[0]["error"] if failed else "there are no rows"
        raise LanternError(f"the model in training: nothing could be run; the first: {reason}")
    blocks = sum(bool(row.get("emitted")) for row in own)
    look = Look(number=1, of=1)
    return Monitored(
        estimates(rows, look) if blocks else from_units({}, look),
        accuracies(rows),
        blocks / len(own),
        comparable(rows, delta),
        pairs,
        len({row["sample"] for row in failed}),
        without,
        edit,
        seconds,
    )
