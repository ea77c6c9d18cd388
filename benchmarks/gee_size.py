"""Size of the second opinion by GEE where two conditions are equally often right.

    python -m benchmarks.gee_size --output benchmarks/results/gee_size-cpu.json

Every image has a normal effect on the log-odds of a right answer, every question another one, and
both conditions answer by the same odds, independently: the null holds. Printed is the fraction of
draws with p <= .05, with its 95 % Wilson interval, by number of images, questions of each and
accuracy; and the fraction in which no model can be fitted (an accuracy of 0 or 1, no discordance).
Beside it is the same fraction for the test of the tables: exact McNemar, or sign flips of images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.circumstances import circumstances
from experiments.console import console, print_table, progress_bar, run_main, titled_table
from lantern_probe.analysis.format import estimate, number
from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import write_json
from lantern_probe.stats import Proportion, accuracy_test, gee_test, wilson


@dataclass(frozen=True)
class Config:
    """Size of the second opinion by GEE where two conditions are equally often right."""

    clusters: tuple[int, ...] = (20, 40, 100)
    """Numbers of images."""
    questions: tuple[int, ...] = (1, 4)
    """Questions asked of each image."""
    log_odds: tuple[float, ...] = (0.0, 2.2)
    """Log-odds of a right answer at effects of 0; 2.2 is .9."""
    spread: float = 1.0
    """Standard deviation of the effect of an image, and of a question, on the log-odds."""
    draws: int = 1_000
    """Data sets of each kind."""
    level: float = 0.05
    """Level of the tests."""
    seed: int = 0
    """Seed of the draws."""
    output: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class Size:
    """Rejections of a true null in one kind of data."""

    images: int
    questions: int
    log_odds: float
    accuracy: float
    gee: Proportion
    tables: Proportion
    refused: float


def measure(config: Config, images: int, questions: int, log_odds: float) -> Size:
    """The size of both tests in one kind of data."""
    rng = np.random.default_rng([config.seed, images, questions, round(100 * log_odds)])
    units = np.repeat(np.arange(images), questions)
    rejected = flipped = refused = 0
    right = 0.0
    for draw in range(config.draws):
        effect = config.spread * (rng.normal(size=images)[units] + rng.normal(size=len(units)))
        chance = 1 / (1 + np.exp(-log_odds - effect))
        one, two = (rng.random(len(units)) < chance for _ in range(2))
        right += float(one.mean()) / config.draws
        test = accuracy_test(one, two, units, resamples=999, seed=draw)
        flipped += test.p <= config.level
        try:
            rejected += gee_test(one, two, units).p <= config.level
        except LanternError:
            refused += 1
    fitted = config.draws - refused
    return Size(
        images,
        questions,
        log_odds,
        right,
        wilson(rejected, fitted),
        wilson(flipped, config.draws),
        refused / config.draws,
    )


def main(config: Config) -> int:
    """Measure, print and write the sizes."""
    kinds = list(product(config.clusters, config.questions, config.log_odds))
    found = []
    with progress_bar() as progress:
        bar = progress.add_task("kinds of data", total=len(kinds))
        for images, questions, log_odds in kinds:
            found.append(measure(config, images, questions, log_odds))
            progress.advance(bar)
    table = titled_table(f"rejections at {config.level:g} under the null, {config.draws} draws")
    for name in ("images", "questions", "accuracy", "GEE", "refused", "test of the tables"):
        table.add_column(name, justify="right", no_wrap=True)
    for size in found:
        table.add_row(
            str(size.images),
            str(size.questions),
            number(size.accuracy),
            estimate(size.gee),
            number(size.refused),
            estimate(size.tables),
        )
    print_table(table)
    if config.output is not None:
        packages = ("numpy", "scipy", "statsmodels")
        record: dict[str, Any] = {"sizes": found, **circumstances("gee_size", config, packages)}
        write_json(config.output, record)
        console.print(f"written to {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
