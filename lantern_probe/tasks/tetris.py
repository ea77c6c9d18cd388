"""Polyomino analogies: A is to B as C is to one of four options (arXiv 2605.18445).

B is A after a rotation by 90, 180 or 270 degrees, and the answer is C after the same rotation. The
four options are the four orientations of C. The rotated piece is the *intermediate image*. The
model sees it among the options only, and whoever knows it answers by comparison alone. So oracle
latents are sufficient here, which they are not on natural images. The generator is our own:
rotations only, one colour, and one intermediate panel.

A puzzle is 448 x 252 pixels: A, B, C and an empty panel in the top row, the options with their
letters below. A panel is 112 x 112 pixels, so it covers 4 x 4 merged vision tokens of Qwen2.5-VL.
The oracle image is the same puzzle with the empty panel filled. `boxes` has the box whose oracle
crop (`crops.crop_box`) is exactly that panel.

Without solving the puzzle, the text says nothing (`CHANCE`). From C and the options, without A and
B, the orientation of C itself can be excluded, as no rotation is by 0 degrees
(`CHANCE_WITHOUT_EXAMPLE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Box, Sample

PANEL = 112
"""Side of a panel in pixels, equal to four merged vision tokens."""
STRIP = 28
"""Height in pixels of the strip with the options' letters."""
WIDTH, HEIGHT = 4 * PANEL, 2 * PANEL + STRIP
"""Width and height of a puzzle in pixels."""
SQUARE = 20
"""Side of one square of a piece in pixels; a panel takes 5 x 5 of them."""
SQUARES = (4, 5, 6)
"""Possible numbers of squares of a piece."""
HELD_OUT = 8
"""Number of pieces kept for the held-out puzzles."""

OPTIONS = ("first piece", "second piece", "third piece", "fourth piece")
"""Names of the options in the text; the pieces themselves are in the image."""
CHANCE = 1 / len(OPTIONS)
"""Accuracy of guessing."""
CHANCE_WITHOUT_EXAMPLE = 1 / 3
"""Accuracy of the best guess from C and the options, without A and B."""
TEMPLATES = (
    "In the top row, the first piece is to the second as the third is to the missing one. "
    "Which option of the bottom row is the missing piece?",
    "The second piece of the top row is the first one after a rotation. "
    "Which option is the third piece after the same rotation?",
    "Turn the third piece of the top row the way the first was turned to give the second. "
    "Which of the options do you get?",
)
"""Wordings of the question. Interventions that borrow from another sample never take one with the
same text, so there must be several."""

PAPER = (255, 255, 255)
"""Colour of the background, RGB."""
FRAME = (190, 190, 190)
"""Colour of a panel's frame, RGB."""
INK = (32, 72, 196)
"""Colour of the pieces, RGB."""
MARK = (40, 40, 40)
"""Colour of letters and of the line between the rows, RGB."""
_GLYPHS = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "B": "11110 10001 10001 11110 10001 10001 11110",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "D": "11110 10001 10001 10001 10001 10001 11110",
    "?": "01110 10001 00001 00110 00100 00000 00100",
}
"""Bitmaps of 5 x 7 pixels by row; written here, so that images do not depend on installed fonts."""

_TOP = [(PANEL * column, 0) for column in range(4)]
_BOTTOM = [(PANEL * column, PANEL + STRIP) for column in range(4)]
LAYOUT: dict[str, Box] = {
    name: (left, top, left + PANEL, top + PANEL)
    for name, (left, top) in zip(
        ("a", "b", "c", "missing", "option A", "option B", "option C", "option D"),
        _TOP + _BOTTOM,
        strict=True,
    )
}
"""Box of each panel in pixels: left, top, right, bottom."""
_LEFT, _UPPER, _RIGHT, _LOWER = LAYOUT["missing"]
ORACLE_BOX: Box = (_LEFT + 10, _UPPER + 10, _RIGHT - 9, _LOWER - 9)
"""Evidence box of every puzzle. Its side of 93 pixels, enlarged by 1.2 and truncated as in the
official crop, gives exactly the missing panel."""


def tetris(
    n: int, seed: int = 0, *, held_out: bool = False, split: int = 0, start: int = 0
) -> list[Sample]:
    """Generate puzzles `start` to `start + n - 1` of the endless series with this seed.

    Puzzle i depends on (seed, i) only, and on `held_out` and `split`, which choose the pieces. The
    positions of the answer in four consecutive puzzles, counted from puzzle 0, are a random
    permutation. So each letter is right in a quarter of them.

    Args:
        n: Number of puzzles.
        seed: Seed of the series, default 0.
        held_out: Draw A and C from the held-out pieces, instead of the training pieces (default).
        split: Seed of the division of the pieces (`split_pieces`), default 0.
        start: Index of the first puzzle, default 0.

    Returns:
        Lettered samples. Attributes: `piece_a` and `piece_c` (ids, see `pieces`), `start_a` and
        `start_c` (quarter turns, counterclockwise, from the piece as written in its id),
        `rotation` (degrees, counterclockwise), `answer_index`, `options` (quarter turns of C in
        each option), `template`, `held_out`, and `layout` (boxes of the panels in pixels, by name).

    Raises:
        LanternError: a number is negative.
    """
    if min(n, seed, split, start) < 0:
        raise LanternError(
            f"tetris: n={n}, seed={seed}, split={split} and start={start} must not be negative"
        )
    known = split_pieces(split)[held_out]
    name = "tetris-held-out" if held_out else "tetris"
    puzzles = [(index, _draw(seed, index, known)) for index in range(start, start + n)]
    return [
        replace(
            _sample(f"{name}-{seed}-{index}", {**puzzle, "held_out": held_out}),
            made=(name, seed, index),
        )
        for index, puzzle in puzzles
    ]


@cache
def pieces() -> tuple[str, ...]:
    """Ids of all pieces: polyominoes of 4 to 6 squares without any symmetry.

    Of the rotations and reflections of a polyomino, one is listed. All eight differ, so that a
    rotation is never also a reflection or another rotation. An id is the piece written in rows,
    such as "0111/1100".
    """
    grown, found = {"1"}, []
    for squares in range(2, max(SQUARES) + 1):
        grown = {_canonical(more) for piece in grown for more in _with_one_more(piece)}
        if squares in SQUARES:
            found += sorted(piece for piece in grown if len(_orientations(piece)) == 8)
    return tuple(found)


def split_pieces(seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide the pieces into training pieces and `HELD_OUT` held-out ones.

    No held-out piece is a rotation or a reflection of a training piece.

    Args:
        seed: Seed of the division, default 0.

    Returns:
        Ids of the training pieces and of the held-out pieces.
    """
    known = pieces()
    held_out = set(np.random.default_rng(seed).permutation(len(known))[:HELD_OUT].tolist())
    return (
        tuple(piece for index, piece in enumerate(known) if index not in held_out),
        tuple(piece for index, piece in enumerate(known) if index in held_out),
    )


def panel(piece: str, turns: int) -> UInt8[np.ndarray, "side side 3"]:
    """Draw a piece in the middle of a framed panel, after quarter turns counterclockwise."""
    found = _empty_panel()
    _stamp(found, _enlarged(np.rot90(_grid(piece), turns), SQUARE), INK)
    return found


def interchange(samples: Sequence[Sample]) -> Int[np.ndarray, "samples samples"]:
    """Expected answer of each puzzle if it is given the latents of each other puzzle.

    Args:
        samples: Puzzles made by `tetris`.

    Returns:
        At [i, j] the index of the option of sample i that shows the rotated piece of sample j; -1
        if no option shows it. Sample i answers so with the latents of j, if they carry the piece
        and are used. The diagonal holds the samples' own answers.

    Raises:
        LanternError: a sample was not made by `tetris`.
    """
    expected = np.full((len(samples), len(samples)), -1, dtype=np.int64)
    shown = [_shown(sample) for sample in samples]
    for i, (piece, options, _) in enumerate(shown):
        for j, (other, _, turns) in enumerate(shown):
            if piece == other:
                expected[i, j] = options.index(turns)
    return expected


def answer_from_panel(sample: Sample, picture: UInt8[np.ndarray, "side side 3"]) -> str | None:
    """Answer a puzzle by comparing a picture with the options, pixel by pixel.

    With the panel from which oracle latents are made the answer is always right, which shows that
    the intermediate image is sufficient.

    Args:
        sample: Puzzle made by `tetris`.
        picture: RGB panel, [112, 112, 3].

    Returns:
        Letter of the option that equals the picture; None if no option does.

    Raises:
        LanternError: the sample was not made by `tetris`.
    """
    _shown(sample)
    image = sample.open_images()[0]
    for letter in "ABCD":
        box = sample.attributes["layout"][f"option {letter}"]
        if np.array_equal(np.asarray(image.crop(box)), picture):
            return letter
    return None


def _shown(sample: Sample) -> tuple[str, tuple[int, ...], int]:
    """Piece C of a puzzle, its quarter turns in each option, and those in the answer."""
    known = sample.attributes
    if "piece_c" not in known or "options" not in known:
        raise LanternError(f"sample {sample.id!r} is no polyomino analogy; make it with tetris()")
    options = tuple(known["options"])
    return known["piece_c"], options, options[known["answer_index"]]


def _draw(seed: int, index: int, known: tuple[str, ...]) -> dict[str, Any]:
    rng = np.random.default_rng([seed, index])
    first, third = rng.permutation(len(known))[:2].tolist()
    start_a, start_c = rng.integers(4, size=2).tolist()
    turns = int(rng.integers(1, 4))
    # The third number keeps this stream apart from those of the puzzles.
    block = np.random.default_rng([seed, index // 4, 1]).permutation(4)
    position = int(block[index % 4])
    right = (start_c + turns) % 4
    options = rng.permutation([other for other in range(4) if other != right]).tolist()
    options.insert(position, right)
    return {
        "piece_a": known[first],
        "piece_c": known[third],
        "start_a": start_a,
        "start_c": start_c,
        "rotation": 90 * turns,
        "answer_index": position,
        "options": tuple(options),
        "template": int(rng.integers(len(TEMPLATES))),
    }


def _sample(name: str, puzzle: dict[str, Any]) -> Sample:
    question = TEMPLATES[puzzle["template"]]
    listed = [f"{letter}. {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)]
    seen, complete = _render(puzzle)
    return Sample(
        id=name,
        images=(seen,),
        oracle_images=(complete,),
        question=question,
        options=OPTIONS,
        answer="ABCD"[puzzle["answer_index"]],
        boxes=(ORACLE_BOX,),
        attributes={**puzzle, "layout": LAYOUT},
        lettered=True,
        prompt="\n".join([question, "Options:", *listed]),
    )


def _render(puzzle: dict[str, Any]) -> tuple[Image.Image, Image.Image]:
    """Draw the puzzle as the model sees it, and with the missing piece."""
    turns = puzzle["rotation"] // 90
    missing = _empty_panel()
    _stamp(missing, _glyph("?", 8), MARK)
    row = [
        panel(puzzle["piece_a"], puzzle["start_a"]),
        panel(puzzle["piece_a"], puzzle["start_a"] + turns),
        panel(puzzle["piece_c"], puzzle["start_c"]),
        missing,
    ]
    canvas = np.full((HEIGHT, WIDTH, 3), PAPER, dtype=np.uint8)
    canvas[PANEL : PANEL + 2] = MARK  # a line, so that the letters belong to the row below
    for letter, drawn, (left, top) in zip("ABCD", row, _TOP, strict=True):
        canvas[top : top + PANEL, left : left + PANEL] = drawn
        _stamp(canvas[PANEL + 2 : PANEL + STRIP, left : left + PANEL], _glyph(letter, 3), MARK)
    for option, (left, top) in zip(puzzle["options"], _BOTTOM, strict=True):
        canvas[top : top + PANEL, left : left + PANEL] = panel(puzzle["piece_c"], option)
    complete = canvas.copy()
    left, top = _TOP[3]
    complete[top : top + PANEL, left : left + PANEL] = panel(
        puzzle["piece_c"], puzzle["start_c"] + turns
    )
    return Image.fromarray(canvas), Image.fromarray(complete)


def _empty_panel() -> UInt8[np.ndarray, "side side 3"]:
    found = np.full((PANEL, PANEL, 3), FRAME, dtype=np.uint8)
    found[1:-1, 1:-1] = PAPER
    return found


def _glyph(character: str, scale: int) -> Bool[np.ndarray, "height width"]:
    rows = [[pixel == "1" for pixel in row] for row in _GLYPHS[character].split()]
    return _enlarged(np.array(rows), scale)


def _enlarged(
    grid: Bool[np.ndarray, "rows columns"], scale: int
) -> Bool[np.ndarray, "height width"]:
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def _stamp(
    canvas: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "rows columns"],
    color: tuple[int, int, int],
) -> None:
    """Paint a mask into the middle of a canvas."""
    top, left = (
        (outer - inner) // 2 for outer, inner in zip(canvas.shape, mask.shape, strict=False)
    )
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = color


def _grid(piece: str) -> Bool[np.ndarray, "rows columns"]:
    return np.array([[square == "1" for square in row] for row in piece.split("/")])


def _written(grid: Bool[np.ndarray, "rows columns"]) -> str:
    return "/".join("".join("01"[int(square)] for square in row) for row in grid)


def _orientations(piece: str) -> set[str]:
    grid = _grid(piece)
    return {
        _written(np.rot90(side, turns)) for side in (grid, np.fliplr(grid)) for turns in range(4)
    }


def _canonical(piece: str) -> str:
    return min(_orientations(piece))


def _with_one_more(piece: str) -> set[str]:
    """All pieces with one square more, each in some orientation."""
    grid = np.pad(_grid(piece), 1)
    beside = np.zeros_like(grid)
    for axis in (0, 1):
        beside |= np.roll(grid, 1, axis) | np.roll(grid, -1, axis)
    found = set()
    for row, column in np.argwhere(beside & ~grid).tolist():
        larger = grid.copy()
        larger[row, column] = True
        found.add(_written(larger[np.ix_(larger.any(1), larger.any(0))]))
    return found
