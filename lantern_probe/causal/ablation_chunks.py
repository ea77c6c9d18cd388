"""The chunks of an ablation: how it is cut, its stages, and what the second needs of the first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lantern_probe.causal.ablation_rows import Asked, failure, label_of
from lantern_probe.causal.own_latents import folders_of, pools_of
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, KSlots, Own, Replacement, packages_of
from lantern_probe.interventions.image import Corruption, HideImage
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.facts import running_facts
from lantern_probe.model.memory import most_branches
from lantern_probe.model.sampling import Sampling
from lantern_probe.records.engines import Kept
from lantern_probe.records.rows import Row, pass_of
from lantern_probe.records.run import Run
from lantern_probe.tasks.answers import Parser
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

MOST_PREFIXES = 64
"""Largest number of samples whose prefixes are run together."""

Unit = tuple[Sample, int]
"""A sample, and the index of a pass (0 in greedy decoding)."""


@dataclass
class AblationChunks:
    """Settings of an ablation, and its chunks; `Ablation` describes the fields and runs them."""

    lantern: LanternModel
    samples: Sequence[Sample]
    conditions: Sequence[Intervention]
    run: Run | None
    corruption: Corruption = field(default_factory=Corruption)
    hidden: Sequence[Intervention] = ()
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    parser: Parser = "default"
    sampling: Sampling | None = None
    advance: Callable[[int], None] = lambda rows: None
    _asked: list[Asked] = field(default_factory=list, init=False)
    _pools: Sequence[LatentPool] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.conditions = with_own(self.conditions)
        doubled = [key for key, n in Counter(s.id for s in self.samples).items() if n > 1]
        if doubled:
            raise LanternError(f"two samples have the id {doubled[0]!r}; ids must differ")
        if not self.samples:
            raise LanternError("there are no samples to run")
        self._slots = self.lantern.latent_size
        limit = self.max_new_tokens or self.lantern.max_new_tokens
        self._asked = [(condition, self.corruption) for condition in self.conditions]
        if self.hidden:
            if type(self.corruption) is not Corruption:
                label = self.corruption.label
                raise LanternError(f"under {label!r} there are no prefixes for 'hide-image'")
            self._asked += [(condition, HideImage()) for condition in with_own(self.hidden)]
        for condition, _ in self._asked:
            condition.check(self.lantern.latent_size)
            if isinstance(condition, KSlots) and condition.k + 2 >= limit:
                raise LanternError(
                    f"condition {condition.label!r} leaves no room for an answer within {limit} "
                    "new tokens; raise --max-new-tokens"
                )

    @property
    def passes(self) -> int:
        """Number of passes of sampled decoding; 1 for greedy decoding."""
        return 1 if self.sampling is None else self.sampling.passes

    @property
    def size(self) -> int:
        """Most samples of a chunk, or samples and passes: as many as make full batches."""
        most = max(1, most_branches(self.lantern.device) // len(self._asked))
        size = max(1, self.batch_rows // 2) if self.batch_rows else min(most, MOST_PREFIXES)
        # The passes of a sample share its prompt.
        return size - size % self.passes if size > self.passes else size

    @property
    def stages(self) -> int:
        """Two if a condition needs the own latents of all samples, else one."""
        return 2 if any(condition.needs_pool for condition, _ in self._asked) else 1

    @property
    def keeps(self) -> Sequence[str]:
        """Folders of the own latents, by pass."""
        name = re.sub(r"[^\w.=-]+", "_", self.corruption.label)
        return folders_of(name, None if self.sampling is None else self.passes)

    def labels(self, stage: int) -> list[str]:
        """Conditions of a stage, as rows name them.

        Args:
            stage: Index of the stage.
        """
        return [label_of(asked) for asked in self._of_stage(stage)]

    def _of_stage(self, stage: int) -> list[Asked]:
        alone = [asked for asked in self._asked if not asked[0].needs_pool]
        if len(alone) < len(self._asked):
            # What is fed is compared with the own latents of all, once they are known.
            alone = [a for a in alone if not isinstance(a[0], Replacement) or a[0] == Own()]
        return [asked for asked in self._asked if asked not in alone] if stage else alone

    def facts(self) -> dict[str, Any]:
        """Facts of the loaded model, and of the packages that conditions come from."""
        facts = running_facts(self.lantern, self.max_new_tokens, self.sampling)
        packages = packages_of(condition.label for condition, _ in self._asked)
        return {**facts, "extensions": packages} if packages else facts

    def owing(self, rows: Sequence[Row], kept: Kept) -> set[tuple[str, int]]:
        """Texts that emitted a whole block, but whose own latents are missing.

        Args:
            rows: Rows of the run.
            kept: Own latents by folder.
        """
        own = label_of((Own(), self.corruption))
        return {
            (row["sample"], pass_of(row))
            for row in rows
            if row["condition"] == own and row["status"] == "ok" and row["emitted"]
            and pass_of(row) < self.passes
            and row.get("fed", ())[:1] == [self._slots]
            and row["sample"] not in kept[self.keeps[pass_of(row)]]
        }  # fmt: skip

    def prepare(self, kept: Kept) -> list[LatentPool]:
        """The pool of each pass: the own latents of all samples whose text has a block.

        Args:
            kept: Own latents by folder.
        """
        return pools_of(self.samples, [kept[folder] for folder in self.keeps])

    def take(self, pool: Sequence[LatentPool]) -> None:
        """Take the pools of all samples, for the second stage.

        Args:
            pool: The pools, by pass.
        """
        self._pools = pool

    def failures(self, unit: tuple[str, int], error: Exception) -> list[Row]:
        """The rows of a sample that cannot be run, under all conditions.

        Args:
            unit: Id of the sample, and index of the pass.
            error: Reason.
        """
        sample = next(sample for sample in self.samples if sample.id == unit[0])
        number = self._number((sample, unit[1]))
        return [failure(sample, asked, error, number) for asked in self._asked]

    def _number(self, unit: Unit) -> int | None:
        """The index of a pass as rows have it."""
        return None if self.sampling is None else unit[1]


def with_own(conditions: Sequence[Intervention]) -> list[Intervention]:
    """Add `own`, with which all conditions are compared, in front if it is missing.

    Raises:
        LanternError: a condition is given twice.
    """
    doubled = [label for label, n in Counter(c.label for c in conditions).items() if n > 1]
    if doubled:
        raise LanternError(f"the condition {doubled[0]!r} is given twice")
    return list(conditions) if Own() in conditions else [Own(), *conditions]
