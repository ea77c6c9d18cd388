"""A sweep of patches, one whole forward each and by the engine: the same logits, how much sooner?

    python -m benchmarks.patching --output benchmarks/results/patching-cpu.json

The plain way hooks one module and runs the whole sequence, image tokens and all, for each cell.
The engine goes on from the recorded run's cache and runs all cells as rows of one batch. Both patch
the same cells (every layer, every slot) of the same pair of samples of one random model, in this
one process, in turns. What is reported is the ratio of their times, the median over rounds, and
the largest difference between their logits. The plain way computes logits at the answer only,
as the engine does; both are given the recorded runs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.circumstances import circumstances
from benchmarks.random_model import ModelSize, large_scenes, random_model
from experiments.console import console, run_main
from lantern_probe.causal.patching.forward import run_cells
from lantern_probe.causal.patching.recording import Recording, candidate_scores, record
from lantern_probe.interventions.patches import Patch, each_slot, layer_sites
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import Replay, replay
from lantern_probe.model.sites import layer_count, submodule
from lantern_probe.model.teacher_forcing import ForcedTexts
from lantern_probe.records.json_files import write_json
from lantern_probe.tasks.scenes import COLORS
from lantern_probe.vocabulary import Site

THOUGHT = "<think> let me look at the star <|lvr_start|>"
ANSWER = " <|lvr_end|> it is here </think> <answer> red </answer>"


@dataclass(frozen=True)
class Config(ModelSize):
    """A sweep of patches, one whole forward each and by the engine: how much sooner?"""

    components: tuple[str, ...] = ("residual",)
    """What is patched, in every layer at every slot."""
    rounds: int = 3
    """Rounds, each running both ways in turn."""
    threads: int = 1
    """Torch threads."""
    output: Path | None = None
    """JSON file for the figures."""


def recorded_pair(
    lantern: LanternModel, size: ModelSize, sites: Sequence[Site]
) -> tuple[Replay, list[Recording]]:
    """The replay and the recordings of two samples that wrote the same text with own latents."""
    samples = [replace(s, options=tuple(COLORS)) for s in large_scenes(size, 2)]
    text = THOUGHT + " <|lvr_sep|>" * lantern.latent_size + ANSWER
    ids = lantern.processor.tokenizer.encode(text, add_special_tokens=False)
    prompt = lantern.inputs(samples)["input_ids"].shape[1]
    force = ForcedTexts([ids] * len(samples), prompt, min(lantern.eos_ids))
    output = lantern.generate(samples, logits_processor=[force], max_new_tokens=len(ids) + 2)
    found = [one for one in record(lantern, samples, output, sites) if isinstance(one, Recording)]
    assert len(found) == len(samples)
    return replay(lantern, samples, output), found


@torch.no_grad()
def plain_way(
    lantern: LanternModel,
    again: Replay,
    target: Recording,
    donor: Recording,
    cells: Sequence[Patch],
) -> torch.Tensor:
    """One hooked forward over the whole sequence per cell."""
    first, length = again.first[0], len(target.inputs)
    row = {
        "inputs_embeds": again.inputs["inputs_embeds"][:1, first : first + length],
        "attention_mask": again.inputs["attention_mask"][:1, first : first + length],
        "position_ids": again.inputs["position_ids"][:, :1, first : first + length],
        "use_cache": False,
    }
    scores = []
    for cell in track(cells, "one at a time", console=console, transient=True):
        positions = target.at(cell.site, cell.slot)
        values = donor.values(cell.site, cell.slot)

        def put(
            module: Any, args: Any, output: torch.Tensor, at: Any = positions, new: Any = values
        ) -> None:
            output[0, at] = new

        handle = submodule(lantern, cell.site.component, cell.site.layer).register_forward_hook(put)
        states = lantern.hf.model.language_model(**row).last_hidden_state
        handle.remove()
        logits = lantern.hf.lm_head(states[:, -1]).float()
        scores.append(candidate_scores(logits, target.candidates)[0])
    return torch.stack(scores)


def main(config: Config) -> int:
    """Run both ways and print and write the figures; 1 when logits differ."""
    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        lantern = random_model(config, Path(folder))
    layers = range(layer_count(lantern))
    sites = layer_sites(config.components, layers, ("slot",))
    cells = each_slot(sites, lantern.latent_size)
    again, (target, donor) = recorded_pair(lantern, config, sites)
    run_cells(lantern, target, donor, cells[:1])  # what a first forward allocates for good
    plain_way(lantern, again, target, donor, cells[:1])
    rounds, difference, moved = [], 0.0, 0.0
    for _ in range(config.rounds):
        started = time.perf_counter()
        batched = run_cells(lantern, target, donor, cells)
        middle = time.perf_counter()
        plain = plain_way(lantern, again, target, donor, cells)
        ended = time.perf_counter()
        rounds.append(
            {
                "engine_s": middle - started,
                "plain_s": ended - middle,
                "ratio": (ended - middle) / (middle - started),
            }
        )
        difference = max(difference, float((batched.patched - plain).abs().max()))
        moved = float((batched.patched - batched.base).abs().max())
    figures = {
        "ratio": statistics.median(r["ratio"] for r in rounds),
        "largest_difference": difference,
        "largest_effect": moved,
        "cells": len(cells),
        "tokens": len(target.inputs),
        "tokens_from_start_marker": len(target.inputs) - target.positions["lvr_start"][0],
        "rounds": rounds,
        "parameters": sum(p.numel() for p in lantern.hf.parameters()),
        "device": str(lantern.device),
        **circumstances("patching", config, ("torch", "transformers")),
    }
    console.print(
        f"{len(cells)} cells on {figures['tokens']} tokens: the engine is {figures['ratio']:.1f} "
        f"times as fast as one forward per cell; logits differ by at most {difference:.1e} "
        f"(patches move them by up to {moved:.1e})"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
