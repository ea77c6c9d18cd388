"""Evaluate readings on organisms of known truth: how often is one wrong?

    python -m experiments.exchange_latents --model faithful bypass --samples 1000 --subsets 0 \\
        --conditions own self-swap twin twin-oracle oracle mask skip ban --output runs/pools
    python -m experiments.evaluate_readings runs/pools/faithful runs/pools/bypass

Each run is a pool of pairs of one organism. Evaluations are drawn from it with replacement, and
read in two looks as `diagnose` does. Shown are the readings, right, undecided and wrong, and the
bias and the coverage of *follows*. A pool with two categories of questions is also drawn as
mixtures of them (`--shares`), whose truth is what the pool measures.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lantern_probe.errors import LanternError

from .console import console, print_table, progress_bar, run_main, titled_table

if TYPE_CHECKING:
    from lantern_probe.analysis.calibration import Calibration

EXPECTED: dict[str, tuple[str, ...]] = {
    "faithful": ("faithful",),
    "ordered": ("faithful",),
    "halves": ("faithful",),
    "bypass": ("bypass",),
    "distractor": ("bypass",),
    "collapsed": ("collapsed",),
    "question-only": ("collapsed",),
    "vanilla": ("redundant",),
    "format-only": ("format only",),
    "markers-only": ("markers only",),
    "weak": ("weak",),
}
"""Right readings by kind of organism (docs/methods.md, The conclusion)."""


@dataclass(frozen=True)
class Config:
    """Evaluate readings on organisms of known truth: how often is one wrong?"""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs on pairs of twins, each of one organism."""
    n: tuple[int, ...] = (64, 128, 256)
    """Pairs of an evaluation."""
    draws: int = 200
    """Evaluations of each size."""
    shares: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT")] = field(
        default=(0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    )
    """Shares of the second category of questions, in alphabetical order, in mixtures."""
    seed: int = 0
    """Seed of the draws."""
    output: Path = Path("runs/evaluate_readings")
    """Folder of readings.json."""


def expected(model: str, truth: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """The right readings of an organism, or of a mixture of its two categories.

    Args:
        model: Name of the organism, its seed behind a hyphen allowed.
        truth: Values of the estimands in a mixture; None (default) for another organism.

    Raises:
        LanternError: nothing is known of such an organism.
    """
    if truth is not None:
        weak = model.partition("-")[0] == "weak"
        share = truth["sees" if weak else "follows"]
        if share >= 0.85:
            return ("faithful",)
        some, none = ("weak", "collapsed") if weak else ("partial", "bypass")
        if share >= 0.75:
            return ("faithful", some)
        return (some,) if share > 0.05 else (none,)
    for name, readings in EXPECTED.items():
        if model == name or model.startswith(f"{name}-"):
            return readings
    raise LanternError(f"no reading is known to be right for {model!r}: {', '.join(EXPECTED)}")


def main(config: Config) -> int:
    """Draw and read evaluations, and write them; 1 if a reading is wrong."""
    if not config.runs:
        raise LanternError("give at least one folder of a run")
    for flag, numbers in (("--n", config.n), ("--draws", (config.draws,))):
        if not numbers or min(numbers) < 1:
            raise LanternError(f"{flag} must be at least 1")
    if any(not 0 <= share <= 1 for share in config.shares):
        raise LanternError("--shares lie between 0 and 1")
    from lantern_probe.analysis.calibration import Pool, calibrate
    from lantern_probe.analysis.pair_units import pair_units
    from lantern_probe.records.json_files import write_json
    from lantern_probe.records.rows import read_manifest, read_rows

    found: list[tuple[Calibration, tuple[str, ...], int]] = []
    with progress_bar() as progress:
        for folder in config.runs:
            model = Path(str(read_manifest(folder)["config"].get("model", folder.name))).name
            pool = Pool(model, pair_units(read_rows(folder)))
            mixed = len(pool.categories) == 2
            shares = [None if not mixed else 1 - share for share in config.shares]
            bar = progress.add_task(model, total=len(config.n) * (len(shares) if mixed else 1))
            for n in config.n:
                for share in shares if mixed else (None,):
                    one = calibrate(pool, n, draws=config.draws, share=share, seed=config.seed)
                    right = expected(model, pool.truth(share) if mixed else None)
                    found.append((one, right, pool.pairs))
                    progress.advance(bar)
    show([(one, right) for one, right, _ in found])
    records = [
        {**asdict(one), "right": list(right), "pool": size, **counted(one, right)}
        for one, right, size in found
    ]
    config.output.mkdir(parents=True, exist_ok=True)
    write_json(config.output / "readings.json", records)
    console.print(f"readings.json is in {config.output}", markup=False)
    return 1 if any(record["wrong"] for record in records) else 0


def counted(one: Calibration, right: Sequence[str]) -> dict[str, int]:
    """Numbers of evaluations that were read right, were undecided, and were read wrong."""
    hits = sum(one.readings.get(word, 0) for word in right)
    open_ = one.readings.get("undecided", 0)
    return {"hits": hits, "undecided": open_, "wrong": one.draws - hits - open_}


def show(found: Sequence[tuple[Calibration, Sequence[str]]]) -> None:
    """Print a line for each pool, mixture and size."""
    from rich.markup import escape

    from lantern_probe.analysis.format import number

    table = titled_table("readings of evaluations drawn from pools")
    for name in ("organism", "follows", "n", "right", "undecided", "wrong", "which"):
        table.add_column(name, overflow="fold")
    for name in ("bias", "coverage"):
        table.add_column(name, justify="right", overflow="fold")
    for one, right in found:
        counts = counted(one, right)
        follows: Any = next((e for e in one.estimands if e.name == "follows"), None)
        wrong = {w: n for w, n in one.readings.items() if w not in (*right, "undecided")}
        table.add_row(
            escape(one.name),
            number(follows.truth) if follows else "-",
            str(one.n),
            *(str(counts[key]) for key in ("hits", "undecided", "wrong")),
            ", ".join(f"{w} {n}" for w, n in wrong.items()) or "-",
            number(follows.bias, signed=True) if follows else "-",
            number(follows.coverage) if follows else "-",
        )
    print_table(table)
    console.print(
        "right, undecided, wrong: numbers of evaluations; bias and coverage of the 95 % interval "
        "are those of follows, after all pairs",
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
