"""Patching: many patches in one forward against one hooked forward per patch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.causal.patching.forward import run_cells
from lantern_probe.causal.patching.recording import (
    LeftOut,
    Recording,
    candidate_scores,
    check_layout,
    record,
)
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch, layer_sites, shams, whole
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import Replay, replay
from lantern_probe.model.sites import submodule
from lantern_probe.model.teacher_forcing import ForcedTexts
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import with_twins
from lantern_probe.vocabulary import PATCH_ROLES, PATCHED, Site

LAYERS, SLOTS = 4, 8
SITES = layer_sites(PATCHED, range(LAYERS), PATCH_ROLES)
TEXT = (
    "<think> let me look at the star <|lvr_start|>" + " <|lvr_sep|>" * SLOTS + " <|lvr_end|> it is "
    "here </think> <answer> red </answer>"
)


def color_pairs(count: int, seed: int = 3) -> list[Sample]:
    samples, _ = with_twins(scenes(count, seed), lambda s: twin(s, "color"), answers_known=True)
    return samples


def forced(lantern: Any, text: str, samples: Sequence[Sample]) -> Any:
    """The output of a generation that writes a text, whatever the model would."""
    ids = lantern.processor.tokenizer.encode(text, add_special_tokens=False)
    prompt = lantern.inputs(samples)["input_ids"].shape[1]
    force = ForcedTexts([ids] * len(samples), prompt, min(lantern.eos_ids))
    return lantern.generate(samples, logits_processor=[force], max_new_tokens=len(ids) + 2)


def recorded(lantern: Any, samples: Sequence[Sample], output: Any) -> list[Recording]:
    found = record(lantern, samples, output, SITES)
    assert all(isinstance(one, Recording) for one in found), found
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def runs(faithful: LanternModel) -> list[Recording]:
    """Two pairs, prompts of different length in one batch."""
    samples = color_pairs(2)
    assert len({len(s.question) for s in samples}) > 1
    return recorded(faithful, samples, faithful.generate(samples))


# -- against one forward per patch -------------------------------------------------


@contextmanager
def hand_hook(lantern: Any, patch: Patch, change: Any) -> Iterator[None]:
    module = submodule(lantern, patch.site.component, patch.site.layer)
    if patch.site.component == "embedding":
        handle = module.register_forward_pre_hook(lambda m, a: (change(a[0].clone()), *a[1:]))
    else:
        handle = module.register_forward_hook(lambda m, a, out: change(out.clone()))
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def by_hand(
    lantern: Any, again: Replay, target: int, donor: int, runs: Sequence[Recording], patch: Patch
) -> torch.Tensor:
    """The candidates' logits by two whole forwards of all rows: one is read, one written to."""
    read: list[torch.Tensor] = []
    rows = [(row, [again.first[row] + at for at in runs[row].at(patch.site, patch.slot)])
            for row in (target, donor)]  # fmt: skip

    def keep(value: torch.Tensor) -> torch.Tensor:
        read.append(value[rows[1][0], rows[1][1]])
        return value

    def write(value: torch.Tensor) -> torch.Tensor:
        value[rows[0][0], rows[0][1]] = read[0]
        return value

    with hand_hook(lantern, patch, keep):
        lantern.hf(**again.inputs)
    with hand_hook(lantern, patch, write):
        logits = lantern.hf(**again.inputs).logits
    answer = again.first[target] + runs[target].positions["answer-start"][0]
    return candidate_scores(logits[target, answer][None], runs[target].candidates)[0]


PATCHES = [
    Patch(Site("embedding", None, "slot")),
    Patch(Site("embedding", None, "box")),
    Patch(Site("residual", 0, "slot"), 0),
    Patch(Site("residual", 2, "slot")),
    Patch(Site("residual", 1, "box")),
    Patch(Site("attention", 1, "last-question")),
    Patch(Site("attention", 2, "slot"), 5),
    Patch(Site("attention", 0, "lvr_start")),
    Patch(Site("mlp", 0, "last-prompt")),
    Patch(Site("mlp", 3, "answer-start")),
    Patch(Site("mlp", 1, "lvr_end")),
]


@pytest.mark.parametrize("name", ["faithful", "untrained"])
def test_a_batch_of_patches_is_one_hooked_forward_per_patch(
    name: str, faithful: LanternModel, untrained: Any
):
    lantern: Any = faithful if name == "faithful" else untrained
    samples = color_pairs(2)
    trained = name == "faithful"
    output = lantern.generate(samples) if trained else forced(lantern, TEXT, samples)
    runs, again = recorded(lantern, samples, output), replay(lantern, samples, output)
    moved = 0
    for target, donor in ((0, 1), (3, 2)):
        result = run_cells(lantern, runs[target], runs[donor], PATCHES)
        for patch, base, patched in zip(PATCHES, result.base, result.patched, strict=True):
            expected = by_hand(lantern, again, target, donor, runs, patch)
            assert torch.allclose(patched, expected, atol=1e-4), patch.label
            assert torch.allclose(base, runs[target].scores, atol=1e-4)
            moved += not torch.allclose(patched, base, atol=1e-4)
    assert moved > len(PATCHES)  # more than half of them do something: the test can fail


def test_small_batches_give_the_same(faithful: LanternModel, runs: list[Recording]):
    patches = [*PATCHES, *shams(layer_sites(("mlp",), (1,), ("slot", "box")))]
    whole_batch = run_cells(faithful, runs[0], runs[1], patches)
    for rows in (1, 2, 4):
        some = run_cells(faithful, runs[0], runs[1], patches, batch_rows=rows)
        assert torch.allclose(some.patched, whole_batch.patched, atol=1e-4)
        assert torch.equal(some.base[-2:], some.patched[-2:])


# -- what holds by construction ----------------------------------------------------


@pytest.mark.parametrize("name", ["faithful", "untrained"])
def test_shams_change_nothing_at_all(name: str, faithful: LanternModel, untrained: Any):
    lantern: Any = faithful if name == "faithful" else untrained
    samples = color_pairs(1)
    target, donor = recorded(lantern, samples, forced(lantern, TEXT, samples))
    patches = [*whole(SITES), *shams(SITES)]
    result = run_cells(lantern, target, donor, patches)
    assert torch.equal(result.patched[len(SITES) :], result.base[len(SITES) :])
    assert not torch.equal(result.patched[: len(SITES)], result.base[: len(SITES)])


def test_ones_own_recording_as_donor_changes_nothing_but_rounding(
    faithful: LanternModel, runs: list[Recording]
):
    result = run_cells(faithful, runs[0], runs[0], whole(SITES))
    assert torch.allclose(result.patched, result.base, atol=1e-4)


def test_the_last_layer_at_the_answer_is_the_donors_answer_and_at_slots_nothing(
    faithful: LanternModel, runs: list[Recording]
):
    patches = [
        Patch(Site("residual", LAYERS - 1, role)) for role in ("answer-start", "slot", "box")
    ]
    result = run_cells(faithful, runs[0], runs[1], patches)
    assert torch.allclose(result.patched[0], runs[1].scores, atol=1e-4)
    assert torch.equal(result.patched[1:], result.base[1:])


def test_nothing_is_left_on_the_model(faithful: LanternModel, runs: list[Recording]):
    output = faithful.generate(scenes(1))
    broken = replace(runs[1], activations={})
    with pytest.raises(LanternError, match="mlp.1@slot was not recorded"):
        run_cells(faithful, runs[0], broken, [Patch(Site("mlp", 1, "slot"))])

    def fail(*call: Any) -> None:
        raise RuntimeError("on purpose")

    failing = submodule(faithful, "mlp", 2).register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        run_cells(faithful, runs[0], runs[1], whole(SITES))
    with pytest.raises(RuntimeError, match="on purpose"):
        record(faithful, scenes(1), output, SITES)
    failing.remove()
    for component, layer in {(site.component, site.layer) for site in SITES}:
        module = submodule(faithful, component, layer)
        assert not module._forward_hooks and not module._forward_pre_hooks
    with pytest.raises(LanternError, match="no patches"):
        run_cells(faithful, runs[0], runs[1], [])


# -- what is left out ----------------------------------------------------------------


def test_runs_that_cannot_be_compared_say_why(faithful: LanternModel, runs: list[Recording]):
    check_layout(runs[0], runs[1])
    positions = {role: [at + 1 for at in found] if role == "answer-start" else found
                 for role, found in runs[1].positions.items()}  # fmt: skip
    later = replace(runs[1], positions=positions)
    with pytest.raises(LeftOut, match="differ in layout: answer-start stands at"):
        check_layout(runs[0], later)
    boxless = {role: at for role, at in runs[1].positions.items() if role != "box"}
    with pytest.raises(LeftOut, match="has no box to patch"):
        run_cells(
            faithful, runs[0], replace(runs[1], positions=boxless), [Patch(Site("mlp", 0, "box"))]
        )
    with pytest.raises(LeftOut, match="has no slot 8"):
        run_cells(faithful, runs[0], runs[1], [Patch(Site("mlp", 0, "slot"), 8)])
    wide = {**runs[1].positions, "box": [*runs[1].positions["box"], 20]}
    with pytest.raises(LeftOut, match="has 1 positions and .* has 2"):
        run_cells(
            faithful, runs[0], replace(runs[1], positions=wide), [Patch(Site("mlp", 0, "box"))]
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<think> it is here </think> <answer> red </answer>", "it has no lvr_start"),
        (TEXT.partition(" <answer>")[0], "it has no answer"),
        ("<answer> red </answer> " + TEXT.partition(" it is")[0], "comes before the block"),
    ],
)
def test_texts_without_a_block_before_an_answer_are_left_out(
    faithful: LanternModel, text: str, message: str
):
    samples = scenes(2)
    found = record(faithful, samples, forced(faithful, text, samples), SITES)
    assert all(isinstance(one, LeftOut) for one in found)
    assert message in str(found[0])


def test_candidates_are_told_apart_by_their_first_tokens(faithful: LanternModel):
    sample = scenes(1)[0]
    bad = replace(sample, options=(*sample.options, "red blue"))
    output = faithful.generate([bad, sample])
    first, second = record(faithful, [bad, sample], output, SITES)
    assert isinstance(first, LeftOut) and "no token begins 'red'" in str(first)
    assert isinstance(second, Recording) and len(second.candidates) == 8
    assert list(second.candidates)[int(second.scores.argmax())] == sample.answer
