"""Results of a comparison (`analysis.comparison`): settings, conditions, pairs."""

from __future__ import annotations

from dataclasses import dataclass

from lantern_probe.stats import (
    Detectable,
    Difference,
    Equivalence,
    McNemar,
    OutcomeTable,
    PairedTest,
    Proportion,
    SignFlip,
)


@dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison.

    Attributes:
        margin: Margin of equivalence, a fraction in (0, 1); default 0.02. Accuracies that differ
            by less count as equivalent.
        alpha: Level of the tests, default 0.05; intervals have level 1 - alpha.
        power: Power at which the minimum detectable difference is computed; default 0.8.
        cluster: Field of a row whose value dependent samples share; default `cluster`.
        resamples: Number of bootstrap resamples of the log-odds, and of sign patterns where the
            sign-flip test is not exact; default 10,000.
        seed: Seed of the bootstrap and of the sign-flip test; default 0.
    """

    margin: float = 0.02
    alpha: float = 0.05
    power: float = 0.8
    cluster: str = "cluster"
    resamples: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class ConditionReport:
    """Summary of one condition by itself.

    Attributes:
        condition: Name of the condition.
        n: Number of samples with a text and a label; all other samples are left out.
        failed: Number of rows without a text or a label.
        accuracy: Fraction of right answers; an unparsed text counts as wrong.
        truncated: Fraction of texts cut off at the token limit; None if the rows do not record it.
        unparsed: Number of texts without a readable answer.
        jointly_parsed: Fraction of right answers among the samples parsed under *every* condition.
        likelihood: Fraction of samples whose most probable candidate is the right answer, without
            parsing. Over the samples with log-probabilities under *every* condition.
        emitted: Number of samples whose text has a latent block.
    """

    condition: str
    n: int
    failed: int
    accuracy: Proportion
    truncated: Proportion | None
    unparsed: int
    jointly_parsed: Proportion
    likelihood: Proportion
    emitted: int


@dataclass(frozen=True)
class PairReport:
    """Paired analysis of two conditions on the same samples; differences are first minus second.

    Attributes:
        first: Name of the first condition.
        second: Name of the second condition.
        n: Number of samples that both conditions have.
        outcomes: Number of samples by outcome (right, wrong, unparsed) under both conditions.
        mcnemar: Exact McNemar test of the accuracies, which takes samples as independent.
        holm_p: p value of `mcnemar` after Holm over the pairs.
        difference: Difference of the accuracies, with its interval (Tango's, clustered).
        clustered: Sign-flip test of the accuracy difference, whole clusters flipped together.
            None if every sample is its own cluster, where it would be McNemar's test.
        clustered_holm_p: p value of `clustered` after Holm over the pairs.
        equivalence: Equivalence test (TOST) of the accuracies within the margin, clustered.
        equivalence_holm_p: p value of `equivalence` after Holm over the pairs; it decides.
        detectable: Smallest difference that one test at alpha would have detected with the power
            of the settings, at the observed discordance and n divided by the design effect. None
            if n is too small for any difference.
        detectable_in_family: Smallest difference that would have been shown among the pairs with
            that power: at alpha divided by the number of pairs, which is the first step of Holm.
        parse_failure: Exact McNemar test that equally many texts are unparsed.
        parse_failure_test: The same test, by sign flips of clusters where samples repeat.
        parse_failure_holm_p: p value of `parse_failure_test` after Holm over the pairs.
        joint_n: Number of samples parsed under both conditions.
        joint: Exact McNemar test of the accuracies among the jointly parsed samples.
        joint_test: The same test, by sign flips of clusters where samples repeat.
        joint_holm_p: p value of `joint_test` after Holm over the pairs.
        joint_difference: Difference of the accuracies among the jointly parsed samples, with its
            interval (Tango's, clustered).
        log_odds: Mean difference of the right answer's log-odds in nats, with its interval. Over
            the samples with log-probabilities under both conditions; None without any.
        log_odds_test: Sign-flip test of the log-odds difference.
        log_odds_holm_p: p value of `log_odds_test` after Holm over the pairs.
    """

    first: str
    second: str
    n: int
    outcomes: OutcomeTable
    mcnemar: McNemar
    difference: Difference
    clustered: SignFlip | None
    equivalence: Equivalence
    detectable: Detectable | None
    detectable_in_family: Detectable | None
    parse_failure: McNemar
    parse_failure_test: PairedTest
    joint_n: int
    joint: McNemar
    joint_test: PairedTest
    joint_difference: Difference
    log_odds: Difference | None
    log_odds_test: SignFlip | None
    # Holm needs all pairs: these are filled in last.
    holm_p: float | None = None
    clustered_holm_p: float | None = None
    parse_failure_holm_p: float | None = None
    joint_holm_p: float | None = None
    equivalence_holm_p: float | None = None
    log_odds_holm_p: float | None = None

    @property
    def p(self) -> float | None:
        """The deciding p value, after Holm: clustered if images repeat, else McNemar's."""
        return self.holm_p if self.clustered is None else self.clustered_holm_p

    @property
    def equivalent(self) -> bool:
        """True if equivalence within the margin is shown, after Holm over the pairs."""
        p = self.equivalence_holm_p
        return p is not None and p <= self.equivalence.alpha


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`: every condition by itself, and every pair.

    Attributes:
        settings: Settings that the comparison was made with.
        conditions: One report per condition, in the order given.
        pairs: One report per pair, in the order given.
        notes: Remarks on missing samples, few clusters and truncated texts.
    """

    settings: CompareSettings
    conditions: tuple[ConditionReport, ...]
    pairs: tuple[PairReport, ...]
    notes: tuple[str, ...]
