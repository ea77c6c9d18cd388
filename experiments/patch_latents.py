"""Patch one run's activations into its twin's, site by site.

    python -m experiments.patch_latents
    python -m experiments.patch_latents --model AGViveiros/LanteRn-3B-SFT --twin black-box \\
        --data viscot_mc_test.jsonl --image-root images --roles slot box --output runs/patch

Every sample gets a twin: the same question on an image edited in a known way. Each of the two is
the other's donor. Clean activations go into the twin's run (denoise: a place that restores the
answer is sufficient), and the twin's into the clean run (noise: a place that breaks it is
necessary). The target's own text and latents are fed throughout. Measured is the logit difference
at the answer. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError
from lantern_probe.vocabulary import PATCH_ROLES, PATCHED, parse_layers

from .console import console, end_explained, explaining, print_failed, progress_bar, run_main
from .inputs import ScaledInputs

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.analysis.patching import PatchEffect
    from lantern_probe.interventions.patches import Patch
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.engines import Engine
    from lantern_probe.records.rows import Row
    from lantern_probe.tasks import Sample

    from .runs import ModelLoader

COMMAND = "patch_latents"

TWINS = ("color", "shape", "unrelated")
"""Edits of scenes after which the right answer is another one, and pairs without any edit."""

MANY_LAYERS = 200
"""Layers of a model whose config is not at hand, while --layers is checked."""


@dataclass(frozen=True)
class Config(ScaledInputs):
    """Patch one run's activations into its twin's, site by site."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    twin: str = "color"
    """Edit that makes the twin. Of scenes: color or shape, after which the right answer is known.
    Of any data a corruption of the image: black-box, black-image, blur:radius=0.05 or swap-image,
    after which the donor's answer is what its run prefers. unrelated pairs each sample with one
    that has another answer, and data with the twin that --data names."""
    components: tuple[str, ...] = PATCHED
    """Components to patch: embedding (input of the first layer; at the slots, the latents),
    residual (output of a layer), attention and mlp (what they add to it)."""
    roles: tuple[str, ...] = PATCH_ROLES
    """Positions to patch: box (image tokens in the evidence box), last-question, last-prompt,
    lvr_start, slot (all together, and each alone), lvr_end, answer-start (the token before the
    answer's first)."""
    layers: str = "*"
    """Layers to patch: 3, 0+3, 2-5, !3 for all but 3, or * for all."""
    samples: int | None = 24
    """Number of samples, each with a twin."""
    output: Path = Path("runs/patch_latents")
    """Folder of the run; of several models each gets a folder in it. Given again, the command goes
    on with what is there."""

    def asked(self, model: str) -> tuple[str, list[Sample]]:
        """The name of the data, and the samples, each followed by its twin."""
        from .data import check_twin, load_pairs

        check_twin(self.twin, TWINS)
        return load_pairs(self, self.twin, model)


def wanted_cells(config: Config, layers: int, slots: int) -> list[Patch]:
    """Every cell that the configuration names, and a sham for every site.

    Raises:
        LanternError: there is no such component, role or layer.
    """
    from lantern_probe.interventions.patches import each_slot, layer_sites, shams, whole

    for option, given, known in (
        ("components", config.components, PATCHED),
        ("roles", config.roles, PATCH_ROLES),
    ):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            problem = f"{wrong[0]!r} cannot be patched" if wrong else "there is nothing to patch"
            raise LanternError(f"--{option}: {problem}; take {', '.join(known)}")
    sites = layer_sites(config.components, parse_layers(config.layers, layers), config.roles)
    return list(dict.fromkeys([*whole(sites), *each_slot(sites, slots), *shams(sites)]))


def cells_of(config: Config, load: ModelLoader) -> list[Patch]:
    """The cells of one model, which is loaded only if its config is not at hand.

    Raises:
        LanternError: there is no such component, role or layer.
    """
    from lantern_probe.model.location import known_layers

    layers, slots = known_layers(load.name), config.known_slots(load.name)
    if layers is None or slots is None:
        from lantern_probe.model.sites import layer_count

        layers, slots = layer_count(load()), load().latent_size
    return wanted_cells(config, layers, slots)


@dataclass(frozen=True)
class PatchJob:
    """Engine of a sweep; it can be sent to another process."""

    config: Config
    """Inputs of the command."""
    cells: Sequence[Patch]
    """Patches to run."""

    def __call__(self, lantern: LanternModel, some: Sequence[Sample]) -> list[Engine]:
        """The engine, without a run.

        Args:
            lantern: The model.
            some: Samples to run, each followed by its twin.
        """
        from lantern_probe.causal.patching.sweep import Sweep

        sweep = Sweep(
            lantern,
            some,
            self.cells,
            None,
            max_new_tokens=self.config.max_new_tokens,
            batch_rows=self.config.rows_together,
        )
        return [sweep]


def patch_model(config: Config, name: str, folder: Path, progress: Progress) -> list[PatchEffect]:
    """Run, or finish, one model's sweep in its folder; its effects, from the rows."""
    from lantern_probe.causal.twin_pairs import record_pairs
    from lantern_probe.records.rows import read_rows

    from .runs import ModelLoader, open_run
    from .scaling import end_part, has_lost, run_job

    data, samples = config.asked(name)
    load = ModelLoader(config, name)
    cells = cells_of(config, load)
    labels = {cell.label for cell in cells}

    def fail(sample: Sample, error: LanternError) -> list[Row]:
        from lantern_probe.causal.patching.sweep import failed_cells

        return failed_cells(sample, cells, error)

    # Cells do not decide each other's rows, so that a run can be extended by more of them.
    with open_run(config, folder, COMMAND, name, data, samples, samples=len(samples)) as run:
        samples = record_pairs(run, samples, fail, lost=has_lost(config))
        wanted = {(sample.id, label) for sample in samples for label in labels}
        run_job(config, run, samples, wanted, load, PatchJob(config, cells), progress)
    end_part(config)

    from lantern_probe.analysis import patching

    rows = [row for row in read_rows(folder) if row["condition"] in labels]
    print_failed(name, rows)
    reasons = {row["error"] for row in rows if row["status"] == "left out"}
    if reasons:
        left = len({row["sample"] for row in rows if row["status"] == "left out"})
        console.print(
            f"{name}: {left} of {len(samples)} samples are left out of some cells: "
            f"{min(reasons)} ...",
            markup=False,
            soft_wrap=True,
        )
    return patching.summarize(rows, model=name)


def check(config: Config) -> None:
    """Refuse what cannot be used, as far as it shows before anything is loaded.

    Raises:
        LanternError: naming the flag.
    """
    config.check(config.model)
    from lantern_probe.model.location import known_layers

    from .data import check_twin

    check_twin(config.twin, TWINS)
    if config.rows_together == 1:
        raise LanternError("--batch-rows must be at least 2: one row is the unpatched run")
    for name in config.model:
        wanted_cells(config, known_layers(name) or MANY_LAYERS, slots=1)


def main(config: Config) -> int:
    """Run what is missing, show and draw it; 1 when nothing could be compared."""
    check(config)
    with progress_bar() as progress:
        results = []
        for name, folder in config.folders(config.model).items():
            with explaining():
                results.append(patch_model(config, name, folder, progress))
    end_explained(config.only_shows)

    from lantern_probe.plots.patching import patching_figure
    from lantern_probe.plots.style import save_figure
    from lantern_probe.records.json_files import write_json

    from .tables.patching import LEGEND, print_effects

    for effects in results:
        print_effects(effects, console)
    console.print(LEGEND, highlight=False, markup=False)
    write_json(config.output / "patching.json", [e for effects in results for e in effects])
    save_figure(patching_figure(results), config.output / "patching.png")
    console.print(f"rows, patching.json and patching.png are in {config.output}", markup=False)
    return 0 if all(any(e.n for e in effects) for effects in results) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
