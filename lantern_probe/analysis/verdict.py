"""A comparison in words: what its figures say, and what they do not."""

from __future__ import annotations

from lantern_probe.analysis.comparison import Comparison, PairReport
from lantern_probe.analysis.format import points


def read_pair(pair: PairReport, comparison: Comparison) -> str:
    """Describe the figures of a pair in one to three sentences."""
    settings, family = comparison.settings, len(comparison.pairs)
    p, same = pair.p, pair.equivalence
    assert p is not None
    within = f"{points(settings.margin)} pp"
    narrow = (
        f"{100 * (1 - 2 * settings.alpha):g} % interval {points(same.low, signed=True)} to "
        f"{points(same.high, signed=True)}"
    )
    d = pair.difference
    said = []
    if p <= settings.alpha:
        ahead, behind = (pair.first, pair.second) if d.estimate > 0 else (pair.second, pair.first)
        ends = (d.low, d.high) if d.estimate > 0 else (-d.high, -d.low)
        wide = (
            f"{points(abs(d.estimate))} pp ({100 * d.level:g} % interval {points(ends[0])} to "
            f"{points(ends[1])})"
        )
        text = f"{ahead} is right more often than {behind}, by {wide}"
        said.append(text + (f", yet by less than {within} ({narrow})" if same.equivalent else ""))
    else:
        alone = pair.mcnemar.p if pair.clustered is None else pair.clustered.p
        text = "no difference shown"
        if alone <= settings.alpha:
            text += f" (p = {alone:.2g} alone, {p:.2g} among {family} comparisons)"
        if same.equivalent:
            said.append(f"{text}, and the two are equivalent within {within} ({narrow})")
        elif pair.detectable is None:
            said.append(f"{text}, and n is too small to see any")
        else:
            said.append(
                f"{text}, and equivalence within {within} not shown either ({narrow}); one larger "
                f"than {points(pair.detectable.difference)} pp would have been seen with "
                f"{100 * settings.power:g} % power"
            )
    failure = pair.parse_failure_holm_p
    if failure is not None and failure <= settings.alpha:
        lost = pair.outcomes.first[2], pair.outcomes.second[2]
        j = pair.joint_difference
        said.append(
            f"parse failures differ ({lost[0]} and {lost[1]}): among the {pair.joint_n} parsed "
            f"under both, {pair.first} minus {pair.second} is {points(j.estimate, signed=True)} pp "
            f"({points(j.low, signed=True)} to {points(j.high, signed=True)})"
            if pair.joint_n
            else f"parse failures differ ({lost[0]} and {lost[1]}), and none is parsed under both"
        )
    return f"{'. '.join(text[0].upper() + text[1:] if i else text for i, text in enumerate(said))}."
