"""Controls of a probe: classes of a column, labels without content, and words of a question."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.probing.controls import (
    control_task,
    encode,
    question_features,
    shuffled,
)


def test_a_column_becomes_classes():
    values = ["b", None, "a", "b", float("nan"), "rare", "a", "a"]
    groups = list("01234567")
    labels = encode(values, groups, least=2)
    assert labels.classes == ["a", "b"] and labels.left_out == 1
    assert labels.codes.tolist() == [1, -1, 0, 1, -1, -1, 0, 0]
    assert labels.majority == 3 / 5
    # Twice in one image is not in two images.
    with pytest.raises(LanternError, match="at least 2 images each; there are 1 of 2 values"):
        encode(["a", "a", "b", "b"], ["x", "x", "y", "z"], least=2)


def test_a_control_task_labels_types_and_keeps_what_has_no_label():
    codes = torch.tensor([0, 1, 1, -1, 2, 0] * 20)
    types = ["p", "q", "r", "p", "s", "q"] * 20
    control = control_task(codes, types, seed=3)
    by_type = {t: {int(c) for c, u in zip(control, types, strict=True) if u == t} for t in "qrs"}
    assert all(len(labels) == 1 for labels in by_type.values())
    assert (control[codes < 0] == -1).all() and (control[codes >= 0] >= 0).all()
    other = [control_task(codes, types, seed=s).tolist() for s in range(8)]
    assert len({tuple(c) for c in other}) > 1


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_permutations_move_images_as_a_whole(groups: list[int], seed: int):
    values = torch.arange(len(groups))
    for row in shuffled(values, groups, 3, seed):
        assert sorted(row.tolist()) == values.tolist()
        moved: dict[int, set[int]] = {}
        for group, value in zip(groups, row.tolist(), strict=True):
            moved.setdefault(group, set()).add(groups[value])
        # What stood together stands together, in a group of the same size.
        assert all(len(sources) == 1 for sources in moved.values())


def test_question_features_are_words_and_their_pairs():
    table = question_features(["what color is the star ?", "what color is the ring ?"])
    assert table.shape[0] == 2 and set(table.unique().tolist()) == {0, 1}
    assert table.shape[1] == 6  # star, ring, and each with its two neighbours
    with pytest.raises(LanternError, match="no words"):
        question_features(["", " "])
