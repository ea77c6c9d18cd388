"""Statistics of paired comparisons: the same samples, answered under two conditions.

Results are small frozen dataclasses that say what was counted, the interval and how it was made.
Probabilities and shares are in [0, 1]; an interval over no data is the whole range, not an error,
so that a table with an empty cell can still be printed.

`accuracy`: interval, test and fraction of accuracies, by image. `paired`: proportions, exact
McNemar, Holm and Benjamini-Hochberg. `score`: Tango's interval. `bootstrap`: intervals of means.
`contrast`: a difference of two differences. `fisher`: association of two properties. `ratio`: of
two differences. `percentile`: the interval of any resampled statistic. `permutation`: sign flips,
and the p value of any permuted statistic. `equivalence`: TOST. `posterior`: the Bayesian reading of
a null. `gee`: a second opinion. `power`: power, n, the detectable difference. `outcomes`: parse
failure and log-odds. `clusters`: checks and clusters, and `ties`: what counts as equal, for all of
them. `resampling`: images resampled or permuted whole.

Every function takes any value of the range that it states, the smallest and largest floats
included, and no result depends on the last bit of numbers that are tied.
"""

from lantern_probe.stats.accuracy import (
    PairedTest,
    accuracy_difference,
    accuracy_test,
    clustered_share,
)
from lantern_probe.stats.bootstrap import Difference, mean_difference
from lantern_probe.stats.clusters import Clusters, design_effect
from lantern_probe.stats.contrast import Contrast, difference_of_differences
from lantern_probe.stats.equivalence import (
    Equivalence,
    accuracy_equivalence,
    equivalence_of_counts,
)
from lantern_probe.stats.fisher import FisherExact, fisher_exact
from lantern_probe.stats.gee import GeeTest, gee_test
from lantern_probe.stats.outcomes import (
    OUTCOMES,
    Outcome,
    OutcomeTable,
    log_odds,
    outcome,
    outcome_table,
)
from lantern_probe.stats.paired import (
    McNemar,
    Proportion,
    benjamini_hochberg,
    discordant,
    holm,
    mcnemar,
    proportion,
    wilson,
)
from lantern_probe.stats.percentile import percentile_interval
from lantern_probe.stats.permutation import SignFlip, permutation_p, sign_flip_test
from lantern_probe.stats.posterior import (
    JEFFREYS,
    PosteriorDifference,
    posterior_difference,
    posterior_of,
    posterior_of_counts,
)
from lantern_probe.stats.power import (
    Detectable,
    detectable_difference,
    mcnemar_power,
    required_n,
)
from lantern_probe.stats.ratio import Ratio, ratio_of_means
from lantern_probe.stats.score import paired_score, score_interval
from lantern_probe.stats.two_way import TwoWayMean, TwoWayTest, two_way_mean

__all__ = [
    "JEFFREYS",
    "OUTCOMES",
    "Clusters",
    "Contrast",
    "Detectable",
    "Difference",
    "Equivalence",
    "FisherExact",
    "GeeTest",
    "McNemar",
    "Outcome",
    "OutcomeTable",
    "PairedTest",
    "PosteriorDifference",
    "Proportion",
    "Ratio",
    "SignFlip",
    "TwoWayMean",
    "TwoWayTest",
    "accuracy_difference",
    "accuracy_equivalence",
    "accuracy_test",
    "benjamini_hochberg",
    "clustered_share",
    "design_effect",
    "detectable_difference",
    "difference_of_differences",
    "discordant",
    "equivalence_of_counts",
    "fisher_exact",
    "gee_test",
    "holm",
    "log_odds",
    "mcnemar",
    "mcnemar_power",
    "mean_difference",
    "outcome",
    "outcome_table",
    "paired_score",
    "percentile_interval",
    "permutation_p",
    "posterior_difference",
    "posterior_of",
    "posterior_of_counts",
    "proportion",
    "ratio_of_means",
    "required_n",
    "score_interval",
    "sign_flip_test",
    "two_way_mean",
    "wilson",
]
