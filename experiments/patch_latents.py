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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from tyro.conf import Suppress

from experiments import ablate_latents, exchange_latents
from experiments.console import console, print_table, run_main
from experiments.inputs import (
    file_name,
    load_model,
    load_samples,
    progress_bar,
    run_settings,
    taken,
)
from experiments.tables import p_value
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Span
from lantern_probe.patching import (
    DIRECTIONS,
    PATCH_ROLES,
    PATCHED,
    Cell,
    PatchEffect,
    Sweep,
    each_slot,
    layer_sites,
    patch_effects,
    shams,
    whole,
)
from lantern_probe.patching_plots import recovery_map
from lantern_probe.plots import save_figure
from lantern_probe.records import Run, read_rows, write_json
from lantern_probe.sites import LAYERED, layer_count
from lantern_probe.stats import Difference, Ratio
from lantern_probe.tasks import Sample
from lantern_probe.tasks.pairs import TWIN, TWIN_ANSWER

UNRELATED = "unrelated"

PANELS: tuple[tuple[Literal["slot", "role"], str], ...] = (
    ("slot", "denoise"),
    ("slot", "noise"),
    ("role", "denoise"),
    ("role", "noise"),
)

ALPHA = 0.05
"""Cells left out of the table are counted where their Holm p is below it."""

LEGEND = (
    "recovery: shift of the logit difference over the difference between the two runs [95 % "
    "bootstrap interval, clustered by pair], - where the runs may not differ; denoise: clean into "
    "corrupted; noise: corrupted into clean; flip: share whose most probable answer became the "
    "donor's; Holm: p of the sign-flip test that the shift is 0, whole pairs (n of them) flipped "
    "together, exact for up to 20 pairs, after Holm over all cells of the model and direction, "
    "single slots too; sham: largest shift, nats, with own activations put back, not tested; p "
    "before Holm, and the shifts with their intervals, are in patching.json"
)


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


def unrelated_pairs(samples: Sequence[Sample]) -> list[Sample]:
    """Samples in pairs of different answers, each the first that fits; one may be left over.

    Raises:
        LanternError: all have the same answer.
    """
    pairs: list[Sample] = []
    waiting: list[Sample] = []
    for sample in samples:
        other = next((one for one in waiting if one.answer != sample.answer), None)
        if other is None:
            waiting.append(sample)
            continue
        waiting.remove(other)
        for one, twin in ((other, sample), (sample, other)):
            known = {TWIN: twin.id, TWIN_ANSWER: twin.answer, "pair": other.id}
            pairs.append(replace(one, attributes={**one.attributes, **known}))
    if not pairs:
        raise LanternError("unrelated pairs need samples of different answers")
    return pairs


def wanted_cells(config: Config, layers: int, slots: int) -> list[Cell]:
    """Every cell that the configuration names, and a sham for every site.

    Raises:
        LanternError: there is no such component, role or layer.
    """
    try:
        span = Span.parse("" if config.layers == "*" else config.layers or "?")
    except LanternError:
        raise LanternError(f"no layers {config.layers!r}; write 3, 0+3, 2-5, !3 or *") from None
    if span.numbers and max(span.numbers) >= layers:
        raise LanternError(
            f"--layers: there is no layer {max(span.numbers)}; the model has 0 to {layers - 1}"
        )
    for option, given, known in (
        ("components", config.components, PATCHED),
        ("roles", config.roles, PATCH_ROLES),
    ):
        wrong = [name for name in given if name not in known]
        if wrong or not given:
            problem = f"{wrong[0]!r} cannot be patched" if wrong else "there is nothing to patch"
            raise LanternError(f"--{option}: {problem}; take {', '.join(known)}")
    chosen = [layer for layer in range(layers) if layer in span]
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
    return patch_effects(rows, model=name)


def print_effects(effects: Sequence[PatchEffect], console: Console) -> None:
    """One model's cells, all positions of a role together; single slots are in the figure."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("cell", no_wrap=True)
    for name in ("n", *(part for way in DIRECTIONS for part in (way, "flip", "Holm")), "sham"):
        table.add_column(name, justify="right", no_wrap=True)
    found = {(e.condition, e.direction): e for e in effects}
    quiet, shifted = 0, 0
    for label in dict.fromkeys(e.condition for e in effects if e.slot is None and not e.sham):
        both = [found[label, way] for way in DIRECTIONS]
        sham = max(found[f"{label}:sham", way].largest for way in DIRECTIONS)
        figures = [(ratio(e.recovery), share(e.flips)) for e in both]
        if set(figures) == {(".00 [.00, .00]", ".00")} and not sham:
            quiet += 1
            adjusted = [e.shift_holm_p for e in both if e.shift_holm_p is not None]
            shifted += any(p < ALPHA for p in adjusted)
            continue
        cells = [
            part
            for e, two in zip(both, figures, strict=True)
            for part in (*two, p_value(e.shift_holm_p))
        ]
        n = "/".join(dict.fromkeys(str(e.n) for e in both))
        table.add_row(escape(label), n, *cells, f"{sham:.1g}")
    largest = max(e.n for e in effects)
    family = {e.condition for e in effects if e.shift_test is not None}
    draws = max((e.shift_test.resamples for e in effects if e.shift_test is not None), default=0)
    console.print(
        f"[bold]{escape(effects[0].model)}[/]: recovery, up to {largest} samples in each direction"
        f"; Holm over {len(family)} cells" + (f", {draws:,} draws" if draws else ""),
        highlight=False,
    )
    print_table(table, console)
    console.print(
        f"and {quiet} cells in which all of these figures but Holm are .00; Holm is below "
        f"{two_digits(ALPHA)} in {shifted} of them",
        highlight=False,
    )
    console.print()


def ratio(value: Ratio) -> str:
    """A ratio with its interval; a dash where it is not defined."""
    if not value.defined:
        return "-"
    estimate, low, high = (two_digits(end) for end in (value.estimate, value.low, value.high))
    return f"{estimate} [{low}, {high}]"


def share(value: Difference) -> str:
    """A share; a dash where there is none."""
    return two_digits(value.estimate) if value.n else "-"


def two_digits(value: float) -> str:
    """Two decimals, without a leading zero, and 0 without a sign."""
    text = f"{round(value, 2) + 0:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def draw(results: Sequence[Sequence[PatchEffect]]) -> Figure:
    """Layer x slot and layer x role, both directions side by side; models and components below
    one another."""
    lines = []
    for effects in results:
        present = {e.component for e in effects}
        for component in LAYERED:
            if component in present or (component == "residual" and "embedding" in present):
                lines.append((effects, component))
    figure = Figure(figsize=(20, 2.9 * len(lines)), layout="constrained")
    panels = figure.subplots(len(lines), 4, squeeze=False)
    for (effects, component), axes in zip(lines, panels, strict=True):
        for ax, (columns, direction) in zip(axes, PANELS, strict=True):
            if columns == "slot" and not any(e.role == "slots" for e in effects):
                ax.set_axis_off()
                continue
            recovery_map(effects, ax, component=component, direction=direction, columns=columns)
            ax.set_title(f"{effects[0].model}: {ax.get_title()}", fontsize=9)
    return figure


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
    save_figure(draw(results), config.output / "patching.png")
    console.print(f"rows, patching.json and patching.png are in {config.output}", markup=False)
    return 0 if all(any(e.n for e in effects) for effects in results) else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
