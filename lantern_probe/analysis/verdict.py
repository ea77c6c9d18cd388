"""A comparison in words: what its figures say, and what they do not."""

from __future__ import annotations

from lantern_probe.analysis.comparison import Comparison, PairReport
from lantern_probe.analysis.format import bound, points


def read_pair(pair: PairReport, comparison: Comparison) -> str:
    """Describe the figures of a pair in one to three sentences.

    The test decides, after Holm over the pairs; intervals say how large a difference may be.
    """
    said = [_shown(pair, comparison) if _differs(pair, comparison) else _null(pair, comparison)]
    failure = pair.parse_failure_holm_p
    if failure is not None and failure <= comparison.settings.alpha:
        said.append(_failures(pair))
    return f"{'. '.join(text[0].upper() + text[1:] if i else text for i, text in enumerate(said))}."


def _differs(pair: PairReport, comparison: Comparison) -> bool:
    assert pair.p is not None
    return pair.p <= comparison.settings.alpha


def _narrow(pair: PairReport, comparison: Comparison) -> str:
    same, settings, family = pair.equivalence, comparison.settings, len(comparison.pairs)
    text = (
        f"{100 * (1 - 2 * settings.alpha):g} % interval {points(same.low, signed=True)} to "
        f"{points(same.high, signed=True)}"
    )
    if family > 1:
        text += f", TOST p = {pair.equivalence_holm_p:.2g} among {family} comparisons"
    return text


def _shown(pair: PairReport, comparison: Comparison) -> str:
    d = pair.difference
    ahead, behind = (pair.first, pair.second) if d.estimate > 0 else (pair.second, pair.first)
    low, high = (d.low, d.high) if d.estimate > 0 else (-d.high, -d.low)
    text = (
        f"{ahead} is right more often than {behind}, by {points(abs(d.estimate))} pp "
        f"({100 * d.level:g} % interval {points(low)} to {points(high)}"
    )
    if low <= 0:  # the two can part ways where few clusters tell the spread
        text += "; the interval, which is wide with few clusters, reaches 0, the test rejects it"
    text += ")"
    if pair.equivalent:
        within = points(comparison.settings.margin)
        text += f", yet by less than {within} pp ({_narrow(pair, comparison)})"
    return text


def _null(pair: PairReport, comparison: Comparison) -> str:
    settings, family = comparison.settings, len(comparison.pairs)
    text, within = "no difference shown", f"{points(settings.margin)} pp"
    alone = pair.mcnemar.p if pair.clustered is None else pair.clustered.p
    if alone <= settings.alpha:
        text += f" (p = {alone:.2g} alone, {pair.p:.2g} among {family} comparisons)"
    nothing = bound(pair.difference)
    if nothing is not None:
        text += f" ({nothing})"
    if pair.equivalent:
        return f"{text}, and the two are equivalent within {within} ({_narrow(pair, comparison)})"
    one, every = pair.detectable, pair.detectable_in_family
    if every is None:
        return f"{text}, and n is too small to see any"
    text += (
        f", and equivalence within {within} not shown either ({_narrow(pair, comparison)}); one "
        f"larger than {points(every.difference)} pp would have been seen with "
        f"{100 * settings.power:g} % power"
    )
    if family > 1 and one is not None:
        text += (
            f" among {family} comparisons (one test at {settings.alpha:g} / {family}; "
            f"{points(one.difference)} pp for a single test at {settings.alpha:g})"
        )
    return text


def _failures(pair: PairReport) -> str:
    lost, j = (pair.outcomes.first[2], pair.outcomes.second[2]), pair.joint_difference
    text = f"parse failures differ ({lost[0]} and {lost[1]})"
    if not pair.joint_n:
        return f"{text}, and none is parsed under both"
    return (
        f"{text}: among the {pair.joint_n} parsed under both, {pair.first} minus {pair.second} is "
        f"{points(j.estimate, signed=True)} pp ({points(j.low, signed=True)} to "
        f"{points(j.high, signed=True)})"
    )
