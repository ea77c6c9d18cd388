"""Many classification probes on the same features, predicted out of fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lantern_probe.errors import LanternError
from lantern_probe.probing.basis import check_features, fit_basis
from lantern_probe.probing.folds import check_folds
from lantern_probe.probing.penalties import Scores, check_grid, choose_inside
from lantern_probe.probing.softmax import TOLERANCE, fit_path

_STACK = 2**23
"""Most entries of an array while a stack of problems is solved; about twenty such arrays live at
once, so this bounds the memory (0.7 GB in float32)."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of probes for samples they were not trained on.

    The last two dimensions are problem and sample. Results for several C have a dimension of C
    before these.

    Attributes:
        predicted: Most probable class, [..., p, n]; -1 where the problem has no label for the
            sample.
        logprobs: Log-probability of the true class in nats, [..., p, n]. Minus infinity where the
            training part lacks this class, NaN where there is no label.
    """

    predicted: Int[Tensor, "*Cs p n"]
    logprobs: Float[Tensor, "*Cs p n"]

    def accuracy(self, labels: Int[Tensor, "p n"]) -> Float[Tensor, "*Cs p"]:
        """Fraction of the labelled samples predicted right, [..., p]; NaN without any label."""
        labels = labels.to(self.predicted.device)
        right = ((self.predicted == labels) & (labels >= 0)).sum(-1)
        return right.double() / (labels >= 0).sum(-1)


@dataclass(frozen=True, eq=False)
class Chosen(HeldOut):
    """Predictions out of fold, with the C that each problem chose without seeing the fold.

    Attributes:
        Cs: Inverse penalty chosen for each problem and fold, [p, folds].
    """

    Cs: Float[Tensor, "p folds"]


def fit_predict(
    features: Float[Tensor, "n dim"],
    problems: Int[Tensor, "p n"],
    folds: Int[Tensor, " n"],
    Cs: Sequence[float] = (1.0,),
    *,
    tol: float = TOLERANCE,
) -> Chosen:
    """Predict every fold by probes trained on the others, each with a C chosen there.

    For the choice, each of the other folds is predicted by probes trained on the rest, without the
    fold held out. The C with the best mean accuracy over these folds wins; of equal ones, the
    smallest. `GridSearchCV` over `make_pipeline(StandardScaler(), LogisticRegression())` does the
    same with the same folds. The fold held out plays no part in the choice.

    Args:
        features: Hidden states at one site, [n, dim], on any device.
        problems: Class of each sample under each problem, [p, n]; -1 leaves the sample out. A
            problem is a label or a control label.
        folds: Fold of each sample, [n], counted from 0 (`group_folds`).
        Cs: Inverse penalties to choose from, rising. With the default, 1, there is no choice.
        tol: Tolerance of the solver, default `lantern_probe.probing.softmax.TOLERANCE`.

    Returns:
        Predictions [p, n] and the chosen C of each problem and fold.

    Raises:
        LanternError: features are not finite, shapes do not match, a fold is empty, Cs are not
            positive or do not rise, there are several and fewer than 3 folds, or a problem has
            one class only in some training part.
    """
    problems, folds, n_folds = _checked(features, problems, folds)
    grid = _grid(features, problems, Cs)
    chosen = torch.zeros(n_folds, len(problems), dtype=torch.long, device=features.device)
    if len(grid) > 1:

        def scores(f: Bool[Tensor, " n"], g: Bool[Tensor, " n"]) -> Scores:
            held = predict_split(features, problems, ~(f | g), f | g, grid, tol=tol)
            is_f = f[f | g]
            truth = problems[:, f | g]
            return _accuracy(held, truth, is_f), _accuracy(held, truth, ~is_f)

        chosen = choose_inside(folds, n_folds, scores)
    best = grid.T.gather(1, chosen.T)
    held = _nothing(problems, 1, features)
    for fold in range(n_folds):
        inside = folds == fold
        part = predict_split(features, problems, ~inside, inside, best[:, fold][None], tol=tol)
        held.predicted[..., inside], held.logprobs[..., inside] = part.predicted, part.logprobs
    return Chosen(held.predicted[0], held.logprobs[0], best)


def grid_predict(
    features: Float[Tensor, "n dim"],
    problems: Int[Tensor, "p n"],
    folds: Int[Tensor, " n"],
    Cs: Sequence[float],
    *,
    tol: float = TOLERANCE,
) -> HeldOut:
    """Predict every fold by probes trained on the others, once with each C.

    Arguments and errors are those of `fit_predict`, but 2 folds always suffice. The results are
    [c, p, n], with a row for each C. The best C by these results has seen the samples it is judged
    by; use `fit_predict` for an unbiased figure.
    """
    problems, folds, n_folds = _checked(features, problems, folds)
    grid = _grid(features, problems, Cs)
    held = _nothing(problems, len(grid), features)
    for fold in range(n_folds):
        inside = folds == fold
        part = predict_split(features, problems, ~inside, inside, grid, tol=tol)
        held.predicted[..., inside], held.logprobs[..., inside] = part.predicted, part.logprobs
    return held


def predict_split(
    features: Float[Tensor, "n dim"],
    problems: Int[Tensor, "p n"],
    train: Bool[Tensor, " n"],
    test: Bool[Tensor, " n"],
    Cs: Float[Tensor, "c p"],
    *,
    tol: float = TOLERANCE,
) -> HeldOut:
    """Train on some samples and predict others: results [c, p, m], for the m test samples.

    Problems that label the same samples share one standardisation and one set of axes. Each result
    equals that of a probe trained by itself.

    Args:
        features: Hidden states at one site, [n, dim], on any device.
        problems: Class of each sample under each problem, [p, n]; -1 leaves the sample out.
        train: True for the samples to train on, [n].
        test: True for the samples to predict, [n].
        Cs: Inverse penalties, [c, p]: c values for each problem. Each row starts from the solution
            of the row before, so rising values converge soonest.
        tol: Tolerance of the solver, default `lantern_probe.probing.softmax.TOLERANCE`.

    Raises:
        LanternError: training features are not finite, or a problem has one class only.
    """
    held = _nothing(problems[:, test], len(Cs), features)
    labelled, group_of = torch.unique(problems >= 0, dim=0, return_inverse=True)
    for group, mask in enumerate(labelled):
        members = (group_of == group).nonzero()[:, 0]
        rows, points = train & mask, mask[test].nonzero()[:, 0]
        present = _present(problems, members, rows)
        # A class without training samples does not exist for the probe: the others move up.
        labels = (present.cumsum(1) - 1).gather(1, problems[members][:, rows])
        truth = problems[members][:, test][:, points]
        basis = fit_basis(features[rows])
        coordinates = basis.project(features[test][points])
        for some, names in _stacks(present, max(basis.coordinates.shape)):
            path = fit_path(basis, labels[some], names.shape[1], Cs[:, members[some]], tol)
            for step, solution in enumerate(path):
                logprobs = solution.logits(coordinates).log_softmax(1)
                is_true = truth[some][:, None] == names[..., None]
                at = (step, members[some][:, None], points)
                held.predicted[at] = names.gather(1, logprobs.argmax(1))
                held.logprobs[at] = logprobs.where(is_true, -torch.inf).amax(1)
    return held


def check_problems(problems: Int[Tensor, "p n"], samples: int) -> None:
    """Refuse problems that do not label the samples.

    Raises:
        LanternError: there are no problems, or not one label per sample.
    """
    if not len(problems) or problems.shape[1] != samples:
        raise LanternError(
            f"problems need one label per sample, [p, {samples}], not shape {list(problems.shape)}"
        )


def _checked(
    features: Float[Tensor, "n dim"], problems: Int[Tensor, "p n"], folds: Int[Tensor, " n"]
) -> tuple[Int[Tensor, "p n"], Int[Tensor, " n"], int]:
    """Problems and folds on the features' device, and the number of folds."""
    check_features(features)
    check_problems(problems, len(features))
    n_folds = check_folds(folds, len(features))
    return problems.long().to(features.device), folds.to(features.device), n_folds


def _grid(
    features: Float[Tensor, "n dim"], problems: Int[Tensor, "p n"], Cs: Sequence[float]
) -> Float[Tensor, "c p"]:
    grid = torch.tensor(check_grid("Cs", Cs), dtype=torch.float64, device=features.device)
    return grid[:, None].repeat(1, len(problems))


def _nothing(problems: Int[Tensor, "p n"], steps: int, features: Tensor) -> HeldOut:
    shape, device = (steps, *problems.shape), features.device
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    return HeldOut(
        torch.full(shape, -1, device=device),
        torch.full(shape, torch.nan, device=device, dtype=dtype),
    )


def _accuracy(
    held: HeldOut, truth: Int[Tensor, "p n"], where: Bool[Tensor, " n"]
) -> Float[Tensor, "c p"]:
    part = HeldOut(held.predicted[..., where], held.logprobs[..., where])
    return part.accuracy(truth[:, where])


def _present(
    problems: Int[Tensor, "p n"], members: Int[Tensor, " q"], rows: Bool[Tensor, " n"]
) -> Bool[Tensor, "q classes"]:
    """Mask of the classes that each member problem has among the training samples.

    Raises:
        LanternError: a problem has fewer than two classes.
    """
    labels = problems[members][:, rows]
    classes = int(problems.max()) + 1
    present = torch.zeros(len(members), classes, dtype=torch.bool, device=labels.device)
    present.scatter_(1, labels, True)
    few = (present.sum(1) < 2).nonzero()[:, 0]
    if len(few):
        only = present[few[0]].nonzero()[:, 0].tolist()
        raise LanternError(
            f"problem {int(members[few[0]])} (counted from 0) has "
            f"{f'only class {only[0]}' if only else 'no label'} among the {int(rows.sum())} "
            "training samples of a split; a probe needs two classes: leave the problem out, or "
            "use fewer or other folds"
        )
    return present


def _stacks(
    present: Bool[Tensor, "q classes"], height: int
) -> Iterator[tuple[Int[Tensor, " s"], Int[Tensor, "s k"]]]:
    """Split problems into stacks with equally many classes, and give the classes of each."""
    sizes = present.sum(1)
    for size in sorted(set(sizes.tolist())):
        same = (sizes == size).nonzero()[:, 0]
        for some in same.split(max(1, _STACK // (height * size))):
            yield some, present[some].nonzero()[:, 1].view(len(some), size)
