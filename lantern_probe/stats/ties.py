"""Numbers that differ by rounding only: one tolerance, and scales that avoid overflow.

Sums of the same numbers in another order, or in another unit, differ in their last bits. A p value
that counts such sums, a rank and a bias correction must not depend on these bits. This module has
the one tolerance for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from numpy.typing import ArrayLike

TIE = 1e-12
"""Relative difference up to which two results in float64 count as equal.

Rounding in sums of a hundred thousand numbers is smaller, and differences between measured numbers
are larger.
"""

SINGLE_TIE = 1e-6
"""Relative difference up to which two results in float32, such as cosines, count as equal."""


def reaches(values: ArrayLike, bound: ArrayLike, tolerance: ArrayLike) -> Bool[np.ndarray, "..."]:
    """Mark the values that are at least as large as the bound, or equal to it up to rounding.

    Args:
        values: Any numbers.
        bound: Numbers that the values are compared with.
        tolerance: Absolute difference that counts as none: `TIE` or `SINGLE_TIE` times the size
            of the numbers that were added up. All three are broadcast.
    """
    with np.errstate(over="ignore"):  # an infinite bound is reached, or not, as it should
        return np.asarray(np.asarray(values) >= np.asarray(bound) - np.asarray(tolerance))


def settled(sums: Num[np.ndarray, "*any"], sizes: Num[np.ndarray, "*any"]) -> Any:
    """Set sums whose terms cancel up to rounding to 0.

    Args:
        sums: Sums of terms of either sign.
        sizes: Sums of the same terms' absolute values.
    """
    return np.where(np.abs(sums) <= TIE * sizes, 0, sums)


def merged(sums: Num[np.ndarray, " n"], sizes: Num[np.ndarray, " n"]) -> Num[np.ndarray, " n"]:
    """Set sums that are equal up to rounding to the smallest of them.

    Args:
        sums: Sums of terms of either sign.
        sizes: Sums of the same terms' absolute values.
    """
    order = np.argsort(sums, kind="stable")
    ordered, scale = sums[order], sizes[order]
    opens = np.ones(len(sums), bool)
    opens[1:] = np.diff(ordered) > TIE * np.maximum(scale[1:], scale[:-1])
    found = np.empty_like(sums)
    found[order] = ordered[opens][np.cumsum(opens) - 1]
    return found


def unit_scaled(values: Float[np.ndarray, "*any"], axes: Any = None) -> tuple[Any, Any]:
    """Scale values by powers of two that bring the largest to [1/2, 1).

    Squares, cubes and sums of scaled values neither overflow nor vanish. The scaling rounds only
    values that are negligible next to the largest.

    Args:
        values: Finite numbers, in any unit.
        axes: Axes of the values that share a power; all values share one if None.

    Returns:
        The scaled values, and the exponents with which `rescaled` restores the unit. There is one
        exponent if `axes` is None, else an array in which these axes have length 1.
    """
    largest = np.abs(values).max(axis=axes, keepdims=axes is not None, initial=0)
    exponents = np.frexp(largest)[1]
    with np.errstate(under="ignore"):
        return np.ldexp(values, -exponents), exponents


def rescaled(values: ArrayLike, exponents: ArrayLike) -> Any:
    """Multiply values by 2^exponents; infinite or 0 where no float is that large or small."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.asarray(values, dtype=np.float64), exponents)


def tied_places(
    values: Float[np.ndarray, "rows n"], tolerance: float
) -> tuple[Int[np.ndarray, "rows n"], Int[np.ndarray, "rows n"]]:
    """Places of the values in each row, smallest first, and the number that share each place.

    All values within the tolerance of a value share its place. Ties do not form chains: of three
    values, each a little more than half the tolerance apart, the outer ones are not tied.

    Args:
        values: Finite numbers.
        tolerance: Absolute difference up to which two values are tied.

    Returns:
        places: For each value, the number of smaller values in the row.
        shared: For each value, the number of values tied with it, itself included.

        The expected rank from 1, ties in random order, is places + (shared + 1) / 2. Its mean over
        a row is (n + 1) / 2.
    """
    order = np.argsort(values, axis=1)
    rising = np.take_along_axis(values, order, 1)
    first = np.tile(np.arange(values.shape[1], dtype=np.int32), (len(values), 1))
    shared = np.ones_like(first)
    near = np.diff(rising, axis=1) <= tolerance
    tied = np.zeros(values.shape, bool)
    tied[:, 1:] |= near
    tied[:, :-1] |= near
    for row in np.flatnonzero(tied.any(1)):
        which, exact = np.flatnonzero(tied[row]), rising[row].astype(np.float64)
        first[row, which] = np.searchsorted(exact, exact[which] - tolerance, "left")
        after = np.searchsorted(exact, exact[which] + tolerance, "right")
        shared[row, which] = after - first[row, which]
    places, sizes = np.empty_like(first), np.empty_like(first)
    np.put_along_axis(places, order, first, 1)
    np.put_along_axis(sizes, order, shared, 1)
    return places, sizes


def midranks(values: Float[np.ndarray, "rows n"], tolerance: float) -> Float[np.ndarray, "rows n"]:
    """The expected rank of each value in its row, from 1 on, ties (`tied_places`) at random."""
    places, shared = tied_places(values, tolerance)
    return places + (shared + 1) / 2
