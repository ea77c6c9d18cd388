"""Where does the answer come from? Patch one run's activations into its twin's, cell by cell.

    python -m experiments.patch_latents
    python -m experiments.patch_latents --model AGViveiros/LanteRn-3B-SFT --twin black-box \\
        --data viscot_mc_test.jsonl --image-root images --roles slots box --output runs/patch

Every sample gets a twin: the same question on an image edited in a known way. Each of the two is
the other's donor: clean activations into the twin's run (denoise: a place that restores the answer
is sufficient), and the twin's into the clean run (noise: a place that breaks it is necessary). The
target's own text and latents are fed throughout. Measured is the logit difference at the answer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import Progress
from tyro.conf import Suppress

from experiments import ablate_latents, exchange_latents
from experiments.console import console, run_main
from experiments.inputs import (
    file_name,
    load_model,
    load_samples,
    progress_bar,
    run_settings,
    taken,
)
from experiments.tables.patching import LEGEND, print_effects
from lantern_probe.analysis import patching
from lantern_probe.analysis.patching import PatchEffect
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.errors import LanternError
from lantern_probe.interventions.patches import Patch, each_slot, layer_sites, shams, whole
from lantern_probe.model.sites import layer_count
from lantern_probe.plots.patching import patching_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample
from lantern_probe.tasks.twins import UNRELATED, unrelated_pairs
from lantern_probe.vocabulary import PATCH_ROLES, PATCHED, parse_layers


@dataclass(frozen=True)
class Config(ablate_latents.Config):
    """Where does the answer come from? Patch one run's activations into its twin's."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    twin: str = "color"
    """How twins are made: of scenes by color or shape (the answer they call for is known); of
    anything by a corruption: black-box, black-image, blur:radius=0.05, swap-image (the donor's
    answer is what its run prefers); unrelated: another sample with another answer."""
    components: tuple[str, ...] = PATCHED
    """What is patched: embedding (input of the first layer; at the slots, the latents), residual
    (output of a layer), attention, mlp (what they add to it)."""
    roles: tuple[str, ...] = PATCH_ROLES
    """Where: box (image tokens in the evidence box), last-question, last-prompt, lvr_start, slots
    (all together, and each alone), lvr_end, answer (the token before the answer's first)."""
    layers: str = "*"
    """Which layers: 3, 0+3, 2-5, !3 for all but 3, or * for all."""
    samples: int | None = 24
    """How many samples, each with a twin."""
    output: Path = Path("runs/patch_latents")
    """Folder of the run; with several models each gets a folder in it."""
    # A patched run writes no text, so there is nothing to intervene on or to parse.
    conditions: Suppress[tuple[str, ...]] = ()
    images: Suppress[tuple[str, ...]] = ()
    parser: Suppress[Any] = "default"


def load_pairs(config: Config, model: str) -> tuple[str, list[Sample]]:
    """The samples of a model, each followed by its twin.

    Raises:
        LanternError: as for `load_samples`, or there are no such twins.
    """
    if config.twin == UNRELATED:
        task, samples = load_samples(config, model)
        return f"{task} in unrelated pairs", unrelated_pairs(samples)
    if config.twin == "cell":
        raise LanternError("twins by cell have the same answer; take --twin color or shape")
    return exchange_latents.load_pairs(
        taken(exchange_latents.Config, config, twin=config.twin), model
    )


def wanted_cells(config: Config, layers: int, slots: int) -> list[Patch]:
    """Every cell that the configuration names, and a sham for every site.

    Raises:
        LanternError: there is no such component, role or layer.
    """
    chosen = parse_layers(config.layers, layers)
    for option, given, known in (
        ("components", config.components, PATCHED),
        ("roles", config.roles, PATCH_ROLES),
    ):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            problem = f"{wrong[0]!r} cannot be patched" if wrong else "there is nothing to patch"
            raise LanternError(f"--{option}: {problem}; take {', '.join(known)}")
    sites = layer_sites(config.components, chosen, config.roles)
    return list(dict.fromkeys([*whole(sites), *each_slot(sites, slots), *shams(sites)]))


def patch_model(config: Config, name: str, folder: Path, progress: Progress) -> list[PatchEffect]:
    """Run, or finish, one model's sweep in its folder; its effects, from the rows."""
    data, samples = load_pairs(config, name)
    # Cells do not decide each other's rows, so that a run can be extended by more of them.
    settings = run_settings(config, "patch_latents", name, data)
    settings["samples"] = len(samples)
    lantern = load_model(config, name)
    cells = wanted_cells(config, layer_count(lantern), lantern.latent_size)
    with Run.open(
        folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed
    ) as run:
        labels = {cell.label for cell in cells}
        due = sum(not run.has(sample.id, label) for sample in samples for label in labels)
        bar = progress.add_task(escape(name), total=len(samples) * len(labels))
        progress.advance(bar, len(samples) * len(labels) - due)
        Sweep(
            lantern,
            samples,
            cells,
            run,
            max_new_tokens=config.max_new_tokens,
            batch_rows=config.batch_rows,
            advance=lambda rows: progress.advance(bar, rows),
        ).execute()
    rows = [row for row in read_rows(folder) if row["condition"] in labels]
    reasons = {row["error"] for row in rows if row["status"] != "ok"}
    if reasons:
        left = len({row["sample"] for row in rows if row["status"] != "ok"})
        console.print(
            f"{name}: {left} of {len(samples)} samples are left out of some cells: "
            f"{min(reasons)} ...",
            markup=False,
            soft_wrap=True,
        )
    return patching.summarize(rows, model=name)


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing could be compared."""
    if not config.model:
        raise LanternError("--model needs at least one model")
    if (config.batch_rows is not None and config.batch_rows < 2) or (
        config.max_new_tokens is not None and config.max_new_tokens < 1
    ):
        raise LanternError("--batch-rows must be at least 2, and --max-new-tokens at least 1")
    names = list(dict.fromkeys(config.model))
    if len(names) > 1 and (config.output / "run.json").exists():
        raise LanternError(
            f"'{config.output}' holds the run of one model; give several another --output"
        )
    results = []
    with progress_bar() as progress:
        for name in names:
            folder = config.output if len(names) == 1 else config.output / file_name(name)
            results.append(patch_model(config, name, folder, progress))
    for effects in results:
        print_effects(effects, console)
    console.print(LEGEND, highlight=False, markup=False)
    write_json(config.output / "patching.json", [e for effects in results for e in effects])
    save_figure(patching_figure(results), config.output / "patching.png")
    console.print(f"rows, patching.json and patching.png are in {config.output}", markup=False)
    return 0 if all(any(e.n for e in effects) for effects in results) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
