"""Numbers, intervals and p values as text."""

from __future__ import annotations

from collections.abc import Iterable

from lantern_probe.stats import Difference, Proportion


def points(share: float, *, signed: bool = False) -> str:
    """A share as percentage points, one decimal: .0213 is 2.1."""
    text = f"{100 * share:{'+' if signed else ''}.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def number(value: float | None, *, signed: bool = False) -> str:
    """Three decimals, without a leading zero."""
    if value is None:
        return "-"
    text = f"{value:{'+' if signed else ''}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def interval(
    value: float | None, low: float | None, high: float | None, *, signed: bool = False
) -> str:
    """An estimate with its interval in brackets."""
    if value is None or low is None or high is None:
        return "-"
    estimate, low_end, high_end = (number(x, signed=signed) for x in (value, low, high))
    return f"{estimate} [{low_end}, {high_end}]"


def share(value: Proportion | None) -> str:
    """Write a share without its interval, `.500`; a dash where there is none."""
    return "-" if value is None or not value.n else number(value.estimate)


def estimate(value: Proportion | Difference | None, *, signed: bool = False) -> str:
    """Write a result with its interval, `.500 [.352, .648]`; a dash where there is none."""
    if value is None or not value.n:
        return "-"
    return interval(value.estimate, value.low, value.high, signed=signed)


def p_value(p: float | None) -> str:
    """Three decimals; small ones by their power of ten."""
    if p is None:
        return "-"
    return f"{p:.0e}" if p < 0.001 else number(p)


def bound(difference: Difference) -> str | None:
    """Say what is known where no sample is discordant: how large a difference can be at most.

    Returns:
        `0 discordant of 256; at most 1.5 points`; None where some sample is discordant.
    """
    if difference.discordant != 0 or not difference.n:
        return None
    repeats = difference.clusters < difference.n
    of = f"{difference.n} ({difference.clusters} clusters)" if repeats else str(difference.n)
    return f"0 discordant of {of}; at most {points(max(-difference.low, difference.high))} points"


def bounds(named: Iterable[tuple[str, Difference | None]]) -> list[str]:
    """Write `bound` once for all comparisons of which it is the same, with their names."""
    said: dict[str, list[str]] = {}
    for name, difference in named:
        text = None if difference is None else bound(difference)
        if text is not None:
            said.setdefault(text, []).append(name)
    return [f"{text}: {', '.join(names)}" for text, names in said.items()]
