"""Loading: what a checkpoint must have, and what is said when it lacks it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lantern_probe.causal.branching import run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import RowPlan
from lantern_probe.model.checkpoint import check_memory
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.pixels import OFFICIAL_PIXELS, STOCK_PIXELS
from lantern_probe.tasks.scenes import scenes


@pytest.fixture
def copy(untrained_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untrained_folder, tmp_path / "copy")


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def drop_lvr_tokens(folder: Path) -> None:
    ids = dict.fromkeys(("lvr_start_id", "lvr_sep_id", "lvr_end_id", "latent_size"))
    edit_json(folder / "config.json", **ids)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = folder / name
        file.write_text(file.read_text().replace("<|lvr_", "<|other_"))


def test_ids_and_k_come_from_the_config(untrained: LanternModel):
    vocabulary = untrained.processor.tokenizer.get_vocab()
    assert untrained.lvr is not None and untrained.latent_size == 8
    assert untrained.lvr.sep == vocabulary["<|lvr_sep|>"]
    assert untrained.hf.dtype == torch.float32


def test_ids_come_from_the_tokenizer_where_the_config_has_none(copy: Path):
    edit_json(copy / "config.json", lvr_start_id=None, lvr_sep_id=None, lvr_end_id=None)
    lantern = LanternModel(str(copy), latent_size=3, dtype=torch.bfloat16)
    assert lantern.lvr is not None
    assert lantern.lvr.start == lantern.processor.tokenizer.get_vocab()["<|lvr_start|>"]
    assert lantern.latent_size == 3 and lantern.hf.dtype == torch.bfloat16


def test_k_must_come_from_somewhere(copy: Path):
    edit_json(copy / "config.json", latent_size=None)
    with pytest.raises(LanternError, match="latent_size=8"):
        LanternModel(str(copy))


def test_a_checkpoint_without_lvr_tokens_is_refused_or_taken_as_plain(copy: Path):
    drop_lvr_tokens(copy)
    with pytest.raises(LanternError, match=r"<\|lvr_start\|>.*allow_plain=True"):
        LanternModel(str(copy))
    plain = LanternModel(str(copy), allow_plain=True)
    sample = scenes(1)[0]
    output = plain.generate(sample, max_new_tokens=4)
    expected = plain.hf.generate(**plain.inputs([sample]), do_sample=False, max_new_tokens=4)
    assert torch.equal(output.sequences, expected) and output.emitted == [False]
    with pytest.raises(LanternError, match="no latent blocks"):
        plain.generate(sample, plans=[RowPlan()])
    with pytest.raises(LanternError, match="no LVR tokens"):
        _ = plain.latent_size


def test_another_architecture_is_refused(copy: Path):
    (copy / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(LanternError, match="is a gpt2 model"):
        LanternModel(str(copy))


def test_torn_weights_are_refused(copy: Path):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(LanternError, match="cannot load"):
        LanternModel(str(copy))


def test_weights_are_never_read_from_a_pickle(copy: Path):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(LanternError, match="cannot load"):
        LanternModel(str(copy))


def test_ids_beyond_the_embedding_are_refused(copy: Path):
    edit_json(copy / "config.json", lvr_end_id=10_000)
    with pytest.raises(LanternError, match="10000.*embedding matrix"):
        LanternModel(str(copy))


def test_weights_that_do_not_fit_are_refused_before_they_are_read(
    untrained_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "lantern_probe.model.checkpoint.QUIET_BELOW", 0
    )  # the small are not checked
    monkeypatch.setattr("lantern_probe.model.checkpoint.free_memory", lambda device: 2e6)
    with pytest.raises(LanternError, match=r"0\.0 GB in float32, and cpu has .*--dtype bfloat16\)"):
        LanternModel(str(untrained_folder))
    # 865,216 parameters: 1.7 MB in bfloat16.
    assert LanternModel(str(untrained_folder), dtype="bfloat16").hf.dtype == torch.bfloat16
    monkeypatch.setattr("lantern_probe.model.checkpoint.free_memory", lambda device: 1e6)
    with pytest.raises(LanternError, match=r"in bfloat16, and cpu has .* choose another device"):
        LanternModel(str(untrained_folder), dtype=torch.bfloat16, device_map={"": "cpu"})
    for spread in ("auto", "balanced_low_0", {"model": 0, "lm_head": 1}):
        check_memory("any", None, torch.float32, spread)  # nothing to hold it against
    check_memory("any", None, "no such dtype", "cpu")  # for transformers to refuse


def test_a_checkpoint_saved_with_its_cache_off_has_it_on(copy: Path, untrained: LanternModel):
    """As fine-tuned checkpoints are: the engine's prefixes need the cache."""
    edit_json(
        copy / "generation_config.json",
        use_cache=False, do_sample=True, temperature=1e-6, top_p=0.5, top_k=3,
    )  # fmt: skip
    lantern, samples = LanternModel(str(copy)), scenes(2)
    assert lantern.generate(samples, max_new_tokens=5).texts == (
        untrained.generate(samples, max_new_tokens=5).texts
    )
    (prefix, _) = run_prefixes(lantern, samples, max_new_tokens=5)
    assert len(prefix.cache) == len(lantern.layers)


def test_stock_pixel_limits_become_the_official_ones(copy: Path, untrained: LanternModel):
    own = untrained.processor.image_processor.size
    assert own["shortest_edge"] == 6400  # its author's choice is kept
    config = json.loads((copy / "processor_config.json").read_text())
    config["image_processor"]["size"] = dict(
        zip(("shortest_edge", "longest_edge"), STOCK_PIXELS, strict=True)
    )
    (copy / "processor_config.json").write_text(json.dumps(config))
    size = LanternModel(str(copy)).processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == OFFICIAL_PIXELS
    size = LanternModel(str(copy), min_pixels=7000).processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (7000, OFFICIAL_PIXELS[1])
    with pytest.raises(LanternError, match="leave no image size"):
        LanternModel(str(copy), min_pixels=100, max_pixels=10)
