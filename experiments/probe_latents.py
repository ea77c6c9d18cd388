"""Probe the slots, with every control, and erase what is found.

    python -m experiments.probe_latents
    python -m experiments.probe_latents --model AGViveiros/LanteRn-3B-SFT --targets gold \\
        --data viscot_mc_test.jsonl --image-root images --output runs/probes

Captures the model's states while it answers, those of an untrained model on the same tokens, and
the model's states with oracle latents in its slots. Probes every layer and slot for every target.
The controls of each probe are the question, the image's mean, the untrained model, random labels of
the same question and the attributes of other objects. Then erases each target from the slots while
the model answers. With --seeds 5 folds, control tasks and random erasers are drawn five times, and
the mean is shown. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.markup import escape

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import VALUE

from .console import console, end_explained, explaining, progress_bar, run_main
from .inputs import Inputs, SeedOptions, file_name

if TYPE_CHECKING:
    from lantern_probe.analysis.ablation import ConditionSummary
    from lantern_probe.probing.after_erasure import AfterErasure, Kind
    from lantern_probe.records.rows import Row
    from lantern_probe.records.store import Store
    from lantern_probe.tasks import Sample

    from .captures import CaptureJob

COMMAND = "probe_latents"

SCENE_TARGETS = ("color", "shape")
LISTS = ("null", "drawn", "deviations", "variance", "freedom")
"""Fields of a row that a table has no place for."""

KINDS: tuple[Kind, ...] = ("linear", "mlp")
"""Kinds of probes that read after the erasure."""

ERASURES = ("erase", "erase-shuffled", "erase-random")


@dataclass(frozen=True)
class Config(SeedOptions, Inputs):
    """Probe the slots, with every control, and erase what is found."""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    targets: tuple[str, ...] | None = None
    """Columns to read: gold (the right answer), answer (the model's own), an attribute of the
    samples, box_x, box_y, box_width or box_height. Whole numbers are classes; with :value after the
    name, as in count:value, they are regressed on. By default color and shape of a task, and gold
    of --data."""
    sites: tuple[str, ...] = ("residual.*@slot", "latent@slot")
    """Sites to read, as in capture_activations."""
    types: str = "prompt"
    """Column whose values get random labels in control tasks (Hewitt & Liang), one label each."""
    erase: bool = True
    """Erase every class target from the slots while the model answers."""
    after_erasure: Literal["none", "mlp"] = "none"
    """Read each class target from the latents after its linear erasure too: mlp does so with a
    linear probe and with a small network, which finds what the erasure cannot take away."""
    folds: int = 5
    """Number of cross-validation folds; an image is never split."""
    controls: int = 3
    """Number of control tasks per target."""
    permutations: int = 99
    """Number of permutations of every test; the smallest p is 1 / (permutations + 1)."""
    output: Path = Path("runs/probe_latents")
    """Folder of the runs; each model gets a folder in it. Given again, the command goes on
    where it stopped."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read."""
        return self.targets or (SCENE_TARGETS if self.data is None else ("gold",))


def jobs_of(config: Config, folder: Path, *, boxes: bool) -> dict[str, CaptureJob]:
    """The captures of one model, by name; the untrained model comes last.

    Args:
        config: The configuration.
        folder: Folder of the model.
        boxes: True if samples have an evidence box, and so oracle latents.
    """
    from .captures import CaptureJob

    def job(name: str, sites: Sequence[str], **more: Any) -> CaptureJob:
        return CaptureJob(folder / name, tuple(sites), store_dtype="float32", **more)

    every = dict.fromkeys([*config.sites, "latent@slot"])
    jobs = {"own": job("own", [*every, "vision@image-mean"])}
    if boxes:
        jobs["oracle"] = job("oracle", ["latent@slot"], condition="oracle")
    jobs["untrained"] = job("untrained", list(every), untrained=config.seed, force=folder / "own")
    return jobs


def capture(config: Config, model: str, folder: Path) -> tuple[dict[str, Store], set[str]]:
    """The activations of one model, of an untrained one along its words, and with oracle latents.

    Returns:
        Captures by name, and the ids of the samples asked for.

    Raises:
        LanternError: no sample has the sites.
    """
    from lantern_probe.records.rows import MANIFEST
    from lantern_probe.records.store import Store

    from .captures import run_capture
    from .rehearsal import say_unmeasured
    from .runs import ModelLoader

    data, samples = config.load_samples(model)
    load, stores, wanted = ModelLoader(config, model), {}, set[str]()
    for name, job in jobs_of(config, folder, boxes=any(s.boxes for s in samples)).items():
        if job.untrained is not None:
            load = ModelLoader(config, model)  # it is changed in place
        if config.only_shows and job.force is not None and not (job.force / MANIFEST).exists():
            if config.dry_run:  # there are no words to impose yet
                say_unmeasured(f"{model}, {name}", len(samples), "along the words of own")
            continue  # nor is there a run along its words
        with explaining():
            wanted = run_capture(config, COMMAND, load, data, samples, job)
        if config.only_shows:
            continue
        if not wanted:
            raise LanternError(f"{model}: no sample of '{job.folder}' has the sites asked for")
        stores[name] = Store(job.folder)
    if (folder / "erasure" / MANIFEST).is_file() and config.explain_resume:
        with explaining():
            erase_targets(config, model, folder, [])
    if config.dry_run and config.erase:
        with explaining():
            erase_targets(config, model, folder, erasable(classes_of(config, samples)))
    end_explained(config.only_shows)
    return stores, wanted


def probe_model(config: Config, model: str, folder: Path) -> tuple[list[Row], list[AfterErasure]]:
    """Probe every site of one model for every target; rows that are there are not made again.

    Returns:
        The rows, and the class targets read after their erasure, if that is asked for.
    """
    stores, wanted = capture(config, model, folder)

    from lantern_probe.probing.pooled import pool_seeds
    from lantern_probe.probing.site_scores import ProbeSettings, family_p
    from lantern_probe.probing.sweep import ProbeSweep
    from lantern_probe.records.run import Run

    numbers = ProbeSettings(config.folds, config.controls, config.permutations, config.seed)
    try:
        sweep = ProbeSweep(stores, wanted, config.columns, config.types, numbers, config.seeds)
    except LanternError as error:
        raise LanternError(f"{model}: {error}") from None
    if len(sweep.good) < len(wanted):
        left = len(wanted) - len(sweep.good)
        console.print(f"{model}: {left} of {len(wanted)} samples lack a site and are left out")
    settings = {
        "experiment": COMMAND,
        "capture": stores["own"].config,
        "samples": sorted(sweep.good),
        "types": config.types,
        "statistic": "log-likelihood",
        "folds": config.folds,
        "controls": config.controls,
        "permutations": config.permutations,
        "seed": config.seed,
    }
    with (
        Run.open(
            folder / "probes",
            settings,
            overwrite=config.overwrite,
            allow_changed=config.allow_changed,
        ) as run,
        progress_bar() as progress,
    ):
        bar = progress.add_task(f"{escape(model)}, probes", total=sweep.total)
        sweep.execute(run, lambda rows: progress.advance(bar, rows))
        seeds = range(config.seed, config.seed + config.seeds)
        made = pool_seeds([row for row in run.rows() if row.get("seed", config.seed) in seeds])
    for row, p in zip(made, family_p(made), strict=True):
        row["p_family"] = p
    classes = {row["target"] for row in made if row["kind"] == "class"}
    read = read_erased(config, stores["own"], sweep.good, sorted(classes))
    return made, read


def read_erased(
    config: Config, store: Store, good: Set[str], targets: Sequence[str]
) -> list[AfterErasure]:
    """Read targets from the latents of all slots after their erasure; none unless asked for."""
    if config.after_erasure == "none":
        return []
    from lantern_probe.probing.after_erasure import read_after_erasure

    keep = [i for i, row in enumerate(store.samples) if row["sample"] in good]
    latents = store.array("latent@slot")[keep].flatten(1)
    groups = [store.samples[i]["cluster"] for i in keep]
    found: list[AfterErasure] = []
    for target in targets:
        column = store.column(target)
        found += [
            read_after_erasure(
                latents,
                [column[i] for i in keep],
                groups,
                target=target,
                probe=probe,
                folds=config.folds,
                seeds=range(config.seed, config.seed + config.seeds),
            )
            for probe in KINDS
        ]
    return found


def erase_targets(
    config: Config, model: str, folder: Path, targets: Sequence[str]
) -> list[ConditionSummary]:
    """Erase each class target from the slots, and summarize the answers."""
    from .ablations import ablation_parts, run_ablation

    conditions = ["own"]
    for name in targets:
        kinds = ERASURES[:1] if name.startswith("distractor_") else ERASURES
        conditions += [f"{kind}:attribute={name}" for kind in kinds]
    parts = ablation_parts(conditions, seed=config.seed, seeds=config.seeds)
    results = run_ablation(config, COMMAND, [model], parts, output=folder / "erasure")
    (summaries,) = results.values()
    return summaries


def erasable(names: Sequence[str]) -> list[str]:
    """Targets that are attributes of samples, or their answer."""
    return ["answer" if name == "gold" else name for name in names if name != "answer"]


def classes_of(config: Config, samples: Sequence[Sample]) -> list[str]:
    """The columns that will be read as classes, as far as the samples show it."""
    names = [n for n in config.columns if not n.endswith(VALUE) and not n.startswith("box_")]
    return [
        name
        for name in names
        if not any(isinstance(s.attributes.get(name), float) for s in samples)
    ]


def check(config: Config) -> None:
    """Refuse unusable options, as far as possible before anything is loaded.

    Raises:
        LanternError: naming the flag.
    """
    config.check_seeds()
    config.check(config.model)
    for flag, value, least in (
        ("folds", config.folds, 2),
        ("controls", config.controls, 0),
        ("permutations", config.permutations, 1),
    ):
        if value < least:
            raise LanternError(f"--{flag} must be at least {least}, not {value}")
    from .captures import check_job
    from .data import check_columns

    for model in dict.fromkeys(config.model):
        columns = [name.removesuffix(VALUE) for name in config.columns]
        check_columns(config, model, targets=columns, types=[config.types])
        data, _ = config.load_samples(model)
        folder = config.output / file_name(model)
        check_job(config, COMMAND, model, data, jobs_of(config, folder, boxes=False)["own"])


def main(config: Config) -> int:
    """Capture, probe, erase, show and draw."""
    check(config)
    prepared = {}
    for model in dict.fromkeys(config.model):
        folder = config.output / file_name(model)
        with explaining():
            prepared[model] = folder, *probe_model(config, model, folder)
    end_explained(config.only_shows)

    from lantern_probe.records.json_files import write_json

    from .tables.probing import AFTER_LEGEND, LEGEND, print_after_erasure

    summary: list[dict[str, Any]] = []
    erased: list[dict[str, Any]] = []
    for model, (folder, rows, read) in prepared.items():
        report(config, model, folder, rows)
        if read:
            print_after_erasure(model, read)
            erased += [{"model": model, **asdict(one)} for one in read]
        summary += [
            {"model": model, **{k: v for k, v in row.items() if k not in LISTS}} for row in rows
        ]
    console.print(LEGEND, highlight=False)
    write_json(config.output / "probes.json", summary)
    if erased:
        console.print(AFTER_LEGEND, highlight=False)
        write_json(config.output / "after_erasure.json", erased)
    console.print(f"probes.json and a figure per target are in {config.output}", markup=False)
    return 0


def report(config: Config, model: str, folder: Path, rows: Sequence[Row]) -> None:
    """Print and draw one model's probes, and erase its class targets."""
    from lantern_probe.plots.embedding import embedding_figure
    from lantern_probe.plots.probing import probe_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.store import Store

    from .tables.probing import print_erasure, print_probes

    print_probes(model, rows)
    classes = list(dict.fromkeys(row["target"] for row in rows if row["kind"] == "class"))
    if config.erase:
        print_erasure(model, rows, erase_targets(config, model, folder, erasable(classes)))
    for target in dict.fromkeys(row["target"] for row in rows):
        if not target.startswith("distractor_"):
            save_figure(probe_figure(rows, target, model), folder / f"{file_name(target)}.png")
    named = [name for name in classes if not name.startswith("distractor_")]
    if named:
        save_figure(embedding_figure(Store(folder / "own"), named, model), folder / "latents.png")


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
