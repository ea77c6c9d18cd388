"""Coloured shapes on a 3 x 3 grid: the task on which the organisms' truths are stated.

A scene is 84 x 84 pixels, so the Qwen2.5-VL vision tower (patch 14, merge 2) turns each of the
nine 28-pixel cells into one token. Four objects of different shapes and independent colours are in
four of the cells. The question names a shape and asks for its colour. Shapes, colours, cells and
question templates are drawn independently and uniformly, so that neither the question nor the
layout nor the other objects say anything about the answer (`question_only_rate` measures it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Box, Sample

if TYPE_CHECKING:
    from lantern_probe.stats import Proportion

SIZE = 84
"""Side of the image in pixels."""
GRID = 3
"""Number of cells along a side."""
CELL = SIZE // GRID
"""Side of a cell in pixels; a cell is one merged vision token."""
OBJECTS = 4
"""Number of objects in a scene."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (208, 32, 40),
    "orange": (238, 124, 24),
    "yellow": (236, 212, 44),
    "green": (36, 144, 64),
    "cyan": (64, 200, 208),
    "blue": (32, 72, 196),
    "purple": (124, 52, 160),
    "pink": (238, 128, 184),
}
"""Colours by name, RGB of 0 to 255; the names are the options."""
CHANCE = 1 / len(COLORS)
"""Accuracy of guessing."""
SHADE = 12
"""Largest change of a channel when a shade is drawn; below half the gap of any two colours."""
SIDES = (16, 17, 18, 19, 20)
"""Possible sides of an object in pixels. With `SHIFT` they keep the oracle crop (the box enlarged
by 1.2) inside the object's own cell, so that a crop never shows a neighbour."""
SHIFT = 2
"""Largest shift of an object from the middle of its cell, in pixels."""
BACKGROUND = (244, 244, 240)
"""Colour of empty space, RGB."""
HIDDEN = (128, 128, 128)
"""Colour that covers the asked region if it is hidden, RGB; no object is grey."""

TEMPLATES = (
    "what color is the {shape} ?",
    "which color does the {shape} in this picture have ?",
    "look at the picture and name the color of the {shape} .",
)
"""Wordings of the question."""

Attribute = Literal["color", "shape", "cell"]
"""Attribute of the asked object that `twin` changes."""


def scenes(n: int, seed: int = 0, *, hide_asked: bool = False, start: int = 0) -> list[Sample]:
    """Generate scenes `start` to `start + n - 1` of the endless series with this seed.

    Scene i depends on (seed, i) only. So a longer list begins with the shorter one, and the hidden
    and the plain series of one seed show the same scenes.

    Args:
        n: Number of scenes.
        seed: Seed of the series, default 0.
        hide_asked: Paint the asked object's region grey in the image that the model sees. Question,
            answer and box stay, and `oracle_images` has the image in which the object is visible.
        start: Index of the first scene, default 0.

    Raises:
        LanternError: a number is negative.

    Examples:
        >>> from lantern_probe.tasks.scenes import scenes
        >>> first, second = scenes(2)
        >>> first.id, first.question, first.answer
        ('scenes-0-0', 'what color is the diamond ?', 'yellow')
        >>> first.images[0].size, first.boxes[0]
        ((84, 84), (61, 58, 81, 78))
    """
    if n < 0 or start < 0 or seed < 0:
        raise LanternError(f"scenes: n={n}, seed={seed} and start={start} must not be negative")
    return [_scene(seed, index, hide_asked) for index in range(start, start + n)]


def twin(sample: Sample, attribute: Attribute = "color", seed: int = 0) -> Sample:
    """Change one attribute of a scene's asked object; the question stays the same.

    - `color`: the object takes another colour, which is the new answer. Only its own pixels
      change.
    - `shape`: the object exchanges its shape with one of another colour. The question now means
      that other object, so that box and answer change with it.
    - `cell`: the object moves to a free cell. The answer stays, the box moves.

    Args:
        sample: Sample made by `scenes` (or by `twin`).
        attribute: Attribute to change, default `color`.
        seed: Seed of the choice among the possible changes, together with the sample's id;
            default 0.

    Raises:
        LanternError: the sample is not a scene, the attribute is unknown, or there is no such twin
            (for `shape`, if all four objects have one colour).

    Examples:
        >>> from lantern_probe.tasks.scenes import scenes, twin
        >>> sample = scenes(1)[0]
        >>> other = twin(sample)
        >>> sample.question == other.question, sample.answer, other.answer
        (True, 'yellow', 'green')
    """
    if "objects" not in sample.attributes or "template" not in sample.attributes:
        raise LanternError(f"sample {sample.id!r} is not a scene, so it has no twin")
    if attribute not in ("color", "shape", "cell"):
        raise LanternError(f"a scene has no twin in {attribute!r}; choose color, shape or cell")
    rng = np.random.default_rng([seed, *sample.id.encode()])
    objects = [dict(item) for item in sample.attributes["objects"]]
    asked_shape = sample.attributes["shape"]
    asked = next(item for item in objects if item["shape"] == asked_shape)
    if attribute == "color":
        asked["color"] = _pick(rng, [color for color in COLORS if color != asked["color"]])
        asked["rgb"] = _shade(rng, asked["color"])
    elif attribute == "shape":
        others = [item for item in objects if item["color"] != asked["color"]]
        if not others:
            raise LanternError(f"sample {sample.id!r} has no object of another colour")
        other = others[int(rng.integers(len(others)))]
        asked["shape"], other["shape"] = other["shape"], asked["shape"]
    else:
        free = sorted(set(range(GRID * GRID)) - {item["cell"] for item in objects})
        cell = free[int(rng.integers(len(free)))]
        (column, row), (old_column, old_row) = _corner(cell), _corner(asked["cell"])
        dx, dy = CELL * (column - old_column), CELL * (row - old_row)
        left, top, right, bottom = asked["box"]
        asked |= {"cell": cell, "box": (left + dx, top + dy, right + dx, bottom + dy)}
    changed = _sample(
        f"{sample.id}~{attribute}{seed}",
        objects,
        asked_shape,
        sample.attributes["template"],
        hide_asked=bool(sample.oracle_images),
    )
    kept = {
        key: sample.attributes[key] for key in ("family", "category") if key in sample.attributes
    }
    return replace(changed, prompt=sample.prompt, attributes={**changed.attributes, **kept})


def first_other(sample: Sample) -> dict[str, Any]:
    """First object in reading order that the question does not ask for."""
    asked = sample.attributes["shape"]
    others = [item for item in sample.attributes["objects"] if item["shape"] != asked]
    return dict(min(others, key=lambda item: item["cell"]))


def question_only_rate(samples: Sequence[Sample], folds: int = 5) -> dict[str, Proportion]:
    """Measure how well the answer is guessed without seeing the asked object's colour.

    The guesses are those of cross-validated logistic regressions on one-hot features of one view:
    `question` (shape word crossed with template), `layout` (asked cell, occupied cells, shape in
    each cell, side and position of the asked box), `others` (colours of the other objects), and
    `all` three together. Compare them with `CHANCE`.

    Args:
        samples: Scenes.
        folds: Number of folds of the cross-validation, default 5.

    Returns:
        Accuracy by view, with its 95 % Wilson interval.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    from lantern_probe.stats import wilson  # which loads scipy: the rest of this room does not

    views = [_views(sample) for sample in samples]
    answers = [sample.answer for sample in samples]
    guesses = {}
    for name in ("question", "layout", "others", "all"):
        chosen = [
            {key: value for key, value in view.items() if name in ("all", key.split(":")[0])}
            for view in views
        ]
        classifier = make_pipeline(DictVectorizer(), LogisticRegression(C=0.1, max_iter=500))
        guessed = cross_val_predict(classifier, chosen, answers, cv=folds)
        right = sum(guess == answer for guess, answer in zip(guessed, answers, strict=True))
        guesses[name] = wilson(right, len(samples))
    return guesses


def render(objects: Sequence[Mapping[str, Any]], hidden: Box | None = None) -> Image.Image:
    """Paint a scene as an RGB image of `SIZE` x `SIZE` pixels.

    Args:
        objects: Objects with `shape`, `rgb` and `box` (left, top, right, bottom in pixels).
        hidden: Box whose oracle crop (the box enlarged by 1.2) is painted grey; None (default)
            hides nothing.
    """
    canvas = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    canvas[:] = BACKGROUND
    for item in objects:
        left, top, right, bottom = (int(edge) for edge in item["box"])
        canvas[top:bottom, left:right][_mask(item["shape"], right - left)] = item["rgb"]
    if hidden is not None:
        margin = 0.1 * (hidden[2] - hidden[0])
        # One pixel beyond the crop on each side, so that rounding never leaves a trace.
        left, top = (max(0, int(edge - margin) - 1) for edge in hidden[:2])
        right, bottom = (min(SIZE, int(edge + margin) + 1) for edge in hidden[2:])
        canvas[top:bottom, left:right] = HIDDEN
    return Image.fromarray(canvas)


def _scene(seed: int, index: int, hide_asked: bool) -> Sample:
    rng = np.random.default_rng([seed, index])
    shapes = rng.permutation(len(SHAPES))[:OBJECTS]
    cells = rng.permutation(GRID * GRID)[:OBJECTS]
    objects = []
    for shape, cell in zip(shapes, cells, strict=True):
        color = _pick(rng, list(COLORS))
        side = int(SIDES[int(rng.integers(len(SIDES)))])
        shift_x, shift_y = rng.integers(-SHIFT, SHIFT + 1, size=2)
        column, row = _corner(int(cell))
        left = column * CELL + (CELL - side) // 2 + int(shift_x)
        top = row * CELL + (CELL - side) // 2 + int(shift_y)
        objects.append(
            {
                "shape": SHAPES[shape],
                "color": color,
                "cell": int(cell),
                "box": (left, top, left + side, top + side),
                "rgb": _shade(rng, color),
            }
        )
    template = int(rng.integers(len(TEMPLATES)))
    name = "scenes-grey" if hide_asked else "scenes"
    # Objects are in random order, so asking for the first one is asking for a random one.
    asked = SHAPES[shapes[0]]
    sample = _sample(f"{name}-{seed}-{index}", objects, asked, template, hide_asked=hide_asked)
    return replace(sample, made=(name, seed, index))


def _sample(
    name: str,
    objects: list[dict[str, Any]],
    shape: str,
    template: int,
    *,
    hide_asked: bool,
) -> Sample:
    asked = next(item for item in objects if item["shape"] == shape)
    other = next(item for item in objects if item["shape"] != shape)
    visible = render(objects)
    return Sample(
        id=name,
        images=(render(objects, asked["box"]),) if hide_asked else (visible,),
        oracle_images=(visible,) if hide_asked else (),
        question=TEMPLATES[template].format(shape=shape),
        options=tuple(COLORS),
        answer=asked["color"],
        boxes=(asked["box"],),
        attributes={
            "shape": shape,
            "color": asked["color"],
            "cell": asked["cell"],
            "template": template,
            # An object that is not asked for, which a probe of the slots should not find.
            "distractor_color": other["color"],
            "distractor_shape": other["shape"],
            "distractor_cell": other["cell"],
            "objects": objects,
        },
    )


def _corner(cell: int) -> tuple[int, int]:
    """Column and row of a cell; cells are numbered row by row, like the vision tokens."""
    return cell % GRID, cell // GRID


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _shade(rng: np.random.Generator, color: str) -> tuple[int, int, int]:
    red, green, blue = (
        int(np.clip(channel + rng.integers(-SHADE, SHADE + 1), 0, 255)) for channel in COLORS[color]
    )
    return red, green, blue


def _mask(shape: str, side: int) -> np.ndarray:
    """Mask of the pixels that a shape covers in its box, bool [side, side].

    Every shape touches all four edges.
    """
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(steps, steps)
    radius = x**2 + y**2
    if shape == "circle":
        return radius <= 1
    if shape == "square":
        return np.ones((side, side), dtype=bool)
    if shape == "triangle":
        return np.abs(x) <= (y + 1) / 2 + 0.5 / side + 1e-9
    if shape == "diamond":
        return np.abs(x) + np.abs(y) <= 1 + 1e-9
    if shape == "cross":
        return np.minimum(np.abs(x), np.abs(y)) <= 0.36
    return (radius <= 1) & (radius >= 0.3)


def _views(sample: Sample) -> dict[str, str | int]:
    """Features of a scene without the asked object's colour, named by view."""
    known = sample.attributes
    asked_box = sample.boxes[0]
    corner = _corner(known["cell"])
    view: dict[str, str | int] = {
        "question:shape": known["shape"],
        "question:template": f"{known['template']}",
        "question:both": f"{known['shape']} {known['template']}",
        "layout:cell": f"{known['cell']}",
        "layout:side": f"{asked_box[2] - asked_box[0]}",
        "layout:x": f"{asked_box[0] - CELL * corner[0]}",
        "layout:y": f"{asked_box[1] - CELL * corner[1]}",
    }
    for item in known["objects"]:
        view[f"layout:at{item['cell']}"] = item["shape"]
        if item["shape"] != known["shape"]:
            key = f"others:{item['color']}"
            view[key] = int(view.get(key, 0)) + 1
    return view
