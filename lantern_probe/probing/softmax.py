"""Many multinomial logistic regressions on the same features, solved together.

For each problem with labels y and its own C, minimise

    sum_i [log sum_k exp(l_ik) - l_i,y(i)] + penalty / 2 * |W|^2,    l_i = W x_i + b,

with penalty = 1 / C: scikit-learn's objective, intercepts free. The method is nonlinear conjugate
gradients (Polak & Ribiere 1969, restarted where the direction no longer descends), with two things
that make it fast here:

* Features come as coordinates along their principal axes (`Basis`). The Hessian of the loss is at
  most X'X / 2 in each class (Boehning 1992), and close to w X'X, where w is the mean of p (1 - p)
  over samples and classes. X'X is diagonal in this basis, so that (w X'X + penalty)^-1, a far
  better preconditioner than the bound, costs a division; w follows the fit.
* All problems form one stack: an iteration costs two matrix products for all of them, and the
  line search costs none, since the logits along a direction are known. A problem ends on its own
  criterion, and leaves the stack.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from lantern_probe.probing.basis import Basis

TOLERANCE = 1e-3
"""Distance of the weights from their optimum, as a fraction of their norm, at which a problem is
solved. It is estimated from the preconditioned gradient: the penalty makes the objective strongly
convex, so that the objective's distance from its optimum bounds that of the weights."""

MAX_ITERATIONS = 1_000
"""Iterations after which a problem is given up with a `ConvergenceWarning`."""

_LINE_STEPS = 20
_SLOPE_LEFT = 0.3
"""Fraction of the slope at which a line search may stop."""


@dataclass(frozen=True, eq=False)
class Softmax:
    """Weights of a stack of problems with the same number of classes.

    Attributes:
        weights: Weights along the basis's axes, [p, classes, r].
        intercepts: Intercepts with mean 0 over the classes, [p, classes].
        iterations: Iterations that each problem took, [p].
    """

    weights: Float[Tensor, "p classes r"]
    intercepts: Float[Tensor, "p classes"]
    iterations: Int[Tensor, " p"]

    def logits(self, coordinates: Float[Tensor, "m r"]) -> Float[Tensor, "p classes m"]:
        """Logits of m samples, given by their coordinates along the axes."""
        return _product(self.weights, coordinates.T) + self.intercepts[..., None]


@dataclass(frozen=True, eq=False)
class _Stack:
    """The problems still being solved; the first dimension of every tensor is the problem.

    Shapes from here on are comments rather than annotations, as checking them in every iteration
    would be slow.
    """

    index: Tensor  # [p], index of each problem in the whole stack
    penalty: Tensor  # [p]
    labels: Tensor  # [p, 1, n]
    weights: Tensor  # [p, classes, r]
    intercepts: Tensor  # [p, classes]
    logits: Tensor  # [p, classes, n], and so are:
    shares: Tensor  # probabilities
    residual: Tensor  # probabilities minus labels, the slope of the loss
    slope: Tensor  # gradient of the objective, [p, classes, r]
    slope_intercepts: Tensor  # [p, classes]
    length: Tensor  # squared norm of the slope under the preconditioner, [p]
    direction: Tensor  # [p, classes, r]
    direction_intercepts: Tensor  # [p, classes]

    def keep(self, wanted: Tensor) -> _Stack:
        """The stack of some of the problems."""
        fields = [field.name for field in dataclasses.fields(self)]
        return _Stack(**{name: getattr(self, name)[wanted] for name in fields})


def fit_softmax(
    basis: Basis,
    labels: Int[Tensor, "p n"],
    classes: int,
    Cs: Float[Tensor, " p"],
    start: Softmax | None = None,
    tol: float = TOLERANCE,
) -> Softmax:
    """Solve a stack of problems that share features and number of classes.

    Args:
        basis: Axes and coordinates of the training features.
        labels: Class of each training sample in each problem, [p, n], from 0 to `classes` - 1.
            Every class occurs in every problem.
        classes: Number of classes, at least 2.
        Cs: Inverse penalty of each problem, [p].
        start: Solution of the same problems for other Cs, to start from. None (default) starts from
            zero weights and the classes' frequencies.
        tol: Tolerance, default `TOLERANCE`.

    Returns:
        The weights. A problem that does not converge in `MAX_ITERATIONS` is returned as it is, with
        a `ConvergenceWarning`.
    """
    x = basis.coordinates
    if start is None:
        weights = x.new_zeros(len(labels), classes, x.shape[1])
        frequency = torch.nn.functional.one_hot(labels, classes).to(x.dtype).mean(1).log()
        intercepts = frequency - frequency.mean(1, keepdim=True)
    else:
        weights, intercepts = start.weights, start.intercepts
    logits = _product(weights, x.T) + intercepts[..., None]
    # scikit-learn has one weight vector for two classes. Split into w/2 and -w/2 it has half the
    # squared norm, so the penalty must be twice as large.
    penalty = (2.0 if classes == 2 else 1.0) / Cs.to(x)
    nothing, nothing_intercepts = torch.zeros_like(weights), torch.zeros_like(intercepts)
    index = torch.arange(len(labels), device=x.device)
    places = labels[:, None]
    stack = _Stack(
        index, penalty, places, weights, intercepts, logits, *_residual(logits, places),
        nothing, nothing_intercepts, torch.ones_like(penalty), nothing, nothing_intercepts,
    )  # fmt: skip
    solution = Softmax(weights.clone(), intercepts.clone(), torch.zeros_like(index))
    active = torch.ones_like(index, dtype=torch.bool)
    for iteration in range(MAX_ITERATIONS):
        stack, going = _turn(stack, basis, tol)
        active &= going
        solution.iterations[stack.index[active]] = iteration + 1
        if not active.any():
            break
        # Making the stack smaller costs about as much as an iteration, so wait for a quarter.
        if int(active.sum()) <= 0.75 * len(active):
            _store(solution, stack)
            stack = stack.keep(active)
            active = active[active]
        stack, moved = _step(stack, x, active)
        active &= moved
    if active.any():
        warnings.warn(
            f"{int(active.sum())} of {len(labels)} probes did not converge in {MAX_ITERATIONS} "
            f"iterations (largest C: {float(Cs.max()):g}); use smaller Cs or a larger tol",
            ConvergenceWarning,
            stacklevel=2,
        )
    _store(solution, stack)
    return solution


def fit_path(
    basis: Basis,
    labels: Int[Tensor, "p n"],
    classes: int,
    Cs: Float[Tensor, "c p"],
    tol: float = TOLERANCE,
) -> Iterator[Softmax]:
    """Solve a stack of problems for one row of Cs after the other.

    Each row starts from the straight line, over log C, through the last two solutions. The weights
    of separable problems, the slowest to solve, move along it almost evenly.

    Args:
        basis: Axes and coordinates of the training features.
        labels: Class of each training sample in each problem, [p, n], from 0 to `classes` - 1.
        classes: Number of classes, at least 2.
        Cs: Inverse penalties, [c, p]: c values for each problem, best in rising order.
        tol: Tolerance, default `TOLERANCE`.

    Yields:
        The solution for each of the c rows.
    """
    before: Softmax | None = None
    last: Softmax | None = None
    for row in range(len(Cs)):
        start = last
        if before is not None and last is not None:
            steps = Cs[row - 2 : row + 1].log().diff(dim=0)
            ahead = (steps[1] / steps[0]).nan_to_num(0.0, 0.0, 0.0).to(last.weights)
            start = Softmax(
                last.weights.lerp(before.weights, -ahead[:, None, None]),
                last.intercepts.lerp(before.intercepts, -ahead[:, None]),
                last.iterations,
            )
        before, last = last, fit_softmax(basis, labels, classes, Cs[row], start, tol)
        yield last


def _store(solution: Softmax, stack: _Stack) -> None:
    solution.weights[stack.index] = stack.weights
    solution.intercepts[stack.index] = stack.intercepts - stack.intercepts.mean(1, keepdim=True)


def _turn(stack: _Stack, basis: Basis, tol: float) -> tuple[_Stack, Tensor]:
    """Choose every problem's next direction, and say which problems are not solved yet."""
    shares, residual, penalty = stack.shares, stack.residual, stack.penalty[:, None, None]
    limits = torch.finfo(shares.dtype)
    slope = _product(residual, basis.coordinates) + penalty * stack.weights
    slope_intercepts = residual.sum(2)
    spread = (shares * (1 - shares)).mean((1, 2)).clamp_min(limits.eps)
    down = slope / (basis.squares * spread[:, None, None] + penalty)
    down_intercepts = slope_intercepts / (residual.shape[2] * spread[:, None])
    length = _dot(slope, down) + _dot(slope_intercepts, down_intercepts)
    along = _dot(stack.slope, down) + _dot(stack.slope_intercepts, down_intercepts)
    memory = ((length - along) / stack.length).clamp_min(0.0)
    direction = memory[:, None, None] * stack.direction - down
    direction_intercepts = memory[:, None] * stack.direction_intercepts - down_intercepts
    descent = _dot(slope, direction) + _dot(slope_intercepts, direction_intercepts)
    lost = descent > -0.01 * length
    turned = dataclasses.replace(
        stack,
        slope=slope,
        slope_intercepts=slope_intercepts,
        length=length.clamp_min(limits.tiny),
        direction=torch.where(lost[:, None, None], -down, direction),
        direction_intercepts=torch.where(lost[:, None], -down_intercepts, direction_intercepts),
    )
    # The second term is for weights that are all zero at the optimum.
    near = stack.penalty * _dot(stack.weights, stack.weights) + limits.eps * residual.shape[2]
    return turned, length > tol**2 * near


def _step(stack: _Stack, x: Tensor, active: Tensor) -> tuple[_Stack, Tensor]:
    """Move every active problem along its direction, about to the lowest point.

    This is Newton's method on the slope along the line, which only grows. Steps are kept between
    the longest one known to be too short and the shortest one known to be too long. A problem that
    cannot move has reached the limit of rounding.
    """
    change = _product(stack.direction, x.T) + stack.direction_intercepts[..., None]
    pull = stack.penalty * _dot(stack.weights, stack.direction)
    stiffness = stack.penalty * _dot(stack.direction, stack.direction)
    first = _dot(stack.residual, change) + pull
    step = torch.where(active, -first / (_curvature(stack.shares, change) + stiffness), 0.0)
    short, long = torch.zeros_like(step), torch.full_like(step, torch.inf)
    for _ in range(_LINE_STEPS):
        logits = stack.logits + step[:, None, None] * change
        shares, residual = _residual(logits, stack.labels)
        slope = _dot(residual, change) + pull + step * stiffness
        found = (slope.abs() <= _SLOPE_LEFT * first.abs()) | ~active
        if found.all():
            break
        short = torch.where(slope < 0, step, short)
        long = torch.where(slope > 0, step, long)
        newton = step - slope / (_curvature(shares, change) + stiffness)
        halved = torch.where(long.isinf(), 2 * step, (short + long) / 2)
        inside = (newton > short) & (newton < long)
        step = torch.where(found, step, torch.where(inside, newton, halved))
    else:
        step = torch.where(found, step, short)
        logits = stack.logits + step[:, None, None] * change
        shares, residual = _residual(logits, stack.labels)
    moved = dataclasses.replace(
        stack,
        weights=stack.weights + step[:, None, None] * stack.direction,
        intercepts=stack.intercepts + step[:, None] * stack.direction_intercepts,
        logits=logits,
        shares=shares,
        residual=residual,
    )
    return moved, step > 0


def _residual(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, and probabilities minus 1 at the true class, both [p, classes, n].

    At the true class the residual is computed as minus the sum of the other probabilities. For a
    sample that is fitted well, p - 1 would be rounding only, and such samples decide the solution
    where the penalty is weak.
    """
    shares = logits.softmax(1)
    others = shares.scatter(1, labels, 0.0)
    return shares, others.scatter(1, labels, -others.sum(1, keepdim=True))


def _curvature(shares: Tensor, change: Tensor) -> Tensor:
    """Second derivative of the loss along a change of the logits, [p]."""
    weighed = shares * change
    return _dot(weighed, change) - weighed.sum(1).square().sum(1)


def _dot(one: Tensor, two: Tensor) -> Tensor:
    """Inner product of each problem, [p]."""
    return (one * two).flatten(1).sum(1)


def _product(stack: Tensor, matrix: Tensor) -> Tensor:
    """[p, classes, a] times [a, b], one matrix product for the whole stack."""
    return (stack.flatten(0, 1) @ matrix).view(*stack.shape[:2], matrix.shape[1])
