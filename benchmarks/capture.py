"""What does capturing cost? A batch generated plainly, and generated and captured.

    python -m benchmarks.capture --output benchmarks/results/capture-cpu.json

Both ways run the same batch on the same random model in this one process, in turns, the first
way changing from round to round, so that a busy machine slows both. What is reported is the
ratio of their times, the median over rounds, and whether the tokens are the same. Beside the
time on the clock stands that of the processor, which other processes disturb less.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.circumstances import circumstances
from benchmarks.random_model import ModelSize, find_bias, large_scenes, random_model
from experiments.console import console, run_main
from lantern_probe.capture.batch import Captured, capture_batch
from lantern_probe.model.sites import layer_count
from lantern_probe.records.json_files import write_json
from lantern_probe.records.run import Run
from lantern_probe.records.store import ShardFolder
from lantern_probe.vocabulary import parse_sites


@dataclass(frozen=True)
class Config(ModelSize):
    """What does capturing cost? A batch generated plainly, and generated and captured."""

    sites: tuple[str, ...] = ("residual.*@slot", "latent@slot")
    """What is captured."""
    samples: int = 16
    """Rows of the batch."""
    rounds: int = 5
    """Rounds, each running both ways in turn; one more before them is not counted."""
    new_tokens: int = 80
    """Tokens generated per text, none ends early."""
    threads: int = 1
    """Torch threads, on a CPU."""
    output: Path | None = None
    """JSON file for the figures."""


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds a piece of work takes, on the clock and of the processor, and its result."""
    started, used = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - started, time.process_time() - used, result


def main(config: Config) -> int:
    """Run both ways and print and write the figures; 1 when the tokens differ."""
    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        lantern = random_model(config, Path(folder))
    samples = large_scenes(config, config.samples)
    kwargs = find_bias(lantern, samples, config.new_tokens)
    kwargs |= {"max_new_tokens": config.new_tokens}
    sites = parse_sites(config.sites, layer_count(lantern))
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: lantern.generate(samples, **kwargs),
        "captured": lambda: capture_batch(lantern, samples, sites, **kwargs),
    }
    rounds: list[dict[str, float]] = []
    same = True
    with tempfile.TemporaryDirectory() as folder, Run.open(folder, {}) as run:
        shards = ShardFolder(run)
        for number in track(range(config.rounds + 1), "rounds", console=console, transient=True):
            order = list(ways) if number % 2 else list(ways)[::-1]
            found = {name: timed(ways[name]) for name in order}
            (plain_s, plain_cpu_s, plain), (captured_s, captured_cpu_s, captured) = (
                found["plain"],
                found["captured"],
            )
            assert isinstance(captured, Captured)
            written_s, _, _ = timed(lambda c=captured: shards.write(["batch"], c.activations))
            same &= torch.equal(plain.sequences, captured.output.sequences)
            if number:
                rounds.append(
                    {
                        "plain_s": plain_s,
                        "captured_s": captured_s,
                        "written_s": written_s,
                        "ratio": captured_s / plain_s,
                        "ratio_written": (captured_s + written_s) / plain_s,
                        "ratio_cpu": captured_cpu_s / plain_cpu_s,
                    }
                )
    ratios = {
        name: statistics.median(r[name] for r in rounds)
        for name in ("ratio", "ratio_written", "ratio_cpu")
    }
    emitted = sum(not row for row in captured.missing)
    figures = {
        **ratios,
        "tokens_identical": same,
        "rounds": rounds,
        "samples_with_every_site": emitted,
        "bytes": sum(found.nbytes for found in captured.activations.values()),
        "parameters": sum(p.numel() for p in lantern.hf.parameters()),
        "device": str(lantern.device),
        **circumstances("capture", config, ("torch", "transformers", "nnsight")),
    }
    console.print(
        f"capturing {len(sites)} sites takes {100 * (ratios['ratio'] - 1):.1f} % more time than "
        f"generating alone ({100 * (ratios['ratio_cpu'] - 1):.1f} % of the processor's time, "
        f"{100 * (ratios['ratio_written'] - 1):.1f} % with the shard written); tokens "
        f"{'identical' if same else 'DIFFER'}; {emitted} of {len(samples)} samples with a block"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
