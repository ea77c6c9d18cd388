"""Evaluate readings on organisms of known truth: how often is one wrong?

    python -m experiments.exchange_latents --model faithful bypass --samples 4000 --subsets 0 \\
        --conditions own self-swap twin twin-oracle oracle mask skip ban --output runs/exchanged
    python -m experiments.write_pools runs/exchanged/faithful runs/exchanged/bypass
    python -m experiments.evaluate_readings runs/pools

Each source is a pool of pairs of one organism: a run, a table that write_pools made, or a folder of
tables. Evaluations are drawn from it with replacement, and read in two looks as `diagnose` does.
Shown are the readings, right, undecided and wrong, and the bias and the coverage of *follows*;
`coverage.csv` has those of every estimand. A pool with two categories of questions is also drawn as
mixtures of them (`--shares`), whose truth is what the pool measures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lantern_probe.errors import LanternError

from .console import console, print_table, progress_bar, run_main, titled_table

if TYPE_CHECKING:
    from lantern_probe.analysis.calibration import Calibration, Pool

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

COVERAGE = (
    *("organism", "share", "n", "estimand", "truth", "draws"),
    *("bias", "bias_error", "coverage", "coverage_error", "together"),
)
"""Columns of coverage.csv: `share` is that of the second category in a mixture, `draws` the number
of evaluations with a value, and `together` the coverage of the simultaneous interval."""


@dataclass(frozen=True)
class Config:
    """Evaluate readings on organisms of known truth: how often is one wrong?"""

    pools: tyro.conf.Positional[tuple[Path, ...]]
    """Pools of one organism each: folders of runs on pairs of twins, tables, folders of tables."""
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
    """Folder of readings.json and coverage.csv."""


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
    if not config.pools:
        raise LanternError("give at least one pool: a folder of a run, or a table")
    for flag, numbers in (("--n", config.n), ("--draws", (config.draws,))):
        if not numbers or min(numbers) < 1:
            raise LanternError(f"{flag} must be at least 1")
    if any(not 0 <= share <= 1 for share in config.shares):
        raise LanternError("--shares lie between 0 and 1")
    sources = list(find_pools(config.pools))
    from lantern_probe.analysis.calibration import calibrate
    from lantern_probe.records.json_files import explained, write_json

    with explained(config.output):
        config.output.mkdir(parents=True, exist_ok=True)
    found: list[tuple[Calibration, tuple[str, ...], int]] = []
    with progress_bar() as progress:
        for source in sources:
            pool = load_pool(source)
            mixed = len(pool.categories) == 2
            shares = [None if not mixed else 1 - share for share in config.shares]
            bar = progress.add_task(pool.name, total=len(config.n) * (len(shares) if mixed else 1))
            for n in config.n:
                for share in shares if mixed else (None,):
                    one = calibrate(pool, n, draws=config.draws, share=share, seed=config.seed)
                    right = expected(pool.name, pool.truth(share) if mixed else None)
                    found.append((one, right, pool.pairs))
                    progress.advance(bar)
    records = [record(one, right, size) for one, right, size in found]
    write_json(config.output / "readings.json", records)
    write_coverage([one for one, _, _ in found], config.output / "coverage.csv")
    show([(one, right) for one, right, _ in found])
    from .tables.readings import print_confusion

    print_confusion(records, max(config.n), console)
    console.print(f"readings.json and coverage.csv are in {config.output}", markup=False)
    return 1 if any(one["wrong"] for one in records) else 0


def find_pools(given: Sequence[Path]) -> Iterator[Path]:
    """Runs and tables among what is given; a folder without a run stands for its tables.

    Raises:
        LanternError: something is neither.
    """
    from lantern_probe.analysis.battery import POOL_SUFFIX
    from lantern_probe.records.rows import MANIFEST

    for path in given:
        if not path.exists():
            raise LanternError(f"there is no run or table {str(path)!r}")
        if path.is_file() and not path.name.endswith(POOL_SUFFIX):
            raise LanternError(f"{str(path)!r} is no table of a pool: give NAME{POOL_SUFFIX}")
        if path.is_file() or (path / MANIFEST).is_file():
            yield path
            continue
        tables = sorted(path.glob(f"*{POOL_SUFFIX}"))
        if not tables:
            raise LanternError(
                f"{str(path)!r} holds neither a run ({MANIFEST}) nor tables (NAME{POOL_SUFFIX})"
            )
        yield from tables


def load_pool(source: Path) -> Pool:
    """The pool of a run or of a table; its name is that of the model.

    Raises:
        LanternError: the source is neither, or has no pairs.
    """
    from lantern_probe.analysis.battery import POOL_SUFFIX
    from lantern_probe.analysis.calibration import Pool
    from lantern_probe.analysis.pair_units import pair_units
    from lantern_probe.analysis.pool_tables import read_pool
    from lantern_probe.records.rows import read_manifest, read_rows

    if source.is_file():
        name, rows = source.name.removesuffix(POOL_SUFFIX), read_pool(source)
    else:
        name, rows = model_of(read_manifest(source), source), read_rows(source)
    try:
        return Pool(name, pair_units(rows))
    except LanternError as error:
        raise LanternError(f"{str(source)!r}: {error}") from None


def model_of(manifest: Mapping[str, Any], folder: Path) -> str:
    """Name of a run's model, without the folders before it; the run's own where it says none."""
    return Path(str(manifest["config"].get("model", folder.name))).name


def record(one: Calibration, right: Sequence[str], size: int) -> dict[str, Any]:
    """The entry of one cell in readings.json."""
    follows = next((e for e in one.estimands if e.name == "follows"), None)
    return {
        "name": one.name,
        "share": None if one.share is None else round(1 - one.share, 4),
        "follows": None if follows is None else round(follows.truth, 4),
        "n": one.n,
        "draws": one.draws,
        "pool": size,
        "right": list(right),
        "readings": dict(sorted(one.readings.items())),
        **counted(one, right),
        "stopped": one.stopped,
        "together": round(one.together, 4),
    }


def write_coverage(found: Sequence[Calibration], path: Path) -> None:
    """Write the bias and the coverage of every estimand, a line for each cell."""
    import csv
    import io

    from lantern_probe.records.json_files import replace_file

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COVERAGE)
    for one in found:
        share = "" if one.share is None else round(1 - one.share, 4)
        for e in one.estimands:
            numbers = (e.bias, e.bias_error, e.coverage, e.coverage_error, e.together)
            shown = ["" if x is None else f"{x:.4f}" for x in numbers]
            writer.writerow([one.name, share, one.n, e.name, f"{e.truth:.4f}", e.draws, *shown])
    replace_file(path, text.getvalue().encode())


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
