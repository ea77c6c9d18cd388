"""The own latents of a data set: their moments, and who may lend theirs to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample


@dataclass(frozen=True)
class LatentPool:
    """The own latents of a data set, from which means, noise scales and donors are taken.

    Attributes:
        samples: By id, those that emitted a whole block.
        latents: By id, the first block's own latents [K, D] (CPU, float32).
    """

    samples: Mapping[str, Sample]
    latents: Mapping[str, Float[Tensor, "slots dim"]]
    _moments: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    _images: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def own(self, sample: Sample) -> Float[Tensor, "slots dim"]:
        """This sample's own latents.

        Raises:
            LanternError: it emitted no whole block.
        """
        if sample.id not in self.latents:
            raise LanternError(f"sample {sample.id!r} emitted no whole latent block")
        return self.latents[sample.id]

    def mean(self) -> Float[Tensor, "slots dim"]:
        """Mean latent per slot."""
        return self._stacked("mean", lambda stack: stack.mean(0))

    def deviation(self) -> Float[Tensor, "slots dim"]:
        """Standard deviation per slot and dimension."""
        return self._stacked("sd", lambda stack: stack.std(0, correction=0))

    def _stacked(self, name: str, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        if not self.latents:
            raise LanternError("no sample emitted a whole latent block, so there is no pool")
        if name not in self._moments:
            self._moments[name] = reduce(torch.stack(list(self.latents.values())))
        return self._moments[name]

    def donor(self, sample: Sample, stream: Generator) -> Sample:
        """Another sample with latents: never itself, its image or its question.

        Raises:
            LanternError: every other sample shares the image or the question.
        """
        keys = list(self.samples)
        if not self._images:
            self._images.update((key, image_key(other)) for key, other in self.samples.items())
        image = self._images.get(sample.id) or image_key(sample)

        def allowed(key: str) -> bool:
            other = self.samples[key]
            return key != sample.id and other.text != sample.text and self._images[key] != image

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


def image_key(sample: Sample) -> str:
    """What two samples with the same image have in common."""
    keys = []
    for image in sample.images:
        if isinstance(image, str) or hasattr(image, "__fspath__"):
            keys.append(str(image))
        else:
            pixels = image.tobytes()
            keys.append(hashlib.sha256(pixels).hexdigest())
    return "|".join(keys)
