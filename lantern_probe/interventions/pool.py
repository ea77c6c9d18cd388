"""The own latents of a data set: their means and deviations, and the choice of donors."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from jaxtyping import Float

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Generator, Tensor

Made = TypeVar("Made")

FOLDS = 5
"""Number of folds; what is fitted for a sample is fitted on the folds without its images."""


def fold_of(sample: Sample) -> int:
    """The fold of a sample: the same for all samples of its images and for its twin, in any run.

    Args:
        sample: The sample.
    """
    digest = hashlib.sha256(sample.cluster.encode()).digest()
    return digest[0] % FOLDS


@dataclass(frozen=True)
class LatentPool:
    """The own latents of a data set, from which means, noise scales and donors are taken.

    Attributes:
        samples: By id, the samples that emitted a whole block.
        latents: By id of the same samples, the own latents of the first block, [K, D] (CPU,
            float32).
        words: By id of the same samples, the token ids of the own text after its first block.
    """

    samples: Mapping[str, Sample]
    latents: Mapping[str, Float[Tensor, "slots dim"]]
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    _images: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def cached(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """A value made from this pool: the one made before under the same key, or a new one.

        Args:
            key: Key of the value.
            make: Function that makes it.
        """
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def own(self, sample: Sample) -> Float[Tensor, "slots dim"]:
        """The own latents of a sample.

        Args:
            sample: The sample.

        Raises:
            LanternError: the sample emitted no whole block.
        """
        if sample.id not in self.latents:
            raise LanternError(f"sample {sample.id!r} emitted no whole latent block")
        return self.latents[sample.id]

    def moments(
        self, without: Sample | None = None
    ) -> tuple[Float[Tensor, "slots dim"], Float[Tensor, "slots dim"]]:
        """Mean and standard deviation per slot and dimension.

        Args:
            without: Sample that is left out with all samples of its images and its twin, so that
                its own latents do not come back to it; default none.

        Raises:
            LanternError: fewer than two samples are left.
        """
        out = frozenset() if without is None else self.related(without)
        count = len(self.latents) - len(out)
        if count < 2:
            raise LanternError(
                f"means and noise scales need the own latents of at least 2 other samples of "
                f"other images; there are {count}"
            )

        total, squares = self.sums()
        for key in out:
            own = self.latents[key].double()
            total, squares = total - own, squares - own.square()
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.float(), deviation.float()

    def sums(self) -> tuple[Float[Tensor, "slots dim"], Float[Tensor, "slots dim"]]:
        """Sums of the latents and of their squares in float64, one after the other in order."""
        import torch

        def make() -> tuple[Tensor, Tensor]:
            # One by one: all at once in float64 would take four times the pool.
            shape = next(iter(self.latents.values())).shape
            total = torch.zeros(shape, dtype=torch.float64)
            squares = torch.zeros(shape, dtype=torch.float64)
            for own in self.latents.values():
                exact = own.double()
                total += exact
                squares += exact.square()
            return total, squares

        made: tuple[Tensor, Tensor] = self.cached("sums", make)
        return made

    def related(self, sample: Sample) -> frozenset[str]:
        """Ids in the pool that share an image or the cluster with a sample, its own included.

        Args:
            sample: The sample.
        """

        def index() -> dict[str, set[str]]:
            found: dict[str, set[str]] = defaultdict(set)
            for key, other in self.samples.items():
                for shared in (f"cluster {other.cluster}", *self._keys(other)):
                    found[shared].add(key)
            return found

        known = self.cached("related", index)
        shared = [f"cluster {sample.cluster}", *self._keys(sample)]
        own = {sample.id} & self.latents.keys()
        return frozenset(own.union(*(known.get(key, set()) for key in shared)))

    def others(self, sample: Sample, slot: int) -> Float[Tensor, "n dim"]:
        """Own latents of a slot of all samples that are not related to a sample.

        Args:
            sample: The sample.
            slot: Slot (0-based).
        """
        import torch

        out = self.related(sample)
        kept = torch.tensor([key not in out for key in self.latents])
        return self.stack()[kept, slot]

    def nearest(
        self, samples: Sequence[Sample], vectors: Sequence[Float[Tensor, "_ dim"]]
    ) -> list[list[float] | None]:
        """Distance from the vector at each slot to the nearest own latent of another image there.

        Args:
            samples: For every row, the sample whose images are left out.
            vectors: For every row, one vector per slot, of the first slots.

        Returns:
            For every row, one Euclidean distance per vector; None where no other image is in the
            pool.
        """
        import torch

        place = self.cached("places", lambda: {key: n for n, key in enumerate(self.latents)})
        out = [[place[key] for key in self.related(sample)] for sample in samples]
        known = [row for row, places in enumerate(out) if len(places) < len(self.latents)]
        found: list[list[float]] = [[] for _ in samples]
        stack = self.stack()
        for slot in range(max((len(vectors[row]) for row in known), default=0)):
            rows = [row for row in known if len(vectors[row]) > slot]
            wanted = torch.stack([vectors[row][slot].float().cpu() for row in rows])
            there = stack[:, slot]
            # Nearest first by the expanded square, which is one product; then exactly.
            squares = there.square().sum(1) - 2 * wanted @ there.T
            for index, row in enumerate(rows):
                squares[index, out[row]] = torch.inf
            far = (there[squares.argmin(1)] - wanted).norm(dim=1)
            for row, distance in zip(rows, far.tolist(), strict=True):
                found[row].append(distance)
        return [found[row] if row in known else None for row in range(len(samples))]

    def stack(self) -> Float[Tensor, "n slots dim"]:
        """All latents as one array, in order."""
        import torch

        made: Tensor = self.cached("stack", lambda: torch.stack(list(self.latents.values())))
        return made

    def image_keys(self) -> dict[str, frozenset[str]]:
        """The keys of the images of every sample, by id; read once."""
        if not self._images:
            self._images.update((key, other.image_keys) for key, other in self.samples.items())
        return self._images

    @classmethod
    def shared(
        cls,
        samples: Mapping[str, Sample],
        stack: Float[Tensor, "n slots dim"],
        sums: tuple[Float[Tensor, "slots dim"], Float[Tensor, "slots dim"]] | None,
        images: Mapping[str, frozenset[str]],
        words: Mapping[str, tuple[int, ...]],
    ) -> LatentPool:
        """A pool on an array that is there already, such as one that processes share.

        Args:
            samples: Samples by id, in the order of the array.
            stack: Latents; they are not copied.
            sums: Sums of the latents and of their squares; None for an empty pool.
            images: Keys of the images by id of the sample.
            words: Token ids after the first block by id of the sample.
        """
        pool = cls(samples, dict(zip(samples, stack, strict=True)), words)
        pool._images.update(images)
        pool._cache["stack"] = stack
        if sums is not None:
            pool._cache["sums"] = sums
        return pool

    def _keys(self, sample: Sample) -> frozenset[str]:
        return self.image_keys().get(sample.id) or sample.image_keys

    def donor(self, sample: Sample, stream: Generator) -> Sample:
        """Another sample with latents: never itself, its image or its question.

        Args:
            sample: The sample that is to get latents.
            stream: Random stream of the draw.

        Raises:
            LanternError: every other sample shares the image or the question.
        """
        import torch

        keys = list(self.samples)
        images = self._keys(sample)

        def allowed(key: str) -> bool:
            other = self.samples[key]
            same = key == sample.id or other.text == sample.text or self._images[key] & images
            return not same

        for index in torch.randint(len(keys), (64,), generator=stream).tolist() if keys else []:
            if allowed(keys[index]):
                return self.samples[keys[index]]
        left = [key for key in keys if allowed(key)]
        if not left:
            raise LanternError(
                f"sample {sample.id!r} has no donor: every other sample with latents shares its "
                "image or its question"
            )
        return self.samples[left[int(torch.randint(len(left), (), generator=stream))]]
