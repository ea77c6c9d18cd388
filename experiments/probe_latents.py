"""What can be read from the slots, with every control, and does the answer use it?

    python -m experiments.probe_latents
    python -m experiments.probe_latents --model AGViveiros/LanteRn-3B-SFT --targets gold \\
        --data viscot_mc_test.jsonl --image-root images --output runs/probes

Captures the model's states while it answers, those of an untrained model along the same words,
and the model's states with oracle latents in its slots; probes every layer and slot for every
target, next to what the question, the image's mean, the untrained model, random labels of the
same question and the attributes of other objects give; then erases each target from the slots
while the model answers. Goes on where it was cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.progress import Progress

from experiments import ablate_latents, capture_activations
from experiments.console import console, run_main
from experiments.inputs import Inputs, file_name, load_samples, progress_bar, taken
from experiments.tables.probing import LEGEND, print_erasure, print_probes
from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.errors import LanternError
from lantern_probe.plots.embedding import embedding_figure
from lantern_probe.plots.probing import probe_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.probing.controls import question_features
from lantern_probe.probing.site_scores import (
    ProbeSettings,
    Target,
    family_p,
    make_target,
    probe_row,
    score_site,
)
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.store import Store

SCENE_TARGETS = ("color", "shape")


@dataclass(frozen=True)
class Config(Inputs):
    """What can be read from the slots, with every control, and does the answer use it?"""

    model: tuple[str, ...] = ("faithful", "bypass", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    targets: tuple[str, ...] | None = None
    """Columns to read: color and shape of scenes by default, gold (the right answer) of
    --data; answer (the model's own), any attribute, box_x, box_y, box_width, box_height."""
    sites: tuple[str, ...] = ("residual.*@slot", "latent@slot")
    """Where to read, as in experiments.capture_activations."""
    types: str = "prompt"
    """Column that control tasks give one random label per value of (Hewitt & Liang)."""
    erase: bool = True
    """Erase every class target from the slots while the model answers."""
    folds: int = 5
    """Folds of cross-validation, by image."""
    controls: int = 3
    """Control tasks per target."""
    permutations: int = 99
    """Permutations of every test; the smallest p is 1 / (permutations + 1)."""
    output: Path = Path("runs/probe_latents")
    """Folder of the run; each model gets a folder in it."""


def capture(config: Config, model: str, folder: Path) -> dict[str, Store]:
    """The activations of one model, of an untrained one along its words, and with oracle latents.

    Raises:
        LanternError: nothing useful could be captured.
    """

    def run(name: str, sites: Sequence[str], **more: Any) -> Store:
        done = capture_activations.main(
            taken(
                capture_activations.Config,
                config,
                model=model,
                sites=tuple(sites),
                output=folder / name,
                store_dtype="float32",  # probes are fitted in it
                **more,
            )
        )
        if done:
            raise LanternError(f"{model}: no sample of '{name}' has the sites asked for")
        return Store(folder / name)

    every = dict.fromkeys([*config.sites, "latent@slot"])
    found = {"own": run("own", [*every, "vision@image-mean"])}
    found["untrained"] = run("untrained", list(every), untrained=config.seed, force=folder / "own")
    if any(row.get("box_x") is not None for row in found["own"].samples):
        found["oracle"] = run("oracle", ["latent@slot"], condition="oracle")
    return found


def make_targets(config: Config, store: Store, keep: Sequence[int]) -> dict[str, Target]:
    """The targets, and for each that has one the same attribute of another object.

    Raises:
        LanternError: a column is missing or cannot be probed.
    """
    names = config.targets or (SCENE_TARGETS if config.data is None else ("gold",))
    samples = [store.samples[i] for i in keep]
    groups = [row["cluster"] for row in samples]
    settings = ProbeSettings(config.folds, config.controls, config.permutations, config.seed)
    targets = {}
    for name in (*names, *(f"distractor_{name}" for name in names)):
        known = any(row.get(name) is not None for row in samples)
        if name.startswith("distractor_") and not known:
            continue
        values = [store.column(name)[i] for i in keep]
        types = [store.column(config.types)[i] for i in keep]
        try:
            targets[name] = make_target(name, values, groups, types, settings)
        except LanternError as error:
            raise LanternError(f"target {name!r}: {error}") from None
    return targets


def complete(store: Store) -> set[str]:
    """The samples that have every site of a store."""
    whole = torch.ones(len(store), dtype=torch.bool)
    for label in store.sites:
        whole &= store.array(label).isfinite().flatten(1).all(1)
    return {row["sample"] for row, good in zip(store.samples, whole, strict=True) if good}


@dataclass(frozen=True, eq=False)
class View:
    """The samples of one store that are probed, and what does not depend on the site.

    Attributes:
        keep: Their places in the store.
        targets: What is read of them.
        given: By target, the scores of the question and of the image's mean.
    """

    keep: list[int]
    targets: dict[str, Target]
    given: dict[str, dict[str, float]]

    @classmethod
    def of(cls, config: Config, store: Store, own: Store, samples: set[str]) -> View:
        """The view of some samples; questions and images are those of the model's own run.

        Raises:
            LanternError: a column is missing or cannot be probed.
        """
        there = [i for i, row in enumerate(own.samples) if row["sample"] in samples]
        targets = make_targets(config, own, there)
        baselines = {
            "question": question_features([own.samples[i]["prompt"] for i in there]),
            "image_mean": own.array("vision@image-mean")[there, 0],
        }
        given = {
            name: {k: score_site(x, target, tests=False).score for k, x in baselines.items()}
            for name, target in targets.items()
        }
        keep = [i for i, row in enumerate(store.samples) if row["sample"] in samples]
        return cls(keep, targets, given)


def probe_model(
    config: Config, model: str, folder: Path, stores: dict[str, Store], progress: Progress
) -> list[Row]:
    """Probe every site of one model for every target; rows that are there are not made again."""
    own, untrained = stores["own"], stores["untrained"]
    # The stores may hold more samples than are asked for now, of an earlier run.
    wanted = {sample.id for sample in load_samples(config, model)[1]}
    good = complete(own) & complete(untrained) & wanted
    if len(good) < 2 * config.folds:
        raise LanternError(
            f"{model}: only {len(good)} of {len(wanted)} samples have every site, a whole latent "
            f"block among them; {config.folds} folds need {2 * config.folds}"
        )
    if len(good) < len(wanted):
        console.print(
            f"{model}: {len(wanted) - len(good)} of {len(wanted)} samples lack a site and are left "
            "out",
            markup=False,
        )
    views = {"own": View.of(config, own, own, good)}
    if "oracle" in stores:
        views["oracle"] = View.of(config, stores["oracle"], own, good & complete(stores["oracle"]))
    targets = views["own"].targets
    plain = [i for i, row in enumerate(untrained.samples) if row["sample"] in good]
    places = [("own", label) for label in own.sites if label != "vision@image-mean"]
    places += [("oracle", "latent@slot")] if "oracle" in stores else []
    settings = {
        "experiment": "probe_latents",
        "capture": own.config,
        "samples": sorted(good),
        "types": config.types,
        "folds": config.folds,
        "controls": config.controls,
        "permutations": config.permutations,
        "seed": config.seed,
    }
    with Run.open(folder / "probes", settings, overwrite=config.overwrite) as run:
        slots = {label: own.array(label).shape[1] for label in own.sites}
        bar = progress.add_task(
            f"{escape(model)} probes", total=sum(slots[label] for _, label in places) * len(targets)
        )
        for source, label in places:
            view = views[source]
            array = stores[source].array(label)[view.keep]
            # An untrained model has no oracle latents of its own.
            blank = untrained.array(label)[plain] if source == "own" else None
            site = label if source == "own" else f"{source}:{label}"
            for slot in range(array.shape[1]):
                number = slot if array.shape[1] > 1 else None
                key = f"{site}#{'-' if number is None else number}"
                rows: list[Row] = []
                # Distractors first: their score is a control of the target's row.
                for name, target in sorted(
                    view.targets.items(), key=lambda item: not item[0].startswith("distractor_")
                ):
                    if not run.has(key, name):
                        controls: dict[str, float | None] = {
                            **view.given[name],
                            "untrained": None
                            if blank is None
                            else score_site(blank[:, slot], target, tests=False).score,
                            "distractor": next(
                                (r["score"] for r in rows if r["target"] == f"distractor_{name}"),
                                None,
                            ),
                        }
                        scores = score_site(array[:, slot], target)
                        rows.append(probe_row(site, number, target, scores, controls))
                    progress.advance(bar)
                # In one piece: a row's distractor was scored with it.
                run.append_many(rows)
        made = run.rows()
    for row, p in zip(made, family_p(made), strict=True):
        row["p_family"] = p
    return made


def erase_targets(
    config: Config, model: str, folder: Path, targets: Sequence[str]
) -> list[ConditionSummary]:
    """What erasing each class target from the slots does to the answer."""
    conditions = ["own"]
    for name in targets:
        kinds = ERASURES[:1] if name.startswith("distractor_") else ERASURES
        conditions += [f"{kind}:attribute={name}" for kind in kinds]
    results = ablate_latents.ablate_models(
        taken(
            ablate_latents.Config,
            config,
            model=(model,),
            conditions=tuple(conditions),
            output=folder / "erasure",
        )
    )
    (summaries,) = results.values()
    return summaries


ERASURES = ("erase", "erase-shuffled", "erase-random")


def main(config: Config) -> int:
    """Capture, probe, erase, show and draw."""
    with progress_bar() as progress:
        prepared = {}
        for model in dict.fromkeys(config.model):
            folder = config.output / file_name(model)
            progress.stop()  # a capture shows its own
            stores = capture(config, model, folder)
            progress.start()
            prepared[model] = folder, probe_model(config, model, folder, stores, progress)
    summary: list[dict[str, Any]] = []
    for model, (folder, rows) in prepared.items():
        print_probes(model, rows)
        classes = dict.fromkeys(row["target"] for row in rows if row["kind"] == "class")
        if config.erase:
            erased = erase_targets(config, model, folder, erasable(classes))
            print_erasure(model, rows, erased)
        for target in dict.fromkeys(row["target"] for row in rows):
            if not target.startswith("distractor_"):
                save_figure(probe_figure(rows, target, model), folder / f"{file_name(target)}.png")
        named = [name for name in classes if not name.startswith("distractor_")]
        if named:
            save_figure(
                embedding_figure(Store(folder / "own"), named, model), folder / "latents.png"
            )
        summary += [
            {"model": model, **{k: v for k, v in row.items() if k != "null"}} for row in rows
        ]
    console.print(LEGEND, highlight=False)
    write_json(config.output / "probes.json", summary)
    console.print(f"probes.json and a figure per target are in {config.output}", markup=False)
    return 0


def erasable(names: Sequence[str] | dict[str, None]) -> list[str]:
    """Targets that are attributes of samples, or their answer."""
    return ["answer" if name == "gold" else name for name in names if name != "answer"]


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
