"""Polyomino analogies: what the oracle panel is worth, and what can be known without it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks import Sample, load_task, scenes
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.crops import crop_box
from lantern_probe.tasks.tetris import (
    CHANCE,
    CHANCE_WITHOUT_EXAMPLE,
    HEIGHT,
    HELD_OUT,
    OPTIONS,
    PANEL,
    TEMPLATES,
    WIDTH,
    answer_from_panel,
    interchange,
    panel,
    pieces,
    split_pieces,
    tetris,
)

OPTION_PANELS = tuple(f"option {letter}" for letter in "ABCD")


@pytest.fixture(scope="module")
def puzzles() -> list[Sample]:
    return tetris(200, seed=3)


def shown(sample: Sample, name: str) -> np.ndarray:
    """A panel as the model sees it."""
    return np.asarray(sample.open_images()[0].crop(sample.attributes["layout"][name]))


def oracle(sample: Sample) -> np.ndarray:
    """What oracle latents are computed from."""
    image = sample.open_oracle_images()[0]
    return np.asarray(image.crop(crop_box(image.size, sample.boxes[0])))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other)


def alike(sample: Sample, picture: np.ndarray) -> list[int]:
    """The options that are this picture, pixel by pixel."""
    return [i for i, name in enumerate(OPTION_PANELS) if same(shown(sample, name), picture)]


def turned(picture: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(picture, turns) for turns in range(4)]


def reach(grid: np.ndarray) -> int:
    """How many squares hang together with the first one."""
    left = {tuple(square) for square in np.argwhere(grid).tolist()}
    open_squares = [left.pop()]
    count = 0
    while open_squares:
        row, column = open_squares.pop()
        count += 1
        for beside in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if beside in left:
                left.remove(beside)
                open_squares.append(beside)
    return count


def test_there_are_as_many_pieces_as_polyominoes_without_symmetry() -> None:
    """The known counts (OEIS A006749): 1, 5 and 20 with 4, 5 and 6 squares."""
    assert Counter(piece.count("1") for piece in pieces()) == {4: 1, 5: 5, 6: 20}


def test_pieces_are_whole_asymmetric_and_all_different() -> None:
    seen: set[str] = set()
    for piece in pieces():
        grid = np.array([list(map(int, row)) for row in piece.split("/")])
        assert reach(grid) == grid.sum()
        sides = {
            str(np.rot90(side, turns).tolist())
            for side in (grid, grid[:, ::-1])
            for turns in range(4)
        }
        assert len(sides) == 8
        assert not sides & seen
        seen |= sides


@given(seed=st.integers(0, 1000))
def test_the_split_shares_no_piece(seed: int) -> None:
    training, held_out = split_pieces(seed)
    assert len(held_out) == HELD_OUT
    assert not set(training) & set(held_out)
    assert sorted(training + held_out) == sorted(pieces())


def test_the_split_depends_on_its_seed_and_decides_the_pieces() -> None:
    assert split_pieces(0) != split_pieces(1)
    for held_out in (False, True):
        for split in (0, 1):
            allowed = set(split_pieces(split)[held_out])
            samples = tetris(100, held_out=held_out, split=split)
            used = {s.attributes[name] for s in samples for name in ("piece_a", "piece_c")}
            assert used == allowed


def test_the_oracle_panel_alone_solves_every_puzzle(puzzles: list[Sample]) -> None:
    for sample in puzzles + tetris(100, held_out=True):
        assert [sample.candidates[i] for i in alike(sample, oracle(sample))] == [sample.answer]
        assert answer_from_panel(sample, oracle(sample)) == sample.answer
        assert answer_from_panel(sample, shown(sample, "a")) is None


def test_the_puzzle_can_be_solved_from_what_is_seen(puzzles: list[Sample]) -> None:
    """The turn that makes B of A, applied to C, by pixels; and it is never none."""
    for sample in puzzles:
        views = turned(shown(sample, "a"))
        turns = [i for i, view in enumerate(views) if same(view, shown(sample, "b"))]
        assert [90 * i for i in turns] == [sample.attributes["rotation"]]
        assert turns != [0]
        right = alike(sample, turned(shown(sample, "c"))[turns[0]])
        assert [sample.candidates[i] for i in right] == [sample.answer]
        assert right == [sample.attributes["answer_index"]]


def test_the_missing_piece_is_in_the_oracle_image_only(puzzles: list[Sample]) -> None:
    left, top, right, bottom = puzzles[0].attributes["layout"]["missing"]
    for sample in puzzles[:20]:
        seen, complete = (
            np.asarray(images[0]).copy()
            for images in (sample.open_images(), sample.open_oracle_images())
        )
        assert seen.shape == complete.shape == (HEIGHT, WIDTH, 3)
        differing = np.argwhere((seen != complete).any(-1))
        assert differing.size
        assert (differing.min(0) >= (top, left)).all() and (
            differing.max(0) < (bottom, right)
        ).all()
    blanks = {shown(sample, "missing").tobytes() for sample in puzzles}
    assert len(blanks) == 1


def test_the_oracle_crop_is_the_panel_and_whole_vision_tokens(puzzles: list[Sample]) -> None:
    crop = crop_box((WIDTH, HEIGHT), puzzles[0].boxes[0])
    assert crop == puzzles[0].attributes["layout"]["missing"]
    tokens = (PANEL // 28) ** 2
    assert PANEL % 28 == WIDTH % 28 == HEIGHT % 28 == 0
    assert tokens % 8 == 0  # none is dropped when they are compressed into 8 slots


def test_the_options_are_the_four_orientations_of_c(puzzles: list[Sample]) -> None:
    for sample in puzzles[:50]:
        options = {shown(sample, name).tobytes() for name in OPTION_PANELS}
        assert len(options) == 4
        assert options == {view.tobytes() for view in turned(shown(sample, "c"))}


@given(piece=st.sampled_from(pieces()), turns=st.integers(0, 7), start=st.integers(0, 3))
def test_a_turned_piece_is_the_turned_panel(piece: str, turns: int, start: int) -> None:
    assert same(panel(piece, start + turns), np.rot90(panel(piece, start), turns))


@given(seed=st.integers(0, 2**32), block=st.integers(0, 50))
def test_every_letter_is_right_once_in_four(seed: int, block: int) -> None:
    samples = tetris(4, seed, start=4 * block)
    assert sorted(str(sample.answer) for sample in samples) == list("ABCD")


def test_nothing_but_solving_it_beats_its_chance() -> None:
    """Exact rates of the best guess: from each part that says nothing, and without A and B."""
    known = [sample.attributes for sample in tetris(600, seed=1)]
    answers = [puzzle["answer_index"] for puzzle in known]
    assert all(Fraction(count, len(answers)) == CHANCE for count in Counter(answers).values())
    views = {
        "template": [puzzle["template"] for puzzle in known],
        "rotation": [puzzle["rotation"] for puzzle in known],
        "order of the options": [puzzle["options"] for puzzle in known],
        "a": [(puzzle["piece_a"], puzzle["start_a"]) for puzzle in known],
    }
    for name, view in views.items():
        # The guess is learned on one half and judged on the other; 4 standard errors.
        learned = {
            value: Counter(
                answer
                for answer, seen in zip(answers[::2], view[::2], strict=True)
                if seen == value
            ).most_common(1)[0][0]
            for value in view[::2]
        }
        hits = [
            learned.get(value, 0) == answer
            for value, answer in zip(view[1::2], answers[1::2], strict=True)
        ]
        assert abs(np.mean(hits) - CHANCE) < 4 * (CHANCE * (1 - CHANCE) / len(hits)) ** 0.5, name
    # With C and the options one rotation is excluded, the others are as likely.
    turns = Counter(puzzle["rotation"] for puzzle in known)
    spread = 4 * (CHANCE_WITHOUT_EXAMPLE * (1 - CHANCE_WITHOUT_EXAMPLE) / len(known)) ** 0.5
    assert set(turns) == {90, 180, 270}
    assert all(abs(n / len(known) - CHANCE_WITHOUT_EXAMPLE) < spread for n in turns.values())


def test_interchange_names_the_option_with_the_other_puzzles_piece() -> None:
    samples = tetris(60, seed=5, held_out=True)
    expected = interchange(samples)
    for i, sample in enumerate(samples):
        assert sample.candidates[expected[i, i]] == sample.answer
        for j, donor in enumerate(samples):
            found = alike(sample, oracle(donor))
            assert found == ([expected[i, j]] if expected[i, j] >= 0 else [])
    off = expected[~np.eye(len(samples), dtype=bool)]
    assert (off >= 0).any() and (off < 0).any()
    # Some donor calls for another answer: else an exchange could show nothing.
    assert (expected != expected.diagonal()[:, None])[expected >= 0].any()


def test_interchange_refuses_what_is_no_analogy() -> None:
    with pytest.raises(LanternError, match="'scenes-0-0' is no polyomino analogy"):
        interchange(scenes(1))
    with pytest.raises(LanternError, match="'scenes-0-0' is no polyomino analogy"):
        answer_from_panel(scenes(1)[0], panel(pieces()[0], 0))
    assert interchange([]).shape == (0, 0)


@given(seed=st.integers(0, 2**32), start=st.integers(0, 40), held_out=st.booleans())
def test_a_puzzle_depends_on_seed_and_index_only(seed: int, start: int, held_out: bool) -> None:
    (alone,) = tetris(1, seed, held_out=held_out, start=start)
    among = tetris(start + 2, seed, held_out=held_out)[start]
    for name in ("id", "prompt", "answer", "attributes", "boxes"):
        assert getattr(alone, name) == getattr(among, name)
    for one, other in (
        (alone.images[0], among.images[0]),
        (alone.oracle_images[0], among.oracle_images[0]),
    ):
        assert isinstance(one, Image.Image) and isinstance(other, Image.Image)
        assert one.tobytes() == other.tobytes()


def test_the_first_puzzle_of_the_first_series() -> None:
    """Nothing about a series may change unnoticed: results name it by its seed."""
    known = tetris(1)[0].attributes
    assert known["piece_a"] == "0010/1111"
    assert known["piece_c"] == "001/001/111/010"
    assert (known["start_a"], known["start_c"], known["rotation"]) == (2, 0, 270)
    assert known["options"] == (0, 1, 2, 3)


def test_ids_and_questions(puzzles: list[Sample]) -> None:
    both = puzzles + tetris(200, seed=3, held_out=True)
    assert len({sample.id for sample in both}) == len(both)
    assert {sample.question for sample in puzzles} == set(TEMPLATES)
    prompt = f"{puzzles[0].question}\nOptions:\nA. first piece\nB. second piece\n"
    assert puzzles[0].text == f"{prompt}C. third piece\nD. fourth piece"


@pytest.mark.parametrize("text", ["C", "(c)", "C. third piece", "third piece"])
def test_an_answer_is_a_letter(puzzles: list[Sample], text: str) -> None:
    assert puzzles[0].lettered and puzzles[0].options == OPTIONS
    assert parse_answer(f"<answer> {text} </answer>", puzzles[0]) == "C"


def test_the_tasks_have_names() -> None:
    assert load_task("tetris", 3, 7)[2].id == tetris(3, 7)[2].id == "tetris-7-2"
    assert load_task("tetris-held-out", 1, 7)[0].id == "tetris-held-out-7-0"


@pytest.mark.parametrize("wrong", [{"n": -1}, {"n": 1, "seed": -1}, {"n": 1, "start": -2}])
def test_negative_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LanternError, match="must not be negative"):
        tetris(**wrong)
