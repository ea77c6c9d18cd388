"""The engine of an earlier commit, run as a process beside `benchmarks.ablation`.

    python benchmarks/earlier_engine.py '{"case": {...}, ...}'

It is started with the folder of that commit's checkout as `PYTHONPATH`, makes the same model and
samples, and answers every line on its input with the figures of one round. The modules that it
imports are those of commit d827bc9.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from workload import Case  # beside this file


def main(given: dict) -> None:
    """Make the model, then run one round for every line on the standard input."""
    from lantern_probe.branching import Branch, run_branches, run_prefixes

    from benchmarks.random_model import ModelSize, large_scenes, random_model
    from lantern_probe.interventions import parse_condition
    from lantern_probe.tasks.scenes import COLORS

    torch.set_num_threads(given["threads"])
    case = Case(**given["case"])
    size = ModelSize(given["layers"], given["width"], case.image_tokens, case.seed)
    with tempfile.TemporaryDirectory() as folder:
        lantern = random_model(size, Path(folder))
    samples = [
        replace(sample, options=case.options(tuple(COLORS), number))
        for number, sample in enumerate(large_scenes(size, case.samples))
    ]
    lengths = case.lengths()
    tag = lantern.processor.tokenizer.convert_tokens_to_ids("<answer>")
    start, ends = lantern.lvr.start, sorted(lantern.eos_ids)
    kwargs = {"sequence_bias": case.biases(start, tag, ends, given["strength"])}
    batch = max(1, given["batch_rows"] // case.conditions)
    answer(ready=True)
    for _ in sys.stdin:
        times, digests = {"prefixes": 0.0, "branches": 0.0}, []
        for first in range(0, len(samples), batch):
            some = samples[first : first + batch]
            began = time.process_time()
            prefixes = run_prefixes(lantern, some, max_new_tokens=case.longest, **kwargs)
            middle = time.process_time()
            limits = [length for row in lengths[first : first + batch] for length in row]
            branches = []
            for prefix in prefixes:
                for label in case.labels:
                    plan = parse_condition(label).plan(prefix.sample, lantern, None)
                    limit = prefix.prompt_length + limits[len(branches)]
                    branches.append(Branch(replace(prefix, limit=limit), plan))
            results = run_branches(lantern, branches, score=case.scored, **kwargs)
            times["prefixes"] += middle - began
            times["branches"] += time.process_time() - middle
            for result, limit in zip(results, limits, strict=True):
                ids = result.ids[: result.prompt_length + limit].tolist()
                digests.append(hashlib.sha256(str(ids).encode()).hexdigest()[:16])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        answer(**times, texts=digests, peak_gb=peak)


def answer(**figures: object) -> None:
    """Write one line to the standard output."""
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
