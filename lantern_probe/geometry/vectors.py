"""Sets of vectors: checked, grouped by image, and brought into a space for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.stats import Clusters
from lantern_probe.stats.resampling import image_index
from lantern_probe.stats.ties import unit_scaled

SPACES = ("raw", "centred", "whitened")
"""Spaces of `in_space`."""

OWN, FORCED, ORACLE, DUMMY = "own", "teacher-forced", "oracle", "dummy"
"""Names of sets of latents."""

QUESTION, IMAGE, WORDS = "question token", "image mean", "word embeddings"
"""Names of reference sets."""

ROUNDING = 1e-6
"""Distance from the mean, in units of the set's root mean square norm, below which a vector counts
as equal to the mean: float32 holds no more, and a rounding error has no meaningful direction."""

_CHUNK = 256
"""Number of samples that are checked together, so that the whole set is not copied."""


@dataclass(frozen=True, eq=False)
class VectorSet:
    """Named vectors of n samples, made with `VectorSet.of`.

    Attributes:
        name: Name of the set in tables, such as `own`, `oracle` or `dummy`.
        vectors: Vectors, [n, slots, dim], finite.
        images: Image of each sample as a number, [n], counted from 0 by first appearance.
        slotted: True for latents with a dimension of slots, False for ordinary tokens (slots = 1).

    Examples:
        Two questions on one image, and one on another; 8 slots of 64 dimensions:

        >>> import numpy as np
        >>> from lantern_probe.geometry import VectorSet
        >>> latents = np.random.default_rng(0).normal(size=(3, 8, 64))
        >>> own = VectorSet.of("own", latents, images=["a.png", "a.png", "b.png"])
        >>> own.n, own.image_count, own.slots
        (3, 2, [0, 1, 2, 3, 4, 5, 6, 7])
    """

    name: str
    vectors: Float32[np.ndarray, "n slots dim"]
    images: Int[np.ndarray, " n"]
    slotted: bool

    @classmethod
    def of(cls, name: str, vectors: ArrayLike, images: Clusters = None) -> VectorSet:
        """Check vectors and give them a name.

        Args:
            name: Name of the set in tables.
            vectors: Latents [n, slots, dim], or one vector per sample [n, dim]; kept in float32.
            images: Image of each sample, [n]. With None (default) each sample has its own.

        Raises:
            LanternError: the shape is another or empty, a value is not finite, or there is not one
                image per sample.
        """
        array = np.asarray(vectors)
        if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "fiu":
            raise LanternError(
                f"{name}: vectors are numbers [n, slots, dim] or [n, dim] with n of 1 or more, "
                f"not {array.dtype} {list(array.shape)}"
            )
        slotted = array.ndim == 3
        with np.errstate(over="ignore"):  # what float32 cannot hold is found below
            array = np.asarray(array if slotted else array[:, None], dtype=np.float32)
        for start in range(0, len(array), _CHUNK):
            bad = np.argwhere(~np.isfinite(array[start : start + _CHUNK]))
            if len(bad):
                sample, slot, dim = (bad[0] + (start, 0, 0)).tolist()
                place = f"slot {slot}, dimension {dim}" if slotted else f"dimension {dim}"
                raise LanternError(
                    f"{name}: sample {sample} (counted from 0) holds {array[sample, slot, dim]} at "
                    f"{place}; leave the sample out of all sets, and say how many you left out"
                )
        return cls(name, array, image_index(images, len(array)), slotted)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.vectors)

    @property
    def image_count(self) -> int:
        """Number of different images."""
        return int(self.images.max()) + 1

    @property
    def slots(self) -> list[int | None]:
        """Slots as in rows: 0, 1 and so on; None alone for a set without slots."""
        return list(range(self.vectors.shape[1])) if self.slotted else [None]

    def mean_over_slots(self) -> VectorSet:
        """Set of each sample's mean latent, [n, 1, dim], without slots."""
        means = self.vectors.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        return replace(self, vectors=means, slotted=False)


def check_pairing(own: VectorSet, oracle: VectorSet) -> None:
    """Check that two sets can be of the same samples.

    Raises:
        LanternError: the shapes or the images differ.
    """
    if own.vectors.shape != oracle.vectors.shape:
        raise LanternError(
            f"{own.name} and {oracle.name} must be of the same samples in the same order, with "
            f"equal shapes, not {list(own.vectors.shape)} and {list(oracle.vectors.shape)}"
        )
    if not np.array_equal(own.images, oracle.images):
        raise LanternError(f"{own.name} and {oracle.name} must have the same images per sample")


def centred(vectors: Float[np.ndarray, "n slots dim"]) -> Float32[np.ndarray, "n slots dim"]:
    """Subtract the mean of each slot; a vector that equals it in float32 becomes exactly zero.

    The result has a unit of its own, a power of two, in which the largest entries were about 1.
    In the vectors' own unit float32 could not hold the difference of two of its largest numbers.
    """
    scaled, _ = unit_scaled(vectors)
    squares = np.einsum("nkd,nkd->nk", scaled, scaled, dtype=np.float64)
    floor = ROUNDING**2 * squares.mean()
    away = (scaled - scaled.mean(0, dtype=np.float64)).astype(np.float32)
    away[np.einsum("nkd,nkd->nk", away, away, dtype=np.float64) <= floor] = 0
    return away


def in_space(
    vectors: VectorSet, space: str
) -> tuple[Float32[np.ndarray, "n slots coordinates"], str]:
    """Bring vectors into one of three spaces, in which cosines are then taken.

    `raw` leaves them as they are. `centred` subtracts the mean of each slot over the samples; its
    unit is a power of two, since only directions are compared.
    `whitened` centres, and then divides by the standard deviation along every principal axis, so
    that a few directions of large variance do not decide; coordinates are along these axes.

    Whitening uses one covariance C for all slots, so that slots can be compared. C is shrunk
    towards equal variance m = tr C / dim: (1 - s) C + s m I. The strength s in [0, 1] is that of
    Ledoit & Wolf (2004), with images in place of independent vectors. Without shrinkage,
    n * slots <= dim vectors would all become orthogonal, whatever they are. With it, fewer vectors
    give an s nearer to 1, and a result nearer to `centred`. As m includes the largest directions, a
    few of them keep part of their weight where there are not many others.

    Args:
        vectors: Set of vectors.
        space: Name of the space, one of `SPACES`.

    Returns:
        Coordinates [n, slots, coordinates], and a note on s for `GeometryRow.how`.

    Raises:
        LanternError: there is no such space.
    """
    if space not in SPACES:
        raise LanternError(f"no space {space!r}; choose from {list(SPACES)}")
    if space == "raw":
        return vectors.vectors, ""
    away = centred(vectors.vectors)
    if space == "centred":
        return away, ""
    coordinates, strength = _whitened(away, vectors.images)
    return coordinates, f"; shrinkage {strength:.3f}"


def _whitened(
    away: Float32[np.ndarray, "n slots dim"], images: Int[np.ndarray, " n"]
) -> tuple[Float32[np.ndarray, "n slots coordinates"], float]:
    """Whitened coordinates of centred vectors, and the strength of the shrinkage."""
    n, slots, dim = away.shape
    flat = away.reshape(n * slots, dim)
    total = len(flat)
    if dim <= total:
        variance, axes = np.linalg.eigh((flat.T @ flat / total).astype(np.float64))
        along = flat @ axes.astype(np.float32)
    else:  # the smaller matrix gives all axes along which there is variance
        variance, axes = np.linalg.eigh((flat @ flat.T / total).astype(np.float64))
        along = (axes * np.sqrt(total * np.clip(variance, 0, None))).astype(np.float32)
    variance = np.clip(variance, 0, None)
    if variance.sum() == 0:
        return away, 1.0
    s = _shrinkage(along.reshape(n, slots, -1), variance, dim, images)
    along /= np.sqrt((1 - s) * variance + s * variance.sum() / dim).astype(np.float32)
    return along.reshape(n, slots, -1), s


def _shrinkage(
    along: Float32[np.ndarray, "n slots coordinates"],
    variance: Float[np.ndarray, " coordinates"],
    dim: int,
    images: Int[np.ndarray, " n"],
) -> float:
    """Strength of shrinkage (Ledoit & Wolf 2004): variance of C's entries over its distance to m I.

    Args:
        along: Centred vectors along the principal axes, [n, slots, coordinates].
        variance: Variance along each axis, [coordinates].
        dim: Number of dimensions of the vectors.
        images: Image of each sample, [n].
    """
    distance = float((variance**2).sum() - variance.sum() ** 2 / dim)
    if distance <= 0:
        return 1.0
    of_c = float((variance**2).sum())
    error = 0.0
    for members in members_of(images):
        block = along[members].reshape(-1, along.shape[2])
        share = len(members) / len(along)
        gram = block @ block.T
        square = float((gram.astype(np.float64) ** 2).sum()) / len(block) ** 2
        with_c = float(((block.astype(np.float64) ** 2) @ variance).mean())
        error += share**2 * (square - 2 * with_c + of_c)
    return min(1.0, error / distance)


def members_of(images: Int[np.ndarray, " n"]) -> Sequence[Int[np.ndarray, " members"]]:
    """Samples of each image, in the order of the images' numbers."""
    order = np.argsort(images, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(images[order])) + 1)


def directions(
    vectors: Float32[np.ndarray, "n slots dim"],
) -> tuple[Float32[np.ndarray, "n slots dim"], Bool[np.ndarray, "n slots"]]:
    """Scale vectors to length 1.

    Returns:
        Unit vectors, zero for a zero vector, and a mask that is False for these.
    """
    scaled, _ = unit_scaled(vectors, 2)  # float32 must hold the squares
    norms = np.sqrt(np.einsum("nkd,nkd->nk", scaled, scaled, dtype=np.float64))
    defined = norms > 0
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=defined)
    scaled *= scale[..., None].astype(np.float32)
    return scaled, defined
