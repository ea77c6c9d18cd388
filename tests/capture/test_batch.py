"""What is captured is what was computed, and the generation is none the wiser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lantern_probe.capture.batch import capture_batch
from lantern_probe.capture.dataset import bytes_per_sample
from lantern_probe.errors import LanternError
from lantern_probe.interventions import KSlots, Oracle, Skip, Stock
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.oracle import region_latents
from lantern_probe.model.sites import layer_count
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes
from lantern_probe.vocabulary import Site, parse_sites

EVERYWHERE = [
    *("latent@slot", "embedding@slot", "vision@image-mean", "vision@box"),
    *(f"{component}.*@slot" for component in ("residual", "attention", "mlp")),
    *(f"residual.*@{role}" for role in ("lvr_start", "lvr_end", "answer-start", "last-prompt")),
    *(f"residual.*@{role}" for role in ("last-question", "question-mean", "image-mean", "box")),
    *("embedding@image-mean", "embedding@box", "embedding@lvr_start", "mlp.1@answer-start"),
]


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Scenes whose prompts differ in length."""
    found = scenes(8, seed=31)
    assert len({len(sample.text.split()) for sample in found}) > 1
    return found


def sites(lantern: Any, *texts: str) -> list[Site]:
    return parse_sites(texts, layer_count(lantern))


@pytest.fixture(scope="module")
def captured(faithful: LanternModel, samples: list[Sample]) -> Any:
    return capture_batch(faithful, samples, sites(faithful, *EVERYWHERE))


def test_the_generation_is_that_without_a_capture(
    faithful: LanternModel, samples: list[Sample], captured: Any
):
    plain = faithful.generate(samples)
    assert torch.equal(captured.output.sequences, plain.sequences)
    assert captured.output.texts == plain.texts and captured.output.answers == plain.answers
    assert all(plain.emitted) and captured.missing == [[]] * len(samples)
    latents = torch.stack([row[0] for row in plain.latents])
    assert torch.equal(captured.activations["latent@slot"], latents)
    assert torch.equal(captured.activations["embedding@slot"], latents)


def test_values_are_those_of_a_trace(faithful: LanternModel, samples: list[Sample], captured: Any):
    """The same places, read by nnsight."""
    with faithful.generate(samples) as tracer:
        outputs = list().save()  # noqa: C408 - nnsight's save
        attention = list().save()  # noqa: C408
        mlp = list().save()  # noqa: C408
        for _ in tracer.iter[:8]:
            faithful.latent.output.clone()
            attention.append(faithful.layers[1].self_attn.output[0].clone())
            mlp.append(faithful.layers[1].mlp.output.clone())
            outputs.append(faithful.layers[1].output.clone())
    found = {"residual": outputs, "attention": attention, "mlp": mlp}
    for component, steps in found.items():
        assert torch.equal(captured.activations[f"{component}.1@slot"], torch.cat(steps, dim=1))


def one_forward(lantern: Any, sample: Sample, ids: list[int], latents: torch.Tensor) -> list[Any]:
    """Embeddings and every layer's output over a whole sequence, by one plain forward."""
    inputs = lantern.inputs([sample])
    whole = torch.cat([inputs["input_ids"][0], torch.tensor(ids)])[None]
    seps = (whole[0] == lantern.lvr.sep).nonzero()[:, 0]
    language = lantern.hf.model.language_model
    seen: list[Any] = []

    def feed(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[0, seps] = latents
        return output

    hooks = [language.embed_tokens.register_forward_hook(feed)]
    hooks.append(language.layers[0].register_forward_pre_hook(lambda m, a: seen.append(a[0][0])))
    for layer in language.layers:
        hooks.append(layer.register_forward_hook(lambda m, a, output: seen.append(output[0])))
    types = torch.cat(
        [inputs["mm_token_type_ids"], torch.zeros(1, len(ids), dtype=torch.long)], dim=1
    )
    with torch.no_grad():
        lantern.hf(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            mm_token_type_ids=types,
            use_cache=False,
        )
    for hook in hooks:
        hook.remove()
    return [whole[0], *seen]


def test_values_are_those_of_one_forward_over_the_finished_sequence(
    faithful: LanternModel, samples: list[Sample], captured: Any
):
    tokenizer, lvr = faithful.processor.tokenizer, faithful.require_lvr()
    activations = captured.activations
    for row, sample in enumerate(samples):
        ids, embeddings, *layers = one_forward(
            faithful, sample, captured.continuations[row], activations["latent@slot"][row]
        )
        prompt = len(ids) - len(captured.continuations[row])
        image = (ids == faithful.hf.config.image_token_id).nonzero()[:, 0]
        start = ids.tolist().index(lvr.start)
        word = tokenizer.convert_tokens_to_ids(captured.output.answers[row])
        expected = {
            "slot": range(start + 1, start + 9),
            "lvr_start": [start],
            "lvr_end": [start + 9],
            "answer-start": [ids.tolist().index(word, start) - 1],
            "last-prompt": [prompt - 1],
        }
        means = {"image-mean": image, "question-mean": None, "last-question": None}
        words = tokenizer(sample.text, add_special_tokens=False).input_ids
        begin = next(
            i for i in range(prompt) if ids[i : i + len(words)].tolist() == words
        )  # the only place where the question stands
        means["question-mean"] = torch.arange(begin, begin + len(words))
        means["last-question"] = means["question-mean"][-1:]
        for number, layer in enumerate(layers):
            for role, at in expected.items():
                found = activations[f"residual.{number}@{role}"][row]
                torch.testing.assert_close(found, layer[list(at)], atol=2e-4, rtol=1e-4)
            for role, at in means.items():
                found = activations[f"residual.{number}@{role}"][row, 0]
                torch.testing.assert_close(found, layer[at].mean(0), atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(
            activations["embedding@image-mean"][row, 0], embeddings[image].mean(0)
        )


def test_a_layer_is_its_input_and_what_its_halves_add(captured: Any):
    before = captured.activations["embedding@slot"]
    for layer in range(4):
        halves = [captured.activations[f"{half}.{layer}@slot"] for half in ("attention", "mlp")]
        after = captured.activations[f"residual.{layer}@slot"]
        torch.testing.assert_close(before + halves[0] + halves[1], after, atol=1e-4, rtol=1e-5)
        before = after


def test_the_answer_position_predicts_the_answer(faithful: LanternModel, captured: Any):
    last = captured.activations[f"residual.{layer_count(faithful) - 1}@answer-start"][:, 0]
    with torch.no_grad():
        logits = faithful.hf.lm_head(faithful.hf.model.language_model.norm(last))
    predicted = faithful.processor.tokenizer.batch_decode(logits.argmax(-1)[:, None])
    assert [text.strip() for text in predicted] == captured.output.answers


def test_vision_tokens_are_those_of_the_tower(
    faithful: LanternModel, samples: list[Sample], captured: Any
):
    inputs = faithful.inputs(samples)
    with torch.no_grad():
        features = faithful.hf.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        ).pooler_output
    for row, (sample, tokens) in enumerate(zip(samples, features, strict=True)):
        mean, box = (
            captured.activations[f"vision@{role}"][row, 0] for role in ("image-mean", "box")
        )
        torch.testing.assert_close(mean, tokens.mean(0))
        torch.testing.assert_close(box, tokens[sample.attributes["cell"]])
    for role in ("image-mean", "box"):  # the tokens are put into the text unchanged
        torch.testing.assert_close(
            captured.activations[f"vision@{role}"], captured.activations[f"embedding@{role}"]
        )


def test_a_batch_is_what_its_samples_are_alone(
    faithful: LanternModel, samples: list[Sample], captured: Any
):
    for row, sample in enumerate(samples[:3]):
        alone = capture_batch(faithful, [sample], sites(faithful, *EVERYWHERE))
        assert alone.continuations[0] == captured.continuations[row]
        for label, found in alone.activations.items():
            torch.testing.assert_close(
                found[0], captured.activations[label][row], atol=1e-4, rtol=1e-4
            )


def test_another_models_text_is_followed_with_ones_own_latents(
    untrained: Any, faithful: LanternModel, samples: list[Sample], captured: Any
):
    wanted = sites(untrained, "residual.*@slot", "latent@slot", "residual.0@answer-start")
    forced = capture_batch(untrained, samples, wanted, force=captured.continuations)
    assert forced.continuations == captured.continuations
    assert forced.output.texts == captured.output.texts
    assert forced.missing == [[]] * len(samples)
    fed = forced.activations["latent@slot"]
    assert not torch.allclose(fed, captured.activations["latent@slot"], atol=0.1)
    ids, _, *layers = one_forward(untrained, samples[0], captured.continuations[0], fed[0])
    start = ids.tolist().index(untrained.lvr.start)
    torch.testing.assert_close(
        forced.activations["residual.2@slot"][0],
        layers[2][start + 1 : start + 9],
        atol=2e-4,
        rtol=1e-4,
    )
    again = capture_batch(
        faithful, samples, sites(faithful, *EVERYWHERE), force=captured.continuations
    )
    for label, found in captured.activations.items():
        assert torch.equal(again.activations[label], found), label


def test_a_forced_text_that_is_cut_short_lacks_what_comes_after(
    faithful: LanternModel, samples: list[Sample], captured: Any
):
    """Whatever the other rows of the batch go on to."""
    start = captured.continuations[0].index(faithful.require_lvr().start)
    cut = [captured.continuations[0][: start + 5], captured.continuations[1]]
    wanted = sites(faithful, "residual.0@lvr_start", "residual.0@slot", "latent@slot")
    found = capture_batch(faithful, samples[:2], wanted, force=cut)
    assert found.continuations == cut
    assert found.missing == [["residual.0@slot", "latent@slot"], []]
    assert found.output.texts[0].count("<|lvr_sep|>") == 4
    assert bool(found.activations["latent@slot"][0].isnan().all())


def test_oracle_latents_are_fed(faithful: LanternModel, samples: list[Sample]):
    plans = [Oracle().plan(sample, faithful, None) for sample in samples[:3]]
    found = capture_batch(faithful, samples[:3], sites(faithful, "latent@slot"), plans=plans)
    for row, sample in enumerate(samples[:3]):
        image = sample.open_images()[0]
        expected = region_latents(faithful, image, sample.boxes[0])
        torch.testing.assert_close(found.activations["latent@slot"][row], expected)


def test_roles_that_a_row_lacks_are_nan_and_named(untrained: Any, samples: list[Sample]):
    batch = [samples[0], replace(samples[1], boxes=())]
    wanted = sites(untrained, "residual.0@slot", "latent@slot", "mlp.1@box", "mlp.1@last-prompt")
    found = capture_batch(untrained, batch, wanted, max_new_tokens=6)
    assert not any(found.output.emitted)
    slots = ["residual.0@slot", "latent@slot"]
    assert found.missing == [slots, [*slots, "mlp.1@box"]]
    for label, values in found.activations.items():
        assert values.shape == (2, 8 if label in slots else 1, 128)
        lacking = [label in row for row in found.missing]
        assert values.isnan().flatten(1).all(1).tolist() == lacking
        assert values.isnan().flatten(1).any(1).tolist() == lacking


def test_blocks_of_another_kind(faithful: LanternModel, samples: list[Sample], captured: Any):
    wanted = sites(faithful, "residual.0@slot", "latent@slot", "residual.0@lvr_end")

    def capture(condition: Any, **more: Any) -> Any:
        plan = condition.plan(samples[0], faithful, None)
        return capture_batch(faithful, samples[:1], wanted, plans=[plan], **more)

    assert capture(Skip()).missing == [["residual.0@slot", "latent@slot"]]
    # Blocks are what was fed: the slots' tokens alone, without a state behind them, are text.
    stock = capture(Stock(), force=captured.continuations[:1])
    assert stock.missing == [["residual.0@slot", "latent@slot", "residual.0@lvr_end"]]
    fewer = capture(KSlots(k=3))
    assert fewer.missing == [[]] and fewer.activations["latent@slot"].shape == (1, 3, 128)
    size = bytes_per_sample(faithful, wanted, condition=KSlots(k=3))
    assert size == sum(found.nbytes for found in fewer.activations.values())
    with pytest.raises(LanternError, match="blocks of one size"):
        capture_batch(faithful, samples[:2], wanted, plans=[RowPlan(), RowPlan(size=3)])


def test_values_too_large_for_the_dtype_are_refused(faithful: LanternModel, samples: list[Sample]):
    plan = RowPlan(edit=lambda own, slot: own * 0 + 1e6)
    wanted = sites(faithful, "latent@slot")
    with pytest.raises(LanternError, match=r"latent@slot are too large for torch.float16"):
        capture_batch(faithful, samples[:1], wanted, plans=[plan], dtype=torch.float16)
    half = capture_batch(faithful, samples[:1], wanted, dtype=torch.float16)
    assert half.activations["latent@slot"].dtype == torch.float16
