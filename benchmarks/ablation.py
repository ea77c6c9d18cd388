"""An ablation, the official way and by branching: the same answers, how much sooner?

    python -m benchmarks.ablation --output benchmarks/results/ablation-cpu.json
    git worktree add /tmp/earlier d827bc9
    python -m benchmarks.ablation --baseline /tmp/earlier --output ...
    python -m benchmarks.ablation --real --device cuda --cases 1024x8 1024x18 --new-tokens 128

The official way runs one sample under one condition at a time, the whole generation each, image
and all. The engine runs each sample's prefix once and forks it. Both run the same random model on
the same samples and conditions in this one process, in turns, so that a busy machine slows both;
with `--baseline` the engine of an earlier commit does the same in a process of its own, in turns
too. A case is written `256x8` (image tokens x conditions), with `-drawn` for texts of unequal
length and `-scored` for candidates of two tokens.

What is reported, as medians over rounds: the ratios of processor time, how many texts are
token-identical, seconds by part, peak memory, and the limit: how many times as fast as the
official way the engine would be if it did nothing but the matrix products of its linear layers.
With `--real` the model has the shape of LanteRn-3B and random weights (`benchmarks.real_shape`).
That has not been run on a GPU yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.circumstances import circumstances
from benchmarks.part_clock import PartClock
from benchmarks.random_model import ModelSize, large_scenes, random_model
from benchmarks.workload import Case
from experiments.console import console, run_main
from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.model.lantern import LanternModel
from lantern_probe.records.json_files import write_json
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import COLORS


@dataclass(frozen=True)
class Config:
    """An ablation, the official way and by branching: the same answers, how much sooner?"""

    cases: tuple[str, ...] = (
        *("256x8", "256x18", "256x8-drawn", "256x8-scored", "1089x8", "1089x18"),
    )
    """What is run: image tokens x conditions, with -drawn or -scored."""
    rows: int = 512
    """Texts of a case."""
    batch_rows: int = 512
    """Rows that the engine decodes together."""
    official_texts: int = 8
    """Texts that the official way runs in a round; its time is scaled to all."""
    rounds: int = 3
    """Rounds, each running all ways in turn."""
    new_tokens: int = 80
    """Tokens generated per text, none ends early; twice as many at most where they are drawn."""
    layers: int = 8
    """Decoder layers; LanteRn-3B has 36."""
    width: int = 512
    """Hidden size; heads have 64 dimensions."""
    strength: float = 0.5
    """Bias with which texts open a block; 0.5 suits the model of the default size."""
    seed: int = 0
    """Seed of the model's weights, the scenes and the lengths."""
    threads: int = 1
    """Torch threads, on a CPU."""
    baseline: Path | None = None
    """Checkout of commit d827bc9, whose engine is run too; by default none."""
    baseline_rows: int = 128
    """Rows that the engine of the baseline decodes together, its own default."""
    real: bool = False
    """Run a model of LanteRn-3B's shape."""
    device: str = "cpu"
    """Device of the real shape: cuda, cuda:1 ... or cpu."""
    dtype: str = "bfloat16"
    """Dtype of the real shape: bfloat16 or float32."""
    scratch: Path | None = None
    """Folder in which the real shape is written, 7.5 GB; by default the system's temporary one."""
    output: Path | None = None
    """JSON file for the figures."""


Texts = dict[tuple[int, int], list[int]]
"""Tokens of prompt and text, by the numbers of sample and condition."""


class Work:
    """A case on a model: samples, settings, and both ways to run them."""

    def __init__(self, lantern: LanternModel, case: Case, config: Config, scenes: list[Sample]):
        self.lantern, self.case, self.lengths = lantern, case, case.lengths()
        self.samples = [
            replace(sample, options=case.options(tuple(COLORS), number))
            for number, sample in enumerate(scenes)
        ]
        self.kwargs: dict[str, Any] = {}
        if not config.real:  # it has biases of its own
            tag = lantern.processor.tokenizer.convert_tokens_to_ids("<answer>")
            start, ends = lantern.require_lvr().start, sorted(lantern.eos_ids)
            self.kwargs["sequence_bias"] = case.biases(start, tag, ends, config.strength)
        self.batch = max(1, config.batch_rows // case.conditions)
        self.jobs = [(s, c) for s in range(case.samples) for c in range(case.conditions)]

    def branched(self, clock: PartClock, *, score: bool) -> Texts:
        """Every prefix once, forked into its conditions, many rows together."""
        texts: Texts = {}
        limit = {"max_new_tokens": self.case.longest, **self.kwargs}
        for first in range(0, len(self.samples), self.batch):
            with clock("prefixes"):
                prefixes = run_prefixes(
                    self.lantern, self.samples[first : first + self.batch], **limit
                )
            branches, jobs = [], []
            for number, prefix in enumerate(prefixes, first):
                for index, label in enumerate(self.case.labels):
                    assert prefix.sample is not None
                    plan = parse_condition(label).plan(prefix.sample, self.lantern, None)
                    length = prefix.prompt_length + self.lengths[number][index]
                    branches.append(Branch(replace(prefix, limit=length), plan))
                    jobs.append((number, index))
            with clock("branches"):
                results = run_branches(self.lantern, branches, score=score, **self.kwargs)
            for job, branch, result in zip(jobs, branches, results, strict=True):
                texts[job] = result.ids[: branch.prefix.limit].tolist()
        return texts

    def official(self, job: tuple[int, int], **settings: Any) -> Any:
        """One sample, one condition, one whole generation."""
        sample, label = self.samples[job[0]], self.case.labels[job[1]]
        inputs = dict(self.lantern.inputs([sample]))
        return self.lantern.decode(
            inputs,
            plans=[parse_condition(label).plan(sample, self.lantern, None)],
            max_new_tokens=self.lengths[job[0]][job[1]],
            return_dict_in_generate=True,
            **self.kwargs,
            **settings,
        )[0]

    def margin(self, job: tuple[int, int], expected: list[int], found: list[int]) -> float:
        """The difference of the two largest logits where two texts part: a near-tie if small."""
        parts = next(at for at, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
        result = self.official(job, output_logits=True)
        prompt = result.sequences.shape[1] - len(result.logits)
        first, second = result.logits[parts - prompt][0].float().topk(2).values.tolist()
        return first - second


class Earlier:
    """The engine of an earlier commit, in a process of its own."""

    def __init__(self, checkout: Path, case: Case, config: Config):
        if not (checkout / "lantern_probe" / "branching.py").is_file():
            raise LanternError(
                f"'{checkout}' is no checkout of d827bc9; git worktree add makes one"
            )
        given = {name: getattr(config, name) for name in ("threads", "layers", "width", "strength")}
        given |= {"case": asdict(case), "batch_rows": config.baseline_rows}
        script = Path(__file__).with_name("earlier_engine.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), json.dumps(given)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(config.threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise LanternError("the earlier engine ended; its own message is above")

    def round(self) -> dict[str, Any]:
        """The figures of one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def digest(ids: Sequence[int]) -> str:
    """A short name of a text, as the earlier engine gives it."""
    return hashlib.sha256(str(list(ids)).encode()).hexdigest()[:16]


def scaled(work: Work, seconds: dict[tuple[int, int], float]) -> float:
    """The time of all texts from that of some; if lengths differ, by a line through them."""
    lengths = [work.lengths[s][c] for s, c in seconds]
    everything = [work.lengths[s][c] for s, c in work.jobs]
    mean, usual = statistics.mean(seconds.values()), statistics.mean(lengths)
    if len(set(lengths)) > 1:
        slope = statistics.linear_regression(lengths, list(seconds.values())).slope
        mean += slope * (statistics.mean(everything) - usual)
    return mean * len(everything)


def measure(work: Work, earlier: Earlier | None, config: Config) -> dict[str, Any]:
    """All ways in turns, round by round."""
    case, clock = work.case, PartClock(work.lantern)
    rounds: list[dict[str, Any]] = []
    count = {"official": 0, "identical": 0, "earlier_identical": 0}
    margins: list[float] = []
    for turn in track(range(config.rounds), "rounds", console=console, transient=True):
        figures: dict[str, Any] = {}
        with clock.round() as parts:
            texts = work.branched(clock, score=False)
        figures["parts"] = dict(parts)
        figures["branched_s"] = sum(parts.values())
        if case.scored:
            with clock.round() as parts:
                work.branched(clock, score=True)
            figures["scored_s"] = sum(parts.values())
        seconds = {}
        for number in range(config.official_texts):
            # Spread over samples and conditions, other ones in every round.
            job = work.jobs[(turn * config.official_texts + number) * 7 % len(work.jobs)]
            began = clock.now()
            found = work.official(job).sequences[0].tolist()
            seconds[job] = clock.now() - began
            count["official"] += 1
            count["identical"] += found == texts[job]
            if found != texts[job]:
                margins.append(work.margin(job, found, texts[job]))
        figures["official_s"] = scaled(work, seconds)
        if earlier is not None:
            old = earlier.round()
            figures["earlier_s"] = old["prefixes"] + old["branches"]
            figures["earlier_peak_gb"] = old["peak_gb"]
            same = zip(old["texts"], (digest(texts[job]) for job in work.jobs), strict=True)
            count["earlier_identical"] += sum(a == b for a, b in same)
        rounds.append(figures)
    return {"rounds": rounds, "count": count, "margins": margins} | summary(rounds, work, config)


def summary(rounds: list[dict[str, Any]], work: Work, config: Config) -> dict[str, Any]:
    """Medians over rounds."""

    def ratio(above: str, below: str) -> float | None:
        if above not in rounds[0] or below not in rounds[0]:
            return None
        return statistics.median(r[above] / r[below] for r in rounds)

    share = statistics.median(r["parts"]["linear layers"] / r["branched_s"] for r in rounds)
    official = ratio("official_s", "branched_s")
    assert official is not None
    cuda = work.lantern.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    return {
        "times_official": official,
        "times_earlier": ratio("earlier_s", "scored_s" if work.case.scored else "branched_s"),
        "limit": official / share,
        "share_of_limit": share,
        "scored_over_unscored": ratio("scored_s", "branched_s"),
        "parts_s": {
            name: statistics.median(r["parts"].get(name, 0.0) for r in rounds)
            for name in rounds[0]["parts"]
        },
        "peak_gb": (peak or 1e3 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e9,
        "texts": len(work.jobs),
        "prompt_tokens": int(work.lantern.inputs(work.samples[:1])["input_ids"].shape[1]),
    }


def show(name: str, found: dict[str, Any], rounds: int) -> None:
    """Print the figures of a case."""
    count, parts = found["count"], found["parts_s"]
    console.print(
        f"{name} (prompt {found['prompt_tokens']}, {found['texts']} texts): "
        f"{found['times_official']:.1f} times as fast as the official way, "
        f"{count['identical']} of {count['official']} texts identical; the limit is "
        f"{found['limit']:.1f}, {found['share_of_limit']:.0%} of it reached; "
        f"peak {found['peak_gb']:.2f} GB"
    )
    if found["margins"]:
        console.print(f"  logits at which texts part: {[round(m, 4) for m in found['margins']]}")
    if found["times_earlier"] is not None:
        console.print(
            f"  {found['times_earlier']:.2f} times as fast as the earlier engine, "
            f"{count['earlier_identical']} of {found['texts'] * rounds} texts identical; its peak "
            f"{max(r['earlier_peak_gb'] for r in found['rounds']):.2f} GB"
        )
    if found["scored_over_unscored"] is not None:
        console.print(f"  with scores {found['scored_over_unscored']:.2f} times as long as without")
    console.print("  " + ", ".join(f"{name} {s:.2f} s" for name, s in parts.items()))


def load(case: Case, config: Config, folder: Path) -> tuple[LanternModel, list[Sample]]:
    """The model, and scenes as large as it is to see them."""
    size = ModelSize(config.layers, config.width, case.image_tokens, config.seed)
    if not config.real:
        return random_model(size, folder), large_scenes(size, case.samples)
    from benchmarks import real_shape

    device, pixels = torch.device(config.device), size.image_side**2
    bytes_each = 4 if config.dtype == "float32" else 2
    real_shape.check_room(folder, device, bytes_each * 3_754_074_112)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    real_shape.write_processor(folder)
    real_shape.write_weights(folder, real_shape.CONFIG, "2GB", config.seed)
    lantern = LanternModel(
        str(folder),
        dtype=config.dtype,
        device_map={"": config.device},
        min_pixels=pixels,
        max_pixels=pixels,
    )
    return lantern, large_scenes(size, case.samples)


def main(config: Config) -> int:
    """Run all cases and print and write the figures; 1 when texts differ in float32."""
    torch.set_num_threads(config.threads)
    if config.real and config.baseline is not None:
        raise LanternError("--baseline runs the random model only; leave out --real")
    figures: dict[str, Any] = {}
    for name in config.cases:
        try:
            case = Case.parse(name, config.rows, config.new_tokens, config.seed)
        except ValueError:
            raise LanternError(f"no case {name!r}; write 256x8, 1089x18-drawn ...") from None
        with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
            lantern, scenes = load(case, config, Path(folder))
        earlier = None if config.baseline is None else Earlier(config.baseline, case, config)
        try:
            figures[name] = measure(Work(lantern, case, config, scenes), earlier, config)
        finally:
            if earlier is not None:
                earlier.close()
        show(name, figures[name], config.rounds)
        if config.output is not None:  # after every case, so that a run cut short keeps them
            versions = ("torch", "transformers", "nnsight")
            found = {"cases": figures, **circumstances("ablation", config, versions)}
            write_json(config.output, found)
    exact = not config.real or config.dtype == "float32"
    same = all(f["count"]["identical"] == f["count"]["official"] for f in figures.values())
    return 0 if same or not exact else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
