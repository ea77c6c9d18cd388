"""Questions as model inputs: what the processor makes of them, and what cannot be asked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.model.inputs import as_samples, asked_question
from lantern_probe.model.lantern import LanternModel
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes


def test_inputs_are_those_of_the_processor(untrained: LanternModel):
    samples = scenes(3, seed=1)
    batch = untrained.inputs(samples)
    for row, sample in enumerate(samples):
        alone = untrained.inputs([sample])["input_ids"][0]
        padded = batch["input_ids"][row]
        assert torch.equal(padded[len(padded) - len(alone) :], alone)
        assert batch["attention_mask"][row].sum() == len(alone)
        # Image first, then the question.
        text = untrained.processor.tokenizer.decode(alone)
        assert text.index("<|image_pad|>") < text.index(sample.text)


def test_images_may_be_paths_arrays_or_pil(untrained: LanternModel, tmp_path: Path):
    image = scenes(1)[0].open_images()[0]
    image.save(tmp_path / "a.png")
    forms = [image, np.asarray(image), tmp_path / "a.png", str(tmp_path / "a.png")]
    pixels = [
        untrained.inputs([Sample(id="a", images=(form,), question="what ?")])["pixel_values"]
        for form in forms
    ]
    assert all(torch.equal(pixels[0], other) for other in pixels)


def test_unusable_images_are_named(untrained: LanternModel, tmp_path: Path):
    whole = tmp_path / "whole.png"
    scenes(1)[0].open_images()[0].save(whole)
    torn = tmp_path / "torn.png"
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    text = tmp_path / "text.png"
    text.write_text("no image")
    for source, message in [
        (tmp_path / "missing.png", "no image at .*missing.png"),
        (torn, "cannot decode .*torn.png"),
        (text, "text.png' is not an image"),
        ("https://example.com/a.png", "is a URL"),
        (np.zeros((4, 4, 3)), "uint8"),
        (Image.new("RGB", (4000, 10)), "aspect ratio"),
    ]:
        with pytest.raises(LanternError, match=message):
            untrained.inputs([Sample(id="s", images=(source,), question="what ?")])


def test_without_a_chat_template_questions_are_refused(official: LanternModel):
    with pytest.raises(LanternError, match="no chat template"):
        official.generate(scenes(1)[0])


def test_a_text_with_a_special_token_is_refused(untrained: LanternModel):
    sample = Sample(id="s", images=(), question="what is <|image_pad|> ?")
    with pytest.raises(LanternError, match=r"'s': its text holds the special token <\|image_pad"):
        untrained.inputs([sample])


def test_no_samples_are_refused(untrained: LanternModel):
    with pytest.raises(LanternError, match="no samples"):
        untrained.inputs([])
    with pytest.raises(LanternError, match="no samples"):
        untrained.generate([])


def test_options_are_lettered_under_the_question():
    image = scenes(1)[0].open_images()[0]
    sample = asked_question(image, "what ?", ["red", "blue"])
    assert sample.text == "what ?\nOptions:\nA. red\nB. blue"
    assert sample.candidates == ("A", "B")
    assert asked_question(image, "what ?").text == "what ?"
    assert len(asked_question(image, "what ?", ["x"] * 26).candidates) == 26
    with pytest.raises(LanternError, match="at most 26 options can be lettered, not 27"):
        asked_question(image, "what ?", ["x"] * 27)


def test_samples_alone_or_in_a_list_are_told_from_other_inputs():
    one, two = scenes(2)
    assert as_samples(one) == [one] and as_samples((one, two)) == [one, two]
    assert as_samples({"input_ids": 1}) == as_samples([one, "text"]) == as_samples("text") == []


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("", "no text that can be asked"),
        (" \n", "no text that can be asked"),
        ("what color " * 2000, "tokens, and .* has positions for"),
        ("x" * 1_000_001, "has 1000001 characters"),
        ("caf\udce9 ?", "half a character"),
        ("what <|lvr_sep|> ?", "special token"),
    ],
)
def test_a_text_that_would_not_be_asked_as_it_is_is_refused(
    untrained: LanternModel, question: str, said: str
):
    good = scenes(1)[0]
    bad = Sample("bad", good.images, question)
    with pytest.raises(LanternError, match=f"'bad': .*{said}"):
        untrained.inputs([good, bad])
    option = Sample("bad", good.images, "q?", options=("red", question or " "))
    if "tokens" not in said:
        with pytest.raises(LanternError, match=f"'bad': .*{said}"):
            untrained.inputs([option])


def test_a_zero_byte_in_a_text_is_asked_as_it_is(untrained: LanternModel):
    asked = untrained.inputs([Sample("s", scenes(1)[0].images, "what\0color ?")])
    assert len(asked["input_ids"]) == 1


def test_images_stand_where_the_text_says(untrained: LanternModel) -> None:
    pictures = tuple(scene.open_images()[0] for scene in scenes(2))
    asked = Sample("s", pictures, "what color <image> square <image> ?", interleaved=True)
    text = untrained.processor.tokenizer.decode(untrained.inputs([asked])["input_ids"][0])
    first, second = (match.start() for match in re.finditer(r"<\|vision_start\|>", text))
    assert text.index("color") < first < text.index("square") < second < text.index("?")
    before = untrained.inputs([Sample("s", pictures, "what color ?")])
    assert torch.equal(before["pixel_values"], untrained.inputs([asked])["pixel_values"])
    with pytest.raises(LanternError, match="1 marks <image> for 2 images"):
        Sample("s", pictures, "<image>", interleaved=True)


def test_more_images_than_the_model_takes_are_refused_by_number(untrained: LanternModel) -> None:
    picture = scenes(1)[0].open_images()[0]
    with pytest.raises(LanternError, match=r"sample 's': its \d+ images take .* give fewer images"):
        untrained.inputs([Sample("s", (picture,) * 200, "what ?")])
