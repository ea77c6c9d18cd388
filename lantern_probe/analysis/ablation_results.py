"""Results of an ablation (`analysis.ablation`): one summary per condition."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from lantern_probe.analysis.controls import ControlContrast
from lantern_probe.analysis.likelihood import Likelihood
from lantern_probe.analysis.registered import Role
from lantern_probe.analysis.seeds import Seeds
from lantern_probe.stats import (
    Detectable,
    Difference,
    Equivalence,
    McNemar,
    PairedTest,
    PosteriorDifference,
    Proportion,
)


@dataclass(frozen=True)
class ConditionSummary:
    """One condition of one model.

    Where images repeat, every Wilson interval has n divided by the design effect. With several
    passes of sampled decoding every share is averaged over the passes of a sample and then over
    samples; n / design effect then holds the spread between passes too.

    Attributes:
        model: Name of the model.
        condition: Label of the condition.
        samples: Number of samples that ran, with or without a block.
        failed: Number of samples that could not be run, in any pass.
        n: Number of samples with a block, in any pass, on which the condition acted; what follows
            is over these, unless it says otherwise.
        accuracy: Share of right answers with its 95 % Wilson interval; a text that cannot be parsed
            counts as wrong.
        truncated: Share of texts cut off at the token limit; None where the rows do not say.
        unparsed: Number of texts without a readable answer.
        chance: Mean of 1 / number of candidates; None without candidates.
        difference: Accuracy minus that of the reference on the same samples, with its 95 % interval
            (Tango's, n divided by the design effect where images repeat); None for the reference
            itself. The reference is `own`; under a corruption of the image it is `own` under the
            same corruption, and `own@black-box` is compared with `own`.
        mcnemar: Exact McNemar test of that difference, which takes samples as independent; `b` are
            the samples that only the reference gets right, `c` those that only this condition does.
            None with several passes.
        holm_p: p value of `test` after Holm over the family.
        emission: Share of the samples that ran with at least one block.
        accuracy_all: Share of right answers over all samples that ran, blocks or not.
        by_parser: Accuracy as each parser reads the texts.
        likelihood: Share of samples whose most probable candidate is the right one; needs no
            parsing. Over the samples whose texts open an answer under the reference too.
        p_gold: Mean probability of the right candidate among the candidates, over the same samples.
        donor: For swaps, the share of answers that are the donor's, over the samples whose donor
            has another answer among the same candidates; with a 95 % Wilson interval. None without
            such samples.
        test: Test of `difference`: exact McNemar, or a sign flip of whole images where they
            repeat; with several passes a sign flip of the samples' mean differences. None for the
            reference itself.
        equivalence: Test (TOST) that this accuracy and the reference's differ by less than the
            margin. None for the reference itself.
        equivalence_holm_p: p value of `equivalence` after Holm over the family.
        detectable: Smallest difference that the test would have shown among the family with 80 %
            power: at the level of the family divided by its size, the discordance observed and n
            divided by the design effect. None if n is too small for any difference.
        scores: `likelihood` and `p_gold` beside the reference's on the same samples, and the
            probability of all candidates together.
        controls: Contrasts with this condition's own controls (`analysis.controls`).
        by_pass: Share of right answers in each pass, by index of the pass; one entry in greedy
            decoding.
        mismatch: Number of samples whose prompt has another number of tokens at the server; 0 for
            local conditions.
        posterior: Posterior of `difference`, with its mass within the margin; None for the
            reference itself.
        role: Part of the condition in a preregistration: primary, planned or exploratory. None
            without one, and for the reference itself.
        family: Number of tests over which its p values are adjusted: the model's conditions, or
            those of the preregistration.
        labels: Labels of its rows, which differ in their seeds alone.
        by_seed: Share of right answers under each seed; empty if there is one. With several seeds
            every share and difference is a mean over samples and seeds, and every interval and test
            counts the spread between seeds (`stats.two_way`).
    """

    model: str
    condition: str
    samples: int
    failed: int
    n: int
    accuracy: Proportion
    truncated: Proportion | None
    unparsed: int
    chance: float | None
    difference: Difference | None
    mcnemar: McNemar | None
    holm_p: float | None
    emission: Proportion
    accuracy_all: Proportion
    by_parser: dict[str, float]
    likelihood: Proportion
    p_gold: float | None
    donor: Proportion | None
    test: PairedTest | None = None
    equivalence: Equivalence | None = None
    equivalence_holm_p: float | None = None
    detectable: Detectable | None = None
    controls: tuple[ControlContrast, ...] = ()
    scores: Likelihood | None = None
    by_pass: Mapping[int, float] = field(default_factory=dict)
    mismatch: int = 0
    posterior: PosteriorDifference | None = None
    role: Role | None = None
    family: int = 0
    labels: tuple[str, ...] = ()
    by_seed: Mapping[Seeds, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The condition, with the number of its seeds, and a mark of another prompt at a server."""
        seeds = f" ({len(self.by_seed)} seeds)" if self.by_seed else ""
        other = " (other prompt)" if self.mismatch else ""
        return f"{self.condition}{seeds}{other}"

    @property
    def seed_sd(self) -> float | None:
        """Standard deviation of the accuracies under each seed; None if there is one."""
        return statistics.stdev(self.by_seed.values()) if self.by_seed else None

    @property
    def passes(self) -> int:
        """Number of passes with a text that counts."""
        return len(self.by_pass)

    @property
    def equivalent(self) -> bool:
        """True if equivalence with the reference is shown, after Holm over the family."""
        p, same = self.equivalence_holm_p, self.equivalence
        return p is not None and same is not None and p <= same.alpha
