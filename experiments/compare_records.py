"""Compare conditions from official result files or from runs.

    python -m experiments.compare_records own/blink.json zeros/blink.json random/blink.json
    python -m experiments.compare_records runs/sft --reference own
    python -m experiments.compare_records runs/sft --against runs/rl
    python -m experiments.compare_records runs/sft runs/rl runs/cuts --reference own

A file is a JSON list with one object per sample (id, or img_path and question; label;
prediction), one file per condition. A folder is a run with run.json and rows.jsonl, with all its
conditions. Several runs with a --reference are one family: every condition is compared with the
reference of its own run, and all p values are adjusted together. No model is needed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lantern_probe.errors import LanternError

from .audits import say_doubted, write_lines
from .console import console, run_main
from .families import FamilyRun, load_family, plan_notes
from .inputs import Parser

if TYPE_CHECKING:
    from lantern_probe.analysis.comparison import CompareSettings, Comparison
    from lantern_probe.records.rows import Row

COMMAND = "compare_records"


@dataclass(frozen=True)
class Config:
    """Compare conditions from official result files or from runs."""

    records: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Result files, one per condition, and folders of runs, with all their conditions."""
    names: tuple[str, ...] = ()
    """Conditions of the result files, in their order; by default from file or folder names."""
    against: tuple[Path, ...] = ()
    """Other files or runs: every condition is compared with the one of the same name there."""
    reference: str | None = None
    """Condition that every other one is compared with; by default all pairs are compared. Of
    several runs, each is compared with its own reference, and all of them are one family."""
    conditions: tuple[str, ...] = ()
    """Conditions of several runs that are compared with the reference, RUN/CONDITION for one run
    alone; by default all of them."""
    parser: Parser = "default"
    """Parser of the answers: default reads letters and words, official and strict read
    letters as the published evaluations did, and installed packages may add more. On the published
    files of LVR-7B these three give the same counts. Files keep their texts, and the rows of a run
    the readings of all three."""
    margin: float = 0.02
    """Largest difference of two accuracies, as a fraction, that is called equivalent; to be fixed
    before the results are seen."""
    alpha: float = 0.05
    """Level of the tests; intervals have level 1 - alpha."""
    power: float = 0.8
    """Power at which the minimum detectable difference (MDE) is computed."""
    cluster: str = "cluster"
    """Field of the records whose value dependent samples share. In files it is the img_path, or the
    sample itself."""
    every_sample: bool = False
    """Keep the samples of runs without a latent block, on which conditions on slots do nothing."""
    resamples: int = 10_000
    """Number of bootstrap resamples of the log-odds, and of drawn permutations."""
    seed: int = 0
    """Seed of the bootstrap and of the permutations."""
    output: Path = Path("runs/compare_records")
    """Folder for comparison.json, discordant.jsonl and differences.png."""


@dataclass(frozen=True)
class Side:
    """Conditions on one side of a comparison, with a label and notes."""

    label: str
    conditions: dict[str, list[Row]]
    notes: list[str]


def load_side(paths: Sequence[Path], names: Sequence[str], config: Config) -> Side:
    """Read files and runs as conditions.

    Raises:
        LanternError: one cannot be read, or two conditions have the same name.
    """
    from lantern_probe.records.official import condition_names, read_published

    files = [path for path in paths if not path.is_dir()]
    folders = [path for path in paths if path.is_dir()]
    if names and len(names) != len(files):
        raise LanternError(f"{len(names)} --names for {len(files)} result files")
    found: list[tuple[str, list[Row]]] = []
    notes: list[str] = []
    told: dict[str, list[str]] = {}
    if files:
        for file in read_published(files, names=names or None, parser=config.parser):
            found.append((file.condition, list(file.rows)))
            for note in file.notes:  # most hold for every file
                told.setdefault(note, []).append(file.condition)
        notes += [f"{', '.join(conditions)}: {note}" for note, conditions in told.items()]
    for folder, prefix in zip(folders, condition_names(folders), strict=True):
        rows, more = load_run(folder, config)
        notes += more
        for condition in dict.fromkeys(str(row["condition"]) for row in rows):
            name = condition if len(folders) == 1 else f"{prefix}/{condition}"
            found.append((name, [row for row in rows if str(row["condition"]) == condition]))
    doubled = [name for name, times in Counter(name for name, _ in found).items() if times > 1]
    if doubled:
        raise LanternError(f"two conditions are called {doubled[0]!r}; tell them apart by --names")
    return Side(paths[0].name or str(paths[0]), dict(found), notes)


def load_run(folder: Path, config: Config) -> tuple[list[Row], list[str]]:
    """Read the rows of a run that are to be compared, and notes on them.

    Raises:
        LanternError: it is no run, has no rows, or the parser cannot read its answers.
    """
    from lantern_probe.records.rows import read_manifest, read_rows, refuse_passes, reread

    rows = read_rows(folder)
    refuse_passes(rows, f"'{folder}': a comparison of records")
    if not rows:
        raise LanternError(f"the run in '{folder}' has no rows yet")
    if config.parser != read_manifest(folder)["config"].get("parser", "default"):
        rows = [reread(row, config.parser, folder) for row in rows]
    # A condition that acts on blocks the text lacks did nothing there: there is no comparison.
    rows = [row for row in rows if row.get("acted", True)]
    notes = plan_notes(folder, rows, config.margin)
    without = {row["sample"] for row in rows if row["status"] == "ok" and not row["emitted"]}
    if not without or config.every_sample:
        return rows, notes
    note = (
        f"{folder}: {len(without)} of {len({row['sample'] for row in rows})} samples have no "
        "latent block and are left out; --every-sample keeps them"
    )
    return [row for row in rows if row["sample"] not in without], [*notes, note]


def joined(here: Side, there: Side) -> tuple[Side, list[tuple[str, str]]]:
    """Join both sides, and pair the conditions of equal name.

    Raises:
        LanternError: no condition occurs on both sides.
    """
    if len(here.conditions) == len(there.conditions) == 1:
        both = list(zip(here.conditions, there.conditions, strict=True))
    else:
        both = [(name, name) for name in here.conditions if name in there.conditions]
    if not both:
        raise LanternError(
            f"no condition is on both sides: {', '.join(here.conditions)} here, "
            f"{', '.join(there.conditions)} in --against"
        )
    one, two = here.label, there.label
    if one == two:
        one, two = f"1:{one}", f"2:{two}"
    conditions = {f"{one}/{name}": here.conditions[name] for name, _ in both}
    conditions |= {f"{two}/{name}": there.conditions[name] for _, name in both}
    notes = [f"{one}: {note}" for note in here.notes] + [f"{two}: {note}" for note in there.notes]
    for label, side, place in ((one, here, 0), (two, there, 1)):
        alone = [name for name in side.conditions if name not in {pair[place] for pair in both}]
        if alone:
            notes.append(f"only in {label}: {', '.join(alone)}")
    return Side("", conditions, notes), [(f"{one}/{a}", f"{two}/{b}") for a, b in both]


def chosen_pairs(names: Sequence[str], reference: str | None) -> list[tuple[str, str]]:
    """The pairs of conditions to compare: all of them, or each with the reference.

    Raises:
        LanternError: there are fewer than two, or the reference is none of them.
    """
    if len(names) < 2:
        raise LanternError(
            f"there is nothing to compare {names[0]!r} with; give another file or --against"
        )
    if reference is None:
        return list(combinations(names, 2))
    if reference not in names:
        raise LanternError(f"--reference {reference!r} is none of {', '.join(names)}")
    return [(reference, name) for name in names if name != reference]


def audit_pairs(side: Side, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Collect every discordant pair of texts as it was read, and say how many are in doubt."""
    from lantern_probe.analysis.discordant import as_records, discordant_pairs, in_doubt

    records: list[dict[str, Any]] = []
    for one, two in pairs:
        found = discordant_pairs(side.conditions[one], side.conditions[two])
        records += as_records(found, pair=[one, two])
        say_doubted(f"{one} - {two}", in_doubt(found), len(found))
    return records


def write_output(
    config: Config,
    comparison: Comparison,
    audit: Sequence[dict[str, Any]],
    family: Sequence[FamilyRun] = (),
) -> None:
    """Write `comparison.json`, with all figures and their provenance, and draw the forest plot.

    Every discordant pair of texts goes to `discordant.jsonl`.

    Raises:
        LanternError: the folder cannot be written.
    """
    from lantern_probe.analysis.verdict import read_pair
    from lantern_probe.plots.comparison import comparison_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import explained, to_plain, write_json
    from lantern_probe.records.provenance import provenance

    from .tables import family as tables

    with explained(config.output):
        config.output.mkdir(parents=True, exist_ok=True)
    record = to_plain(comparison, "comparison") | {"family": {"size": len(comparison.pairs)}}
    if family:
        record["family"]["runs"] = tables.family_records(family)
    for pair, plain in zip(comparison.pairs, record["pairs"], strict=True):
        plain["reading"] = read_pair(pair, comparison)
    write_lines(config.output / "discordant.jsonl", audit)
    record = {"experiment": COMMAND, **provenance(), "config": config, **record}
    write_json(config.output / "comparison.json", record)
    save_figure(comparison_figure(comparison), config.output / "differences.png")
    console.print(
        f"comparison.json, discordant.jsonl and differences.png are in {config.output}",
        markup=False,
        soft_wrap=True,
    )


def check(config: Config) -> None:
    """Refuse numbers out of their range, and flags that exclude each other.

    Raises:
        LanternError: naming the flag.
    """
    if not config.records:
        raise LanternError("give at least one result file or the folder of a run")
    if config.against and config.reference is not None:
        raise LanternError("give --reference or --against, not both")
    if config.conditions and not is_family(config):
        raise LanternError("--conditions are those of several runs with a --reference")
    for flag in ("margin", "alpha", "power"):
        if not 0 < getattr(config, flag) < 1:
            raise LanternError(f"--{flag} lies between 0 and 1, not at {getattr(config, flag)}")
    if config.resamples < 1:
        raise LanternError(f"--resamples must be at least 1, not {config.resamples}")
    if config.seed < 0:
        raise LanternError(f"--seed must be at least 0, not {config.seed}")
    for path in (*config.records, *config.against):
        if not path.exists():
            raise LanternError(f"there is no result file or run '{path}'")


def main(config: Config) -> int:
    """Read, compare and show the conditions."""
    from lantern_probe.tasks.answers import check_parser

    check(config)
    check_parser(config.parser)
    if is_family(config):
        return show_family(config)
    side = load_side(config.records, config.names, config)
    if config.against:
        names = config.names if len(config.names) == len(config.against) else ()
        side, pairs = joined(side, load_side(config.against, names, config))
    else:
        pairs = chosen_pairs(list(side.conditions), config.reference)

    from lantern_probe.analysis.comparison import compare

    from .tables import comparison as tables

    with console.status("comparing"):
        comparison = compare(side.conditions, pairs, settings_of(config))
    comparison = with_notes(config, comparison, side.notes)
    tables.print_conditions(comparison.conditions, comparison.settings, console)
    show_pairs(comparison)
    write_output(config, comparison, audit_pairs(side, pairs))
    return 0


def settings_of(config: Config) -> CompareSettings:
    """The settings of the comparison."""
    from lantern_probe.analysis.comparison import CompareSettings

    return CompareSettings(
        margin=config.margin,
        alpha=config.alpha,
        power=config.power,
        cluster=config.cluster,
        resamples=config.resamples,
        seed=config.seed,
    )


def with_notes(config: Config, comparison: Comparison, notes: Sequence[str]) -> Comparison:
    """The comparison with notes on the records before its own."""
    read = f"answers are read by the {config.parser} parser"
    return replace(comparison, notes=(read, *notes, *comparison.notes))


def show_pairs(comparison: Comparison) -> None:
    """Print every pair, with what could not be parsed, the log-odds and the reading."""
    from .tables import comparison as tables

    tables.print_pairs(comparison, console)
    tables.print_parsing(comparison.pairs, console)
    tables.print_log_odds(comparison.pairs, console)
    tables.print_reading(comparison, console)


def is_family(config: Config) -> bool:
    """True for several runs with a reference, which are compared as one family."""
    several = len(config.records) > 1 and all(path.is_dir() for path in config.records)
    return several and config.reference is not None


def show_family(config: Config) -> int:
    """Compare several runs as one family, and show it."""
    from lantern_probe.analysis.family import compare_family

    from .tables import comparison as tables
    from .tables.family import print_family

    assert config.reference is not None
    load = partial(load_run, config=config)
    runs, notes = load_family(config.records, config.reference, config.conditions, load)
    with console.status("comparing"):
        conditions = {run.name: run.conditions for run in runs}
        chosen = {run.name: run.compared for run in runs}
        family = compare_family(conditions, config.reference, settings_of(config), chosen)
    comparison = with_notes(config, family.comparison, notes)
    print_family(runs, family, console)
    for member in family.members:
        tables.print_conditions(member.reports, comparison.settings, console)
    show_pairs(comparison)
    every = {
        f"{run.name}/{label}": list(rows) for run in runs for label, rows in run.conditions.items()
    }
    pairs = [(pair.first, pair.second) for pair in comparison.pairs]
    write_output(config, comparison, audit_pairs(Side("", every, []), pairs), runs)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
