"""Does the answer use the latents? Replace them in every way, and compare with the own ones.

    python -m experiments.ablate_latents
    python -m experiments.ablate_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/sft

Without arguments: the bundled organisms, tiny models whose truth is known, on the images their
truth is stated for. Every condition runs on every sample, from one shared prefix. Rows go to
rows.jsonl as they come; a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.progress import Progress

from experiments.console import console, run_main
from experiments.inputs import (
    Inputs,
    file_name,
    load_model,
    load_samples,
    progress_bar,
    run_settings,
)
from experiments.tables.ablation import print_condition_table, print_side_by_side
from lantern_probe.analysis.ablation import ConditionSummary, as_records, summarize
from lantern_probe.causal.ablation import Ablation, with_own
from lantern_probe.errors import LanternError
from lantern_probe.interventions import STANDARD, Intervention, parse_condition
from lantern_probe.interventions.image import Corruption, parse_corruption
from lantern_probe.plots.ablation import ablation_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample
from lantern_probe.tasks.twins import TWIN_ANSWER


@dataclass(frozen=True)
class Config(Inputs):
    """Does the answer use the latents? Replace them in every way, compare with the own ones."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed", "vanilla")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    conditions: tuple[str, ...] = STANDARD
    """Conditions, with settings such as noise:scale=2 or swap:seed=1; own is always run. Also cut
    edges of attention, as in experiments.knock_out."""
    images: tuple[str, ...] = ("clean",)
    """Corruptions of the image under which every condition runs: clean, black-box (the evidence),
    black-image, blur:radius=0.05, swap-image, hide-image (after the block)."""
    output: Path = Path("runs/ablate_latents")
    """Folder of the run; with several models each gets a folder in it."""
    parser: Literal["default", "official", "strict"] = "default"
    """How an answer is read from the text."""
    batch_rows: int | None = None
    """Rows decoded together; by default as many as the free memory holds, and half of that
    whenever it does not."""


@dataclass(frozen=True)
class Part:
    """Conditions that run together, under one corruption of the image."""

    conditions: list[Intervention]
    image: Corruption = field(default_factory=Corruption)
    first: int | None = None
    """On how many samples, from the first; on all by default."""
    shown: bool = True
    """Whether the conditions belong in the table, and so in the family of its tests."""
    slots: int | None = None
    """The number of slots that the conditions were made for, if they were."""


Load = Callable[["Config", str], tuple[str, list[Sample]]]
"""The name of the data and the samples for a model."""


def ablate_model(
    config: Config,
    name: str,
    parts: list[Part],
    folder: Path,
    progress: Progress,
    load: Load = load_samples,
) -> list[ConditionSummary]:
    """Run, or finish, one model's ablation in its folder, and sum it up from its rows."""
    task, samples = load(config, name)
    # Conditions do not decide each other's rows, so that a run can be extended by more of them.
    settings = run_settings(config, "ablate_latents", name, task)
    settings |= {"samples": len(samples), "parser": config.parser}
    with Run.open(
        folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed
    ) as run:
        labels = [part.image.suffix(c.label) for part in parts for c in part.conditions]
        run.manifest["conditions"] = sorted({*run.manifest.get("conditions", []), *labels})
        write_json(folder / "run.json", run.manifest)
        wanted = {
            (sample.id, part.image.suffix(condition.label))
            for part in parts
            for sample in samples[: part.first]
            for condition in part.conditions
        }
        total, due = len(wanted), len(wanted - run.done())
        bar = progress.add_task(escape(name), total=total)
        progress.advance(bar, total - due)
        if due:
            lantern = load_model(config, name)
            for part in parts:
                if part.slots not in (None, lantern.latent_size):
                    raise LanternError(
                        f"{name} has blocks of {lantern.latent_size} slots, not {part.slots}; give "
                        f"--latent-size {lantern.latent_size}"
                    )
                Ablation(
                    lantern,
                    samples[: part.first],
                    part.conditions,
                    run,
                    part.image,
                    max_new_tokens=config.max_new_tokens,
                    batch_rows=config.batch_rows,
                    parser=config.parser,
                    advance=lambda rows: progress.advance(bar, rows),
                ).execute()
    shown = [p.image.suffix(c.label) for p in parts if p.shown for c in p.conditions]
    # A corrupted twin calls for no known answer: right and wrong are of the samples alone.
    twins = {s.id for s in samples if s.attributes.get("pair", s.id) != s.id} - {
        s.id for s in samples if TWIN_ANSWER in s.attributes
    }
    rows = [row for row in read_rows(folder) if row["sample"] not in twins]
    return summarize(rows, model=name, conditions=shown)


def ablate_models(
    config: Config, load: Load = load_samples, more: Sequence[Part] = ()
) -> dict[Path, list[ConditionSummary]]:
    """Run, or finish, every model's ablation; the summaries by folder, also in `summary.json`.

    Args:
        config: What is to be run.
        load: Where the samples of a model come from.
        more: Parts to run after those that the configuration names.
    """
    if not config.model:
        raise LanternError("--model needs at least one model")
    if config.batch_rows is not None and config.batch_rows < 1:
        raise LanternError(f"--batch-rows must be at least 1, not {config.batch_rows}")
    conditions = with_own(
        list(dict.fromkeys(parse_condition(text, config.seed) for text in config.conditions))
    )
    corruptions = list(dict.fromkeys(parse_corruption(text) for text in config.images))
    if Corruption() not in corruptions:
        corruptions.insert(0, Corruption())
    parts = [*(Part(conditions, image) for image in corruptions), *more]
    names = list(dict.fromkeys(config.model))
    if len(names) > 1 and (config.output / "run.json").exists():
        raise LanternError(
            f"'{config.output}' holds the run of one model; give several another --output"
        )
    results: dict[Path, list[ConditionSummary]] = {}
    with progress_bar() as progress:
        for name in names:
            folder = config.output if len(names) == 1 else config.output / file_name(name)
            results[folder] = ablate_model(config, name, parts, folder, progress, load)
    records: list[dict[str, Any]] = [r for found in results.values() for r in as_records(found)]
    write_json(config.output / "summary.json", records)
    return results


def main(config: Config) -> int:
    """Run the ablation and show it; 1 when nothing useful came out."""
    results = list(ablate_models(config).values())
    for summaries in results:
        print_condition_table(summaries, console)
    if len(results) > 1:
        print_side_by_side(results, console)
    save_figure(ablation_figure(results), config.output / "accuracy.png")
    console.print(f"rows, summary.json and accuracy.png are in {config.output}", markup=False)
    return report_problems(results)


def report_problems(results: list[list[ConditionSummary]]) -> int:
    """Say what did not run; 1 when a model has no block to ablate or a condition no row."""
    problems = []
    for summaries in results:
        own = next(s for s in summaries if s.condition == "own")
        failed = sum(s.failed for s in summaries)
        if failed:
            console.print(
                f"{own.model}: {failed} rows failed; the rows with status failed in rows.jsonl say "
                "why, and --retry-failed runs them again",
                markup=False,
            )
        empty = [s.condition for s in summaries if not s.samples]
        if not own.samples:
            problems.append(f"{own.model}: no sample could be run")
        elif not own.n:
            problems.append(
                f"{own.model}: none of {own.samples} samples emitted a latent block, so there is "
                "nothing to ablate"
            )
        elif empty:
            problems.append(f"{own.model}: no sample could be run under {', '.join(empty)}")
    for problem in problems:
        console.print(problem, markup=False)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
