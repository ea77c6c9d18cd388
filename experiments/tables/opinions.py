"""Further readings of an ablation on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.analysis.format import interval, number, p_value, points
from lantern_probe.analysis.second_opinion import SecondOpinion

from ..console import print_caption, print_table, titled_table


def print_posteriors(summaries: Sequence[ConditionSummary], console: Console) -> None:
    """Print the posterior of one model's differences from own."""
    found = [(s, s.posterior) for s in summaries if s.posterior is not None]
    if not found:
        return
    margin, prior = found[0][1].margin, found[0][1].prior
    table = titled_table(f"{summaries[0].model}: posterior of the difference from own")
    table.add_column("condition", no_wrap=True)
    for name in ("n", "minus own", f"within {points(margin)} points", "above 0"):
        table.add_column(name, justify="right", no_wrap=True)
    for s, one in found:
        table.add_row(
            escape(s.condition),
            f"{one.n / one.design_effect:.0f}",
            interval(one.mean, one.low, one.high, signed=True),
            number(one.within),
            number(one.positive),
        )
    print_table(table, console)
    print_caption(
        f"minus own: posterior mean [95 % credible interval]. Within: posterior probability that "
        f"the difference is less than {points(margin)} points; {number(found[0][1].prior_within)} "
        f"before the data. Prior: Dirichlet with a count of {prior:g} for each of the four cells "
        "of right and wrong under both. n: samples, divided by the design effect where images "
        "repeat. Not adjusted for the number of conditions.",
        console,
    )


def print_opinions(
    opinions: Sequence[SecondOpinion], summaries: Sequence[ConditionSummary], console: Console
) -> None:
    """Print one model's conditions against own by GEE, beside the test of the table."""
    if not opinions:
        return
    first = {s.condition: s for s in summaries}
    table = titled_table(f"{opinions[0].model}: second opinion by GEE")
    table.add_column("condition", no_wrap=True)
    for name in ("clusters", "odds ratio", "p", "Holm", "p of the table", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in opinions:
        test, fit = first[one.condition].test, one.test
        table.add_row(
            escape(one.condition),
            *(
                ("-", "-", "-", "-")
                if fit is None
                else (
                    str(fit.clusters),
                    f"{fit.odds_ratio:.2g} [{fit.low:.2g}, {fit.high:.2g}]",
                    p_value(fit.p),
                    p_value(one.holm_p),
                )
            ),
            p_value(None if test is None else test.p),
            p_value(first[one.condition].holm_p),
        )
    print_table(table, console)
    reasons: dict[str, list[str]] = {}
    for one in opinions:
        if one.refused is not None:
            reasons.setdefault(one.refused, []).append(one.condition)
    for reason, labels in reasons.items():
        console.print(f"{', '.join(labels)}: {reason}", markup=False, highlight=False)
    print_caption(
        "odds of a right answer under the condition over those under own [95 % interval]: "
        "binomial GEE, exchangeable within an image, Mancl & DeRouen's covariance, t with "
        "clusters - 2 degrees of freedom. It decides nothing: the test of the table was chosen "
        "beforehand.",
        console,
    )
