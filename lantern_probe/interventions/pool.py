"""The own latents of a data set: their means and deviations, and the choice of donors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from jaxtyping import Float

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import Generator, Tensor

Made = TypeVar("Made")


@dataclass(frozen=True)
class LatentPool:
    """The own latents of a data set, from which means, noise scales and donors are taken.

    Attributes:
        samples: By id, the samples that emitted a whole block.
        latents: By id of the same samples, the own latents of the first block, [K, D] (CPU,
            float32).
    """

    samples: Mapping[str, Sample]
    latents: Mapping[str, Float[Tensor, "slots dim"]]
    _sums: list[Tensor] = field(default_factory=list, repr=False, compare=False)
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
            without: Sample that is left out, so that its own latents do not come back to it;
                default none.

        Raises:
            LanternError: fewer than two samples are left.
        """
        import torch

        out = None if without is None else self.latents.get(without.id)
        count = len(self.latents) - (out is not None)
        if count < 2:
            raise LanternError(
                f"means and noise scales need the own latents of at least 2 other samples; "
                f"there are {count}"
            )
        if not self._sums:
            stack = torch.stack(list(self.latents.values())).double()
            self._sums.extend([stack.sum(0), stack.square().sum(0)])
        total, squares = self._sums
        if out is not None:
            total, squares = total - out.double(), squares - out.double().square()
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        return mean.float(), deviation.float()

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
        if not self._images:
            self._images.update((key, other.image_keys) for key, other in self.samples.items())
        images = self._images.get(sample.id) or sample.image_keys

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
