# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. What the latents hold, and whether it is used
#
# An ablation says whether the answer needs the latents. It does not say what is in them. A *probe*
# is a small classifier that tries to read something, here a colour, from the vectors. This notebook
# captures latents, reads them against controls, looks at them, and then takes the colour out of
# them while the model answers.
#
# Organisms are engineered controls, and no evidence about LanteRn.

# %%
# %env OMP_NUM_THREADS=1
# %matplotlib inline
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from lantern_probe import LanternModel, load_task
from lantern_probe.capture.batch import capture_batch
from lantern_probe.organisms import card
from lantern_probe.vocabulary import parse_sites

torch.set_num_threads(1)  # more only slow down models and matrices this small, here and in numpy
MODELS = ("faithful", "bypass")
lanterns = {name: LanternModel(name) for name in MODELS}
samples = load_task("scenes", 96)
for name in MODELS:
    print(f"{name}: {card(name).truth}")

# %% [markdown]
# ## Capture
#
# A site is a module and a role: `latent@slot` is what is fed at the slots, `residual.2@slot` the
# output of layer 2 there. `capture_batch` generates and reads in one pass. The experiment
# `capture_activations` writes any number of sites to disk, and `lantern_probe.records.Store` reads
# them.

# %%
sites = parse_sites(["latent@slot"], layers=4)


def capture(lantern, texts=None):
    """Latents and texts; the texts are the model's own, or imposed."""
    parts = [
        capture_batch(lantern, samples[i : i + 32], sites, force=texts and texts[i : i + 32])
        for i in range(0, len(samples), 32)
    ]
    found = torch.cat([part.activations["latent@slot"] for part in parts])
    return found, [text for part in parts for text in part.continuations]


latents, texts = {}, {}
for name, lantern in lanterns.items():
    latents[name], texts[name] = capture(lantern)
    print(name, tuple(latents[name].shape), "(samples, slots, dimensions)")

# %% [markdown]
# ## Look first
#
# The latents of the last slot in two dimensions, by PCA. On the left the dots have the colour that
# was asked for. On the right, the same dots have the colour of an object that nobody asked about.

# %%
from lantern_probe.geometry.projection import embed, explained_variance
from lantern_probe.plots.embedding import plot_embedding

LAST = 7
color = [sample.attributes["color"] for sample in samples]
other = [sample.attributes["distractor_color"] for sample in samples]

figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for row, name in zip(axes, MODELS, strict=True):
    vectors = latents[name][:, LAST]
    points = embed(vectors)
    first, second = explained_variance(vectors)
    for ax, values, what in zip(row, (color, other), ("asked", "not asked"), strict=True):
        plot_embedding(points, values, what, ax)
        ax.set_title(f"{name}, slot {LAST}", fontsize=10)
        ax.set_xlabel(f"PC 1 ({first:.0%} of the variance)", fontsize=8)
        ax.set_ylabel(f"PC 2 ({second:.0%})", fontsize=8)

# %% [markdown]
# Small groups of one asked colour, but no cluster per colour: two directions hold a third of the
# variance, and what they show is not all there is.
#
# ## A map by UMAP
#
# UMAP (arXiv 1802.03426) looks at all 128 dimensions, and places each sample near the 15 that are
# nearest to it. It keeps neighbourhoods, and nothing else. So two controls that know no colour
# stand next to the latents: an *untrained* model, read along the words of *faithful* (by itself it
# opens no block), and *noise*, Gaussian with the mean and the covariance of the latents of
# *faithful*. The last panel is the same noise with 3 neighbours instead of 15. All seeds are fixed.

# %%
from umap import UMAP

from lantern_probe.model.checkpoint import untrain
from lantern_probe.stats import clustered_share

shown = {name: latents[name][:, LAST].double().numpy() for name in MODELS}
untrained, _ = capture(untrain(LanternModel("faithful")), texts["faithful"])
shown["untrained"] = untrained[:, LAST].double().numpy()
own, rng = shown["faithful"], np.random.default_rng(0)
shown["noise"] = rng.multivariate_normal(own.mean(0), np.cov(own.T), size=len(own))

maps = {name: embed(vectors, "umap") for name, vectors in shown.items()}
narrow = UMAP(n_neighbors=3, random_state=0, n_jobs=1).fit_transform(shown["noise"])
torch.set_num_threads(1)  # UMAP has undone it

figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
panels = [("faithful, asked", maps["faithful"], color), ("bypass, asked", maps["bypass"], color)]
panels += [("faithful, not asked", maps["faithful"], other)]
panels += [(f"{name}, asked", maps[name], color) for name in ("untrained", "noise")]
panels += [("the same noise, 3 neighbours", narrow, color)]
for ax, (title, points, values) in zip(axes.flat, panels, strict=True):
    plot_embedding(points, values, "colour", ax).set_title(title, fontsize=10)
    ax.set(xticks=[], yticks=[])  # the axes of a UMAP have no meaning
    ax.get_legend().remove()
handles, names = axes[0, 2].get_legend_handles_labels()
names = [name.split()[0] for name in names]  # without the counts, which are of one panel only
legend = axes[0, 2].legend(handles, names, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# What may be said? In both organisms neighbours share the asked colour, and not the other one.
# What may *not*?
#
# * "The untrained model knows something, look at its clusters." They are real, and they are the
#   three ways in which the question is worded. The clearest clusters here have no colour in them.
# * "These two clusters are far apart, this one is large." Distances between clusters, their sizes
#   and the axes are made by the method.
# * "There are groups." With 3 neighbours there are groups in noise.
#
# A number says the same without a picture: how often does a sample's nearest neighbour, in all 128
# dimensions and in the map, have its colour?


# %%
def neighbours(points, values):
    """Share of samples whose nearest neighbour has their value, with its 95 % interval."""
    away = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(away, np.inf)
    share = clustered_share(np.array(values)[away.argmin(1)] == np.array(values))
    return f"{share.estimate:.2f} [{share.low:.2f}, {share.high:.2f}]"


for name, vectors in shown.items():
    print(f"{name:9} asked, 128 dimensions {neighbours(vectors, color)}", end="")
    print(f", map {neighbours(maps[name], color)}; not asked, map {neighbours(maps[name], other)}")
wording = [sample.attributes["template"] for sample in samples]
print(f"untrained wording, map {neighbours(maps['untrained'], wording)}")

# %% [markdown]
# ## Probe, with controls
#
# A picture may hide structure, or invent it, and nobody can say how much. So fit a probe on some
# scenes and score it on others. Samples of one image must be on the same side of that split, or the
# probe is scored on what it has seen: `group_folds` keeps groups whole. Each scene here has an
# image of its own, so its id is its group. With your data it is the image.
#
# A score alone says little. It is read beside
#
# * *question*: a probe of the words of the question, without any image;
# * *not asked*: the same latents, read for the colour of another object. If that works too, the
#   latents carry the image at large and not the answer;
# * *guessing*: the share of the most frequent colour.

# %%
from lantern_probe.probing import LinearProbe, group_folds
from lantern_probe.probing.controls import question_features

groups = [sample.id for sample in samples]


def probe(features, labels):
    """Share of scenes read rightly by a probe that was fitted on others."""
    x, y = np.asarray(features), np.asarray(labels)
    codes = torch.from_numpy(np.unique(y, return_inverse=True)[1])
    folds = group_folds(groups, 5, codes).numpy()
    right = np.zeros(len(y), bool)
    for fold in range(5):
        fitted = LinearProbe(C=0.01).fit(x[folds != fold], y[folds != fold])
        right[folds == fold] = fitted.predict(x[folds == fold]) == y[folds == fold]
    return clustered_share(right, groups)


question = probe(question_features([sample.text for sample in samples]), color)
most = max(color.count(value) for value in color) / len(color)
scores = {
    (name, what): [probe(latents[name][:, slot], labels) for slot in range(8)]
    for name in MODELS
    for what, labels in (("asked", color), ("not asked", other))
}
print(f"question {question.estimate:.3f}, always the most frequent colour {most:.3f}")

# %%
from lantern_probe.plots.style import ACCENT, INK, SOFT

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for ax, name in zip(axes, MODELS, strict=True):
    for what, ink in (("asked", ACCENT), ("not asked", INK)):
        found = scores[name, what]
        ax.vlines(range(8), [s.low for s in found], [s.high for s in found], color=ink, lw=1.2)
        ax.plot(range(8), [s.estimate for s in found], "o-", color=ink, ms=5, label=what)
    ax.axhline(question.estimate, color=SOFT, lw=1, ls="--", label="question")
    ax.axhline(most, color=SOFT, lw=1, ls=":", label="guessing")
    ax.set_title(name)
    ax.set_xlabel("slot")
    ax.set_ylim(-0.03, 1.03)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("accuracy out of fold (95 % interval)")
legend = axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# From both organisms the asked colour is read without an error, and the other object's about as
# well as by guessing (the horizontal lines coincide). Yet one of the two never looks at its slots.
# **Decodable is not used.**
#
# `python -m experiments.probe_latents` does this for every layer, with more controls: an untrained
# model, random labels, permutations over all sites.
#
# ## Erase it
#
# LEACE removes from the latents what any linear probe could read about an attribute, with the least
# change. `erase` is a condition like any other: it is fitted on other scenes, and applied while the
# model writes. Its own controls are the eraser of *shuffled* labels and as many *random*
# directions, of as much variance: what does it cost to erase by this procedure where there is
# nothing to erase?

# %%
from lantern_probe.analysis.ablation import summarize
from lantern_probe.causal.ablation import Ablation
from lantern_probe.interventions import parse_condition
from lantern_probe.plots.ablation import plot_accuracy
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run

CONDITIONS = [
    "own",
    "erase:attribute=color",
    "erase-shuffled:attribute=color",
    "erase-random:attribute=color",
]

rows = {}
figure, axes = plt.subplots(1, 2, figsize=(10, 2.2), layout="constrained")
with tempfile.TemporaryDirectory() as folder:
    for ax, name in zip(axes, MODELS, strict=True):
        conditions = [parse_condition(text) for text in CONDITIONS]
        with Run.open(Path(folder) / name, {"model": name, "conditions": CONDITIONS}) as run:
            Ablation(lanterns[name], samples, conditions, run).execute()
        rows[name] = read_rows(Path(folder) / name)
        plot_accuracy(summarize(rows[name], model=name), ax)

# %% [markdown]
# Without the colour in its slots, *faithful* guesses. *bypass* does not mind.
#
# Look at the controls too. On so few scenes, shuffled labels also differ in their means, by chance,
# and their eraser takes these differences out. So the effect of erasing the colour is what `erase`
# costs beyond `erase-shuffled`, on the same scenes.

# %%
from lantern_probe.stats import accuracy_difference


def correct(name, condition):
    found = {row["sample"]: row for row in rows[name] if row["condition"] == condition}
    return [found[sample.id]["correct"] for sample in samples]


for name in MODELS:
    cost = accuracy_difference(correct(name, CONDITIONS[1]), correct(name, CONDITIONS[2]))
    print(f"{name}: {cost.estimate:+.3f} [{cost.low:+.3f}, {cost.high:+.3f}]")
