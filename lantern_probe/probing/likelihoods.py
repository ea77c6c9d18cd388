"""Mean log-likelihood of held-out labels, the statistic of permutation tests of classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lantern_probe.probing.classify import grid_predict

TEST_C = 0.01
"""Fixed inverse penalty of the permutation test. Not tuned, so that true and permuted labels are
treated alike."""


def mean_log_likelihood(
    features: Float[Tensor, "n dim"], problems: Int[Tensor, "p n"], folds: Int[Tensor, " n"]
) -> Float[Tensor, " p"]:
    """Mean log-likelihood of labels out of fold, above that of the training part's frequencies.

    The difference is in nats a sample, of probes at the penalty `TEST_C`. Folds in which the
    classes happen to be alike give a high likelihood without any features, so that without the
    second term all sites of a target would share this luck. Both are mixed with a uniform guess of
    weight 1 / (m + 1), for m training samples: a class they have not seen then has a finite
    log-likelihood.

    Args:
        features: Hidden states at one site, [n, dim].
        problems: True or permuted classes, [p, n], counted from 0, every sample labelled.
        folds: Fold of each sample, [n], counted from 0.

    Returns:
        The mean of each problem, [p]; 0 for features that are the same for all samples.
    """
    held = grid_predict(features, problems, folds, (TEST_C,)).logprobs[0].double().cpu()
    problems, folds = problems.cpu(), folds.cpu()
    classes, n = int(problems.max()) + 1, len(folds)
    outside = n - torch.bincount(folds)[folds]
    share = 1 / (outside.double() + 1)
    likely = (1 - share) * held.exp() + share / classes
    inside = torch.zeros(len(problems), int(folds.max()) + 1, classes, dtype=torch.float64)
    rows = torch.arange(len(problems))[:, None]
    inside.index_put_((rows, folds[None], problems), torch.tensor(1.0).double(), accumulate=True)
    left = (inside.sum(1, keepdim=True) - inside)[rows, folds[None], problems]
    frequent = (left + 1 / classes) * share
    return (likely.log() - frequent.log()).mean(1)
