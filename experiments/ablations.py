"""Ablations of one or several models: conditions in, a run per model and its summary out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantern_probe.causal.twin_pairs import TwinPairs, record_pairs
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, Own
from lantern_probe.interventions.edges import KnockOut
from lantern_probe.interventions.image import Corruption, HideImage
from lantern_probe.interventions.seeds import corruptions_under_seeds, seed_of, under_seeds
from lantern_probe.model.location import known_layers
from lantern_probe.records.json_files import write_json
from lantern_probe.records.preregistration import Preregistration, registered_in
from lantern_probe.records.rows import Row, read_rows
from lantern_probe.records.run import Run
from lantern_probe.records.schema import failed_row
from lantern_probe.tasks import Sample
from lantern_probe.tasks.twins import TWIN_ANSWER
from lantern_probe.vocabulary import parse_layers

from .console import console, end_explained, explaining, print_failed, progress_bar
from .inputs import AblationInputs, Inputs, Parser
from .opinions import OpinionOptions
from .planning import check_plan, chosen_margin, sizes_in
from .runs import ModelLoader, open_run
from .scaling import end_part, has_lost, run_job
from .served import servant

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.analysis.ablation import ConditionSummary
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.model.sampling import Sampling
    from lantern_probe.records.engines import Engine


@dataclass(frozen=True)
class Part:
    """Set of conditions that run together, under one corruption of the image."""

    conditions: list[Intervention]
    image: Corruption = field(default_factory=Corruption)
    first: int | None = None
    """Number of samples, from the first; all by default."""
    shown: bool = True
    """True if the conditions belong in the table, and so in the family of its tests."""
    slots: int | None = None
    """Number of slots that the conditions were made for; None if they fit any."""

    @property
    def labels(self) -> list[str]:
        """The conditions as rows name them: `zeros@black-box`."""
        return [self.image.suffix(condition.label) for condition in self.conditions]


def ablation_parts(
    conditions: Sequence[str], images: Sequence[str] = (), seed: int = 0, seeds: int = 1
) -> list[Part]:
    """Combine conditions and corruptions, with own and the clean image in front if missing.

    Under a corruption that draws at random too, a condition is run with the corruption's seed.

    Args:
        conditions: Labels of conditions.
        images: Labels of corruptions.
        seed: Seed of conditions and corruptions that draw at random and name none.
        seeds: Number of seeds of each of these, from `seed` on; default 1.

    Raises:
        LanternError: there is no such condition or corruption.
    """
    some = range(seed, seed + seeds)
    corruptions = dict.fromkeys(c for text in images for c in corruptions_under_seeds(text, some))
    if Corruption() not in corruptions:
        corruptions = {Corruption(): None, **corruptions}
    parts = []
    for image in corruptions:
        drawn = seed_of(image)
        here = some if drawn is None or drawn not in some else [drawn]
        parsed = dict.fromkeys(c for text in conditions for c in under_seeds(text, here))
        if Own() not in parsed:
            parsed = {Own(): None, **parsed}
        parts.append(Part(list(parsed), image))
    return parts


def check_parts(config: Inputs, model: str, parts: Sequence[Part]) -> None:
    """Refuse conditions that do not fit a model, as far as its config is known.

    Args:
        config: The inputs.
        model: Name of the model.
        parts: Conditions to run.

    Raises:
        LanternError: there is no such slot or layer, or parts were made for another size.
    """
    slots, layers = config.known_slots(model), known_layers(model)
    for part in parts:
        if slots is not None:
            _check_size(model, slots, part)
            for condition in part.conditions:
                condition.check(slots)
        for condition in part.conditions:
            if layers is not None and isinstance(condition, KnockOut):
                parse_layers(condition.cut.layers or "*", layers)


def shown_labels(parts: Sequence[Part]) -> list[str]:
    """Labels of the conditions that are compared.

    Args:
        parts: Conditions to run.
    """
    return [label for part in parts if part.shown for label in part.labels]


def _check_size(model: str, slots: int, part: Part) -> None:
    if part.slots not in (None, slots):
        raise LanternError(
            f"{model} has blocks of {slots} slots, not {part.slots}; give --latent-size {slots}"
        )


def run_ablation(
    config: Inputs,
    command: str,
    models: Sequence[str],
    parts: Sequence[Part],
    *,
    parser: Parser = "default",
    output: Path | None = None,
) -> dict[Path, list[ConditionSummary]]:
    """Run, or finish, every model's ablation; the summaries by folder, also in `summary.json`.

    Args:
        config: The inputs.
        command: Name of the command.
        models: Names of the models.
        parts: Conditions to run.
        parser: Parser of the answers, default `default`.
        output: Folder of the run of a single model. By default the folder of the inputs, with a
            subfolder for each of several models.

    Raises:
        LanternError: something that was given cannot be used.
    """
    folders = config.folders(models) if output is None else {models[0]: output}
    for model in folders:
        check_parts(config, model, parts)
    labels = shown_labels(parts)
    compared = labels if isinstance(config, AblationInputs) else None
    for folder in folders.values():  # before the first of them runs for hours
        check_plan(config, folder, conditions=compared)
    sampling = config.sampling(config.seed) if isinstance(config, AblationInputs) else None
    drawn: dict[str, Any] = {}  # settings of greedy runs are what they were
    if sampling is not None:
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    results: dict[Path, list[ConditionSummary]] = {}
    planned: dict[Path, dict[str, Any]] = {}
    with progress_bar() as progress:
        for name, folder in folders.items():
            with explaining():
                data, samples = config.asked(name)
                settings = {"samples": len(samples), "parser": parser, **drawn}
                with open_run(
                    config, folder, command, name, data, samples, compared, **settings
                ) as run:
                    failing = partial(_failed, parts)
                    samples = record_pairs(run, samples, failing, lost=has_lost(config))
                    margin = chosen_margin(config, run)
                    images = [part.image for part in parts]
                    server = servant(config, name, run, samples, images, parser)
                    _ablate(
                        config, ModelLoader(config, name), run, parts, samples, parser, progress,
                        sampling,
                    )  # fmt: skip
                    if server is not None:
                        server.ask(progress)
                    plan, sizes = registered_in(run.manifest), sizes_in(run.manifest)
                end_part(config)
                label = config.label(name)
                prior = config.prior if isinstance(config, OpinionOptions) else OpinionOptions.prior
                more = [] if server is None else server.labels
                results[folder] = _summaries(
                    folder, label, parts, samples, margin, plan, prior, more
                )
                planned[folder] = {**sizes, "preregistration": plan and plan.sha256}
    end_explained(config.only_shows)
    from lantern_probe.analysis.ablation import as_records

    records = []
    for folder, found in results.items():
        facts = _replaced_facts(folder, found)
        records += [
            {**record, **planned[folder], **facts.get(record["condition"], {})}
            for record in as_records(found)
        ]
    write_json((output or config.output) / "summary.json", records)
    return results


def _failed(parts: Sequence[Part], sample: Sample, error: LanternError) -> list[Row]:
    """The rows of a sample that cannot be run, under all that every sample is run under."""
    labels = dict.fromkeys(label for part in parts if part.first is None for label in part.labels)
    return [dict(failed_row(sample.id, label, error)) for label in labels]


def _replaced_facts(
    folder: Path, summaries: Sequence[ConditionSummary]
) -> dict[str, dict[str, Any]]:
    """Facts about replaced latents by condition, for the summary; their notes are printed."""
    from lantern_probe.analysis.replaced import replaced, replaced_notes

    pool_of = {label: s.condition for s in summaries for label in s.labels}
    rows = read_rows(folder)
    rows = [{**r, "condition": pool_of[r["condition"]]} for r in rows if r["condition"] in pool_of]
    facts = replaced(rows, [s.condition for s in summaries])
    if facts:
        console.print(f"{summaries[0].model}: replaced latents", markup=False)
    for note in replaced_notes(facts):
        console.print(f"  {note}", markup=False, highlight=False)
    return {f.condition: asdict(f) for f in facts}


def _ablate(
    config: Inputs,
    load: ModelLoader,
    run: Run,
    parts: Sequence[Part],
    samples: Sequence[Sample],
    parser: Parser,
    progress: Progress,
    sampling: Sampling | None,
) -> None:
    # Conditions do not decide each other's rows, so that a run can be extended by more of them.
    labels = {label for part in parts for label in part.labels}
    run.note(conditions=sorted({*run.manifest.get("conditions", []), *labels}))
    passes = 1 if sampling is None else sampling.passes
    if sampling is not None:
        run.note(passes=max(passes, run.manifest.get("passes", 1)))
    wanted = {
        (sample.id, label, number)
        for part in parts
        for sample in samples[: part.first]
        for label in part.labels
        for number in range(passes)
    }

    job = AblationJob(config, load.name, parts, [s.id for s in samples], parser, sampling)
    run_job(config, run, samples, wanted, load, job, progress)


@dataclass(frozen=True)
class AblationJob:
    """Engines of an ablation, one for each part; it can be sent to another process."""

    config: Inputs
    """Inputs of the command."""
    name: str
    """Name of the model."""
    parts: Sequence[Part]
    """Conditions to run."""
    ids: Sequence[str]
    """Ids of all samples, in order."""
    parser: Parser
    """Parser of the answers."""
    sampling: Sampling | None
    """Settings of sampled decoding; None for greedy."""

    def __call__(self, lantern: LanternModel, some: Sequence[Sample]) -> list[Engine]:
        """The engines, without a run.

        Args:
            lantern: The model.
            some: Samples to run.
        """
        from lantern_probe.causal.ablation import Ablation

        engines: list[Engine] = []
        for part, hidden in with_hidden(self.parts):
            _check_size(self.name, lantern.latent_size, part)
            asked = {*self.ids[: part.first]}
            if of_part := [sample for sample in some if sample.id in asked]:
                ablation = Ablation(
                    lantern,
                    of_part,
                    part.conditions,
                    None,
                    part.image,
                    hidden,
                    max_new_tokens=self.config.max_new_tokens,
                    batch_rows=self.config.rows_together,
                    parser=self.parser,
                    sampling=self.sampling,
                )
                engines.append(ablation)
        return engines


def with_hidden(parts: Sequence[Part]) -> list[tuple[Part, list[Intervention]]]:
    """Every part, with the conditions that hide the image on the same prefixes.

    Parts that hide it are run by themselves only where no other part has their prefixes.

    Args:
        parts: Conditions to run.
    """
    left, paired = list(parts), []
    for part in parts:
        if part not in left:
            continue
        hidden = [p for p in left if p.image == HideImage() and p.first == part.first]
        hidden = hidden[:1] if part.image == Corruption() else []
        left = [p for p in left if p is not part and p not in hidden]
        paired.append((part, [c for p in hidden for c in p.conditions]))
    return paired


def _summaries(
    folder: Path,
    model: str,
    parts: Sequence[Part],
    samples: Sequence[Sample],
    margin: float,
    plan: Preregistration | None,
    prior: float,
    more: Sequence[str] = (),
) -> list[ConditionSummary]:
    from lantern_probe.analysis.ablation import summarize
    from lantern_probe.analysis.registered import plan_notes, planned_label

    shown = [*shown_labels(parts), *more]
    # The right answer of a corrupted twin is unknown: accuracy is over the samples alone.
    twins = {s.id for s in samples if s.attributes.get("pair", s.id) != s.id} - {
        s.id for s in samples if TWIN_ANSWER in s.attributes
    }
    every = read_rows(folder)
    asked = {sample.id for sample in samples}
    if isinstance(samples, TwinPairs):
        asked |= {sample.id for sample, _ in samples.without}
    print_failed(model, [r for r in every if r["sample"] in asked and r["condition"] in shown])
    rows = [row for row in every if row["sample"] not in twins]
    found = summarize(rows, model=model, conditions=shown, margin=margin, plan=plan, prior=prior)
    labels = {item.condition: item.labels for item in found}
    names = [planned_label(name, some, plan) for name, some in labels.items()]
    for note in plan_notes(model, names, plan):
        console.print(note, markup=False, highlight=False)
    return found


def show_ablation(results: Sequence[list[ConditionSummary]], output: Path) -> int:
    """Print and draw an ablation; exit code 1 if a model or condition has no result."""
    from lantern_probe.plots.ablation import ablation_figure
    from lantern_probe.plots.style import save_figure

    from .tables.ablation import print_condition_table, print_side_by_side

    for summaries in results:
        print_condition_table(summaries, console)
    if len(results) > 1:
        print_side_by_side(results, console)
    save_figure(ablation_figure(results), output / "accuracy.png")
    console.print(f"rows, summary.json and accuracy.png are in {output}", markup=False)
    return report_problems(results)


def report_problems(results: Sequence[Sequence[ConditionSummary]]) -> int:
    """Print what did not run; exit code 1 if a model has no block or a condition no row."""
    problems = []
    for summaries in results:
        own = next(s for s in summaries if s.condition == "own")
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
