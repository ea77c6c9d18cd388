"""Adapters of peft: merged they answer as peft's own forward does, or are refused by name."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from lantern_probe import organisms
from lantern_probe.errors import LanternError
from lantern_probe.model.content import checkpoint_content
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.location import fetch, identity, known_layers, known_slots, resolve
from lantern_probe.tasks.scenes import scenes

peft = pytest.importorskip("peft")

LINEAR = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
FRESH = {"init_lora_weights": False}
KINDS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(r=4, target_modules=LINEAR, **FRESH),
    "lora everywhere": lambda: peft.LoraConfig(r=4, target_modules="all-linear", **FRESH),
    "dora": lambda: peft.LoraConfig(r=4, target_modules=LINEAR, use_dora=True, **FRESH),
    "rslora": lambda: peft.LoraConfig(r=4, target_modules=LINEAR, use_rslora=True, **FRESH),
    "ranks by layer": lambda: peft.LoraConfig(
        r=4,
        target_modules=LINEAR,
        rank_pattern={"q_proj": 2},
        alpha_pattern={"v_proj": 32},
        **FRESH,
    ),
    "biases": lambda: peft.LoraConfig(r=4, target_modules=["q_proj"], bias="all", **FRESH),
    "saved modules": lambda: peft.LoraConfig(
        r=4, target_modules=LINEAR, modules_to_save=["lm_head", "embed_tokens"], **FRESH
    ),
    "token rows": lambda: peft.LoraConfig(
        r=4, target_modules=LINEAR, trainable_token_indices=[3, 46, 60], **FRESH
    ),
    "embedding and head": lambda: peft.LoraConfig(
        r=4, target_modules=["embed_tokens", "lm_head"], **FRESH
    ),
    "adalora": lambda: peft.AdaLoraConfig(
        target_modules=LINEAR, total_step=10, init_r=6, target_r=4
    ),
    "loha": lambda: peft.LoHaConfig(r=4, target_modules=LINEAR, init_weights=False),
    "lokr": lambda: peft.LoKrConfig(r=4, target_modules=LINEAR, init_weights=False),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "oft": lambda: peft.OFTConfig(target_modules=LINEAR, oft_block_size=8),
    "hra": lambda: peft.HRAConfig(target_modules=LINEAR, r=4),
    "fourier": lambda: peft.FourierFTConfig(target_modules=LINEAR, n_frequency=20),
    "miss": lambda: peft.MissConfig(target_modules=LINEAR, r=4),
    "norms": lambda: peft.LNTuningConfig(target_modules=["norm", "input_layernorm"]),
    "tokens": lambda: peft.TrainableTokensConfig(
        target_modules=["embed_tokens"], token_indices=[3, 46, 60]
    ),
}


FAITHFUL = organisms.path("faithful")


def base_model(folder: Path = FAITHFUL) -> Any:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def make(folder: Path, config: Any, base: Any = None) -> Path:
    """An adapter all of whose weights have moved, saved by peft."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(base_model() if base is None else base, config)
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.data += 0.02 * torch.randn_like(weight)
        adapted.save_pretrained(str(folder))
    return folder


@torch.no_grad()
def unmerged_logits(folder: Path, inputs: Any, base: Any = None) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.PeftModel.from_pretrained(base or base_model(), str(folder)).eval()
    return adapted(**inputs).logits


@torch.no_grad()
def logits(lantern: LanternModel, inputs: Any) -> torch.Tensor:
    return lantern.hf(**inputs).logits


@pytest.fixture(scope="module")
def faithful() -> LanternModel:
    return LanternModel("faithful")


@pytest.fixture(scope="module")
def inputs(faithful: LanternModel) -> Any:
    return faithful.inputs(scenes(2, seed=4))


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("adapters") / "lora", KINDS["lora"]())


@pytest.fixture
def copy(lora: Path, tmp_path: Path) -> Path:
    return shutil.copytree(lora, tmp_path / "adapter")


def settings(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tensors(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


@pytest.mark.parametrize("kind", KINDS)
def test_merged_logits_are_those_of_peft(
    kind: str, faithful: LanternModel, inputs: Any, tmp_path: Path
) -> None:
    folder = make(tmp_path / "a", KINDS[kind]())
    expected = unmerged_logits(folder, inputs)
    merged = LanternModel(str(folder))
    torch.testing.assert_close(logits(merged, inputs), expected, rtol=1e-5, atol=2e-5)
    assert (expected - logits(faithful, inputs)).abs().max() > 1e-3
    names = dict(faithful.hf.named_parameters())
    assert {*dict(merged.hf.named_parameters())} == {*names}
    assert all(weight.requires_grad for weight in merged.hf.parameters())


def test_a_merged_model_generates_and_is_traced_as_any_other(copy: Path, tmp_path: Path) -> None:
    merged = LanternModel(str(copy))
    merged.hf.save_pretrained(tmp_path / "whole")
    merged.processor.save_pretrained(tmp_path / "whole")
    whole = LanternModel(str(tmp_path / "whole"))
    samples = scenes(3, seed=5)
    assert merged.generate(samples).texts == whole.generate(samples).texts
    assert merged.lvr == whole.lvr and merged.lvr is not None


@pytest.mark.parametrize("adapted", ["lm_head", "embed_tokens"])
def test_a_tied_matrix_changes_in_one_of_its_two_places(
    adapted: str, inputs: Any, tmp_path: Path
) -> None:
    tied = base_model()
    tied.config.tie_word_embeddings = True
    tied.lm_head.weight = tied.get_input_embeddings().weight
    tied.save_pretrained(tmp_path / "base")
    for file in FAITHFUL.glob("*"):
        if not (tmp_path / "base" / file.name).exists():
            shutil.copy(file, tmp_path / "base")
    config = peft.LoraConfig(r=4, target_modules=[adapted], **FRESH)
    folder = make(tmp_path / "a", config, base_model(tmp_path / "base"))
    expected = unmerged_logits(folder, inputs, base_model(tmp_path / "base"))
    merged = LanternModel(str(tmp_path / "base"), adapter=folder)
    torch.testing.assert_close(logits(merged, inputs), expected, rtol=1e-5, atol=2e-5)


def test_names_of_older_versions_are_understood(copy: Path, lora: Path, inputs: Any) -> None:
    def old(found: dict[str, Any]) -> dict[str, Any]:
        return {
            name.replace("model.language_model.layers", "model.layers").replace(
                "model.model.visual", "model.visual"
            ): tensor
            for name, tensor in found.items()
        }

    tensors(copy, old)
    assert not {*load_file(copy / "adapter_model.safetensors")} & {
        *load_file(lora / "adapter_model.safetensors")
    }
    assert torch.equal(
        logits(LanternModel(str(copy)), inputs), logits(LanternModel(str(lora)), inputs)
    )


# -- the base ------------------------------------------------------------------------------------


def test_the_base_is_an_organism_a_folder_or_given(
    copy: Path, inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logits(LanternModel(str(copy)), inputs)
    shutil.copytree(FAITHFUL, tmp_path / "bases" / "mine")
    monkeypatch.chdir(tmp_path)
    for said in ("faithful", "bases/mine", "../bases/mine", str(tmp_path / "bases" / "mine")):
        settings(copy, base_model_name_or_path=said)
        assert torch.equal(logits(LanternModel(str(copy)), inputs), expected), said
    settings(copy, base_model_name_or_path="/no/such/base")
    given = LanternModel("bases/mine", adapter=copy)
    assert torch.equal(logits(given, inputs), expected)
    assert resolve("bases/mine", copy) == ("bases/mine", copy)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("/no/such/base", "'/no/such/base', which is not to be had"),
        ("owner/name", "'owner/name', which is not to be had"),
        (None, "names no base"),
        ("", "names no base"),
        (".", "it is an adapter itself"),
        (7, "base_model_name_or_path is 7"),
    ],
)
def test_a_base_that_is_not_to_be_had_is_named_with_the_way_out(
    said: Any, why: str, copy: Path
) -> None:
    settings(copy, base_model_name_or_path=said)
    with pytest.raises(LanternError, match=why) as caught:
        LanternModel(str(copy))
    assert "\n" not in str(caught.value)
    if said != 7:
        assert f"--model BASE --adapter {copy}" in str(caught.value)


def test_an_adapter_is_given_once(copy: Path, lora: Path) -> None:
    with pytest.raises(LanternError, match="is an adapter itself, and --adapter gives another"):
        LanternModel(str(copy), adapter=lora)


def test_what_is_asked_of_a_folder_is_asked_of_the_base(copy: Path) -> None:
    assert known_slots(str(copy)) == 8 and known_layers(str(copy)) == 4
    assert fetch(str(copy)) == FAITHFUL
    assert identity(str(copy)) not in (None, identity("faithful"))


def test_an_adapter_inside_the_folder_of_its_base_is_applied_if_given(
    lora: Path, tmp_path: Path, inputs: Any
) -> None:
    base = shutil.copytree(FAITHFUL, tmp_path / "base")
    shutil.copytree(lora, base / "tuned")
    with pytest.raises(LanternError, match="tuned/adapter_config.json"):
        LanternModel(str(base))
    given = LanternModel(str(base), adapter=base / "tuned")
    assert torch.equal(logits(given, inputs), logits(LanternModel(str(lora)), inputs))


def test_a_base_with_other_weights_than_the_adapters_own_is_named(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        LanternModel("faithful", adapter=copy)
        assert not caplog.text
        LanternModel("bypass", adapter=copy)
    assert "is merged into" in caplog.text and "other weights" in caplog.text


# -- what is refused -----------------------------------------------------------------------------

FIRST = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"
FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a tensor missing": (
        lambda f: tensors(f, lambda t: {k: v for k, v in t.items() if k != FIRST}),
        "lacks 1 tensors that its settings call for",
    ),
    "a tensor too many": (
        lambda f: tensors(
            f, lambda t: t | {FIRST.replace("layers.0", "layers.9"): t[FIRST].clone()}
        ),
        "1 of its 49 tensors have no place in the base",
    ),
    "another width": (
        lambda f: tensors(f, lambda t: t | {FIRST: torch.zeros(4, 100)}),
        r"q_proj.lora_A.weight is \[4, 100\], and the base needs \[4, 128\]",
    ),
    "another rank": (lambda f: settings(f, r=8), "other shapes than its base"),
    "another architecture": (
        lambda f: settings(f, target_modules=["c_attn"]),
        "cannot be put on this base: .*c_attn",
    ),
    "NaN": (
        lambda f: tensors(f, lambda t: t | {FIRST: t[FIRST] * torch.nan}),
        "1 of its tensors hold NaN",
    ),
    "a prompt": (lambda f: settings(f, peft_type="PROMPT_TUNING"), "PROMPT_TUNING, which adds to"),
    "a prefix": (lambda f: settings(f, peft_type="PREFIX_TUNING"), "PREFIX_TUNING, which adds to"),
    "a kind unknown": (lambda f: settings(f, peft_type="NEW"), "its peft_type is 'NEW'"),
    "no kind": (lambda f: settings(f, peft_type=None), "its peft_type is None"),
    "another task": (lambda f: settings(f, task_type="SEQ_CLS"), "task_type is 'SEQ_CLS'"),
    "a setting unknown": (lambda f: settings(f, magic=True), "does not know its settings magic"),
    "a base that changed": (
        lambda f: settings(f, init_lora_weights="pissa_niter_4"),
        "began by changing the base",
    ),
    "repeated layers": (
        lambda f: settings(f, layer_replication=[[0, 2], [1, 4]]),
        "repeats layers of its base",
    ),
    "certain tokens only": (
        lambda f: settings(f, alora_invocation_tokens=[3]),
        "acts after certain tokens only",
    ),
    "a module by name": (
        lambda f: settings(f, megatron_config={"a": 1}, megatron_core="os"),
        "is for layers of Megatron",
    ),
    "code": (
        lambda f: settings(f, auto_mapping={"parent_library": "evil", "base_model_class": "X"}),
        "asks for code of 'evil', which is never run",
    ),
    "code of the tokenizer": (
        lambda f: (f / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"A": "b.C"}})),
        "tokenizer_config.json asks to run its own code",
    ),
    "a pickle": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "lacks adapter_model.safetensors .*adapter_model.bin, a pickle",
    ),
    "no weights": (
        lambda f: (f / "adapter_model.safetensors").unlink(),
        "lacks adapter_model.safetensors; save it anew",
    ),
    "weights cut off": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(
            (f / "adapter_model.safetensors").read_bytes()[:-9]
        ),
        "adapter_model.safetensors is cut off",
    ),
    "settings that are no JSON": (
        lambda f: (f / "adapter_config.json").write_text("{"),
        "adapter_config.json is no JSON",
    ),
    "weights beside the adapter": (
        lambda f: (f / "non_lora_state_dict.bin").write_bytes(b"x"),
        "further weights, which would not be used: non_lora_state_dict.bin",
    ),
    "tensors beside the adapter": (
        lambda f: save_file({"x": torch.zeros(2)}, f / "embeddings.safetensors"),
        "further weights, which would not be used: embeddings.safetensors",
    ),
    "several adapters": (
        lambda f: shutil.copytree(f, f.parent / "b").rename(f / "second"),
        "holds several adapters, further ones in second",
    ),
    "only adapters within": (
        lambda f: [
            shutil.copytree(f, f.parent / "b").rename(f / "first"),
            *((f / name).unlink() for name in ("adapter_config.json", "adapter_model.safetensors")),
        ],
        "do you mean one of first in it",
    ),
    "half a tokenizer": (
        lambda f: (f / "tokenizer_config.json").write_text("{}"),
        "a part of a tokenizer .tokenizer_config.json. without tokenizer.json",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_refused_in_one_line(fault: str, copy: Path) -> None:
    spoil, why = FAULTS[fault]
    spoil(copy)
    with pytest.raises(LanternError, match=why) as caught:
        LanternModel("faithful", adapter=copy)
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LanternError, match="no folder on this machine"):
        LanternModel("faithful", adapter=tmp_path / "none")


def test_without_peft_the_extra_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LanternError, match=r"install it with lantern-probe\[peft\]"):
        LanternModel(str(copy))


def test_the_state_of_a_training_is_left_alone(
    copy: Path, lora: Path, inputs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (copy / name).write_bytes(b"x")
    shutil.copytree(lora, copy / "checkpoint-10")
    assert torch.equal(
        logits(LanternModel(str(copy)), inputs), logits(LanternModel(str(lora)), inputs)
    )


def test_a_pickle_beside_safetensors_is_not_read(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copy / "adapter_model.bin").write_bytes(b"\x80\x04")
    with caplog.at_level(logging.WARNING):
        LanternModel(str(copy))
    assert "adapter_model.bin is not read" in caplog.text


# -- tokenizer, processor, config ----------------------------------------------------------------


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FAITHFUL)


def test_the_tokenizer_of_an_adapter_is_used(copy: Path) -> None:
    changed = tokenizer()
    changed.chat_template = changed.chat_template or "x"
    changed.save_pretrained(copy)
    (copy / "chat_template.jinja").write_text(
        (FAITHFUL / "chat_template.jinja").read_text() + "{# mine #}"
    )
    merged = LanternModel(str(copy))
    assert merged.processor.chat_template.endswith("{# mine #}")
    found = checkpoint_content(*map(Path, resolve(str(copy))))
    assert {"adapter/tokenizer.json", "adapter/chat_template.jinja"} <= {*found}


def test_added_tokens_take_an_embedding_of_as_many_rows(
    copy: Path, inputs: Any, tmp_path: Path
) -> None:
    more = tokenizer()
    more.add_tokens(["<new>"])
    more.save_pretrained(copy)
    with pytest.raises(LanternError, match="has the token '<new>' with id 62, but the embedding"):
        LanternModel(str(copy))
    base = base_model()
    base.resize_token_embeddings(63, mean_resizing=False)
    config = peft.LoraConfig(
        r=4, target_modules=LINEAR, modules_to_save=["embed_tokens", "lm_head"], **FRESH
    )
    folder = make(tmp_path / "wide", config, base)
    more.save_pretrained(folder)
    merged = LanternModel(str(folder))
    wide = base_model()
    wide.resize_token_embeddings(63, mean_resizing=False)
    expected = unmerged_logits(folder, inputs, wide)
    torch.testing.assert_close(logits(merged, inputs), expected, rtol=1e-5, atol=2e-5)
    assert merged.processor.tokenizer("<new>")["input_ids"] == [62]
    assert merged.hf.config.get_text_config().vocab_size == 63


def test_new_rows_of_a_head_are_never_random(tmp_path: Path) -> None:
    base = base_model()
    base.resize_token_embeddings(63, mean_resizing=False)
    config = peft.LoraConfig(r=4, target_modules=LINEAR, modules_to_save=["embed_tokens"], **FRESH)
    folder = make(tmp_path / "wide", config, base)
    tensors(folder, lambda t: {k: v for k, v in t.items() if "lm_head" not in k})
    with pytest.raises(LanternError, match="but no lm_head, whose new rows would be random"):
        LanternModel(str(folder))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"<|lvr_sep|>"', '"<|other|>"', "lacks 1 tokens of its base: <|lvr_sep|>"),
        ('"yellow": ', '"zellow": ', "lacks 1 tokens of its base: yellow"),
    ],
)
def test_a_tokenizer_of_another_base_is_refused(old: str, new: str, why: str, copy: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (FAITHFUL / name).read_text()
        (copy / name).write_text(text.replace(old, new))
    with pytest.raises(LanternError) as caught:
        LanternModel(str(copy))
    assert why in str(caught.value) or "another id" in str(caught.value)


def test_a_config_beside_the_adapter_gives_the_block_and_no_other_model(
    copy: Path, tmp_path: Path
) -> None:
    config = json.loads((FAITHFUL / "config.json").read_text())
    base = shutil.copytree(FAITHFUL, tmp_path / "base")
    plain = {name: config[name] for name in config if name != "latent_size"}
    (base / "config.json").write_text(json.dumps(plain))
    (copy / "config.json").write_text(json.dumps(config | {"latent_size": 4}))
    assert LanternModel(str(base), adapter=copy).latent_size == 4
    config["text_config"]["rms_norm_eps"] = 1e-3
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LanternError, match=r"of another model than the base: text_config.rms_norm"):
        LanternModel(str(base), adapter=copy)


# -- the record ----------------------------------------------------------------------------------


def test_the_files_of_an_adapter_are_part_of_the_model(copy: Path, lora: Path) -> None:
    base = FAITHFUL
    plain, found = checkpoint_content(base), checkpoint_content(base, copy)
    assert {*found} - {*plain} == {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors"
    }  # fmt: skip
    settings(copy, base_model_name_or_path="/elsewhere")
    assert checkpoint_content(base, copy) == found == checkpoint_content(base, lora)
    tensors(copy, lambda t: t | {FIRST: t[FIRST] + 1})
    assert checkpoint_content(base, copy) != found
