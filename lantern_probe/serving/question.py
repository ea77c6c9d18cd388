"""Question as a server gets it: in the sample's own order, with exactly the pixels fed locally."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lantern_probe.model.inputs import content_parts
from lantern_probe.model.prompting import Prompting, fed_pixels
from lantern_probe.tasks.sample import Sample


@dataclass(frozen=True)
class Question:
    """One question for a server.

    Attributes:
        sample: The sample.
        messages: Messages of the request.
        prompt_tokens: Number of tokens of the prompt as it is made locally.
    """

    sample: Sample
    messages: list[dict[str, Any]]
    prompt_tokens: int


def make_question(asking: Prompting, sample: Sample) -> Question:
    """Make the messages of a sample.

    Args:
        asking: Processor of the model.
        sample: The sample.

    Raises:
        LanternError: it cannot be asked.
    """
    inputs = asking.inputs(sample)
    images = [
        {"type": "image_url", "image_url": {"url": data_url(Image.fromarray(pixels.numpy()))}}
        for pixels in fed_pixels(asking.processor, inputs)
    ]
    content = content_parts(sample, images)
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if asking.system is not None:
        messages.insert(0, {"role": "system", "content": asking.system})
    return Question(sample, messages, int(inputs["input_ids"].shape[1]))


def data_url(image: Image.Image) -> str:
    """An image as a PNG in a URL, without loss and without a header that could turn it.

    Args:
        image: An image in RGB.
    """
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


class Encoder:
    """Maker of questions outside the event loop, one at a time: a tokenizer has one user at once.

    Args:
        asking: Processor of the model.
    """

    def __init__(self, asking: Prompting) -> None:
        self.asking = asking
        self._free = asyncio.Lock()

    async def __call__(self, sample: Sample) -> Question:
        """Make the messages of a sample.

        Raises:
            LanternError: it cannot be asked.
        """
        async with self._free:
            return await asyncio.to_thread(make_question, self.asking, sample)
