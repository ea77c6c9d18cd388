"""What the latents look like, and do they find their own oracle?

    python -m experiments.map_latents
    python -m experiments.map_latents --model AGViveiros/LanteRn-3B-SFT \\
        --data viscot_mc_test.jsonl --image-root images --output runs/map

Captures the model's own latents (free-running) and the oracle latents of the same samples, the
gallery. Two more sets are what the model *would* have generated: `teacher-forced` while oracle
latents stand in its slots, and `dummy` while zeros do, so that nothing but the prompt is in them. A
latent is the final normed state at the position before its slot. So slot t of either set is the
output of the last layer at slot t - 1 (at the start marker for slot 0), with the model's final norm
applied. For the model's own latents this gives back what it fed itself.

Slot 0 is the same in all three. In a teacher-forced slot t from 1 on, the model has seen the
oracle's slots before t: finding the oracle there may be copying, and only slot 0 is free of it.

Measured: cosines among all samples and among those of the same question, ranks, norms, drift,
alignment with the oracle, USP; retrieval of the own oracle among all, and among those of samples
with the same question, which the question's words cannot give away; and whether a sample's rank
predicts its answer. Goes on where it was cut off.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.progress import Progress
from torch import Tensor
from torch.nn.functional import rms_norm

from experiments import capture_activations
from experiments.console import console, run_main
from experiments.inputs import Inputs, file_name, load_model, load_samples, progress_bar, taken
from experiments.tables.geometry import print_geometry, print_retrieval
from lantern_probe.errors import LanternError
from lantern_probe.geometry import (
    GeometryRow,
    VectorSet,
    alignment_rows,
    cosine_rows,
    geometry_rows,
    norm_rows,
    path_rows,
    preference_rows,
)
from lantern_probe.geometry.retrieval import Retrieval, retrieve
from lantern_probe.geometry.retrieval_correctness import RankCorrectness, rank_correctness
from lantern_probe.geometry.retrieval_within import AlikeRetrieval, retrieve_alike
from lantern_probe.geometry.vectors import DUMMY, FORCED, IMAGE, ORACLE, OWN, QUESTION, WORDS
from lantern_probe.model.sites import layer_count
from lantern_probe.plots.latents import latents_figure
from lantern_probe.plots.style import save_figure
from lantern_probe.records.json_files import write_json
from lantern_probe.records.store import Store

FEWEST = 5
"""Samples below which there is nothing to measure: a rank is taken of 4/5 of them."""


@dataclass(frozen=True)
class Config(Inputs):
    """What the latents look like, and do they find their own oracle?"""

    model: tuple[str, ...] = ("faithful", "collapsed")
    """Bundled organisms, checkpoint folders or Hub names; the network is used for the last only."""
    alike: str = "prompt"
    """Column whose value samples share where they are alike (a second cosine, a second retrieval):
    prompt (the question), or any attribute of a task, such as color or cell."""
    output: Path = Path("runs/map_latents")
    """Folder of the run; each model gets a folder in it."""


@dataclass(frozen=True, eq=False)
class Weights:
    """What is needed of a model itself, beside its activations.

    Attributes:
        last: Number of its last decoder layer.
        norm: Weight of the final norm, [D].
        epsilon: Of the final norm.
        words: Input embeddings of the different tokens of all questions, [tokens, D].
    """

    last: int
    norm: Tensor
    epsilon: float
    words: Tensor

    @classmethod
    def of(cls, config: Config, model: str) -> Weights:
        """Read them, and forget the model.

        Raises:
            LanternError: there is no such model or data, or the model has no latent blocks.
        """
        _, samples = load_samples(config, model)
        lantern = load_model(config, model)
        lantern.require_lvr()
        norm = lantern.hf.model.language_model.norm
        texts = lantern.processor.tokenizer([sample.text for sample in samples])["input_ids"]
        ids = sorted({token for text in texts for token in text})
        table = lantern.hf.get_input_embeddings().weight.detach()
        return cls(
            layer_count(lantern) - 1,
            norm.weight.detach().float().cpu(),
            norm.variance_epsilon,
            table[ids].float().cpu(),
        )

    def states(self, store: Store, role: str) -> Tensor:
        """Final normed states at a role, [samples, slots, D]."""
        found = store.array(f"residual.{self.last}@{role}").float()
        return rms_norm(found, self.norm.shape, self.norm, self.epsilon)

    def generated(self, store: Store) -> Tensor:
        """The latents that the model generates whatever stands in its slots, [samples, K, D]."""
        slots = self.states(store, "slot")
        return torch.cat([self.states(store, "lvr_start"), slots[:, :-1]], 1)


@dataclass(frozen=True, eq=False)
class Latents:
    """All sets of one model, of the same samples in the same order.

    Attributes:
        data: Name of the data.
        sets: By name; `word embeddings` alone is of tokens, not samples.
        samples: Rows of the capture.
        left_out: Samples of the data that lack a block, an oracle or a state.
    """

    data: str
    sets: dict[str, VectorSet]
    samples: list[dict[str, Any]]
    left_out: int

    def labels(self, column: str) -> list[Any]:
        """A column of the samples.

        Raises:
            LanternError: not every sample has it.
        """
        if any(row.get(column) is None for row in self.samples):
            raise LanternError(
                f"--alike: not every sample has {column!r}; there are "
                f"{', '.join(sorted(self.samples[0]))}"
            )
        return [row[column] for row in self.samples]


def capture(config: Config, model: str, folder: Path) -> Latents:
    """Capture one model under three conditions, and bring the samples that all have together.

    Raises:
        LanternError: nothing useful could be captured.
    """
    weights = Weights.of(config, model)
    last = f"residual.{weights.last}"
    inside = [f"{last}@lvr_start", f"{last}@slot"]

    def run(name: str, condition: str, sites: Sequence[str]) -> Store:
        done = capture_activations.main(
            taken(
                capture_activations.Config,
                config,
                model=model,
                sites=tuple(sites),
                condition=condition,
                output=folder / name,
                store_dtype="float32",  # cosines near 1 need it
            )
        )
        if done:
            raise LanternError(
                f"{model}: no sample of '{folder / name}' has the sites asked for; the model must "
                "open a latent block, and oracle latents need samples with a box"
            )
        return Store(folder / name)

    own = run("own", "own", ["latent@slot", f"{last}@last-question", "vision@image-mean"])
    oracle = run("oracle", "oracle", ["latent@slot", *inside])
    dummy = run("dummy", "zeros", inside)
    found = {
        OWN: (own, own.array("latent@slot")),
        FORCED: (oracle, weights.generated(oracle)),
        ORACLE: (oracle, oracle.array("latent@slot")),
        DUMMY: (dummy, weights.generated(dummy)),
        QUESTION: (own, weights.states(own, "last-question")[:, 0]),
        IMAGE: (own, own.array("vision@image-mean")[:, 0]),
    }
    by_sample = {
        name: {
            row["sample"]: vectors
            for row, vectors in zip(store.samples, array, strict=True)
            if bool(torch.isfinite(vectors).all())
        }
        for name, (store, array) in found.items()
    }
    data, asked = load_samples(config, model)
    everything = {sample.id for sample in asked}  # the folder may hold more, of a longer run
    samples = [
        row
        for row in own.samples
        if row["sample"] in everything and all(row["sample"] in some for some in by_sample.values())
    ]
    if len(samples) < FEWEST:
        raise LanternError(
            f"{model}: only {len(samples)} of {len(everything)} samples have a whole latent block "
            f"and oracle latents; at least {FEWEST} are needed"
        )
    images = [row["cluster"] for row in samples]
    sets = {
        name: VectorSet.of(name, torch.stack([some[r["sample"]] for r in samples]).numpy(), images)
        for name, some in by_sample.items()
    }
    sets[WORDS] = VectorSet.of(WORDS, weights.words.numpy())
    return Latents(data, sets, samples, len(everything) - len(samples))


def measure_geometry(
    sets: dict[str, VectorSet], labels: Sequence[Any], seed: int
) -> list[GeometryRow]:
    """Every measure of `lantern_probe.geometry`, of both ways to generate."""
    own, forced, oracle = (sets[name] for name in (OWN, FORCED, ORACLE))
    references = [sets[name] for name in (FORCED, DUMMY, QUESTION, IMAGE)]
    rows = geometry_rows(own, oracle, references, labels=labels, seed=seed)
    rows += path_rows(forced, seed=seed) + path_rows(sets[DUMMY], seed=seed)
    rows += alignment_rows(forced, oracle, seed=seed) + preference_rows(forced, oracle, seed=seed)
    # Too few different words for a rank next to the others'.
    return rows + cosine_rows(sets[WORDS], seed=seed) + norm_rows(sets[WORDS], seed=seed)


def measure_retrieval(
    latents: Latents, alike: str, seed: int
) -> tuple[dict[str, list[Retrieval]], dict[str, list[AlikeRetrieval]]]:
    """By query: retrieval among all, and among samples alike.

    Raises:
        LanternError: no sample has such a column.
    """
    sets, labels = latents.sets, latents.labels(alike)
    among_all, among_alike = {}, {}
    for name in (OWN, FORCED, DUMMY, IMAGE):
        query, gallery = sets[name], sets[ORACLE]
        if not query.slotted:
            gallery = gallery.mean_over_slots()
        views = retrieve(query, gallery, seed=seed)
        among = retrieve_alike(query, gallery, labels, seed=seed)
        # Of what has no slots all views are the same.
        among_all[name] = [v for v in views if query.slotted or v.view == "pooled"]
        among_alike[name] = [v for v in among if query.slotted or v.view == "pooled"]
    return among_all, among_alike


def measure_correctness(
    latents: Latents, views: Sequence[Retrieval], seed: int
) -> dict[str, RankCorrectness]:
    """By view, whether a sample's rank predicts the answer that the model gave; of known golds."""
    known = [i for i, row in enumerate(latents.samples) if row["correct"] is not None]
    if not known:
        return {}
    right = [latents.samples[i]["correct"] for i in known]
    images = [latents.samples[i]["cluster"] for i in known]
    return {
        view.view: rank_correctness(view.ranks[known], np.array(right, int), images, seed=seed)
        for view in views
    }


def retrieval_record(
    latents: Latents,
    model: str,
    alike: str,
    among_all: dict[str, list[Retrieval]],
    among_alike: dict[str, list[AlikeRetrieval]],
    correctness: dict[str, RankCorrectness],
) -> dict[str, Any]:
    """One model's object in `retrieval.json`."""
    return {
        "model": model,
        "data": latents.data,
        "n": len(latents.samples),
        "left_out": latents.left_out,
        "alike": alike,
        "samples": [row["sample"] for row in latents.samples],
        "images": latents.sets[OWN].images,
        "among_all": among_all,
        "among_alike": among_alike,
        "correctness": correctness,
    }


def report(config: Config, model: str, folder: Path, progress: Progress) -> list[dict[str, Any]]:
    """Measure, print and draw one model; the records of geometry and of retrieval."""
    latents = capture(config, model, folder)
    progress.start()
    bar = progress.add_task(f"{escape(model)} measures", total=3)
    found, alike = measure_retrieval(latents, config.alike, config.seed)
    progress.advance(bar)
    correctness = measure_correctness(latents, found[OWN], config.seed)
    progress.advance(bar)
    rows = measure_geometry(latents.sets, latents.labels(config.alike), config.seed)
    progress.advance(bar)
    progress.stop()
    n, own = len(latents.samples), latents.sets[OWN]
    title = f"{model}: n = {n} samples of {own.image_count} images, {latents.left_out} left out"
    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    print_geometry(rows, (OWN, FORCED), ORACLE, console)
    print_retrieval(found, alike, config.alike, correctness, console)
    save_figure(latents_figure(rows, found, alike, title), folder / "latents.png")
    geometry = {"model": model, "n": n, "left_out": latents.left_out, "rows": rows}
    return [geometry, retrieval_record(latents, model, config.alike, found, alike, correctness)]


def main(config: Config) -> int:
    """Capture what is missing, measure, show and draw."""
    if not config.model:
        raise LanternError("--model needs at least one model")
    records = []
    for model in dict.fromkeys(config.model):
        folder = config.output / file_name(model)
        # A capture shows its own progress, and two cannot be shown at once.
        records.append(report(config, model, folder, progress_bar()))
    geometry, retrieval = zip(*records, strict=True)
    write_json(config.output / "geometry.json", geometry)
    write_json(config.output / "retrieval.json", retrieval)
    console.print(
        f"geometry.json, retrieval.json and a figure per model are in {config.output}",
        markup=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
