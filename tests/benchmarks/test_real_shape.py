"""The real shape, Qwen2.5-VL-3B with LVR tokens: without weights, and its writing cut down."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

from benchmarks import real_shape
from lantern_probe import LanternModel, load_task
from lantern_probe.capture.dataset import bytes_per_sample
from lantern_probe.model.blocks import LvrTokens
from lantern_probe.model.memory import SHARE, cache_bytes_per_token, footprint
from lantern_probe.model.pixels import OFFICIAL_PIXELS
from lantern_probe.model.sites import layer_count, submodule
from lantern_probe.vocabulary import LAYERED, parse_sites

WIDTH, LAYERS, FEED, VOCABULARY = 2048, 36, 11008, 151_668
KEYS = 2 * 128
"""Width of the keys: two heads."""


def on_meta(location: str, **settings: Any) -> Any:
    """In place of `from_pretrained`: the model of a config, without weights, and none missing."""
    config = Qwen2_5_VLConfig.from_pretrained(location)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=settings["dtype"])
    return model, {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set()}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The checkpoint at its real size, but for the weights; all else is loaded as always."""
    folder = tmp_path_factory.mktemp("real")
    real_shape.write_processor(folder)
    (folder / "config.json").write_text(json.dumps(real_shape.CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoModelForImageTextToText, "from_pretrained", on_meta)
        patch.setattr("lantern_probe.model.checkpoint.check_weights", lambda folder: {})
        return LanternModel(str(folder), dtype=torch.bfloat16)


def test_sizes_are_those_of_the_formula(real: Any) -> None:
    def linear(inputs: int, outputs: int, bias: bool = True) -> int:
        return outputs * (inputs + bias)

    layer = linear(WIDTH, WIDTH) + 2 * linear(WIDTH, KEYS) + linear(WIDTH, WIDTH, bias=False)
    layer += 3 * WIDTH * FEED + 2 * WIDTH  # gate, up and down; two norms
    text = VOCABULARY * WIDTH + LAYERS * layer + WIDTH  # tied embeddings count once
    seen, inner = 1280, 3420
    block = linear(seen, 3 * seen) + linear(seen, seen) + 2 * seen
    block += 2 * linear(seen, inner) + linear(inner, seen)
    merger = seen + linear(4 * seen, 4 * seen) + linear(4 * seen, WIDTH)
    vision = 3 * 2 * 14 * 14 * seen + 32 * block + merger
    assert text + vision == 3_754_074_112
    # The original has 268 more rows: 151,936 in place of 151,668.
    assert text + vision + 268 * WIDTH == 3_754_622_976

    assert sum(weight.numel() for weight in real.hf.parameters()) == text + vision
    assert all(weight.is_meta for weight in real.hf.parameters())
    assert real.hf.lm_head.weight is real.hf.get_input_embeddings().weight
    assert not real.is_tiny


def test_every_site_gives_what_it_promises(real: Any) -> None:
    """One forward of the language model without weights, hooked at every component and layer."""
    assert layer_count(real) == LAYERS
    assert len(real.layers) == LAYERS
    shapes: dict[tuple[str, int | None], Any] = {}
    handles = [
        submodule(real, component, layer).register_forward_hook(
            lambda module, args, output, key=(component, layer): shapes.update({key: output.shape})
        )
        for component in LAYERED
        for layer in range(LAYERS)
    ]
    first = submodule(real, "embedding")
    handles.append(
        first.register_forward_pre_hook(
            lambda module, args: shapes.update({("embedding", None): args[0].shape})
        )
    )
    tokens = 1200
    try:
        with torch.no_grad(), torch.device("meta"):
            embeddings = torch.empty(2, tokens, WIDTH, dtype=torch.bfloat16)
            result = real.hf.model.language_model(inputs_embeds=embeddings, use_cache=True)
    finally:
        for handle in handles:
            handle.remove()
    assert len(shapes) == 3 * LAYERS + 1
    assert set(shapes.values()) == {torch.Size((2, tokens, WIDTH))}
    assert submodule(real, "latent") is real.hf.latent
    assert submodule(real, "vision").merger.mlp[-1].out_features == WIDTH
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in result.past_key_values.layers)
    assert kept == 2 * tokens * cache_bytes_per_token(real.hf.config, real.hf.dtype)

    sites = parse_sites(["residual.*@slot", "latent@slot"], LAYERS)
    assert len(sites) == LAYERS + 1
    assert bytes_per_sample(real, sites) == (LAYERS + 1) * 8 * WIDTH * 2


def test_memory_is_known_before_loading(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = footprint(Qwen2_5_VLConfig(**real_shape.CONFIG), torch.bfloat16)
    assert found.weight_bytes == 2 * 3_754_074_112
    assert found.cache_bytes_per_token == 2 * LAYERS * KEYS * 2
    assert found.cache_bytes_per_token == cache_bytes_per_token(real.hf.config, real.hf.dtype)

    free, length = 40e9, 3500 + 512
    monkeypatch.setattr("lantern_probe.model.memory.free_memory", lambda device: free)
    row = found.cache_bytes_per_token * length
    rows = real.rows_that_fit(length)
    assert rows * row <= SHARE * free  # the cache fits, and not much is left unused
    assert (rows + 1) * 1.5 * row > SHARE * free


def test_the_tokens_are_at_their_real_ids(real: Any) -> None:
    tokenizer = real.processor.tokenizer
    assert len(tokenizer) == VOCABULARY
    assert real.lvr == LvrTokens(start=151_665, sep=151_666, end=151_667, size=8)
    for token, at in (("<|endoftext|>", 151_643), ("<|im_end|>", 151_645)):
        assert tokenizer.convert_tokens_to_ids(token) == at
    for name, at in (("vision_start", 151_652), ("image", 151_655), ("video", 151_656)):
        assert getattr(real.hf.config, f"{name}_token_id") == at
        assert tokenizer.convert_ids_to_tokens(at).startswith(f"<|{name}")
    size = real.processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == OFFICIAL_PIXELS
    unknown = tokenizer.unk_token_id
    assert all(unknown not in tokenizer(s.question).input_ids for s in load_task("scenes", 50))


@pytest.fixture
def cut_down(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's config with all its tokens, but two narrow layers."""
    config = copy.deepcopy(real_shape.CONFIG)
    text = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config["text_config"] |= text | {"num_key_value_heads": 1, "intermediate_size": 96}
    config["text_config"]["rope_scaling"]["mrope_section"] = [4, 6, 6]
    vision = {"depth": 2, "hidden_size": 64, "num_heads": 4, "fullatt_block_indexes": [0, 1]}
    config["vision_config"] |= vision | {"intermediate_size": 96, "out_hidden_size": 64}
    monkeypatch.setattr(real_shape, "CONFIG", config)
    return config


def test_shards_are_loaded_bit_for_bit(cut_down: Any, tmp_path: Path) -> None:
    real_shape.write_processor(tmp_path)
    sizes = real_shape.write_weights(tmp_path, cut_down, "100KB", seed=0)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == len(sizes) > 3
    stored = {key: value for file in files for key, value in load_file(file).items()}
    assert "lm_head.weight" not in stored  # tied, by the text config alone

    lantern = LanternModel(str(tmp_path), dtype="auto", device_map={"": "cpu"})
    loaded = {real_shape.published(key): p for key, p in lantern.hf.named_parameters()}
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[key], value) for key, value in stored.items())
    assert lantern.hf.lm_head.weight is lantern.hf.get_input_embeddings().weight
    assert lantern.hf.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    # What is not stored is computed: the rotary frequencies.
    fresh = AutoModelForImageTextToText.from_config(lantern.hf.config, dtype=torch.float32)
    for key, buffer in fresh.named_buffers():
        torch.testing.assert_close(lantern.hf.get_buffer(key).float(), buffer)


@pytest.mark.slow
def test_the_benchmark_runs(cut_down: Any, tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    config = real_shape.Config(
        samples=3,
        image_side=112,
        new_tokens=32,
        sites=("residual.*@slot", "latent@slot", "residual.1@answer-start", "vision@image-mean"),
        rounds=1,
        device="cpu",
        threads=1,
        output=output,
    )
    assert real_shape.main(config) == 0
    figures = json.loads(output.read_text())
    assert figures["samples_with_a_whole_block"] == 3
    assert figures["block"] == [8, 64]
    capture, ablation, weights = (figures[key] for key in ("capture", "ablation", "weights"))
    assert capture["samples_with_every_site"] == 3
    assert capture["all_finite"]
    assert capture["tokens_identical"]
    assert ablation["rows"] == ablation["rows_ok"] == 3 * len(config.conditions)
    assert ablation["rows_scored"] == 3 * (len(config.conditions) - 1)  # not under a ban
    assert weights["bytes"] == weights["bytes_expected"]
    assert figures["cache"]["bytes_per_token"] == figures["cache"]["bytes_per_token_expected"]
