"""The lens reads what the model's own head would, of the vector that is named and of no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lantern_probe.capture import LogitLens, words_of
from lantern_probe.capture.batch import capture_batch
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import replay
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import parse_sites


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


def by_hand(lantern: Any, samples: Any) -> tuple[Any, torch.Tensor]:
    """A generation, and the logits of all its positions by one forward of the whole model."""
    output = lantern.generate(samples)
    again = replay(lantern, samples, output)
    with torch.no_grad():
        return output, lantern.hf(**again.inputs).logits


def test_a_latent_is_the_state_of_the_position_before_its_slot(faithful: LanternModel):
    samples = scenes(3, seed=1)
    output, logits = by_hand(faithful, samples)
    lens = LogitLens.of(faithful, without_end=False)
    for row, blocks in enumerate(output.blocks):
        slots = torch.tensor(blocks[0].slots)
        read = lens.logits(blocks[0].latents)
        assert torch.allclose(read, logits[row, slots - 1], atol=1e-4)
        # One position further is another vector: the control of this very test.
        assert not torch.allclose(read, logits[row, slots], atol=0.1)


def test_the_last_layer_at_a_slot_is_the_models_own_logits_there(faithful: LanternModel):
    samples = scenes(3, seed=1)
    output, logits = by_hand(faithful, samples)
    captured = capture_batch(faithful, samples, parse_sites(["residual.3@slot"], layers=4))
    lens = LogitLens.of(faithful, without_end=False)
    read = lens.logits(lens.normed(captured.activations["residual.3@slot"]))
    for row, blocks in enumerate(output.blocks):
        slots = torch.tensor(blocks[0].slots)
        assert torch.allclose(read[row], logits[row, slots], atol=1e-4)
        assert not torch.allclose(read[row], logits[row, slots - 1], atol=0.1)


def test_the_end_markers_direction_is_taken_out_and_its_cosine_is_told(faithful: LanternModel):
    lens = LogitLens.of(faithful)
    assert lens.away is not None and faithful.lvr is not None
    end = faithful.lvr.end
    states = torch.cat([torch.randn(3, 128), lens.head[end][None]])
    assert torch.allclose(lens.logits(states)[:, end], torch.zeros(4), atol=1e-4)
    by_torch = torch.nn.functional.cosine_similarity(states, lens.head[end][None])
    assert torch.allclose(lens.end_cosines(states), by_torch, atol=1e-5)
    with pytest.raises(LanternError, match="takes no direction out"):
        LogitLens.of(faithful, without_end=False).end_cosines(states)


def test_a_random_head_has_rows_of_the_same_length_and_is_the_same_each_time(
    faithful: LanternModel,
):
    lens = LogitLens.of(faithful)
    first, second = lens.untrained(), lens.untrained()
    assert torch.equal(first.head, second.head)
    assert torch.allclose(first.head.norm(dim=-1), lens.head.norm(dim=-1), rtol=1e-5)
    cosines = torch.nn.functional.cosine_similarity(first.head, lens.head)
    assert cosines.abs().mean() < 0.1


def test_logits_are_capped_as_the_model_caps_them():
    head = torch.eye(4)
    lens = LogitLens(head, torch.nn.Identity(), soft_cap=2.0)
    assert torch.allclose(lens.logits(head * 3), 2 * (head * 3 / 2).tanh())


@pytest.mark.parametrize("lacking", ["head", "final norm"])
def test_a_model_whose_parts_are_not_found_is_refused(lacking: str):
    head = torch.nn.Linear(4, 9, bias=False)
    language = SimpleNamespace() if lacking == "final norm" else SimpleNamespace(norm=head)
    hf = SimpleNamespace(
        get_output_embeddings=lambda: None if lacking == "head" else head,
        model=SimpleNamespace(language_model=language),
    )
    with pytest.raises(LanternError, match=f"has no {lacking} where a lens looks for it"):
        LogitLens.of(SimpleNamespace(hf=hf))  # type: ignore[arg-type]


class Letters:
    """A tokenizer whose tokens are characters."""

    unk_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(character) for character in text]}


def test_words_that_share_their_first_token_are_left_out():
    words = words_of(Letters(), ["a dog", "the cat", "car", "Bird", "", "4"])
    assert words.texts == ("a dog", "Bird", "4")
    # A lone space begins every text, so it tells none of them.
    assert words.ids[0] == tuple(sorted(map(ord, "dD")))
    logits = torch.zeros(200)
    logits[ord("D")], logits[ord("4")] = 3.0, 1.0
    assert words.scores(logits).tolist() == [3.0, 0.0, 1.0]
