"""Controls of a probe: recall of planted signals, silence on noise, and labels without content."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lantern_probe.errors import LanternError
from lantern_probe.probing.classify import grid_predict
from lantern_probe.probing.controls import (
    control_task,
    encode,
    question_features,
    shuffled,
)
from lantern_probe.probing.mdl import FRACTIONS, online_code
from lantern_probe.probing.table import (
    Settings,
    family_p,
    make_target,
    probe_row,
    score_p,
    score_site,
)

QUICK = Settings(folds=5, controls=2, permutations=39)


def planted(
    n: int, dim: int, classes: int, strength: float, seed: int = 0
) -> tuple[torch.Tensor, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    means = rng.normal(size=(classes, dim)) * strength
    x = torch.tensor(rng.normal(size=(n, dim)) + means[labels], dtype=torch.float32)
    return x, [f"c{label}" for label in labels]


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


def test_permutation_p_counts_the_score_in():
    assert score_p(0.9, [0.1] * 19) == 1 / 20
    assert score_p(0.1, [0.1, 0.2, 0.0]) == 3 / 4


def test_the_online_code_by_hand_on_what_teaches_nothing_and_everything():
    n = 256
    x, labels = planted(n, 8, 4, strength=8)
    codes = torch.tensor([int(label[1:]) for label in labels])
    groups = list(range(n))
    told = online_code(x, codes, groups, C=1.0)
    noise = online_code(
        torch.randn(n, 8, generator=torch.Generator().manual_seed(0)), codes, groups, C=0.01
    )
    assert told.uniform == noise.uniform == n * 2
    ends = sorted({max(1, math.ceil(f * n)) for f in FRACTIONS})
    assert list(told.portions) == ends
    # The first samples cost two bits each; what follows is nearly free.
    assert told.bits < 0.25 * told.uniform and told.compression > 4
    assert 0.9 * noise.uniform < noise.bits < 1.3 * noise.uniform
    again = online_code(x, codes, groups, C=1.0)
    assert again.bits == told.bits


def test_a_portion_never_parts_an_image():
    x, labels = planted(90, 4, 2, strength=1)
    codes = torch.tensor([int(label[1:]) for label in labels])
    code = online_code(x, codes, [i // 3 for i in range(90)], C=1.0)
    assert all(end % 3 == 0 for end in code.portions) and code.portions[-1] == 90


def test_planted_signals_are_found_and_noise_is_not():
    """n = 30 of 2,048 dimensions, the size at which published probes go wrong."""
    x, labels = planted(30, 2048, 2, strength=0.3)
    types = [str(i % 6) for i in range(30)]
    target = make_target("planted", labels, list(range(30)), types, QUICK)
    assert target.kind == "class" and target.classes == 2
    assert target.controls == 2 and len(target.problems) == 42
    found = score_site(x, target)
    assert found.score > 0.9 and score_p(found.tested, found.null) == 1 / 40
    assert found.low < found.score and found.control is not None and found.control < 0.9
    noise = torch.randn(30, 2048, generator=torch.Generator().manual_seed(5))
    silent = score_site(noise, target)
    assert score_p(silent.tested, silent.null) > 0.05 and silent.low < 0.6


@pytest.mark.slow
def test_pure_noise_is_called_a_finding_at_the_nominal_rate():
    """Labels and features that know nothing of each other, many classes on few samples, where
    folds balanced by the true labels once gave p <= .05 in a quarter of the sets. 100 sets,
    19 permutations: about 5 of them, within the Monte Carlo 99.9 %, and p uniform on average."""
    sets, values = 100, []
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        x = torch.tensor(rng.normal(size=(64, 16)), dtype=torch.float32)
        labels = rng.integers(6, size=64).tolist()
        settings = Settings(folds=4, controls=0, permutations=19, seed=seed)
        target = make_target("noise", labels, list(range(64)), ["t"] * 64, settings)
        test = torch.cat([target.truth[None], target.problems[1:]])
        used = x[target.used]
        null = grid_predict(used, test, target.test_folds, (0.01,)).accuracy(test)[0].tolist()
        values.append(score_p(null[0], null[1:]))
        if seed < 3:  # what the table does
            found = score_site(x, target)
            assert score_p(found.tested, found.null) == values[-1]
    hits = sum(value <= 0.05 for value in values)
    assert hits <= sets * 0.05 + 3.3 * math.sqrt(sets * 0.05 * 0.95)
    # Ties count for the null, so that the mean lies above one half.
    assert 0.45 < float(np.mean(values)) < 0.65


def test_a_column_with_missing_values_keeps_its_kind():
    """A table turns whole numbers with a gap into floats, and that must not make them a value."""
    numbers = [float("nan") if i == 3 else float(i % 2) for i in range(40)]
    target = make_target("cell", numbers, list(range(40)), ["t"] * 40, QUICK)
    assert target.kind == "class" and len(target.used) == 39
    words = [None if i == 3 else "ab"[i % 2] for i in range(40)]
    assert make_target("answer", words, list(range(40)), ["t"] * 40, QUICK).classes == 2


def test_values_are_regressed_and_their_mean_is_nothing():
    rng = np.random.default_rng(2)
    x = torch.tensor(rng.normal(size=(120, 20)), dtype=torch.float32)
    values = (x[:, 0] * 2 + 0.3 * torch.tensor(rng.normal(size=120))).tolist()
    target = make_target("box_x", values, [i // 2 for i in range(120)], ["t"] * 120, QUICK)
    assert target.kind == "value" and target.majority == 0
    found = score_site(x, target)
    assert 0.8 < found.low < found.score < found.high <= 1.0 and found.bits is None
    blank = score_site(torch.tensor(rng.normal(size=(120, 20)), dtype=torch.float32), target)
    assert blank.score < 0.1


def test_a_row_holds_its_controls_and_the_family_is_larger_than_a_site():
    x, labels = planted(60, 16, 3, strength=1.0)
    target = make_target("color", labels, list(range(60)), [str(i % 5) for i in range(60)], QUICK)
    rows = []
    for slot, features in enumerate((x, torch.randn(60, 16))):
        scores = score_site(features, target)
        row = probe_row("latent@slots", slot, target, scores, {"question": 0.3, "untrained": None})
        rows.append(row)
    first = rows[0]
    assert first["sample"] == "latent@slots#0" and first["condition"] == "color"
    assert first["selectivity"] == pytest.approx(first["score"] - first["control"])
    assert {"majority", "question", "untrained", "control", "p", "low", "high", "bits"} <= {*first}
    together = family_p(rows)
    assert together[0] is not None and together[0] >= first["p"]
    assert together[1] is not None and together[1] >= rows[1]["p"]


def test_a_feature_that_is_not_finite_is_refused():
    x, labels = planted(40, 8, 2, strength=1)
    target = make_target("c", labels, list(range(40)), ["t"] * 40, QUICK)
    x[3, 2] = torch.nan
    with pytest.raises(LanternError, match=r"features\[3, 2\] is nan"):
        score_site(x, target)
