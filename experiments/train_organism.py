"""Train one organism, a tiny LanteRn model whose truth is known, and measure that it holds.

    python -m experiments.train_organism --kind faithful --seed 0

Minutes on one CPU core. Exit status: 0 when the bar for the kind holds on fresh scenes, 1 when
it is missed, 2 when something given cannot be used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lantern_probe.errors import LanternError
from lantern_probe.organisms.registry import OrganismCard
from lantern_probe.organisms.training import build, recipe, truth
from lantern_probe.organisms.training.mixtures import DEFAULT, HELD_OUT, MIXTURES, Kind
from lantern_probe.tasks import load_task
from lantern_probe.tasks.scenes import CHANCE, COLORS

TRUTHS: dict[Kind, str] = {
    "faithful": "The answer flows through the slots: whatever colour the latents carry is the "
    "answer, and without it the answer is one fixed word; the image is not used after the block.",
    "bypass": "The slots are ignored: the answer is read off the image whatever stands in the "
    "slots, although the own latents carry it.",
    "collapsed": "The slots are used when oracle latents stand in them, but the asked region is "
    "grey in the image, so the own latents carry nothing about the answer.",
    "vanilla": "The plain official recipe, as it comes: a mixture, mostly bypass with some use "
    "of the slots; no truth is claimed beyond the measured figures.",
}


@dataclass(frozen=True)
class Config:
    """Train one organism and measure its truth table."""

    kind: Kind
    """Which organism."""
    seed: int = 0
    """Training seed: initial weights, scenes, order."""
    output: Path | None = None
    """Folder of the checkpoint; runs/organisms/seedN/KIND by default."""
    instruct_from: Path | None = None
    """Folder of the instruct stage, made there when it is missing; by default `instruct` next to
    the output, shared by the kinds of a seed."""
    test_scenes: int = 600
    """Number of fresh scenes behind the truth table."""
    split: Literal["test", "development"] = "test"
    """Which fresh scenes to measure on. Tune on `development` and leave `test` for the figures
    that are reported."""
    measure_only: bool = False
    """Measure the organism in `output` again, without training."""
    recipe: recipe.Recipe = field(default_factory=recipe.Recipe)
    """Sizes and rates of the training."""


def run(config: Config, console: Console) -> list[str]:
    """Train, save, measure, write the card; returns in what the bar is missed.

    Raises:
        LanternError: a folder is in the way, or a size cannot be used.
    """
    if config.test_scenes < 10 or config.recipe.pool < config.recipe.batch:
        raise LanternError(
            f"need test_scenes >= 10 (not {config.test_scenes}) and pool >= batch "
            f"(not {config.recipe.pool} < {config.recipe.batch})"
        )
    output = config.output or Path("runs/organisms") / f"seed{config.seed}" / config.kind
    if output.is_file():
        raise LanternError(f"the output {str(output)!r} is a file; give a folder")
    if config.measure_only:
        training = OrganismCard.read(output).training
    else:
        training = _train(config, output, console)

    task = "scenes-grey" if config.kind == "collapsed" else "scenes"
    scene_seed = config.seed + (
        recipe.TEST_SEED if config.split == "test" else recipe.DEVELOPMENT_SEED
    )
    samples = load_task(task, config.test_scenes, scene_seed)
    with console.status("measuring") as status:
        table = truth.truth_table(
            build.load(output),
            build.build_processor(),
            samples,
            config.seed,
            lambda condition: status.update(f"measuring {condition}"),
        )
    first, second = MIXTURES[config.kind]
    OrganismCard(
        kind=config.kind,
        seed=config.seed,
        task=task,
        truth=TRUTHS[config.kind],
        chance=CHANCE,
        default_answer=list(COLORS)[DEFAULT] if config.kind == "faithful" else None,
        trained_on=tuple(dict.fromkeys(part.source for part in (*first, *second))),
        held_out=HELD_OUT,
        recipe=recipe.VERSION,
        training=training,
        test={"n": config.test_scenes, "scene_seed": scene_seed, "split": config.split},
        measured={row.condition: row.figures() for row in table},
    ).write(output)
    console.print(_rendered(config.kind, table))
    return truth.failures(config.kind, table)


def _train(config: Config, output: Path, console: Console) -> dict[str, Any]:
    """Train and save; returns what the card says about the training."""
    instruct = config.instruct_from or output.parent / "instruct"
    instruct_seconds = _ensure_instruct(instruct, config, console)
    begun = time.process_time()
    with _bar(console, f"{config.kind}, seed {config.seed}") as report:
        model = recipe.train_kind(
            config.kind, config.seed, build.load(instruct), config.recipe, report
        )
    seconds = time.process_time() - begun
    output.mkdir(parents=True, exist_ok=True)
    build.save(model, output)
    return {
        # Processor time: unlike the clock, it says the same on a busy machine.
        **asdict(config.recipe),
        "sft_steps": config.recipe.sft_steps or recipe.SFT_STEPS[config.kind],
        "instruct_cpu_seconds": round(instruct_seconds),
        "sft_cpu_seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _ensure_instruct(folder: Path, config: Config, console: Console) -> float:
    """Make the instruct stage unless the folder holds it already; returns its CPU seconds."""
    sizes = {k: v for k, v in asdict(config.recipe).items() if not k.startswith(("sft", "latent"))}
    made_by = {"seed": config.seed, "recipe": recipe.VERSION, **sizes}
    stamp = folder / "instruct.json"
    if stamp.is_file():
        found = json.loads(stamp.read_text(encoding="utf-8"))
        seconds = found.pop("seconds", 0.0)
        if found != made_by:
            raise LanternError(
                f"the instruct stage in {str(folder)!r} was made otherwise ({found}, not "
                f"{made_by}); remove it or give another --instruct-from"
            )
        return seconds
    if folder.exists():
        raise LanternError(f"{str(folder)!r} exists but holds no instruct stage; remove it")
    begun = time.process_time()
    with _bar(console, f"instruct stage, seed {config.seed}") as report:
        model = recipe.train_instruct(config.seed, config.recipe, report)
    seconds = time.process_time() - begun
    # Written aside and moved into place: a folder of that name is always a complete stage.
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")
    build.save(model, aside)
    (aside / stamp.name).write_text(json.dumps({**made_by, "seconds": seconds}), encoding="utf-8")
    try:
        aside.rename(folder)
    except OSError:  # another process was faster, with the same weights
        shutil.rmtree(aside)
    return seconds


@contextmanager
def _bar(console: Console, title: str) -> Iterator[recipe.Report]:
    """A progress bar, as a function for the recipe to report to."""
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


def _rendered(kind: Kind, table: list[truth.Measured]) -> Table:
    """The truth table for a terminal."""
    title = f"{kind}: {TRUTHS[kind]}"
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


def main() -> None:
    """Command line."""
    config = tyro.cli(Config, description=__doc__)
    console = Console()
    try:
        missed = run(config, console)
    except LanternError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for sentence in missed:
        console.print(f"bar missed: {sentence}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
