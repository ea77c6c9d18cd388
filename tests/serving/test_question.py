"""Questions as servers get them: the very pixels that the local path feeds, in the same order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lantern_probe.model.prompting import Prompting, fed_pixels
from lantern_probe.serving.question import make_question
from lantern_probe.tasks import Sample, load_task
from lantern_probe.tasks.images import turned_upright
from tests.serving.conftest import images_in, prompt_count

QUESTION = "what color is the diamond ?"


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def served_inputs(asking: Prompting, sample: Sample) -> torch.Tensor:
    """What a server's own processor makes of the images it gets."""
    body = {"messages": make_question(asking, sample).messages}
    images = images_in(body)
    side = asking.processor.image_processor.patch_size * asking.processor.image_processor.merge_size
    assert all(image.width % side == 0 == image.height % side for image in images)
    assert all(image.mode == "RGB" and not image.getexif() for image in images)
    found = asking.processor.image_processor(images=images, return_tensors="pt")
    return torch.as_tensor(found["pixel_values"])


@pytest.mark.parametrize("size", [(64, 64), (100, 57), (500, 700), (28, 28), (33, 400), (9, 7)])
def test_a_server_feeds_the_pixels_that_are_fed_here(asking: Prompting, size: tuple) -> None:
    sample = Sample(id="1", images=(noise(*size),), question=QUESTION)
    assert torch.equal(served_inputs(asking, sample), asking.inputs(sample)["pixel_values"])


def test_a_photo_is_sent_as_it_is_fed_whatever_its_header_says(
    asking: Prompting, tmp_path: Path
) -> None:
    """The stored pixels, or upright ones, and never turned once more by the server."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.png"
    Image.fromarray(noise(60, 140)).save(path, exif=exif)
    for source in (path, turned_upright(path)):
        sample = Sample(id="1", images=(source,), question=QUESTION)
        (image,) = images_in({"messages": make_question(asking, sample).messages})
        (pixels,) = fed_pixels(asking.processor, asking.inputs(sample))
        assert np.array_equal(np.asarray(image), pixels.numpy())
        assert (image.height > image.width) is isinstance(source, Image.Image)
        assert torch.equal(served_inputs(asking, sample), asking.inputs(sample)["pixel_values"])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "CMYK"])
def test_transparency_palettes_and_greys_are_flattened_as_here(
    asking: Prompting, mode: str
) -> None:
    file = io.BytesIO()
    image = Image.fromarray(noise(70, 90)).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(file, "TIFF" if mode == "CMYK" else "PNG")
    sample = Sample(id="1", images=(file.getvalue(),), question=QUESTION)
    assert torch.equal(served_inputs(asking, sample), asking.inputs(sample)["pixel_values"])


def test_images_stand_where_the_text_has_them(asking: Prompting) -> None:
    images = (noise(60, 60), noise(90, 200, seed=1))
    sample = Sample(
        id="1",
        images=images,
        question="",
        prompt="look at <image> and <image>then say what color is it ?",
        interleaved=True,
    )
    content = make_question(asking, sample).messages[0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
    sizes = [image.size for image in images_in({"messages": [{"content": content}]})]
    assert sizes[0] != sizes[1]
    first = make_question(asking, Sample(id="1", images=images, question=QUESTION))
    kinds = [part["type"] for part in first.messages[0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]


def test_the_prompt_has_as_many_tokens_at_a_server_as_here(asking: Prompting) -> None:
    samples = [
        *load_task("scenes", 2),
        Sample(id="1", images=(noise(40, 300), noise(90, 90)), question=QUESTION),
        Sample(id="2", images=(), question=QUESTION),
    ]
    for sample in samples:
        question = make_question(asking, sample)
        assert prompt_count(asking, {"messages": question.messages}) == question.prompt_tokens
