"""Where do the slots and the answer look? Attention by role, and at the evidence.

    python -m experiments.read_attention
    python -m experiments.read_attention --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/attention

Every sample is answered, and its text run once more in one forward that reads the attention rows
of the start marker, the slots, the end marker and the answer, in all layers and heads, from an
sdpa model: no other rows are ever computed. Shows the mass by role, entropy, and the enrichment of
the evidence box over all windows of its size. Attention is where a model looks, not what it uses:
for that, cut the edges (experiments.knock_out). Goes on where it was cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.markup import escape
from rich.progress import track

from experiments.console import console, run_main
from experiments.inputs import Inputs, file_name, load_model, load_samples, run_settings
from experiments.tables.attention import print_means
from lantern_probe.analysis import attention
from lantern_probe.analysis.attention import AttentionMean
from lantern_probe.capture.attention import default_queries, read_attention
from lantern_probe.capture.attention_measures import attention_figures, image_maps
from lantern_probe.errors import LanternError
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.replay import replay
from lantern_probe.model.roles import find_roles
from lantern_probe.plots.attention import attention_figure, plot_attention_over_image
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample
from lantern_probe.vocabulary import Role


@dataclass(frozen=True)
class Config(Inputs):
    """Where do the slots and the answer look? Attention by role, and at the evidence."""

    model: tuple[str, ...] = ("faithful", "bypass")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    samples: int | None = 64
    """How many samples."""
    overlays: int = 4
    """Samples whose attention is drawn over the image."""
    output: Path = Path("runs/read_attention")
    """Folder of the run; each model gets a folder in it."""
    batch_rows: int = 8
    """Samples run together."""


def read_model(config: Config, name: str, folder: Path) -> tuple[list[Row], Figure | None]:
    """The rows of one model, made where they are missing, and the overlays."""
    task, samples = load_samples(config, name)
    settings = run_settings(config, "read_attention", name, task)
    with Run.open(
        folder, settings, overwrite=config.overwrite, retry_failed=config.retry_failed
    ) as run:
        lantern = load_model(config, name)
        due = [sample for sample in samples if not run.has(sample.id, "own")]
        size = config.batch_rows
        batches = [due[first : first + size] for first in range(0, len(due), size)]
        for batch in track(batches, escape(name), console=console, disable=not batches):
            run.append_many(rows_of(lantern, batch, config.max_new_tokens))
        drawn = overlays(lantern, samples[: config.overlays], config.max_new_tokens)
        known = {sample.id for sample in samples}
        return [row for row in run.rows() if row["sample"] in known], drawn


def rows_of(lantern: LanternModel, samples: Sequence[Sample], limit: int | None) -> list[Row]:
    """One row per sample: what its attention says, or why it could not be run."""
    kwargs = {} if limit is None else {"max_new_tokens": limit}
    rows: list[Row] = []
    good = []
    for sample in samples:
        try:
            lantern.inputs([sample])
            good.append(sample)
        except LanternError as error:
            row = {"sample": sample.id, "condition": "own", "status": "failed"}
            rows.append(row | {"error": str(error)})
    if not good:
        return rows
    output = lantern.generate(good, **kwargs)
    again = replay(lantern, good, output)
    roles = [
        find_roles(lantern, again.own_ids(i), length)
        for i, length in enumerate(again.prompt_lengths)
    ]
    queries = [default_queries(one) for one in roles]
    weights = read_attention(lantern, again, queries)
    for index, sample in enumerate(good):
        figures = attention_figures(
            weights[index], queries[index], roles[index], again.grids[index], sample
        )
        rows.append(
            {
                "sample": sample.id,
                "condition": "own",
                "status": "ok",
                "cluster": sample.image_key,
                "emitted": bool(output.blocks[index]),
                "gold": sample.answer,
                "answer": output.answers[index],
                "attention": figures,
            }
        )
    return rows


def overlays(lantern: LanternModel, samples: Sequence[Sample], limit: int | None) -> Figure | None:
    """The mean attention of the slots and of the answer over the image, of some samples."""
    kwargs = {} if limit is None else {"max_new_tokens": limit}
    panels = []
    for sample in samples:
        try:
            image = sample.open_images()[0]
            again = replay(lantern, [sample], lantern.generate(sample, **kwargs))
        except (LanternError, IndexError):
            continue  # it stands in the rows as failed
        roles = find_roles(lantern, again.own_ids(0), again.prompt_lengths[0])
        for role in (Role.LVR_START, Role.SLOT, Role.ANSWER):
            at = roles.positions(role)
            if len(at):
                (weights,) = read_attention(lantern, again, [at])
                mean = image_maps(weights, roles, again.grids[0])[0].mean((0, 1, 2))
                panels.append((sample, role, image, mean))
    if not panels:
        return None
    count = len({sample.id for sample, *_ in panels})
    figure = Figure(figsize=(7.2, 2.5 * count), layout="constrained")
    axes = figure.subplots(count, 3, squeeze=False)
    rows = {key: i for i, key in enumerate(dict.fromkeys(p[0].id for p in panels))}
    columns = {Role.LVR_START: 0, Role.SLOT: 1, Role.ANSWER: 2}
    for ax in axes.flat:
        ax.axis("off")
    for sample, role, image, mean in panels:
        ax = axes[rows[sample.id], columns[role]]
        plot_attention_over_image(image, mean, ax, boxes=sample.boxes[:1])
        ax.set_title(f"{role.replace('_', ' ')}: {float(mean.sum()):.2f} on the image", fontsize=8)
    return figure


def main(config: Config) -> int:
    """Read, show and draw; 1 when nothing useful came out."""
    if config.batch_rows < 1:
        raise LanternError("--batch-rows must be at least 1")
    everything: list[AttentionMean] = []
    for name in dict.fromkeys(config.model):
        folder = config.output / file_name(name)
        rows, drawn = read_model(config, name, folder)
        found = attention.summarize(rows, model=name)
        good = sum(row["status"] == "ok" for row in rows)
        if good < len(rows):
            console.print(
                f"{name}: {len(rows) - good} samples failed, see rows.jsonl", markup=False
            )
        if not found:
            console.print(f"{name}: no sample has a latent block or an answer", markup=False)
            continue
        print_means(found, good)
        save_figure(attention_figure(found), folder / "layers.png")
        if drawn is not None:
            save_figure(drawn, folder / "overlays.png")
        everything += found
    console.print(
        "mass: share of a query's attention; entropy in nats; enrichment: mass of the evidence box "
        "over the mean window of its size (1 without preference), percentile among these windows; "
        "95 % bootstrap intervals, clustered by image",
        highlight=False,
    )
    if not everything:
        return 1
    write_json(config.output / "attention.json", everything)
    console.print(f"rows, attention.json and figures are in {config.output}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
