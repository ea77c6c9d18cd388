"""A checkpoint of the real shape: written, loaded, generated with, captured and ablated.

    python -m benchmarks.real_shape --output benchmarks/results/real_shape-cuda.json
    python -m benchmarks.real_shape --device cpu --samples 3 --image-side 224 --new-tokens 32 \
        --rounds 2 --threads 1 --output benchmarks/results/real_shape-cpu.json

The shape is Qwen2.5-VL-3B's with the three LVR tokens and K = 8 (arXiv 2603.25629), written as
the published checkpoints are: sharded safetensors in bfloat16, tied embeddings, the names and the
config of transformers 4.57. The weights are random and the tokenizer is word-level, with all
special tokens at their real ids. Its generation config biases pairs of tokens, so that every text
thinks for six words, opens a block and answers behind it; the rest is the model's own choice.
What is reported is time and memory of every stage, weights and cache beside what
`lantern_probe.model.memory` say, and how far `own` in an ablation agrees with plain
generation: in bfloat16 the size of a batch changes the rounding, and a random model is often
undecided between two tokens. The files are loaded right after they were written, from the memory
in which the system keeps them; on a CPU they are only mapped then, and read while warming up.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

from benchmarks.circumstances import circumstances
from experiments.console import console, run_main
from lantern_probe.capture.batch import capture_batch
from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.branching import run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.memory import Footprint, footprint, free_memory
from lantern_probe.model.pixels import STOCK_PIXELS
from lantern_probe.model.sites import layer_count
from lantern_probe.organisms.training import build
from lantern_probe.records.json_files import write_json
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample, load_task
from lantern_probe.vocabulary import parse_sites

Result = TypeVar("Result")

FIRST_SPECIAL = 151_643
"""Id of `<|endoftext|>`; the tokens before it are words."""

TAIL = (
    *build.QWEN_SPECIALS,
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    *(build.LVR_START, build.LVR_SEP, build.LVR_END),
)
"""Tokens from that id on; the LVR tokens come last, from 151,665 on."""

THOUGHT = ("<think>", "let", "me", "look", "at", "the")
BEHIND_BLOCK = ("it", "is", "here", "</think>", "<answer>", "red", "</answer>")
"""What every text says before its block and behind it."""

CONFIG: dict[str, Any] = json.loads("""
{"architectures": ["Qwen2_5_VLForConditionalGeneration"], "dtype": "bfloat16",
 "model_type": "qwen2_5_vl", "transformers_version": "4.57.1",
 "latent_size": 8, "lvr_start_id": 151665, "lvr_sep_id": 151666, "lvr_end_id": 151667,
 "image_token_id": 151655, "video_token_id": 151656,
 "vision_start_token_id": 151652, "vision_end_token_id": 151653,
 "text_config": {
   "model_type": "qwen2_5_vl_text", "vocab_size": 151668, "hidden_size": 2048,
   "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
   "intermediate_size": 11008, "hidden_act": "silu", "rms_norm_eps": 1e-6,
   "attention_dropout": 0.0, "initializer_range": 0.02, "max_position_embeddings": 128000,
   "max_window_layers": 70, "sliding_window": null, "use_sliding_window": false,
   "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
   "rope_theta": 1000000.0, "tie_word_embeddings": true, "use_cache": true,
   "bos_token_id": 151643, "eos_token_id": 151645},
 "vision_config": {
   "model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "num_heads": 16,
   "intermediate_size": 3420, "out_hidden_size": 2048, "hidden_act": "silu", "in_chans": 3,
   "initializer_range": 0.02, "patch_size": 14, "spatial_merge_size": 2,
   "spatial_patch_size": 14, "temporal_patch_size": 2, "tokens_per_second": 2,
   "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}}
""")
"""config.json in the form of the published checkpoints."""


@dataclass(frozen=True)
class Config:
    """A checkpoint of the real shape: written, loaded, generated with, captured and ablated."""

    samples: int = 16
    """Scenes, all in one batch."""
    image_side: int = 896
    """Side in pixels to which images are enlarged; 28 x 28 become one token."""
    new_tokens: int = 128
    """Tokens generated per text, none ends early."""
    sites: tuple[str, ...] = (
        *("residual.*@slot", "latent@slot", "residual.*@answer-start", "attention.18@lvr_start"),
        *("mlp.35@lvr_end", "embedding@question-mean", "vision@image-mean"),
    )
    """What is captured."""
    conditions: tuple[str, ...] = ("own", "skip", "ban", "mask", "zeros", "noise-matched")
    """Of the ablation."""
    rounds: int = 3
    """Rounds of generation, capture and ablation in turn; medians are reported."""
    shard_size: str = "2GB"
    """The largest file of the checkpoint."""
    device: str = "cuda"
    """cuda, cuda:1 ... or cpu."""
    threads: int = 2
    """Torch threads, on a CPU."""
    seed: int = 0
    """Of the weights and the scenes."""
    scratch: Path | None = None
    """Folder in which the checkpoint is written, 7.5 GB, and deleted again; by default the
    system's temporary one."""
    output: Path | None = None
    """JSON file for the figures."""


def write_processor(folder: Path) -> None:
    """A word-level tokenizer with the special tokens at their real ids, and the real processor."""
    words = [word for word in build.vocabulary() if word not in TAIL]
    filler = [f"word{index}" for index in range(FIRST_SPECIAL - len(words))]
    tokens = [*words, *filler, *TAIL]
    length = CONFIG["text_config"]["max_position_embeddings"]
    build.build_processor(tokens, pixels=STOCK_PIXELS, length=length).save_pretrained(folder)
    ids = {token: index for index, token in enumerate(tokens)}
    (folder / "generation_config.json").write_text(json.dumps(_generation_config(ids)))


def _generation_config(ids: dict[str, int]) -> dict[str, Any]:
    """Qwen2.5-VL-3B's own, with a bias for what every text says, and against its end."""
    said = [("assistant", *THOUGHT, build.LVR_START), (build.LVR_END, *BEHIND_BLOCK)]
    pairs = [[ids[a], ids[b]] for text in said for a, b in pairwise(text)]
    end = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "do_sample": True,
        "eos_token_id": end,
        "pad_token_id": ids["<|endoftext|>"],
        "repetition_penalty": 1.05,
        "sequence_bias": [*([pair, 1e4] for pair in pairs), *([[token], -1e4] for token in end)],
        "temperature": 1e-6,
        "transformers_version": "4.57.1",
    }


def write_weights(folder: Path, config: dict[str, Any], shard_size: str, seed: int) -> list[int]:
    """Random weights in bfloat16, one shard in memory at a time, under the published names.

    Returns:
        The size of every shard in bytes.
    """
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(Qwen2_5_VLConfig(**config))
    shapes = {published(key): value for key, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    plan = split_torch_state_dict_into_shards(shapes, max_shard_size=shard_size)
    generator = torch.Generator().manual_seed(seed)
    for name, keys in plan.filename_to_tensors.items():
        random = ((key, _random(key, shapes[key], generator)) for key in keys)
        save_file(dict(random), folder / name, metadata={"format": "pt"})
    index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [(folder / name).stat().st_size for name in plan.filename_to_tensors]


def published(key: str) -> str:
    """A weight's name in a published checkpoint."""
    return key.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def _random(key: str, like: Tensor, generator: torch.Generator) -> Tensor:
    empty = torch.empty(like.shape, dtype=torch.bfloat16)
    if like.dim() > 1:
        return empty.normal_(0.0, 0.02, generator=generator)
    return empty.fill_(0.0 if key.endswith("bias") else 1.0)


class Stages:
    """Time and memory of what is done on a device, one thing after the other.

    Attributes:
        seconds: By stage, of every time it was run.
        memory: By stage, the bytes in use behind it and the peak so far: torch's on a GPU, the
            whole process's on the CPU.
    """

    def __init__(self, device: torch.device):
        self._device, self._cuda = device, device.type == "cuda"
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, dict[str, int]] = {}

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Do a piece of work."""
        started = time.perf_counter()
        result = work()
        if self._cuda:
            torch.cuda.synchronize(self._device)
        self.seconds[name].append(time.perf_counter() - started)
        self.memory[name] = {"in_use": self._in_use(), "peak_so_far": self._peak()}
        return result

    def ratio(self, name: str) -> float:
        """A stage's time over that of plain generation in the same round, the median."""
        pairs = zip(self.seconds[name], self.seconds["generate"], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def _in_use(self) -> int:
        if self._cuda:
            return torch.cuda.memory_allocated(self._device)
        return int(psutil.Process().memory_info().rss)

    def _peak(self) -> int:
        if self._cuda:
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_room(folder: Path, device: torch.device, needed: int) -> None:
    """Refuse before anything is written.

    Raises:
        LanternError: there is no GPU, or too little disk or memory.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LanternError("no GPU; --device cpu --samples 3 --image-side 224 --new-tokens 32")
    room = {"memory": free_memory(device), "disk (see --scratch)": shutil.disk_usage(folder).free}
    for what, free in room.items():
        if free < 1.2 * needed:
            raise LanternError(
                f"the weights take {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of {what} "
                "are free"
            )


def ablate(lantern: LanternModel, samples: list[Sample], config: Config) -> list[dict[str, Any]]:
    """The rows of an ablation."""
    conditions = [parse_condition(name) for name in config.conditions]
    with tempfile.TemporaryDirectory() as folder, Run.open(folder, {}) as run:
        Ablation(lantern, samples, conditions, run, max_new_tokens=config.new_tokens).execute()
        return list(run.rows())


def agreement(plain: Sequence[str], own: Sequence[str]) -> dict[str, Any]:
    """How far two ways of generating say the same, word by word."""
    shares = []
    for first, second in zip(plain, own, strict=True):
        pairs = list(zip(first.split(), second.split(), strict=False))
        shares.append(len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))) / len(pairs))
    return {
        "texts_identical": sum(share == 1 for share in shares),
        "share_before_first_difference": statistics.median(shares),
    }


def measure(
    lantern: LanternModel, stages: Stages, expected: Footprint, config: Config
) -> dict[str, Any]:
    """Generate, capture and ablate in turn; what came out of it, and how long it took."""
    samples = load_task("scenes", config.samples, config.seed)
    sites = parse_sites(config.sites, layer_count(lantern))
    limit = {"max_new_tokens": config.new_tokens}
    stages.run("warm_up", lambda: lantern.generate(samples, max_new_tokens=1))
    for _ in track(range(config.rounds), "rounds", console=console, transient=True):
        stages.run("first_token", lambda: lantern.generate(samples, max_new_tokens=1))
        plain = stages.run("generate", lambda: lantern.generate(samples, **limit))
        captured = stages.run("capture", lambda: capture_batch(lantern, samples, sites, **limit))
        rows = stages.run("ablate", lambda: ablate(lantern, samples, config))
    times = zip(stages.seconds["generate"], stages.seconds["first_token"], strict=True)
    step = statistics.median((all_ - first) / (config.new_tokens - 1) for all_, first in times)
    block = (lantern.latent_size, lantern.hf.config.get_text_config().hidden_size)
    emitted = [any(tuple(b.latents.shape) == block for b in blocks) for blocks in plain.blocks]
    own = {row["sample"]: row["text"] for row in rows if row["condition"] == "own"}
    cache = run_prefixes(lantern, samples[:1], **limit)[0].cache
    cached = sum(keys.nbytes + values.nbytes for keys, values in cache)
    length = plain.prompt_length
    return {
        "prompt_tokens": length,
        "samples_with_a_whole_block": sum(emitted),
        "block": block,
        "seconds_per_step": step,
        "tokens_per_second": config.samples / step,
        "capture": {
            "ratio": stages.ratio("capture"),
            "sites": len(sites),
            "bytes": sum(found.nbytes for found in captured.activations.values()),
            "samples_with_every_site": sum(not missing for missing in captured.missing),
            "all_finite": all(bool(v.isfinite().all()) for v in captured.activations.values()),
            "tokens_identical": torch.equal(plain.sequences, captured.output.sequences),
        },
        "ablation": {
            "ratio": stages.ratio("ablate"),
            "conditions": len(config.conditions),
            "rows": len(rows),
            "rows_ok": sum(row["status"] == "ok" for row in rows),
            "rows_scored": sum(row.get("logprobs") is not None for row in rows),
            "own_and_plain": agreement(plain.texts, [own[sample.id] for sample in samples]),
        },
        "cache": {
            "bytes_per_token": cached / cache[0][0].shape[-2],
            "bytes_per_token_expected": expected.cache_bytes_per_token,
            "rows_that_fit": lantern.rows_that_fit(length + config.new_tokens),
            "rows_that_fit_at_3500_image_tokens": lantern.rows_that_fit(3500 + 512),
        },
    }


def main(config: Config) -> int:
    """Run everything and print and write the figures; 1 when a sample had no whole block."""
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    expected = footprint(Qwen2_5_VLConfig(**CONFIG), torch.bfloat16)
    stages = Stages(device)
    pixels = config.image_side**2
    with tempfile.TemporaryDirectory(dir=config.scratch) as name:
        folder = Path(name)
        check_room(folder, device, expected.weight_bytes)
        write_processor(folder)
        console.print(f"writing {expected.weight_bytes / 1e9:.1f} GB of random weights ...")
        shards = stages.run(
            "write", lambda: write_weights(folder, CONFIG, config.shard_size, config.seed)
        )
        usual = {"dtype": "auto", "device_map": {"": config.device}}
        size = {"min_pixels": pixels, "max_pixels": pixels}
        lantern = stages.run("load", lambda: LanternModel(name, **usual, **size))
    weights = list(lantern.hf.parameters())
    found = measure(lantern, stages, expected, config)
    written, loaded = stages.seconds["write"][0], stages.seconds["load"][0]
    peak = max(stage["peak_so_far"] for stage in stages.memory.values())
    figures = {
        **found,
        "parameters": sum(weight.numel() for weight in weights),
        "weights": {
            "bytes": sum(weight.nbytes for weight in weights),
            "bytes_expected": expected.weight_bytes,
            "memory_grown_by_loading": stages.memory["load"]["in_use"]
            - stages.memory["write"]["in_use"],
            "shards": shards,
        },
        "seconds": stages.seconds,
        "memory_bytes": stages.memory,
        "peak_bytes": peak,
        "device": str(lantern.device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        **circumstances("real_shape", config, ("torch", "transformers", "nnsight", "safetensors")),
    }
    console.print(
        f"{figures['parameters']:,} parameters: written in {written:.0f} s as {len(shards)} "
        f"shards, loaded in {loaded:.0f} s; {found['seconds_per_step']:.2f} s a step of "
        f"{config.samples} rows; capturing takes {found['capture']['ratio']:.2f} and ablating "
        f"under {len(config.conditions)} conditions {found['ablation']['ratio']:.2f} times as "
        f"long as generating; {found['samples_with_a_whole_block']} of {config.samples} with a "
        f"block; peak {peak / 1e9:.1f} GB"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0 if found["samples_with_a_whole_block"] == config.samples else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
