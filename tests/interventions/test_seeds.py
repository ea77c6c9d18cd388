"""Conditions and corruptions under several seeds, as labels."""

import pytest

from experiments.ablations import ablation_parts
from experiments.inputs import SeedOptions
from lantern_probe.errors import LanternError
from lantern_probe.interventions import CONDITIONS, parse_condition
from lantern_probe.interventions.seeds import draws, spelled, under_seeds

DRAWING = {
    *("noise", "noise-norm", "noise-matched", "additive", "constant", "shuffle", "swap"),
    *("random-pair", "random-box", "random-box-other", "erase-random", "erase-shuffled"),
}


def test_what_draws_at_random_is_known_of_every_condition():
    needs = {"erase": "attribute=color", "k-slots": "k=2", "rescale": "factor=2"}
    for name in CONDITIONS:
        settings = next((s for start, s in needs.items() if name.startswith(start)), "")
        if name in ("noise-norm", "pause", "rescale") and not settings:
            settings = ""
        try:
            condition = parse_condition(f"{name}:{settings}" if settings else name)
        except LanternError:
            continue  # needs a setting of its own, and draws nothing
        assert draws(condition) == (name in DRAWING), name


def test_parts_have_every_seed_of_what_draws_and_one_of_what_does_not():
    (part,) = ablation_parts(["zeros", "swap", "noise:seed=9", "after->slot:random=1"], seeds=3)
    assert part.labels == [
        *("own", "zeros", "swap", "swap:seed=1", "swap:seed=2", "noise:seed=9"),
        *(f"after->slot:random=1{seed}" for seed in ("", ",seed=1", ",seed=2")),
    ]
    (part,) = ablation_parts(["after->slot:random=1"], seed=5, seeds=2)
    assert part.labels == ["own", "after->slot:random=1,seed=5", "after->slot:random=1,seed=6"]


def test_under_a_drawn_image_a_condition_has_the_seed_of_the_image():
    clean, one, two = ablation_parts(["swap", "zeros"], ["swap-image"], seed=1, seeds=2)
    assert clean.labels == ["own", "swap:seed=1", "swap:seed=2", "zeros"]
    assert one.labels == [f"{label}@swap-image:seed=1" for label in ("own", "swap:seed=1", "zeros")]
    assert two.labels[1] == "swap:seed=2@swap-image:seed=2"


def test_labels_of_a_table_spell_the_seed():
    assert spelled("noise:scale=2") == "noise:scale=2,seed=0"
    assert spelled("zeros@swap-image") == "zeros@swap-image:seed=0"
    assert spelled("zeros@black-box") == "zeros@black-box"
    assert spelled("swap:seed=3") == "swap:seed=3"
    assert [c.label for c in under_seeds("zeros", range(4))] == ["zeros"]


def test_no_seed_at_all_is_refused():
    with pytest.raises(LanternError, match="--seeds must be at least 1, not 0"):
        SeedOptions(seeds=0).check_seeds()
