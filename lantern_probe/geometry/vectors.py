"""Vectors on their way in: checked, grouped by image, centred, whitened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy.typing import ArrayLike

from lantern_probe.errors import LanternError
from lantern_probe.geometry.resampling import image_index
from lantern_probe.stats import Clusters
from lantern_probe.stats.ties import unit_scaled

SPACES = ("raw", "centred", "whitened")

ROUNDING = 1e-6
"""A vector this close to the mean, in units of the set's root mean square norm, equals it:
float32 holds no more, and the direction of a rounding error means nothing."""

_CHUNK = 256
"""Samples looked at together where the whole set need not be copied."""


@dataclass(frozen=True, eq=False)
class VectorSet:
    """Named vectors of n samples; made with `VectorSet.of`.

    Attributes:
        name: As in tables: `own`, `oracle`, `dummy tokens`.
        vectors: [n, slots, dim], finite.
        images: The image of each sample as a number from 0 on, by first appearance, [n].
        slotted: Whether there is a dimension of slots; ordinary tokens have none (slots = 1).
    """

    name: str
    vectors: Float32[np.ndarray, "n slots dim"]
    images: Int[np.ndarray, " n"]
    slotted: bool

    @classmethod
    def of(cls, name: str, vectors: ArrayLike, images: Clusters = None) -> VectorSet:
        """Check vectors and give them a name.

        Args:
            name: As in tables.
            vectors: Latents [n, slots, dim], or one vector per sample [n, dim]; held in float32.
            images: The image of each sample [n]; each sample its own if None.

        Raises:
            LanternError: another shape, nothing in it, a value that is not finite, or images that
                are not one per sample.
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
        """Samples."""
        return len(self.vectors)

    @property
    def image_count(self) -> int:
        """Different images."""
        return int(self.images.max()) + 1

    @property
    def slots(self) -> list[int | None]:
        """The names of the slots in rows: 0, 1, … or only None without slots."""
        return list(range(self.vectors.shape[1])) if self.slotted else [None]

    def mean_over_slots(self) -> VectorSet:
        """The mean latent of each sample, [n, 1, dim], without slots."""
        means = self.vectors.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
        return replace(self, vectors=means, slotted=False)


def check_pairing(own: VectorSet, oracle: VectorSet) -> None:
    """Refuse sets that cannot be of the same samples.

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
    """The vectors minus the mean of their slot; exactly zero where they equal it in float32.

    They come in a unit of their own, a power of two, in which the largest entries are about 1:
    float32 holds the difference of no two of its largest numbers, nor of its smallest.
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
    """The vectors in one of three spaces, in which cosines are then taken.

    `raw`: as they are. `centred`: the mean of each slot over the samples removed, in a unit that
    is a power of two, since only directions are looked at. `whitened`:
    centred, then divided by the standard deviation along every principal axis, so that no few
    directions of large variance decide; the coordinates are those axes.

    Whitening uses one covariance C for all slots, so that slots can be compared, shrunk towards
    equal variance m = tr C / dim: (1 - s) C + s m I. The strength s in [0, 1] is Ledoit & Wolf's
    (2004), with images in place of independent vectors. Without it, n * slots <= dim vectors would
    all become orthogonal whatever they are; with it, the fewer there are, the nearer s is to 1 and
    the result to `centred`. As m counts the largest directions too, a few of them keep part of
    their weight where there are not many others.

    Returns:
        The coordinates, and a note on s for `GeometryRow.how`.

    Raises:
        LanternError: another space.
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
    """Whitened coordinates, and the strength of the shrinkage."""
    n, slots, dim = away.shape
    flat = away.reshape(n * slots, dim)
    total = len(flat)
    if dim <= total:
        variance, axes = np.linalg.eigh((flat.T @ flat / total).astype(np.float64))
        along = flat @ axes.astype(np.float32)
    else:  # the same axes from the smaller matrix; there is no variance along all the others
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
    """Ledoit & Wolf's strength: the variance of C's entries over C's distance from m I."""
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
    """The samples of each image, images in order of their number."""
    order = np.argsort(images, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(images[order])) + 1)


def directions(
    vectors: Float32[np.ndarray, "n slots dim"],
) -> tuple[Float32[np.ndarray, "n slots dim"], Bool[np.ndarray, "n slots"]]:
    """Vectors of length 1, zero where there is no direction, and whether there is one."""
    scaled, _ = unit_scaled(vectors, 2)  # float32 must hold the squares
    norms = np.sqrt(np.einsum("nkd,nkd->nk", scaled, scaled, dtype=np.float64))
    defined = norms > 0
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=defined)
    scaled *= scale[..., None].astype(np.float32)
    return scaled, defined
