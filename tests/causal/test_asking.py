"""One question under several conditions, and how the answers are displayed."""

from __future__ import annotations

import pytest
from PIL import Image

from lantern_probe import LanternError, LanternModel, load_task
from lantern_probe.causal.asking import plain_text, probabilities
from lantern_probe.interventions import Zeros

SAMPLE = load_task("scenes", 1)[0]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def test_answers_stand_side_by_side(faithful: LanternModel) -> None:
    image = SAMPLE.open_images()[0]
    asked = faithful.ask(image, SAMPLE.question, conditions=("ban", Zeros()))
    assert list(asked.answers) == ["own", "ban", "zeros"]
    assert asked.answers["own"] == SAMPLE.answer != asked.answers["zeros"]
    plain = faithful.ask(image, SAMPLE.question)
    assert asked.texts["own"] == plain.texts[0]
    assert not asked.rows[1].result.blocks and len(asked.rows[2].result.blocks[0].slots) == 8
    for word in ("own", "zeros", SAMPLE.question, str(SAMPLE.answer)):
        assert word in str(asked) and word in asked._repr_html_()


def test_lettered_options_are_shown_with_their_text(faithful: LanternModel) -> None:
    image = SAMPLE.open_images()[0]
    asked = faithful.ask(image, SAMPLE.question, ["<red>", "yellow"], conditions=["own"])
    assert asked.answers == {"own": "B"}
    assert "B. yellow" in str(asked) and "B. yellow" in asked._repr_html_()


def test_text_of_a_model_is_no_markup(faithful: LanternModel) -> None:
    image = SAMPLE.open_images()[0]
    asked = faithful.ask(image, SAMPLE.question, conditions=["own"])
    assert "<think>" in str(asked) and "<think>" not in asked._repr_html_()


def test_a_photo_on_its_side_is_turned_and_that_is_said(
    faithful: LanternModel, caplog: pytest.LogCaptureFixture
) -> None:
    image, exif = SAMPLE.open_images()[0].rotate(90, expand=True), Image.Exif()
    exif[0x112] = 6
    image.info["exif"] = exif.tobytes()
    assert faithful.ask(image, SAMPLE.question).answers == [SAMPLE.answer]
    assert "has the EXIF orientation 6 and is turned upright" in caplog.text


def test_conditions_that_need_other_samples_are_refused(faithful: LanternModel) -> None:
    image = SAMPLE.open_images()[0]
    with pytest.raises(LanternError, match="'swap' needs the own latents of a data set"):
        faithful.ask(image, SAMPLE.question, conditions=["swap"])
    with pytest.raises(LanternError, match="no condition 'nonsense'"):
        faithful.ask(image, SAMPLE.question, conditions=["nonsense"])
    with pytest.raises(LanternError, match="not the one text 'red'"):
        faithful.ask(image, SAMPLE.question, "red")


def test_shares_of_candidates_add_up() -> None:
    assert probabilities(None) == {}
    shares = probabilities({"A": -1000.0, "B": -1000.0})
    assert shares == {"A": 0.5, "B": 0.5}
    assert plain_text("a <|lvr_start|> <|lvr_sep|>\n b") == "a b"
