"""Organisms that ship: they load anywhere, and their cards say what is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.organisms.registry import CARD, OrganismCard
from lantern_probe.organisms.training.generation import collate
from lantern_probe.organisms.training.mixtures import HELD_OUT
from lantern_probe.organisms.training.settings import GRADED, KINDS
from lantern_probe.organisms.training.truth import UNINFORMATIVE
from lantern_probe.tasks.scenes import CHANCE, scenes

SHIPPED = organisms.names()


def test_all_plain_kinds_and_known_graded_ones_ship() -> None:
    assert set(KINDS) < set(SHIPPED) <= {*KINDS, *GRADED}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_checkpoint_loads_plainly_and_is_small(name: str) -> None:
    """With the stock classes, offline, without a warning (pytest turns them into errors)."""
    folder = organisms.path(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2.5e6
    assert {file.suffix for file in folder.iterdir()} == {".json", ".jinja", ".safetensors"}
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ids = processor.tokenizer.convert_tokens_to_ids(["<|lvr_start|>", "<|lvr_sep|>", "<|lvr_end|>"])
    assert [saved[f"lvr_{part}_id"] for part in ("start", "sep", "end")] == ids
    assert saved["latent_size"] == model.config.latent_size == 8
    inputs = collate(processor, scenes(3, 1))
    assert (inputs["input_ids"] == model.config.image_token_id).sum(1).tolist() == [9, 9, 9]
    assert inputs["input_ids"].max() < model.config.text_config.vocab_size


TASKS = {"collapsed": "scenes-grey", "partial": "scenes-mixed:0.5", "weak": "scenes-seen:0.5"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_says_what_is_known(name: str) -> None:
    card = organisms.card(name)
    assert card.kind == name and card.seed == 0 and card.chance == CHANCE
    assert card.task == TASKS.get(name, "scenes")
    assert "no evidence about LanteRn" in card.note and card.truth.endswith(".")
    assert card.held_out == HELD_OUT and not set(card.held_out) & set(card.trained_on)
    assert card.test["n"] >= 500 and card.test["split"] == "test"
    assert {"own", "skip", "ban", "stock", "swap", "oracle", *UNINFORMATIVE} <= set(card.measured)
    assert bool(card.command) == bool(card.probes) == (name in GRADED)
    for family in card.families.values():
        assert set(family) == set(card.measured)
    for figures in card.measured.values():
        assert figures["n"] == card.test["n"]
        assert figures["low"] <= figures["accuracy"] <= figures["high"]


def test_a_card_is_found_by_name_or_folder(tmp_path: Path) -> None:
    assert organisms.find_card("bypass") == organisms.card("bypass")
    assert organisms.find_card(str(organisms.path("bypass"))) == organisms.card("bypass")
    assert organisms.find_card(str(tmp_path)) is None


def test_an_unknown_organism_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"'gone'; known: bypass, collapsed, "):
        organisms.path("gone")
    with pytest.raises(LanternError, match=CARD):
        OrganismCard.read(tmp_path)
    (tmp_path / CARD).write_text('{"kind": "faithful"}')
    with pytest.raises(LanternError, match="not an organism's card"):
        OrganismCard.read(tmp_path)
