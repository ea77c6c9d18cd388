"""Scenes: what is promised about pixels, boxes, answers and shortcuts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.tasks import TASKS, load_task
from lantern_probe.tasks.crops import crop_box
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import (
    BACKGROUND,
    CELL,
    CHANCE,
    COLORS,
    HIDDEN,
    SHADE,
    SHAPES,
    SIZE,
    TEMPLATES,
    question_only_rate,
    scenes,
    twin,
)

seeds = st.integers(min_value=0, max_value=10_000)
indices = st.integers(min_value=0, max_value=10_000)


def scene(seed: int, index: int = 0, *, hide_asked: bool = False) -> Sample:
    return scenes(1, seed, hide_asked=hide_asked, start=index)[0]


def pixels(sample: Sample) -> np.ndarray:
    return np.asarray(sample.open_images()[0]).astype(int)


def inside(box: tuple[float, ...]) -> np.ndarray:
    left, top, right, bottom = (int(edge) for edge in box)
    area = np.zeros((SIZE, SIZE), dtype=bool)
    area[top:bottom, left:right] = True
    return area


def asked(sample: Sample) -> dict:
    objects = sample.attributes["objects"]
    return next(item for item in objects if item["shape"] == sample.attributes["shape"])


def test_a_scene_depends_on_seed_and_index_only() -> None:
    long, short, later = scenes(8, 3), scenes(4, 3), scenes(3, 3, start=5)
    for first, second in [*zip(long, short, strict=False), *zip(long[5:], later, strict=True)]:
        assert (first.id, first.question, first.answer) == (
            second.id,
            second.question,
            second.answer,
        )
        assert (pixels(first) == pixels(second)).all()
    assert len({sample.id for sample in long}) == 8
    assert [sample.question for sample in scenes(8, 4)] != [sample.question for sample in long]


@given(seeds, indices)
def test_what_is_known_about_a_scene_is_in_its_pixels(seed: int, index: int) -> None:
    sample = scene(seed, index)
    known, image = sample.attributes, pixels(sample)
    objects = known["objects"]
    assert image.shape == (SIZE, SIZE, 3)
    assert len({item["shape"] for item in objects}) == len({item["cell"] for item in objects}) == 4
    assert sample.options == tuple(COLORS) and not sample.lettered
    assert sample.answer == known["color"] == asked(sample)["color"]
    assert sample.boxes == (asked(sample)["box"],) and known["cell"] == asked(sample)["cell"]
    assert sample.question == TEMPLATES[known["template"]].format(shape=known["shape"])
    covered = np.zeros((SIZE, SIZE), dtype=bool)
    for item in objects:
        painted = (image == item["rgb"]).all(-1) & inside(item["box"])
        rows, columns = np.nonzero(painted)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert tight == item["box"]
        covered |= painted
    assert (image[~covered] == BACKGROUND).all()


@given(seeds, indices)
def test_the_oracle_crop_is_square_and_shows_one_object(seed: int, index: int) -> None:
    for item in scene(seed, index).attributes["objects"]:
        left, top, right, bottom = crop_box((SIZE, SIZE), item["box"])
        assert right - left == bottom - top
        column, row = item["cell"] % 3, item["cell"] // 3
        assert CELL * column <= left and right <= CELL * (column + 1)
        assert CELL * row <= top and bottom <= CELL * (row + 1)


@given(seeds, indices)
def test_a_hidden_object_leaves_no_trace(seed: int, index: int) -> None:
    plain, grey = scene(seed, index), scene(seed, index, hide_asked=True)
    assert (grey.question, grey.answer, grey.boxes) == (plain.question, plain.answer, plain.boxes)
    assert grey.id != plain.id
    hidden = inside(crop_box((SIZE, SIZE), plain.boxes[0]))
    assert (pixels(grey)[hidden] == HIDDEN).all()
    changed = (pixels(grey) != pixels(plain)).any(-1)
    for item in plain.attributes["objects"]:
        if item["shape"] != plain.attributes["shape"]:
            assert not (changed & inside(item["box"])).any()
    oracle = np.asarray(grey.open_oracle_images()[0])
    assert (oracle == pixels(plain)).all()
    assert (np.asarray(plain.open_oracle_images()[0]) == pixels(plain)).all()


@given(seeds, indices, seeds)
def test_a_color_twin_differs_in_the_objects_pixels_only(seed: int, index: int, draw: int) -> None:
    sample = scene(seed, index)
    other = twin(sample, "color", draw)
    assert other.id != sample.id and other.question == sample.question
    assert other.answer != sample.answer and other.boxes == sample.boxes
    shape = (pixels(sample) == asked(sample)["rgb"]).all(-1) & inside(sample.boxes[0])
    assert ((pixels(sample) != pixels(other)).any(-1) == shape).all()
    assert (pixels(twin(sample, "color", draw)) == pixels(other)).all()


@given(seeds, indices)
def test_a_cell_twin_moves_the_object(seed: int, index: int) -> None:
    sample = scene(seed, index)
    other = twin(sample, "cell")
    assert other.answer == sample.answer and other.question == sample.question
    assert other.attributes["cell"] not in {item["cell"] for item in sample.attributes["objects"]}
    changed = (pixels(sample) != pixels(other)).any(-1)
    assert not (changed & ~inside(sample.boxes[0]) & ~inside(other.boxes[0])).any()


@given(seeds, indices)
def test_a_shape_twin_lets_the_name_mean_another_object(seed: int, index: int) -> None:
    sample = scene(seed, index)
    if len({item["color"] for item in sample.attributes["objects"]}) == 1:
        return
    other = twin(sample, "shape")
    assert other.question == sample.question and other.answer != sample.answer
    assert other.boxes != sample.boxes
    changed = (pixels(sample) != pixels(other)).any(-1)
    assert not (changed & ~inside(sample.boxes[0]) & ~inside(other.boxes[0])).any()


def test_a_twin_of_a_hidden_scene_differs_for_the_oracle_only() -> None:
    sample = scene(5, hide_asked=True)
    other = twin(sample, "color")
    assert (pixels(sample) == pixels(other)).all() and sample.answer != other.answer
    first, second = (np.asarray(each.open_oracle_images()[0]) for each in (sample, other))
    assert (first != second).any()


def test_shades_of_two_colors_never_meet() -> None:
    for first, second in combinations(COLORS.values(), 2):
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 2 * SHADE
    for grey in (HIDDEN, BACKGROUND):
        for color in COLORS.values():
            assert max(abs(a - b) for a, b in zip(grey, color, strict=True)) > SHADE


def test_every_answer_shape_and_template_occurs_equally_often() -> None:
    samples = scenes(2000, 1)
    for name, count in (
        ("color", len(COLORS)),
        ("shape", len(SHAPES)),
        ("cell", 9),
        ("template", 3),
    ):
        found = np.unique([f"{s.attributes[name]}" for s in samples], return_counts=True)[1]
        expected = len(samples) / count
        assert len(found) == count
        assert ((found - expected) ** 2 / expected).sum() < 3 * count


def test_the_answer_cannot_be_guessed_from_question_or_layout() -> None:
    for view, rate in question_only_rate(scenes(2000, 0)).items():
        assert rate.n == 2000
        assert rate.low <= CHANCE <= rate.high, view


def test_a_shortcut_would_be_found() -> None:
    """The check has power: half of the colours are left to every other shape, and it sees it."""
    colors = list(COLORS)
    kept = [
        sample
        for sample in scenes(2000, 0)
        if SHAPES.index(sample.attributes["shape"]) % 2 == colors.index(sample.answer or "") % 2
    ]
    assert question_only_rate(kept)["question"].low > CHANCE


def test_tasks_by_name() -> None:
    assert {"scenes", "scenes-grey"} <= set(TASKS)
    assert [s.id for s in load_task("scenes", 2, 7)] == ["scenes-7-0", "scenes-7-1"]
    assert [s.id for s in load_task("scenes-grey", 1, 7)] == ["scenes-grey-7-0"]
    with pytest.raises(LanternError, match=r"'scene'.*scenes, scenes-grey"):
        load_task("scene", 1)


def test_what_is_no_scene_has_no_twin() -> None:
    sample = Sample("a", (np.zeros((4, 4, 3), dtype=np.uint8),), "what ?")
    with pytest.raises(LanternError, match="'a' is not a scene"):
        twin(sample)
    with pytest.raises(LanternError, match="n=-1"):
        scenes(-1)
