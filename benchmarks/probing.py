"""Probes of many labels and controls, by a loop of scikit-learn pipelines and stacked: how fast?

    python -m benchmarks.probing --output benchmarks/results/probing-cpu.json

At every site (layer and slot) there are four labels, each with permuted controls, five Cs and five
grouped folds. scikit-learn fits `make_pipeline(StandardScaler(), LogisticRegression(C))` for each
combination; `grid_predict` solves a site's problems together. Features, labels, folds, Cs and the
number of threads are the same, both ways run in this one process, in turns, so that a busy machine
slows both; what is reported is the ratio of their times, the median over rounds, and the largest
difference of an out-of-fold accuracy. scikit-learn's default tolerance stops weakly penalised fits
far from their optimum. Its time is that of the default; accuracies are compared with both the
default and, run once, `CONVERGED`.

scikit-learn runs a subset: some sites, and some of each label's controls. Its time is scaled to
all sites and controls, which are of the same size and kind, labels and controls apart. The sizes
that the issue names are 37 layers x 8 slots:

    python -m benchmarks.probing --samples 2000 --dim 2048 --sites 296 --rounds 1
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.circumstances import circumstances
from experiments.console import console, run_main
from lantern_probe.errors import LanternError
from lantern_probe.probing import HeldOut, grid_predict, group_folds
from lantern_probe.records.json_files import write_json

CLASSES = {"colour": 8, "shape": 6, "cell": 9, "letter": 4}
STRENGTH = {"colour": 0.3, "shape": 0.15, "cell": 0.08, "letter": 0.0}
"""How far a label moves the features, in units of their standard deviation."""
CS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

CONVERGED = 1e-6
"""scikit-learn's `tol` at which its accuracies no longer change; 1e-4 is its default."""


@dataclass(frozen=True)
class Config:
    """Probes of many labels and controls, by scikit-learn pipelines and stacked: how fast?"""

    samples: int = 600
    """Samples; every second one is of the same image as the one before."""
    dim: int = 1024
    """Hidden size."""
    sites: int = 1
    """Sites (layers x slots) that the stacked way runs."""
    controls: int = 20
    """Permutations of each label."""
    folds: int = 5
    """Folds by image."""
    sklearn_sites: int = 1
    """Sites that scikit-learn runs; its time is scaled to all."""
    sklearn_controls: int = 1
    """Controls of each label that scikit-learn runs; their time is scaled to all."""
    max_iter: int = 5000
    """Iterations that scikit-learn may take; at its default of 100 some fits stop early."""
    rounds: int = 3
    """Rounds, each running both ways in turn."""
    threads: int = 1
    """Threads of torch, and of scikit-learn's BLAS and OpenMP."""
    device: str = "cpu"
    """Where the stacked way runs."""
    seed: int = 0
    """Of features, labels, controls and folds."""
    output: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class Data:
    """Features of every site [n, dim]; each label with its controls [1 + controls, n]; folds."""

    sites: list[Tensor]
    labels: dict[str, Tensor]
    folds: Tensor


def make_data(config: Config) -> Data:
    """Features whose variance falls off along random axes, with three of four labels in them."""
    rng = np.random.default_rng(config.seed)
    images = np.arange(config.samples) // 2
    labels = {name: rng.integers(0, k, config.samples) for name, k in CLASSES.items()}
    decay = np.arange(1, config.dim + 1) ** -0.5
    sites = []
    for _ in range(config.sites):
        axes = rng.normal(size=(config.dim, config.dim)) * decay[:, None]
        features = rng.normal(size=(config.samples, config.dim)) @ axes
        features /= features.std()
        for name, k in CLASSES.items():
            features += STRENGTH[name] * rng.normal(size=(k, config.dim))[labels[name]]
        scales, offsets = rng.lognormal(size=config.dim), rng.normal(size=config.dim)
        sites.append(torch.tensor((features + offsets) * scales, dtype=torch.float32))
    with_controls = {
        name: torch.tensor(
            np.stack([own] + [own[rng.permutation(len(own))] for _ in range(config.controls)])
        )
        for name, own in labels.items()
    }
    folds = group_folds(images, config.folds, with_controls["colour"][0], config.seed)
    return Data(sites, with_controls, folds)


def stacked_way(data: Data, device: str) -> list[HeldOut]:
    """All problems of a site together, site by site; results [Cs, problems, samples]."""
    problems = torch.cat(list(data.labels.values()))
    found = []
    for site in track(data.sites, "stacked", console=console, transient=True):
        held = grid_predict(site.to(device), problems, data.folds, CS)
        found.append(HeldOut(held.predicted.cpu(), held.logprobs.cpu()))
    return found


@dataclass(frozen=True)
class Loop:
    """What the loop of pipelines found: accuracy [Cs] by (site, label, control), and its times."""

    accuracy: dict[tuple[int, str, int], Tensor]
    own_s: float
    controls_s: float
    fits: int
    unconverged: int


def sklearn_way(data: Data, config: Config, tol: float) -> Loop:
    """One pipeline for every combination, for a subset of sites and controls."""
    folds = data.folds.numpy()
    accuracy, times, fits, unconverged = {}, {True: 0.0, False: 0.0}, 0, 0
    jobs = [
        (site, name, problem)
        for site in range(config.sklearn_sites)
        for name in CLASSES
        for problem in range(1 + config.sklearn_controls)
    ]
    for site, name, problem in track(jobs, "scikit-learn", console=console, transient=True):
        x, y = data.sites[site].numpy(), data.labels[name][problem].numpy()
        right = torch.zeros(len(CS), dtype=torch.float64)
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            for step, C in enumerate(CS):
                for fold in range(config.folds):
                    train, test = folds != fold, folds == fold
                    model = make_pipeline(
                        StandardScaler(),
                        LogisticRegression(C=C, tol=tol, max_iter=config.max_iter),
                    ).fit(x[train], y[train])
                    right[step] += int((model.predict(x[test]) == y[test]).sum())
        times[problem == 0] += time.perf_counter() - started
        fits += len(CS) * config.folds
        unconverged += len(caught)
        accuracy[site, name, problem] = right / len(y)
    return Loop(accuracy, times[True], times[False], fits, unconverged)


def differences(data: Data, stacked: list[HeldOut], loop: Loop) -> list[float]:
    """Accuracy of the stacked way minus the loop's, in points, of all that both have run."""
    problems = torch.cat(list(data.labels.values()))
    first, found = {}, []
    for name, labels in data.labels.items():
        first[name] = sum(len(data.labels[other]) for other in first)
        assert torch.equal(problems[first[name]], labels[0])
    for (site, name, problem), expected in loop.accuracy.items():
        accuracy = stacked[site].accuracy(problems)[:, first[name] + problem]
        found += (100 * (accuracy - expected)).tolist()
    return found


def check(config: Config) -> None:
    """Refuse sizes that leave nothing to compare."""
    if not 1 <= config.sklearn_sites <= config.sites:
        raise LanternError(f"--sklearn-sites must lie between 1 and the {config.sites} sites")
    if not 1 <= config.sklearn_controls <= config.controls:
        raise LanternError(f"--sklearn-controls must lie between 1 and {config.controls}")


def main(config: Config) -> int:
    """Run both ways and print and write the figures; 1 when an accuracy is a point off."""
    check(config)
    torch.set_num_threads(config.threads)
    data = make_data(config)
    with threadpool_limits(config.threads):
        converged = sklearn_way(data, config, CONVERGED)
    rounds = []
    for _ in range(config.rounds):
        started = time.perf_counter()
        stacked = stacked_way(data, config.device)
        stacked_s = time.perf_counter() - started
        with threadpool_limits(config.threads):
            loop = sklearn_way(data, config, LogisticRegression().tol)
        controls_s = loop.controls_s * config.controls / config.sklearn_controls
        sklearn_s = (loop.own_s + controls_s) * config.sites / config.sklearn_sites
        rounds.append(
            {
                "stacked_s": stacked_s,
                "sklearn_run_s": loop.own_s + loop.controls_s,
                "sklearn_scaled_s": sklearn_s,
                "ratio": sklearn_s / stacked_s,
            }
        )
    off = differences(data, stacked, converged)
    off_default = differences(data, stacked, loop)
    fits = config.sites * len(CLASSES) * (1 + config.controls) * len(CS) * config.folds
    figures = {
        "ratio": statistics.median(r["ratio"] for r in rounds),
        "largest_difference_points": max(abs(value) for value in off),
        "mean_difference_points": statistics.fmean(off),
        "largest_difference_from_default_points": max(abs(value) for value in off_default),
        "mean_difference_from_default_points": statistics.fmean(off_default),
        "accuracies_compared": len(off),
        "rounds": rounds,
        "fits": fits,
        "fits_run_by_sklearn": loop.fits,
        "fits_unconverged_in_sklearn": converged.unconverged,
        "converged_s_per_default_s": (converged.own_s + converged.controls_s)
        / (loop.own_s + loop.controls_s),
        "classes": CLASSES,
        "Cs": CS,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        **circumstances("probing", config, ("torch", "scikit-learn", "numpy")),
    }
    console.print(
        f"the stacked way is {figures['ratio']:.1f} times as fast as a loop of pipelines "
        f"({fits} fits, of which scikit-learn ran {loop.fits}); accuracies differ by at most "
        f"{figures['largest_difference_points']:.2f} points from converged ones, by "
        f"{figures['largest_difference_from_default_points']:.2f} from those of its default tol"
    )
    if config.output is not None:
        write_json(config.output, figures)
    return 0 if figures["largest_difference_points"] <= 1 else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
