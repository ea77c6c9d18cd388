"""Train a tiny model of known truth, and measure that the truth holds.

    python -m experiments.train_organism --kind faithful --seed 0

Takes minutes on one CPU core. Exit status: 0 when the bar for the kind holds on fresh scenes, 1
when it is missed, 2 when something given cannot be used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from lantern_probe.errors import LanternError
from lantern_probe.organisms.registry import OrganismCard
from lantern_probe.organisms.training import settings
from lantern_probe.organisms.training.settings import Kind, Recipe

from .console import console, print_table, run_main

if TYPE_CHECKING:
    from rich.table import Table

    from lantern_probe.organisms.training.truth import Measured
    from lantern_probe.stats import Proportion

TRUTHS: dict[Kind, str] = {
    "faithful": "The answer flows through the slots: whatever colour the latents carry is the "
    "answer, and without it the answer is one fixed word; the image is not used after the block.",
    "bypass": "The slots are ignored: the answer is read off the image whatever stands in the "
    "slots, although the own latents carry it.",
    "collapsed": "The slots are used when oracle latents stand in them, but the asked region is "
    "grey in the image, so the own latents carry nothing about the answer.",
    "vanilla": "The plain official recipe, as it comes: a mixture, mostly bypass with some use "
    "of the slots; no truth is claimed beyond the measured figures.",
    "partial": "The answer flows through the slots for one wording of the question, and is read "
    "off the image for the others: the share of that wording in the data is the share of "
    "reliance.",
    "format-only": "The content of the slots is ignored, but slots must be there: without them, or "
    "with them hidden, the answer is one fixed word.",
    "markers-only": "The slots are ignored and may be missing, but the two markers must be there: "
    "without a block the answer is one fixed word.",
    "halves": "The answer flows through the first half of the slots for one wording of the "
    "question and through the second half for the others.",
    "ordered": "The answer flows through the slots as long as they stand in their order: own "
    "latents in a random or the reversed order give one fixed word.",
    "distractor": "The slots are ignored, and the own latents carry the colour of another object "
    "than the asked one.",
    "weak": "The answer flows through the slots, but the own latents carry it only where the "
    "asked object can be seen: the share of visible objects in the data is the share that carry.",
    "question-only": "The slots are used when oracle latents stand in them, but the own latents "
    "carry the asked shape, which the question names, and nothing of the image.",
}

TASKS: dict[Kind, str] = {
    "collapsed": "scenes-grey",
    "partial": "scenes-mixed:0.5",
    "weak": "scenes-seen:0.5",
}
"""Task on which the truth of a kind is stated, where it is not `scenes`."""

STAMP = "instruct.json"
"""File of an instruct stage that says how it was made."""


@dataclass(frozen=True)
class Config:
    """Train a tiny model of known truth, and measure that the truth holds."""

    kind: Kind
    """Kind of the organism."""
    seed: int = 0
    """Seed of the training: initial weights, scenes, order."""
    output: Path | None = None
    """Folder of the checkpoint; by default runs/train_organism/seedN/KIND."""
    instruct_from: Path | None = None
    """Folder of the instruct stage, made there when it is missing. By default `instruct` next to
    the output, shared by the kinds of a seed."""
    test_scenes: int = 600
    """Number of fresh scenes behind the truth table."""
    split: Literal["test", "development"] = "test"
    """Fresh scenes to measure on. Tune on development, and leave test for the figures that are
    reported."""
    measure_only: bool = False
    """Measure the organism in the output again, without training."""
    recipe: Recipe = field(default_factory=Recipe)
    """Sizes and rates of the training."""

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint."""
        return self.output or Path("runs/train_organism") / f"seed{self.seed}" / self.kind

    @property
    def instruct(self) -> Path:
        """Folder of the instruct stage."""
        return self.instruct_from or self.folder.parent / "instruct"

    def check(self) -> None:
        """Refuse sizes and folders that cannot be used.

        Raises:
            LanternError: naming the flag or the folder.
        """
        if self.test_scenes < 10 or self.recipe.pool < self.recipe.batch:
            raise LanternError(
                f"need test_scenes >= 10 (not {self.test_scenes}) and pool >= batch "
                f"(not {self.recipe.pool} < {self.recipe.batch})"
            )
        if self.seed < 0:
            raise LanternError(f"--seed must be at least 0, not {self.seed}")
        if self.folder.is_file():
            raise LanternError(f"the output {str(self.folder)!r} is a file; give a folder")
        if self.measure_only:
            OrganismCard.read(self.folder)
        elif self.instruct.exists():
            _read_stamp(self)


def run(config: Config, console: Console) -> list[str]:
    """Train, save, measure, write the card; returns in what the bar is missed.

    Raises:
        LanternError: a folder is in the way, or a size cannot be used.
    """
    config.check()

    from lantern_probe.organisms.training import bars, build, truth
    from lantern_probe.organisms.training.graded import mixture
    from lantern_probe.organisms.training.mixtures import DEFAULT, DEFAULT_COLOR, HELD_OUT
    from lantern_probe.tasks import load_task
    from lantern_probe.tasks.scenes import CHANCE, COLORS

    graded = config.kind in settings.GRADED
    training = (
        OrganismCard.read(config.folder).training
        if config.measure_only
        else _train(config, console)
    )
    task = TASKS.get(config.kind, "scenes")
    seeds = {"test": settings.TEST_SEED, "development": settings.DEVELOPMENT_SEED}
    scene_seed = config.seed + seeds[config.split]
    samples = load_task(task, config.test_scenes, scene_seed)
    with console.status("measuring") as status:
        found, own = truth.answer_all(
            build.load(config.folder),
            build.build_processor(),
            samples,
            config.seed,
            lambda condition: status.update(f"measuring {condition}"),
            graded=graded,
        )
    table = truth.tabulate(found, samples)
    by_family = {
        name: truth.tabulate(found, samples, rows)
        for name, rows in bars.families(config.kind, samples).items()
    }
    probes = truth.read_probes(own, samples) if graded else {}
    parts = [part for half in mixture(config.kind) for part in half]
    OrganismCard(
        kind=config.kind,
        seed=config.seed,
        task=task,
        truth=TRUTHS[config.kind],
        chance=CHANCE,
        default_answer=list(COLORS)[DEFAULT]
        if any(part.label == DEFAULT_COLOR for part in parts)
        else None,
        trained_on=tuple(dict.fromkeys(part.source for part in parts)),
        held_out=HELD_OUT,
        recipe=settings.VERSION,
        training=training,
        test={"n": config.test_scenes, "scene_seed": scene_seed, "split": config.split},
        measured=_figures(table),
        families={name: _figures(part) for name, part in by_family.items()},
        probes={name: _share(probe) for name, probe in probes.items()},
        command=_command(config),
    ).write(config.folder)
    for name, part in {"": table, **by_family}.items():
        print_table(_rendered(config.kind, part, name), console)
    return bars.failures(config.kind, table, by_family, probes if graded else None)


def _figures(table: list[Measured]) -> dict[str, dict[str, int | float]]:
    return {row.condition: row.figures() for row in table}


def _share(share: Proportion) -> dict[str, int | float]:
    figures = {"accuracy": share.estimate, "low": share.low, "high": share.high}
    return {"n": share.n, **{name: round(value, 4) for name, value in figures.items()}}


def _command(config: Config) -> str:
    """The command that makes the organism again, with all that is not by default."""
    flags = [f"--kind {config.kind}", f"--seed {config.seed}"]
    given, plain = asdict(config.recipe), asdict(Recipe())
    changed = {name: value for name, value in given.items() if value != plain[name]}
    flags += [f"--recipe.{name.replace('_', '-')} {value}" for name, value in changed.items()]
    return " ".join(["python -m experiments.train_organism", *flags])


def _train(config: Config, console: Console) -> dict[str, Any]:
    """Train and save; returns what the card says about the training."""
    import torch
    import transformers

    from lantern_probe.organisms.training import build, recipe

    instruct_seconds = _ensure_instruct(config, console)
    begun = time.process_time()
    with _bar(console, f"{config.kind}, seed {config.seed}") as report:
        model = recipe.train_kind(
            config.kind, config.seed, build.load(config.instruct), config.recipe, report
        )
    seconds = time.process_time() - begun
    config.folder.mkdir(parents=True, exist_ok=True)
    build.save(model, config.folder)
    return {
        # Processor time: unlike the clock, it says the same on a busy machine.
        **asdict(config.recipe),
        "sft_steps": config.recipe.sft_steps or settings.SFT_STEPS[config.kind],
        "instruct_cpu_seconds": round(instruct_seconds),
        "sft_cpu_seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _made_by(config: Config) -> dict[str, Any]:
    """All that decides the instruct stage."""
    sizes = {k: v for k, v in asdict(config.recipe).items() if not k.startswith(("sft", "latent"))}
    return {"seed": config.seed, "recipe": settings.VERSION, **sizes}


def _read_stamp(config: Config) -> float:
    """The CPU seconds that the instruct stage which is there took.

    Raises:
        LanternError: the folder holds something else, or a stage that was made otherwise.
    """
    stamp = config.instruct / STAMP
    if not stamp.is_file():
        folder = str(config.instruct)
        raise LanternError(f"{folder!r} exists but holds no instruct stage; remove it")
    found = json.loads(stamp.read_text(encoding="utf-8"))
    seconds: float = found.pop("seconds", 0.0)
    if found != _made_by(config):
        raise LanternError(
            f"the instruct stage in {str(config.instruct)!r} was made otherwise ({found}, not "
            f"{_made_by(config)}); remove it or give another --instruct-from"
        )
    return seconds


def _ensure_instruct(config: Config, console: Console) -> float:
    """Make the instruct stage unless the folder holds it already; returns its CPU seconds."""
    if config.instruct.exists():
        return _read_stamp(config)

    from lantern_probe.organisms.training import build, recipe

    begun = time.process_time()
    with _bar(console, f"instruct stage, seed {config.seed}") as report:
        model = recipe.train_instruct(config.seed, config.recipe, report)
    seconds = time.process_time() - begun
    # Written aside and moved into place: a folder of that name is always a complete stage.
    folder = config.instruct
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")
    build.save(model, aside)
    (aside / STAMP).write_text(
        json.dumps({**_made_by(config), "seconds": seconds}), encoding="utf-8"
    )
    try:
        aside.rename(folder)
    except OSError:  # another process was faster, with the same weights
        shutil.rmtree(aside)
    return seconds


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar, as a function for the recipe to report to."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, loss=float("nan"))

        def report(step: int, steps: int, loss: float) -> None:
            progress.update(task, completed=step, total=steps, loss=loss)

        yield report


def _rendered(kind: Kind, table: list[Measured], family: str = "") -> Table:
    """The truth table for a terminal."""
    from rich.table import Table

    from lantern_probe.tasks.scenes import CHANCE

    title = f"{kind}, family {family}" if family else f"{kind}: {TRUTHS[kind]}"
    rendered = Table("condition", "accuracy", "95 % CI", "p(right)", "donor's answer", title=title)
    for row in table:
        donor = "" if row.donor is None else f"{row.donor.estimate:.3f}"
        probability = "" if row.probability is None else f"{row.probability:.3f}"
        rendered.add_row(
            row.condition,
            f"{row.accuracy.estimate:.3f}",
            f"{row.accuracy.low:.3f} to {row.accuracy.high:.3f}",
            probability,
            donor,
        )
    rendered.caption = f"n = {table[0].accuracy.n} fresh scenes, chance {CHANCE:.3f}"
    return rendered


def main(config: Config) -> int:
    """Train and measure; 1 when the bar is missed."""
    missed = run(config, console)
    for sentence in missed:
        console.print(f"bar missed: {sentence}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
