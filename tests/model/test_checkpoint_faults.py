"""Faults of a checkpoint folder: each is refused in one line that names the file, or is said."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lantern_probe.errors import LanternError
from lantern_probe.model.files import check_settings
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.location import locate
from lantern_probe.model.weight_files import check_weights
from lantern_probe.tasks.scenes import scenes

Spoil = Callable[[Path], Any]
TEMPLATE = "chat_template.jinja"


@pytest.fixture
def copy(untrained_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untrained_folder, tmp_path / "copy")


def edit(file: str, **changes: Any) -> Spoil:
    """Set keys of a JSON file; `...` removes one."""

    def spoil(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text()) if path.exists() else {}
        content |= changes
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return spoil


def write(file: str, content: str | bytes) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(data)


def remove(*names: str) -> Spoil:
    return lambda folder: [(folder / name).unlink() for name in names]


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Spoil:
    def spoil(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return spoil


def sharded(lose: str = "", forget: bool = False) -> Spoil:
    """Two shards and an index; the index may name more than is there."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        names = sorted(tensors)
        parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        index = {name: file for file, some in parts.items() for name in some}
        for file, some in parts.items():
            kept = [name for name in some if not (lose and lose in name)]
            save_file({name: tensors[name] for name in kept}, folder / file, {"format": "pt"})
        content = {"metadata": {}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))
        if forget:
            (folder / "model-2.safetensors").unlink()

    return spoil


def both(*spoils: Spoil) -> Spoil:
    return lambda folder: [spoil(folder) for spoil in spoils]


def prefixed(start: str) -> Spoil:
    return weights(lambda t: {f"{start}{name}": value for name, value in t.items()})


def processor(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / "processor_config.json").read_text())
        content["image_processor"] |= changes
        (folder / "processor_config.json").write_text(json.dumps(content))

    return spoil


def spoiled(name: str, value: float) -> Spoil:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[name].view(-1)[3] = value
        return tensors

    return weights(change)


HEAD = "lm_head.weight"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
EXTRA = {"score.weight": torch.zeros(2, 2)}

REFUSED: dict[str, tuple[Spoil, str]] = {
    # weights
    "a layer is missing": (
        weights(lambda t: {k: v for k, v in t.items() if ".layers.2." not in k}),
        r"lack 12 tensors.*missing: .*layers\.2",
    ),
    "the head is missing": (weights(lambda t: {k: v for k, v in t.items() if k != HEAD}), HEAD),
    "wrapped by peft": (prefixed("base_model.model."), r"base_model\.model\., as peft"),
    "wrapped by torch.compile": (prefixed("_orig_mod."), r"_orig_mod\., as torch\.compile"),
    "wrapped by DataParallel": (prefixed("module."), r"module\., as DataParallel"),
    "another shape": (
        weights(lambda t: t | {HEAD: t[HEAD][:-2].clone()}),
        r"do not fit its config\.json.*lm_head\.weight with \[60, 128\].*\[62, 128\]",
    ),
    "an adapter among the weights": (
        weights(lambda t: t | {"model.layers.0.self_attn.q_proj.lora_A.weight": t[HEAD].clone()}),
        "merge the adapter first",
    ),
    "more layers than the config": (
        weights(lambda t: t | {k.replace("layers.3", "layers.4"): v.clone() for k, v in t.items()}),
        r"tensors of layers that its config\.json has no place for",
    ),
    "NaN": (spoiled(HEAD, float("nan")), "NaN or infinities in 1 tensors: lm_head.weight"),
    "infinity": (spoiled(HEAD, float("-inf")), "NaN or infinities"),
    "cut off": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:9000]
        ),
        "model.safetensors is cut off",
    ),
    "cut off in the header": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:999]
        ),
        "model.safetensors is cut off",
    ),
    "too long": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes() + b"0"
        ),
        "model.safetensors is too long",
    ),
    "empty weights": (write("model.safetensors", b""), "model.safetensors is empty"),
    "zero bytes": (write("model.safetensors", bytes(5000)), "nothing but zero bytes"),
    "a pointer": (write("model.safetensors", LFS), "Git LFS pointer"),
    "a zip": (write("model.safetensors", b"PK\x03\x04" + bytes(99)), "zip archive"),
    "a pickle": (write("model.safetensors", pickle.dumps([1])), "is a pickle"),
    "a web page": (write("model.safetensors", "<!DOCTYPE html><p>"), "web page"),
    "noise": (write("model.safetensors", bytes(range(200, 250)) * 9), "no safetensors file"),
    "no weights": (remove("model.safetensors"), "has no weights"),
    "pytorch_model.bin": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin, and only safetensors is read; convert",
    ),
    "gguf": (lambda f: (f / "model.safetensors").rename(f / "m.gguf"), "m.gguf.*convert"),
    "onnx": (lambda f: (f / "model.safetensors").rename(f / "m.onnx"), "m.onnx.*convert"),
    "a shard is missing": (sharded(forget=True), r"names 1 of 2 files.*missing: model-2"),
    "a tensor of a shard is missing": (sharded("layers.2"), r"names 12 tensors.*layers\.2"),
    "shards without an index": (
        both(sharded(), remove("model.safetensors.index.json")),
        "has model-1.safetensors, model-2.safetensors, but neither",
    ),
    "two sets of weights": (
        both(
            lambda f: shutil.copy(f / "model.safetensors", f / "w"),
            sharded(),
            lambda f: (f / "w").rename(f / "model.safetensors"),
        ),
        "remove one of the two sets",
    ),
    "quantised": (
        edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "config.json says that the weights are quantised.*gptq",
    ),
    # adapters
    "an adapter": (write("adapter_config.json", "{}"), "adapter_config.json.*merge the adapter"),
    "an adapter's weights": (write("adapter_model.bin", "x"), "adapter_model.bin.*merge"),
    "a named adapter": (
        both(lambda f: (f / "a").mkdir(), write("a/adapter_config.json", "{}")),
        "a/adapter_config.json.*merge",
    ),
    # settings
    "latent_size as text": (
        edit("config.json", latent_size="8"),
        "config.json has latent_size '8'",
    ),
    "latent_size 0": (edit("config.json", latent_size=0), "latent_size 0"),
    "latent_size -1": (edit("config.json", latent_size=-1), "latent_size -1"),
    "latent_size 2.5": (edit("config.json", latent_size=2.5), "latent_size 2.5"),
    "latent_size true": (edit("config.json", latent_size=True), "latent_size True"),
    "latent_size 1e9": (edit("config.json", latent_size=10**9), "latent_size 1000000000"),
    "latent_size null": (edit("config.json", latent_size=None), "no latent_size in its config"),
    "a token id as text": (edit("config.json", lvr_sep_id="60"), "lvr_sep_id '60'"),
    "two LVR tokens alike": (edit("config.json", lvr_sep_id=59), "lvr_sep_id|one id"),
    "another id than the tokenizer's": (
        both(edit("config.json", lvr_sep_id=61, lvr_end_id=60)),
        r"lvr_sep_id 61, but the tokenizer gives <\|lvr_sep\|> the id 60",
    ),
    "another image token": (edit("config.json", image_token_id=3), "image_token_id 3"),
    "dtype fp16": (edit("config.json", dtype="fp16"), "config.json has dtype 'fp16'"),
    "dtype 16": (edit("config.json", torch_dtype=16), "config.json has torch_dtype 16"),
    "layers as text": (edit("config.json", text_config={"num_hidden_layers": "4"}), "config.json"),
    "no layers": (edit("config.json", text_config=[]), "config.json"),
    "another architecture": (edit("config.json", model_type="qwen2_vl"), "is a qwen2_vl model"),
    "no architecture": (edit("config.json", model_type=...), "config.json"),
    "config.json is a list": (write("config.json", "[]"), "config.json holds a list"),
    "config.json is cut": (write("config.json", '{"model_type": '), "config.json is no JSON"),
    "config.json is empty": (write("config.json", " \n"), "config.json is empty"),
    "config.json is UTF-16": (write("config.json", "{}".encode("utf-16")), "UTF-16"),
    "config.json is UTF-16 without a mark": (
        write("config.json", '{"a": 1}'.encode("utf-16-le")),
        "UTF-16",
    ),
    "config.json is Latin-1": (write("config.json", b'{"a": "\xe9\xe9"}'), "no UTF-8"),
    "config.json has zero bytes": (write("config.json", b'{"a": 1}\0\0\0'), "zero bytes"),
    "config.json is a pointer": (write("config.json", LFS), "config.json is a Git LFS pointer"),
    # tokenizer, processor, template
    "no tokenizer": (
        remove("tokenizer.json", "tokenizer_config.json"),
        "has no tokenizer, as it lacks tokenizer.json",
    ),
    "tokenizer.json is a pointer": (write("tokenizer.json", LFS), "tokenizer.json is a Git LFS"),
    "tokenizer.json is another file": (write("tokenizer.json", "{}"), "processor and tokenizer"),
    "no processor": (remove("processor_config.json"), "no image processor"),
    "more tokens than embeddings": (
        edit("added_tokens.json", **{"<new>": 62}),
        r"<new>",
    ),
    "an added token of another id": (
        edit("added_tokens.json", **{"<|lvr_sep|>": 3}),
        r"added_tokens.json gives 1 tokens another id.*lvr_sep",
    ),
    "template without images": (
        write(TEMPLATE, "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
        "chat_template.jinja holds a chat template that writes 0 places for one image",
    ),
    "template without the question": (
        write(TEMPLATE, "<|vision_start|><|image_pad|><|vision_end|>"),
        "leaves the question out",
    ),
    "template that fails": (write(TEMPLATE, "{{ 1 / 0 }}"), "ZeroDivisionError"),
    "template of an undefined name": (write(TEMPLATE, "{{ nobody.at.home }}"), "UndefinedError"),
    "template that is no template": (write(TEMPLATE, "{% for %}"), "TemplateSyntaxError"),
    "template that raises": (write(TEMPLATE, "{{ raise_exception('no') }}"), "no"),
    "template that breaks out": (
        write(TEMPLATE, "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "chat template that fails: SecurityError",
    ),
    "empty template": (write(TEMPLATE, ""), "chat_template.jinja is empty"),
    "no room for images": (processor(size={"height": 4, "width": 4}), "size|image"),
    "pixels as text": (processor(max_pixels="many"), "max_pixels 'many'"),
    "pixels below 0": (edit("tokenizer_config.json", min_pixels=-4), "min_pixels -4"),
    "contradicting pixels": (
        edit("tokenizer_config.json", min_pixels=90_000, max_pixels=1000),
        "min_pixels 90000 .* and max_pixels 1000 .*leave no image size",
    ),
    # generation
    "beams": (edit("generation_config.json", num_beams=4), "num_beams 4; decoding here is greedy"),
    "contrastive": (edit("generation_config.json", penalty_alpha=0.6, top_k=4), "penalty_alpha"),
    "constraints": (edit("generation_config.json", force_words_ids=[[3]]), "force_words_ids"),
    "a forced token": (edit("generation_config.json", forced_bos_token_id=3), "forced_bos"),
    "no n-grams twice": (edit("generation_config.json", no_repeat_ngram_size=3), "no_repeat"),
    "first tokens": (edit("generation_config.json", begin_suppress_tokens=[3]), "begin_suppress"),
    "a limit as text": (edit("generation_config.json", max_new_tokens="64"), "max_new_tokens '64'"),
    "a limit of 0": (edit("generation_config.json", max_new_tokens=0), "max_new_tokens 0"),
    "an end as text": (edit("generation_config.json", eos_token_id="47"), "eos_token_id '47'"),
    "generation cut": (write("generation_config.json", "{"), "generation_config.json is no JSON"),
    # code
    "code for the config": (
        edit("config.json", auto_map={"AutoConfig": "c.X"}),
        r"config.json asks to run the checkpoint's own code \(auto_map\)",
    ),
    "code for the tokenizer": (
        edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["t.X", None]}),
        "tokenizer_config.json asks to run",
    ),
    "code for the processor": (
        edit("processor_config.json", auto_map={"AutoProcessor": "p.X"}),
        "processor_config.json asks to run",
    ),
    "code for images": (
        processor(auto_map={"AutoImageProcessor": "p.X"}),
        "processor_config.json asks to run",
    ),
    "code for images of old": (
        edit("preprocessor_config.json", auto_map={"AutoImageProcessor": "p.X"}),
        "preprocessor_config.json asks to run",
    ),
    "code for videos": (
        edit("video_preprocessor_config.json", auto_map={"AutoVideoProcessor": "p.X"}),
        "video_preprocessor_config.json asks to run",
    ),
    "code for generation": (
        edit("generation_config.json", custom_generate="."),
        "generation_config.json asks to run",
    ),
    "trust": (edit("config.json", trust_remote_code=True), "trust_remote_code"),
    "a kernel": (
        edit("config.json", attn_implementation="owner/kernel"),
        "asks to run code from 'owner/kernel'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_refused_in_one_line_that_names_the_file(copy: Path, name: str) -> None:
    spoil, said = REFUSED[name]
    spoil(copy)
    with pytest.raises(LanternError, match=said) as refused:
        LanternModel(str(copy))
    assert "\n" not in str(refused.value) and "copy" in str(refused.value)


def test_code_of_a_checkpoint_is_never_run(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor asked for: reading from the terminal would end the test."""
    proof = tmp_path / "code_was_run"
    (copy / "custom_generate").mkdir()
    for name in ("modeling_x.py", "custom_generate/generate.py", "sitecustomize.py"):
        (copy / name).write_text(f"open({str(proof)!r}, 'w').close()\n")
    for name in ("TRUST_REMOTE_CODE", "HF_HUB_TRUST_REMOTE_CODE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    with caplog.at_level(logging.WARNING):
        lantern = LanternModel(str(copy))
    lantern.generate(scenes(1), max_new_tokens=2)
    assert not proof.exists() and "code of a checkpoint is never run" in caplog.text
    for file in ("config.json", "tokenizer_config.json", "processor_config.json"):
        edit(file, auto_map={"AutoConfig": "modeling_x.X", "AutoProcessor": "modeling_x.X"})(copy)
        with pytest.raises(LanternError, match="own code"):
            LanternModel(str(copy))
        edit(file, auto_map=...)(copy)
    assert not proof.exists()


def test_tensors_that_are_not_used_are_named(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights(lambda t: t | EXTRA)(copy)
    with caplog.at_level(logging.WARNING):
        LanternModel(str(copy))
    assert "1 tensors of the checkpoint are not used: score.weight" in caplog.text


def test_a_tied_head_need_not_be_there_and_another_one_is_said(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit("config.json", tie_word_embeddings=True)(copy)
    with caplog.at_level(logging.WARNING):
        apart = LanternModel(str(copy)).hf
    assert "hold another lm_head.weight, which is used" in caplog.text
    assert not torch.equal(apart.lm_head.weight, apart.get_input_embeddings().weight)
    weights(lambda t: {k: v for k, v in t.items() if k != HEAD})(copy)
    one = LanternModel(str(copy)).hf
    assert torch.equal(one.lm_head.weight, one.get_input_embeddings().weight)


def test_weights_in_shards_are_read(copy: Path, untrained: LanternModel) -> None:
    sharded()(copy)
    read = LanternModel(str(copy)).hf.state_dict()
    assert all(torch.equal(read[k], v) for k, v in untrained.hf.state_dict().items())


@pytest.mark.parametrize("first", [0x80, 0x1F, 0xFF, 0x3C])
def test_weights_whose_first_byte_looks_like_another_kind_are_read(copy: Path, first: int) -> None:
    """The length of the header comes first, and may be any number."""
    file = copy / "model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    wanted = next(n for n in range(length, length + 300) if n % 256 == first)
    header = data[8 : 8 + length] + b" " * (wanted - length)
    file.write_bytes(wanted.to_bytes(8, "little") + header + data[8 + length :])
    assert len(check_weights(copy)) == 81


def test_numbers_too_large_for_float16_are_named(copy: Path) -> None:
    weights(lambda t: t | {HEAD: t[HEAD].float() + 1e5})(copy)
    with pytest.raises(LanternError, match="too large for float16: take bfloat16"):
        LanternModel(str(copy), dtype="float16")
    assert LanternModel(str(copy)).hf.dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "fp16"}, "dtype 'fp16' is none; take auto, float32"),
        ({"dtype": "int8"}, "dtype 'int8' is none"),
        ({"attn_implementation": "owner/kernel"}, "code from the Hub"),
        ({"attn_implementation": "nothing"}, "its weights: ValueError"),
        ({"device_map": {"": "toaster"}}, "toaster"),
        ({"latent_size": 0}, "latent_size is 0"),
        ({"revision": "main"}, "revision 'main' is about Hub names"),
        ({"max_pixels": 0}, "max_pixels 0"),
        ({"max_pixels": -5}, "max_pixels -5"),
        ({"max_pixels": 783}, "max_pixels 783 leave no image size; one image token takes 28 x 28"),
        ({"min_pixels": 0}, "min_pixels 0"),
        ({"min_pixels": 9000, "max_pixels": 8000}, "min_pixels 9000 and max_pixels 8000"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(
    untrained_folder: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(LanternError, match=said):
        LanternModel(str(untrained_folder), **given)


def test_places_that_hold_no_checkpoint_are_named(copy: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    gone = tmp_path / "gone"
    gone.symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    cases = {
        str(copy / "model.safetensors"): "is a file; give the checkpoint's folder",
        str(loop): "symbolic link|symbolic links",
        str(gone): "symbolic link that leads nowhere",
        str(tmp_path / "empty"): "holds no config.json",
        "x" * 5000: "File name too long",
        "a\0b": "no model",
    }
    for source, said in cases.items():
        with pytest.raises(LanternError, match=said):
            locate(source)


def test_the_bundled_and_the_official_checkpoints_are_in_order(conformance: Path) -> None:
    for folder in (Path(locate("faithful")), Path(locate("vanilla")), conformance / "checkpoint"):
        check_settings(folder)
        assert check_weights(folder)


def test_another_chat_template_beside_the_used_one_is_said(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit("tokenizer_config.json", chat_template="{{ messages }}")(copy)
    with caplog.at_level(logging.WARNING):
        LanternModel(str(copy))
    assert (
        "tokenizer_config.json holds another chat template than chat_template.jinja" in caplog.text
    )
