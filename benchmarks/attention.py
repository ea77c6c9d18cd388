"""Attention rows of an sdpa model against eager attention: the same weights, how much memory?

    python -m benchmarks.attention --output benchmarks/results/attention-cpu.json

One forward of the language model over a long finished sequence, in four ways, each in a process
of its own: plain sdpa; sdpa with the rows of the block and the answer read; eager with the same
rows kept by a hook in every layer; and eager as transformers offers it, with all weights kept.
What is reported is the peak of the resident memory during the forward above what the process held
before it, and the largest difference between the rows read and eager's. It needs Linux.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from benchmarks.circumstances import circumstances
from benchmarks.random_model import ModelSize, large_scenes, random_model
from experiments.console import console, run_main
from lantern_probe.capture.attention import default_queries, read_attention
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import Replay, replay
from lantern_probe.model.roles import find_roles
from lantern_probe.records.json_files import write_json

Way = Literal["sdpa", "rows", "eager rows", "eager"]
WAYS: tuple[Way, ...] = ("sdpa", "rows", "eager rows", "eager")


@dataclass(frozen=True)
class Config(ModelSize):
    """Attention rows of an sdpa model against eager attention: how much memory?"""

    image_tokens: int = 3025
    """Image tokens of the prompt, a square number."""
    threads: int = 1
    """Torch threads."""
    output: Path | None = None
    """JSON file for the figures."""


def quiet() -> None:
    """Leave the screen to the figures."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def prepare(config: Config, folder: Path) -> None:
    """A random model, and a sequence with one latent block that it wrote."""
    lantern = random_model(config, folder / "model")
    (sample,) = large_scenes(config, 1)
    never = [[[token], -1e4] for token in lantern.eos_ids]
    bias = [[[lantern.require_lvr().start], 1e4], *never]
    output = lantern.generate(sample, max_new_tokens=10, sequence_bias=bias)
    again = replay(lantern, sample, output)
    queries = default_queries(find_roles(lantern, again.own_ids(0), again.prompt_lengths[0]))
    tensors = {key: value for key, value in again.inputs.items() if key != "use_cache"}
    save_file({**tensors, "ids": again.ids, "queries": queries}, folder / "replay.safetensors")


def peak_bytes(*, reset: bool = False) -> int:
    """The highest resident memory of this process so far, or since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def eager_rows(language: Any, inputs: dict[str, Any], queries: torch.Tensor) -> torch.Tensor:
    """Eager attention that keeps the rows asked for and drops the rest layer by layer."""
    found = []

    def keep(module: Any, args: Any, output: Any) -> None:
        found.append(output[1][0, :, queries].clone())

    handles = [layer.self_attn.register_forward_hook(keep) for layer in language.layers]
    language(**inputs)
    for handle in handles:
        handle.remove()
    return torch.stack(found)


@torch.no_grad()
def measure(way: Way, folder: Path, threads: int) -> dict[str, float]:
    """One forward in one way, in this process."""
    torch.set_num_threads(threads)
    lantern = LanternModel(str(folder / "model"))
    tensors = load_file(folder / "replay.safetensors")
    ids, queries = tensors.pop("ids"), tensors.pop("queries")
    inputs: dict[str, Any] = {**tensors, "use_cache": False}
    language = lantern.hf.model.language_model
    if way.startswith("eager"):
        language.set_attn_implementation("eager")

    def run(inputs: dict[str, Any], ids: torch.Tensor, queries: torch.Tensor) -> Any:
        if way == "rows":
            again = Replay(ids, [0], [0], [], inputs)
            return read_attention(lantern, again, [queries])[0]
        if way == "eager rows":
            return eager_rows(language, inputs, queries)
        if way == "eager":
            attentions = language(**inputs, output_attentions=True).attentions
            return torch.stack([weights[0, :, queries] for weights in attentions])
        language(**inputs)
        return None

    short = {
        "inputs_embeds": tensors["inputs_embeds"][:, :32],
        "attention_mask": tensors["attention_mask"][:, :32],
        "position_ids": tensors["position_ids"][:, :, :32],
        "use_cache": False,
    }
    run(short, ids[:, :32], torch.arange(2))  # what a first forward allocates for good
    before = peak_bytes(reset=True)
    started = time.perf_counter()
    weights = run(inputs, ids, queries)
    seconds = time.perf_counter() - started
    peak = peak_bytes() - before
    if weights is not None:
        save_file({"weights": weights.contiguous()}, folder / f"{way}.safetensors")
    return {"peak_mb": peak / 1e6, "seconds": seconds}


def main(config: Config) -> int:
    """Measure all ways and print and write the figures; 1 when weights differ."""
    if not Path("/proc/self/clear_refs").exists():
        raise LanternError("the peak of a forward is read from /proc, which only Linux has")
    # One process per way: what one has freed is not another's to find.
    processes = partial(
        ProcessPoolExecutor,
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=quiet,
    )
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with processes() as pool:
            pool.submit(prepare, config, folder).result()
        for way in WAYS:
            with processes() as pool:
                figures[way] = pool.submit(measure, way, folder, config.threads).result()
        rows, kept, whole = (
            load_file(folder / f"{way}.safetensors")["weights"] for way in WAYS[1:]
        )
        tokens = load_file(folder / "replay.safetensors")["ids"].shape[1]
    difference = max(float((rows - other).abs().max()) for other in (kept, whole))
    ratios = {
        way: figures[way]["peak_mb"] / figures["rows"]["peak_mb"] for way in ("eager rows", "eager")
    }
    result = {
        "peak_ratio": ratios,
        "reading_mb": figures["rows"]["peak_mb"] - figures["sdpa"]["peak_mb"],
        "largest_difference": difference,
        "ways": figures,
        "shape": {"tokens": tokens, "weights": list(rows.shape)},
        "device": "cpu",
        **circumstances("attention", config, ("torch", "transformers")),
    }
    for way in WAYS:
        console.print(f"{way:12}{figures[way]['peak_mb']:9.1f} MB{figures[way]['seconds']:7.2f} s")
    console.print(
        f"{tokens} tokens, {rows.shape[2]} queries: eager needs {ratios['eager']:.0f} times the "
        f"memory, and {ratios['eager rows']:.0f} times where it keeps the same rows only; "
        f"weights differ by at most {difference:.1e}"
    )
    if config.output is not None:
        write_json(config.output, result)
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
