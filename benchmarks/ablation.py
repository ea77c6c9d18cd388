"""An ablation, the official way and by branching: the same answers, how much sooner?

    python -m benchmarks.ablation --output benchmarks/results/ablation-cpu.json

The official way runs one sample under one condition at a time, the whole generation each, image
and all. The engine runs each sample's prefix once and forks it. Both run the same random model on
the same samples and conditions in this one process, in turns, so that a busy machine slows both;
what is reported is the ratio of their times, the median over rounds, how many of the texts are
token-identical, tokens per second, and the share of the time that is spent outside the model's
forward passes.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.circumstances import circumstances
from benchmarks.random_model import ModelSize, find_bias, large_scenes, random_model
from experiments.console import console, run_main
from lantern_probe.causal.branching import Branch, Prefix, run_branches, run_prefixes
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.json_files import write_json
from lantern_probe.tasks.sample import Sample

CONDITIONS = ("own", "skip", "ban", "stock", "mask", "zeros", "noise", "first-repeat")


@dataclass(frozen=True)
class Config(ModelSize):
    """An ablation, the official way and by branching: the same answers, how much sooner?"""

    samples: int = 64
    """Samples of the ablation."""
    official_samples: int = 64
    """How many of them the official way runs in a round; its time is scaled to all."""
    rounds: int = 1
    """Rounds, each running both ways in turn."""
    new_tokens: int = 80
    """Tokens generated per text, none ends early."""
    batch_rows: int = 128
    """Rows that the engine decodes together."""
    threads: int = 2
    """Torch threads, on a CPU."""
    output: Path | None = None
    """JSON file for the figures."""


def official_way(
    lantern: LanternModel, samples: list[Sample], new_tokens: int, kwargs: dict[str, Any]
) -> dict[tuple[str, str], list[int]]:
    """One sample, one condition, one whole generation at a time."""
    texts = {}
    jobs = [(sample, name) for sample in samples for name in CONDITIONS]
    for sample, name in track(jobs, "official", console=console, transient=True):
        plan = parse_condition(name).plan(sample, lantern, None)
        output = lantern.generate(sample, plans=[plan], max_new_tokens=new_tokens, **kwargs)
        texts[sample.id, name] = output.sequences[0].tolist()
    return texts


def branched_way(
    lantern: LanternModel,
    samples: list[Sample],
    new_tokens: int,
    batch_rows: int,
    kwargs: dict[str, Any],
) -> dict[tuple[str, str], list[int]]:
    """Every prefix once, forked into its conditions, many rows together."""
    texts = {}
    size = max(1, batch_rows // len(CONDITIONS))
    for first in track(range(0, len(samples), size), "branched", console=console, transient=True):
        prefixes: list[Prefix] = run_prefixes(
            lantern, samples[first : first + size], max_new_tokens=new_tokens, **kwargs
        )
        jobs = [(prefix, name) for prefix in prefixes for name in CONDITIONS]
        branches = []
        for prefix, name in jobs:
            assert prefix.sample is not None
            branches.append(
                Branch(prefix, parse_condition(name).plan(prefix.sample, lantern, None))
            )
        results = run_branches(lantern, branches, score=False, **kwargs)
        for (prefix, name), result in zip(jobs, results, strict=True):
            assert prefix.sample is not None
            texts[prefix.sample.id, name] = result.ids.tolist()
    return texts


class ModelClock:
    """Seconds spent in forward passes of the model and of its vision tower."""

    def __init__(self, lantern: LanternModel):
        self.seconds = 0.0
        self._cuda = lantern.device.type == "cuda"
        self._depth, self._started = 0, 0.0
        for module in (lantern.hf, lantern.hf.model.visual):
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _enter(self, *call: Any) -> None:
        if self._depth == 0:
            self._started = self._now()
        self._depth += 1

    def _leave(self, *call: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += self._now() - self._started


def main(config: Config) -> int:
    """Run both ways and print and write the figures; 1 when texts differ."""
    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        lantern = random_model(config, Path(folder))
    samples = large_scenes(config, config.samples)
    subset = samples[: config.official_samples]
    kwargs = find_bias(lantern, samples, config.new_tokens)
    rounds, same, total, emitted = [], 0, 0, 0
    clock = ModelClock(lantern)
    for _ in range(config.rounds):
        clock.seconds = 0.0
        started = time.perf_counter()
        branched = branched_way(lantern, samples, config.new_tokens, config.batch_rows, kwargs)
        middle, inside = time.perf_counter(), clock.seconds
        official = official_way(lantern, subset, config.new_tokens, kwargs)
        ended = time.perf_counter()
        scale = len(samples) / len(subset)
        rounds.append(
            {
                "branched_s": middle - started,
                "official_s": (ended - middle) * scale,
                "ratio": (ended - middle) * scale / (middle - started),
                "branched_outside_model": 1 - inside / (middle - started),
                "official_outside_model": 1 - (clock.seconds - inside) / (ended - middle),
            }
        )
        same += sum(official[key] == branched[key] for key in official)
        total += len(official)
        start = lantern.require_lvr().start
        emitted = sum(start in branched[sample.id, "own"] for sample in samples)
    tokens = len(samples) * len(CONDITIONS) * config.new_tokens
    figures = {
        "ratio": statistics.median(r["ratio"] for r in rounds),
        "token_identical": same,
        "texts_compared": total,
        "rounds": rounds,
        "branched_tokens_per_s": tokens / statistics.median(r["branched_s"] for r in rounds),
        "official_tokens_per_s": tokens / statistics.median(r["official_s"] for r in rounds),
        "branched_outside_model": statistics.median(r["branched_outside_model"] for r in rounds),
        "official_outside_model": statistics.median(r["official_outside_model"] for r in rounds),
        "samples_with_a_block": emitted,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "parameters": sum(p.numel() for p in lantern.hf.parameters()),
        "conditions": CONDITIONS,
        "device": str(lantern.device),
        **circumstances("ablation", config, ("torch", "transformers", "nnsight")),
    }
    console.print(
        f"branching is {figures['ratio']:.1f} times as fast as the official way; "
        f"{same} of {total} texts token-identical; {emitted} of {len(samples)} with a block; "
        f"outside the model {figures['branched_outside_model']:.0%} of the time by branching, "
        f"{figures['official_outside_model']:.0%} the official way"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0 if same == total else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
