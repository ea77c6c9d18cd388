"""Controls on the organisms: forced blocks, pauses, norms, pairs; what must come out is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe import organisms
from lantern_probe.analysis import crossed, swap_controls, triggers
from lantern_probe.analysis.ablation import summarize
from lantern_probe.causal import ablation
from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.interventions.image import parse_corruption
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import twin as scene_twin
from lantern_probe.tasks.twins import with_twins

SEED = 4711
"""Seed of scenes that neither training nor the cards' figures used."""

N = 60


def run(lantern: LanternModel, samples: Any, folder: Path, *labels: str, **more: Any) -> Any:
    with Run.open(folder, {"test": True}) as records:
        Ablation(lantern, samples, [parse_condition(x) for x in labels], records, **more).execute()
    return read_rows(folder)


def accuracies(lantern: LanternModel, name: str, folder: Path, *labels: str) -> dict[str, float]:
    samples = load_task(organisms.card(name).task, N, SEED)
    rows = run(lantern, samples, folder, *labels)
    return {s.condition: s.accuracy.estimate for s in summarize(rows, model=name)}


@pytest.mark.slow
def test_a_pause_takes_the_content_of_faithful_latents_and_nothing_from_a_bypass(tmp_path: Path):
    """By construction: faithful without content says one word (.131), bypass ignores the slots."""
    labels = ("own", "pause", "pause:token=the", "rescale", "rescale:to=image")
    found = accuracies(LanternModel("faithful"), "faithful", tmp_path / "f", *labels)
    assert found["own"] > 0.95
    assert found["pause"] < 0.3 and found["pause:token=the"] < 0.3
    # Faithful latents are as long as image tokens, 17 times as long as text embeddings: at the
    # first norm they are read, at the second hardly.
    assert found["rescale:to=image"] > 0.95 and found["rescale"] < 0.4
    found = accuracies(LanternModel("bypass"), "bypass", tmp_path / "b", *labels)
    assert all(accuracy > 0.95 for accuracy in found.values())
    found = accuracies(LanternModel("collapsed"), "collapsed", tmp_path / "c", *labels)
    assert all(accuracy < 0.3 for accuracy in found.values())


def test_rows_say_what_was_fed_and_at_which_norm(tmp_path: Path):
    lantern = LanternModel("faithful")
    samples = load_task("scenes", 4, SEED + 1)
    labels = ("own", "zeros", "pause", "rescale", "rescale:to=image", "ban")
    rows = {(r["sample"], r["condition"]): r for r in run(lantern, samples, tmp_path, *labels)}
    plain = lantern.generate(samples)
    table = lantern.hf.get_input_embeddings().weight.detach()
    dot = float(table[lantern.processor.tokenizer.convert_tokens_to_ids(".")].norm())
    for index, sample in enumerate(samples):
        own = rows[sample.id, "own"]
        assert own["latent_norms"] == pytest.approx(
            plain.latents[index][0].norm(dim=-1).tolist(), rel=1e-3
        )
        text, image = own["text_norm"], own["image_norm"]
        for label, norm in (("zeros", 0), ("pause", dot), ("rescale", text)):
            assert rows[sample.id, label]["latent_norms"] == pytest.approx([norm] * 8, rel=1e-4)
        row = rows[sample.id, "rescale:to=image"]
        assert row["latent_norms"] == pytest.approx([image] * 8, rel=1e-4)
        assert rows[sample.id, "zeros"]["end_cosines"] == [None] * 8
        assert rows[sample.id, "pause"]["pause_token"] == "."
        assert "latent_norms" not in rows[sample.id, "ban"]


def test_the_norm_is_that_of_the_image_the_model_reads(tmp_path: Path):
    lantern = LanternModel("faithful")
    samples = load_task("scenes", 2, SEED + 2)
    dark = parse_corruption("black-image")
    rows = run(lantern, samples, tmp_path, "own", "rescale:to=image", corruption=dark)
    rows += run(lantern, samples, tmp_path / "clean", "own")
    by = {(r["sample"], r["condition"]): r for r in rows}
    for sample in samples:
        norm = by[sample.id, "own@black-image"]["image_norm"]
        assert norm != pytest.approx(by[sample.id, "own"]["image_norm"], rel=1e-3)
        row = by[sample.id, "rescale:to=image@black-image"]
        assert row["latent_norms"] == pytest.approx([norm] * 8, rel=1e-4)


def suppressed(lantern: LanternModel) -> dict[str, Any]:
    """Settings under which no text opens a block by itself."""
    return {"sequence_bias": {(lantern.require_lvr().start,): -60.0}}


@pytest.mark.parametrize("name", ["faithful", "vanilla"])
def test_a_block_forced_where_it_was_suppressed_gives_the_own_text(name: str):
    """The likeliest place of the marker is where the model would have put it: nothing is lost."""
    lantern = LanternModel(name)
    samples = load_task("scenes", 6, SEED + 3)
    plain = run_branches(lantern, [Branch(p, RowPlan()) for p in run_prefixes(lantern, samples)])
    silent = run_prefixes(lantern, samples, **suppressed(lantern))
    assert not any(prefix.emitted for prefix in silent)
    assert all(prefix.norms is not None and prefix.place is not None for prefix in silent)
    forced = [Branch(prefix, RowPlan(force=True)) for prefix in silent]
    as_it_is = run_branches(lantern, [Branch(prefix, RowPlan()) for prefix in silent])
    for own, found, none in zip(plain, run_branches(lantern, forced), as_it_is, strict=True):
        assert torch.equal(own.ids, found.ids)
        assert torch.allclose(own.blocks[0].latents, found.blocks[0].latents, atol=1e-4)
        assert none.blocks == [] and "<|lvr_start|>" not in none.text


def test_a_text_with_a_block_stays_as_it_is_and_a_plain_generation_cannot_force_one():
    lantern = LanternModel("faithful")
    samples = load_task("scenes", 3, SEED + 4)
    prefixes = run_prefixes(lantern, samples)
    assert all(prefix.emitted and prefix.place is None for prefix in prefixes)
    branches = [Branch(p, RowPlan(force=force)) for p in prefixes for force in (True, False)]
    results = run_branches(lantern, branches)
    for forced, own in zip(results[::2], results[1::2], strict=True):
        assert torch.equal(forced.ids, own.ids)
    with pytest.raises(LanternError, match="run_prefixes and run_branches"):
        lantern.generate(samples[0], plans=[RowPlan(force=True)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faithful", "bypass"])
def test_a_planted_trigger_is_told_from_an_effect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Blocks are suppressed in every other sample, whatever it asks.

    By construction the block of *faithful* brings 1 - .131 on the same samples, with or without a
    block of their own, and that of *bypass* nothing.
    """
    lantern = LanternModel(name)
    samples = load_task("scenes", N, SEED + 5)
    odd = {sample.id for sample in samples[1::2]}

    def planted(lantern: Any, some: Any, **more: Any) -> Any:
        plain = run_prefixes(lantern, some, **more)
        silent = run_prefixes(lantern, some, **more, **suppressed(lantern))
        return [
            two if sample.id in odd else one
            for sample, one, two in zip(some, plain, silent, strict=True)
        ]

    monkeypatch.setattr(ablation, "run_prefixes", planted)
    rows = run(lantern, samples, tmp_path, "own", "force", "ban")
    assert {r["sample"] for r in rows if r.get("forced")} == odd
    found = triggers.summarize(rows, model=name)
    assert (found.emission.count, found.n) == (N // 2, N)
    effects = [effect.difference for effect in found.effects]
    if name == "faithful":
        assert found.with_block.estimate > 0.95
        assert all(effect.low > 0.6 for effect in effects)
        assert all(e.holm_p is not None and e.holm_p < 1e-4 for e in found.effects)
    else:
        assert all(effect.estimate == 0 for effect in effects[:2])
        assert abs(effects[2].estimate) < 0.1


def pairs(name: str, edit: str, n: int) -> Any:
    samples = load_task(organisms.card(name).task, n, SEED + 6)
    if edit == "color":
        return with_twins(samples, lambda s: scene_twin(s, "color", 0), answers_known=True)[0]
    dark = parse_corruption(edit)
    return with_twins(samples, lambda s: dark.apply(s, samples), answers_known=False)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faithful", "bypass", "collapsed"])
def test_swaps_of_organisms_move_the_margin_as_they_were_built(name: str, tmp_path: Path):
    """Both directions alike; collapsed twins have equal latents, so that only others' move."""
    labels = ("own", "self-swap", "twin", "random-pair")
    rows = run(LanternModel(name), pairs(name, "color", 24), tmp_path, *labels)
    found = {(s.condition, s.direction): s for s in swap_controls.summarize(rows, model=name)}
    for direction in ("direct", "reverse"):
        twin, other = found["twin", direction], found["random-pair", direction]
        assert found["self-swap", direction].absolute.estimate < 0.01
        if name == "faithful":
            assert twin.signed.high < -5 and twin.absolute.low > 5 and other.signed.high < -5
        elif name == "bypass":
            assert twin.signed.estimate > -3  # weak, and not nothing: an answer of 20 nats stays
            assert other.absolute.estimate < 3
        else:
            assert twin.absolute.estimate < 0.01 < 1 < other.absolute.low
            assert abs(other.signed.estimate) < other.absolute.estimate
    cells = [cell.estimate for cell in crossed.summarize(rows, model=name).cells]
    if name == "faithful":
        assert cells == pytest.approx([1, 0, 1, 0], abs=0.05)
    elif name == "bypass":
        assert cells == pytest.approx([1, 1, 0, 0], abs=0.05)
    else:
        assert max(cells) - min(cells) < 0.05 and cells[0] < 0.35


@pytest.mark.slow
def test_clean_latents_under_a_black_box(tmp_path: Path):
    """Faithful follows its latents across images, as built.

    Bypass ignores them on a clean image, as built. Under a black box, which its training never saw,
    it reads them: ignored is not unreadable, and the cell shows what zeros on clean images cannot.
    """
    for name in ("faithful", "bypass"):
        rows = run(LanternModel(name), pairs(name, "black-box", 30), tmp_path / name, "own", "twin")
        found = crossed.summarize(rows, model=name)
        clean, corrupt_latents, clean_latents, corrupt = (c.estimate for c in found.cells)
        assert found.n == 30 and clean > 0.95 and corrupt < 0.35
        assert clean_latents > 0.8
        assert corrupt_latents < 0.35 if name == "faithful" else corrupt_latents > 0.95


def test_every_pair_lends_once_to_the_next_of_a_random_circle(tmp_path: Path):
    lantern = LanternModel("faithful")
    some = pairs("faithful", "color", 6)
    rows = run(lantern, some, tmp_path, "own", "random-pair", "random-pair:seed=1")
    by = {s.id: s for s in some}
    orders = []
    for label in ("random-pair", "random-pair:seed=1"):
        lent = {r["sample"]: r["donor"] for r in rows if r["condition"] == label}
        assert sorted(lent.values()) == sorted(by)
        for key, donor in lent.items():
            assert by[donor].attributes["pair"] != by[key].attributes["pair"]
            # The opposite side: a sample gets a twin's latents, a twin those of a sample.
            assert (donor == by[donor].attributes["pair"]) != (key == by[key].attributes["pair"])
        orders.append(lent)
    assert orders[0] != orders[1]
    alone = run(lantern, some[:2], tmp_path / "one", "own", "random-pair")
    assert all("no other pair" in r["error"] for r in alone if r["condition"] == "random-pair")
