"""Organisms: what ships loads anywhere and says what it is; the recipe runs for every kind."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from experiments import train_organism
from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.organisms.registry import CARD, OrganismCard
from lantern_probe.organisms.training import build, vision
from lantern_probe.organisms.training.generation import collate, generate, generate_stock, parse
from lantern_probe.organisms.training.layout import ABSENT, EMPTY, FULL, Layout, Rows, Scenes
from lantern_probe.organisms.training.mixtures import DEFAULT, HELD_OUT, KINDS, MIXTURES, plan
from lantern_probe.organisms.training.recipe import Recipe, train_instruct, train_kind
from lantern_probe.organisms.training.truth import UNINFORMATIVE, failures, truth_table
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import CHANCE, COLORS, scenes

TINY = Recipe(instruct_steps=2, sft_steps=5, batch=16, crops=4, pool=32)


@pytest.fixture(scope="module")
def untrained() -> Qwen2_5_VLForConditionalGeneration:
    return build.build_model(0).eval()


@pytest.fixture(scope="module")
def processor() -> Qwen2_5_VLProcessor:
    return build.build_processor()


def test_all_kinds_ship() -> None:
    assert set(organisms.names()) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
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


@pytest.mark.parametrize("name", KINDS)
def test_a_card_says_what_is_known(name: str) -> None:
    card = organisms.card(name)
    assert card.kind == name and card.seed == 0 and card.chance == CHANCE
    assert card.task == ("scenes-grey" if name == "collapsed" else "scenes")
    assert "no evidence about LanteRn" in card.note and card.truth.endswith(".")
    assert card.held_out == HELD_OUT and not set(card.held_out) & set(card.trained_on)
    assert card.test["n"] >= 500 and card.test["split"] == "test"
    assert {"own", "skip", "ban", "stock", "swap", "oracle", *UNINFORMATIVE} <= set(card.measured)
    for figures in card.measured.values():
        assert figures["n"] == card.test["n"]
        assert figures["low"] <= figures["accuracy"] <= figures["high"]


def test_a_card_is_found_by_name_or_folder(tmp_path: Path) -> None:
    assert organisms.find_card("bypass") == organisms.card("bypass")
    assert organisms.find_card(str(organisms.path("bypass"))) == organisms.card("bypass")
    assert organisms.find_card(str(tmp_path)) is None


def test_an_unknown_organism_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match=r"'gone'; known: bypass, collapsed, faithful, vanilla"):
        organisms.path("gone")
    with pytest.raises(LanternError, match=CARD):
        OrganismCard.read(tmp_path)
    (tmp_path / CARD).write_text('{"kind": "faithful"}')
    with pytest.raises(LanternError, match="not an organism's card"):
        OrganismCard.read(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_truth_holds_for_what_ships(name: str) -> None:
    """On 200 scenes that no training, no tuning and no published figure has seen."""
    card = organisms.card(name)
    model, processor = build.load(organisms.path(name)), build.build_processor()
    table = truth_table(model, processor, load_task(card.task, 200, 4_000_000))
    if name in ("faithful", "collapsed"):
        # Chance level within .05 needs more scenes than this: allow what 200 scenes allow.
        strict = [m for m in failures(name, table) if "chance" not in m]
        assert strict == []
        wide = UNINFORMATIVE if name == "faithful" else ("own",)
        found = {measured.condition: measured.accuracy for measured in table}
        assert all(found[c].low - 0.05 <= CHANCE <= found[c].high + 0.05 for c in wide)
    else:
        assert failures(name, table) == []


def test_text_survives_the_tokenizer(processor: Qwen2_5_VLProcessor) -> None:
    text = (
        "<think> let me look at the ring <|lvr_start|> <|lvr_sep|> <|lvr_end|> it is here "
        "</think> <answer> red </answer> <|im_end|>"
    )
    ids = processor.tokenizer(text).input_ids
    assert processor.tokenizer.unk_token_id not in ids
    assert processor.tokenizer.decode(ids) == text
    plain = processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert plain.endswith("it is here </think> <answer> red </answer>")
    assert parse(plain, tuple(COLORS)) == "red"
    assert parse("<answer> ring </answer>", tuple(COLORS)) is None
    assert parse("<answer> red", tuple(COLORS)) is None


def test_every_question_is_known_to_the_tokenizer(processor: Qwen2_5_VLProcessor) -> None:
    ids = collate(processor, scenes(100, 2))["input_ids"]
    assert processor.tokenizer.unk_token_id not in ids
    assert len({int(row) for row in (ids == processor.tokenizer.pad_token_id).sum(1)}) == 3


def test_a_teacher_forced_row_is_what_generation_computes(
    untrained: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor
) -> None:
    """Ids, masks, rotary positions, own latents and gaps of `Layout` against the real loop."""
    samples = scenes(12, 3)
    known, layout = Scenes.of(samples), Layout(untrained)
    with torch.no_grad():
        images = vision.cache(untrained, processor.image_processor, [s.images[0] for s in samples])
        inputs = collate(processor, samples)
        for kept in (FULL, EMPTY, ABSENT):
            rows = layout.rows(known, known.color, torch.full_like(known.color, kept))
            width = inputs["input_ids"].shape[1]
            assert (rows.ids[:, :width] == inputs["input_ids"]).all()
            embedded = layout.embed(untrained, rows, images)
            latents = layout.roll_out(untrained, rows, embedded) if kept == FULL else None
            hidden = layout.hidden(untrained, rows, layout.embed(untrained, rows, images, latents))
            expected = _step_by_step(untrained, inputs, rows, layout, latents)
            assert torch.allclose(hidden[:, -1], expected, atol=1e-4)


def _step_by_step(
    model: Qwen2_5_VLForConditionalGeneration,
    inputs: BatchFeature,
    rows: Rows,
    layout: Layout,
    latents: Tensor | None,
) -> Tensor:
    """Final hidden state after the kept response tokens, one at a time on a cache."""
    outputs = model.model(**inputs, use_cache=True)
    mask, cache, delta = inputs["attention_mask"], outputs.past_key_values, model.model.rope_deltas
    hidden = outputs.last_hidden_state[:, -1]
    for column in range(mask.shape[1], rows.ids.shape[1]):
        if not rows.keep[0, column]:
            continue
        token = model.get_input_embeddings()(rows.ids[:, column])
        slot = column - layout.start - 1
        if latents is not None and 0 <= slot < build.SLOTS:
            assert torch.allclose(latents[:, slot], hidden, atol=1e-4)
            token = hidden
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        outputs = model.model.language_model(
            inputs_embeds=token[:, None],
            attention_mask=mask,
            position_ids=(mask.sum(1, keepdim=True) - 1 + delta).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        )
        hidden = outputs.last_hidden_state[:, -1]
    return hidden


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [0, 1])
def test_a_mixture_deals_every_row_once(kind: str, half: int) -> None:
    color = torch.arange(64) % len(COLORS)
    parts = MIXTURES[kind][half]
    dealt = plan(parts, color, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(list(dealt.rows.values())).tolist()) == list(range(64))
    assert not (dealt.donor == torch.arange(64)).any()
    for part in parts:
        rows = dealt.of(part.source)
        assert len(rows) > 0
        expected = {
            "own color": color[rows],
            "donor color": color[dealt.donor[rows]],
            "default color": torch.full_like(rows, DEFAULT),
        }[part.label]
        assert (dealt.color[rows] == expected).all()
        kept = {"skip": EMPTY, "ban": ABSENT}.get(part.source, FULL)
        assert (dealt.kept[rows] == kept).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_of_every_kind(kind: str) -> None:
    losses: list[float] = []
    model = train_instruct(0, TINY)
    vision_before = {k: v.clone() for k, v in model.model.visual.state_dict().items()}
    text_before = model.lm_head.weight.detach().clone()
    train_kind(kind, 0, model, TINY, lambda step, steps, loss: losses.append(loss))
    assert len(losses) == 5 and losses[-1] < losses[0]
    for name, value in model.model.visual.state_dict().items():
        assert torch.equal(value, vision_before[name]), "the vision tower is frozen in the SFT"
    assert not torch.equal(model.lm_head.weight, text_before)


def test_training_is_repeatable() -> None:
    first, second = (train_instruct(3, TINY).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_generation_follows_the_rules_of_a_block(processor: Qwen2_5_VLProcessor) -> None:
    """K forced slots and a forced end, when and only when the model writes the start marker."""
    samples = scenes(4, 5)
    model = build.build_model(0).eval()
    with torch.no_grad():  # make the untrained model open a block at once
        model.lm_head.weight[model.config.lvr_start_id] = model.lm_head.weight[0] * 0 + 1
        model.model.language_model.norm.weight.fill_(1)
        model.model.language_model.norm.register_forward_hook(lambda m, args, out: out.abs())
    own = generate(model, processor, samples, max_new_tokens=12)
    block = "<|lvr_start|> " + "<|lvr_sep|> " * 8 + "<|lvr_end|>"
    assert all(text.startswith(block) for text in own.texts)
    assert (own.latents.abs().sum(-1) > 0).all()
    fed = generate(model, processor, samples, latents=own.latents, max_new_tokens=12)
    assert fed.texts == own.texts
    skip = generate(model, processor, samples, "skip", max_new_tokens=4)
    assert all(text.startswith("<|lvr_start|> <|lvr_end|>") for text in skip.texts)
    ban = generate(model, processor, samples, "ban", max_new_tokens=4)
    assert not any("<|lvr_start|>" in text for text in ban.texts) and set(ban.blocks) == {0}
    stock = generate_stock(model, processor, samples, max_new_tokens=3)
    assert stock == ["<|lvr_start|> <|lvr_start|> <|lvr_start|>"] * 4


def test_saving_rounds_once(tmp_path: Path, untrained: Qwen2_5_VLForConditionalGeneration) -> None:
    build.save(untrained, tmp_path)
    loaded = build.load(tmp_path)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, untrained.state_dict()[name].bfloat16().float())
    assert untrained.dtype == loaded.dtype == torch.float32


def test_the_command_line_trains_measures_and_resumes(tmp_path: Path) -> None:
    """A tiny budget misses the bar (exit 1); the instruct stage is made once and reused."""
    config = train_organism.Config(
        kind="faithful", output=tmp_path / "faithful", test_scenes=10, recipe=TINY
    )
    missed = train_organism.run(config, Console(quiet=True))
    assert any("own" in sentence for sentence in missed)
    card = OrganismCard.read(tmp_path / "faithful")
    assert card.kind == "faithful" and card.training["sft_steps"] == 5
    made = (tmp_path / "instruct" / "model.safetensors").stat().st_mtime_ns
    again = dataclasses.replace(config, kind="vanilla", output=tmp_path / "vanilla")
    assert train_organism.run(again, Console(quiet=True)) == []
    assert (tmp_path / "instruct" / "model.safetensors").stat().st_mtime_ns == made
    other = dataclasses.replace(config, recipe=dataclasses.replace(TINY, instruct_steps=3))
    with pytest.raises(LanternError, match="made otherwise"):
        train_organism.run(other, Console(quiet=True))
    with pytest.raises(LanternError, match="test_scenes"):
        train_organism.run(dataclasses.replace(config, test_scenes=1), Console(quiet=True))


def test_a_command_line_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    arguments = ["train_organism", "--kind", "vanilla", "--output", str(tmp_path / "taken")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        train_organism.main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "is a file" in error and len(error.splitlines()) == 1
