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
# # 4. Does the answer follow the latents?
#
# An ablation takes latents away and sees whether the answer suffers. A probe reads them and sees
# what is in them. Neither shows that what is *in* them is what the answer is *made from*. For that
# one has to change the content, and predict the answer that comes out.
#
# This notebook does it in four ways: exchange the latents, divide an effect between them and the
# rest, cut attention, and patch activations layer by layer. Each has its control.
#
# Organisms are engineered controls, and no evidence about LanteRn.

# %%
# %matplotlib inline
import tempfile
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import torch

from lantern_probe import LanternModel, load_task
from lantern_probe.organisms import card
from lantern_probe.plots.style import ACCENT, INK, SOFT
from lantern_probe.tasks.scenes import twin
from lantern_probe.tasks.twins import with_twins

torch.set_num_threads(1)  # a model this small gains nothing from more
MODELS = ("faithful", "bypass", "collapsed")
lanterns = {name: LanternModel(name) for name in MODELS}
for name in MODELS:
    print(f"{name}: {card(name).truth}")

# %% [markdown]
# ## A twin
#
# A *twin* is the same question on an edited image. The edit is known, and so is the answer that it
# calls for. Nothing else differs: whatever changes in the model's run changes because of the edit.
#
# Scenes have three kinds. `color` gives the asked object another colour. `shape` exchanges its
# shape with another object's, so that the question means that other one. `cell` moves it, and the
# answer stays. *collapsed* is stated on scenes in which the asked object is hidden. Its colour twin
# is therefore the very same picture, and that will matter below.

# %%
scenes = {name: load_task(card(name).task, 48) for name in MODELS}
shown = scenes["faithful"][2]
hidden = scenes["collapsed"][2]
panels = {
    "the sample": shown,
    "color": twin(shown, "color"),
    "shape": twin(shown, "shape"),
    "cell": twin(shown, "cell"),
    "hidden": hidden,
    "hidden, color": twin(hidden, "color"),
}
figure, axes = plt.subplots(1, len(panels), figsize=(12, 2.5), layout="constrained")
for ax, (what, sample) in zip(axes, panels.items(), strict=True):
    ax.imshow(sample.open_images()[0], interpolation="nearest")
    left, top, right, bottom = sample.boxes[0]
    corner, width, height = (left - 1, top - 1), right - left + 1, bottom - top + 1
    ax.add_patch(plt.Rectangle(corner, width, height, fill=False, ec=INK, lw=1.5))
    ax.set_title(f"{what}: {sample.answer}", fontsize=10)
    ax.set_axis_off()
title = figure.suptitle(shown.question, fontsize=11)

# %% [markdown]
# ## Do the latents notice?
#
# First look whether the latents change at all when the input does. What does not change cannot
# carry. Distances need a scale: here it is how far the latents of different samples are apart. 0 is
# "not noticed", 1 is "as far as another sample". The fourth change leaves the image, and asks for
# the colour of another object.

# %%
from lantern_probe.capture.sensitivity import between, distances
from lantern_probe.stats import ratio_of_means

CHANGES = {
    "color": lambda sample: twin(sample, "color"),
    "shape": lambda sample: twin(sample, "shape"),
    "cell": lambda sample: twin(sample, "cell"),
    "question": lambda sample: replace(
        sample,
        question=sample.question.replace(
            sample.attributes["shape"], sample.attributes["distractor_shape"]
        ),
    ),
}


def latents_of(lantern, samples):
    return torch.stack([blocks[0] for blocks in lantern.generate(samples).latents])


def moved(name, change):
    """Mean distance that the change moves the latents, over that between samples."""
    clean = latents_of(lanterns[name], scenes[name])
    after = latents_of(lanterns[name], [CHANGES[change](sample) for sample in scenes[name]])
    return ratio_of_means(distances(clean, after).mean(1), between(clean).mean(1))


INKS = dict(zip(MODELS, (ACCENT, INK, SOFT), strict=True))
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for place, name in enumerate(MODELS):
    for x, change in enumerate(CHANGES):
        found = moved(name, change)
        ax.plot([x + 0.15 * (place - 1)] * 2, [found.low, found.high], color=INKS[name], lw=1.6)
        label = name if x == 0 else None
        ax.plot(x + 0.15 * (place - 1), found.estimate, "o", color=INKS[name], label=label, ms=5)
ax.axhline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
ax.set_xticks(range(len(CHANGES)), CHANGES)
ax.set_ylabel("moved / between samples")
ax.set_title(f"n = {found.n}, 95 % bootstrap intervals", fontsize=9)
ax.spines[["top", "right"]].set_visible(False)
legend = ax.legend(frameon=False, fontsize=8)

# %% [markdown]
# *faithful* and *bypass* cannot be told apart here. The latents of both move with what is asked
# for, and not with its place. One of them still never looks at them: **noticing is not being
# used**. The latents of *collapsed* follow the question alone.
#
# ## Exchange
#
# Now give every sample its twin's latents, and every twin the sample's. If the answer is made from
# them, the *other* answer comes out, although the image in front of the model calls for its own.
# How often it does is the *interchange intervention accuracy* (arXiv 2303.02536).
#
# | exchange | what stands at the slots | why |
# |---|---|---|
# | `self-swap` | the sample's own, put back as another's would be | sham: nothing may change |
# | `twin` | the twin's own | the test |
# | `swap` | an unrelated sample's own | is it the content, or only this edit? |
# | `twin-oracle` | the twin's oracle latents | what perfect latents would do |

# %%
from lantern_probe.causal.ablation import Ablation
from lantern_probe.interventions import parse_condition
from lantern_probe.records.rows import read_rows
from lantern_probe.records.run import Run

EXCHANGES = ["self-swap", "twin", "swap", "twin-oracle"]


def run(name, samples, conditions):
    with tempfile.TemporaryDirectory() as folder:
        with Run.open(folder, {"model": name}) as record:
            Ablation(lanterns[name], samples, conditions, record).execute()
        return read_rows(folder)


rows = {}
for name in MODELS:
    pairs, without = with_twins(scenes[name], twin, answers_known=True)
    rows[name] = run(name, pairs, [parse_condition(label) for label in ["own", *EXCHANGES]])
    print(f"{name}: {len(pairs) // 2} pairs, {len(without)} samples without a twin")

# %% [markdown]
# Both directions of a pair count, and a pair is one cluster: its two answers are not independent.
# *lift* is the share of donor's answers minus the share that come with the own latents anyway. *p*
# is a sign-flip test of the lift that flips whole pairs, after Holm over the three exchanges. The
# sham has none: what it shows is rounding. *margin* is by how many nats the donor's answer gained
# on the own one. A figure without an interval is the same in every sample, so that there is nothing
# to resample. Donors of `swap` with the sample's own answer are left out of *n*.

# %%
from lantern_probe.analysis import exchange
from lantern_probe.plots.exchange import plot_donor_rates


def shown_as(value, digits=2):
    """An estimate with its interval; alone where there is none."""
    if value.method == "undefined":
        return f"{value.estimate:.{digits}f}"
    return f"{value.estimate:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


found = {
    name: exchange.summarize(rows[name], model=name, conditions=EXCHANGES, donors="twin")
    for name in MODELS
}
pd.DataFrame(
    {
        (item.model, item.condition): {
            "n": item.n,
            "donor's answer": shown_as(item.donor_rate),
            "lift": shown_as(item.lift),
            "Holm p": "-" if item.lift_holm_p is None else f"{item.lift_holm_p:.2g}",
            "as before": shown_as(item.kept),
            "margin, nats": shown_as(item.margin),
        }
        for items in found.values()
        for item in items
    }
).transpose()

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 2.2), sharey=True, layout="constrained")
for ax, name in zip(axes, MODELS, strict=True):
    plot_donor_rates(found[name], ax)
    ax.set_xlabel("donor's answer (95 % interval)", fontsize=9)

# %% [markdown]
# * *faithful* says what its latents say, of its twin and of anybody.
# * *bypass* never does. But look at its margin: the twin's latents pull by more than a nat, and the
#   answer does not care. An accuracy of zero is not an effect of zero.
# * *collapsed* says the donor's answer by chance, with its own latents as often: so read the lift,
#   and not the rate. With the twin's *oracle* it follows every time. The way from slots to answer
#   is there; what its own latents lack is content.
# * No `self-swap` changes anything. If one did, the exchange itself would be at fault.
#
# ## Mediation: how much of the effect passes through the latents?
#
# The edit changes the answer's log-odds. That total effect (TE) can be divided. Write Y(image,
# latents), with a prime for the twin's, and measure in nats of the gold answer's log-odds:
#
# * TE = Y(X', Z') - Y(X, Z): everything changes.
# * NDE = Y(X', Z) - Y(X, Z): only the image does. The direct effect.
# * TIE = Y(X', Z') - Y(X', Z): the latents follow. The indirect effect.
#
# So TE = NDE + TIE. NIE = Y(X, Z') - Y(X, Z) changes the latents alone, from the other end. All
# four outcomes are rows of the exchange above. The effects are negative: the edit costs the gold
# answer its lead. *p* is the sign-flip test of TIE, after Holm over the four effects; 9,999 draws
# and four effects cannot give less than 0.0004.

# %%
from lantern_probe.analysis import mediation
from lantern_probe.plots.exchange import plot_effects

PARTS = ("te", "nde", "tie", "nie")
mediations = {name: mediation.summarize(rows[name], model=name)[0] for name in MODELS}


def mediated(share):
    if not share.defined:
        return "not printed: TE may be 0"
    return f"{share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}]"


pd.DataFrame(
    {
        name: {
            "n": item.n,
            **{part.upper(): shown_as(getattr(item, part)) for part in PARTS},
            "Holm p of TIE": f"{item.holm_p['tie']:.2g}",
            "TIE / TE": mediated(item.share),
            "NIE / TE": mediated(item.share_nie),
        }
        for name, item in mediations.items()
    }
)

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 2.4), sharex=True, layout="constrained")
for ax, name in zip(axes, MODELS, strict=True):
    plot_effects(mediations[name], ax)
    ax.set_title(f"{name}, {ax.get_title()}", fontsize=9)

# %% [markdown]
# In *faithful* all but a trace passes through the latents. In *bypass* most goes past them. A small
# part does not: the interval of its indirect effect is far from 0, and yet no answer depends on it.
# The exchange saw it as a margin.
#
# *collapsed* has no share. Its picture is the same as its twin's, so there is no effect to divide,
# and 0 / 0 is no finding. With a TE that is small but not exactly 0 the ratio could be anything, a
# negative one or one beyond 1 too. So the share is printed only where the interval of TE leaves 0
# out, and even then a wide interval is a warning.
#
# TIE and NIE of *bypass* differ, since image and latents do not simply add up. Report both.
#
# ## Knock out: by which way?
#
# Each slot can be read only by attention. So cut edges while the answer is written: `after->slot`
# keeps everything behind the block from attending to the slots, `after->image` from attending to
# the image. `lvr_start+slot->image` cuts what the latents themselves are made from.
#
# Cutting edges may hurt by itself. So each cut has a control, `random=1`, which hides random image
# tokens instead: as many as the slots, or one half of the image. Image and slots together have
# none, and are compared with `own`.

# %%
from lantern_probe.analysis.ablation import summarize
from lantern_probe.interventions.edges import KnockOut, parse_cut
from lantern_probe.plots.ablation import plot_accuracy

CUTS = [parse_cut(edge) for edge in ("after->slot", "after->image", "after->image+slot")]
CUTS.append(parse_cut("lvr_start+slot->image"))
CONTROLS = [None if cut.keys == "image+slot" else KnockOut(cut.control) for cut in CUTS]
TWO = ("faithful", "bypass")
samples = load_task("scenes", 64)
cut_rows = {
    name: run(
        name,
        samples,
        [parse_condition("own"), *map(KnockOut, CUTS), *filter(None, CONTROLS)],
    )
    for name in TWO
}

figure, axes = plt.subplots(1, 2, figsize=(11, 3.2), sharey=True, layout="constrained")
for ax, name in zip(axes, TWO, strict=True):
    plot_accuracy(summarize(cut_rows[name], model=name), ax)

# %% [markdown]
# The cost of a cut is what it loses beyond its control, on the same samples. *p* is the exact
# McNemar test, after Holm over the four cuts.

# %%
from lantern_probe.stats import accuracy_difference, discordant, holm, mcnemar


def correct(name, label):
    named = {row["sample"]: row["correct"] for row in cut_rows[name] if row["condition"] == label}
    return [named[sample.id] for sample in samples]


lines = {}
for name in TWO:
    both = [
        (correct(name, cut.label), correct(name, control.label if control else "own"))
        for cut, control in zip(CUTS, CONTROLS, strict=True)
    ]
    adjusted = holm([mcnemar(*discordant(*one)).p for one in both])
    for cut, one, p in zip(CUTS, both, adjusted, strict=True):
        lines[name, cut.label] = {
            "n": len(samples),
            "accuracy": f"{sum(one[0]) / len(samples):.2f}",
            "of its control": f"{sum(one[1]) / len(samples):.2f}",
            "difference": shown_as(accuracy_difference(*one)),
            "Holm p": f"{p:.2g}",
        }
pd.DataFrame(lines).transpose()

# %% [markdown]
# *faithful* has one way, and it leads through the slots. *bypass* has two. Without its slots it
# reads the image; without the image it reads its slots, which else hardly matter; without both it
# guesses. **Either way suffices.** So the cut of one way alone says "not needed", and would say it
# of the other too. Cut both before you call something unused.
#
# Look at the control of the double cut in *bypass*. So many random edges do harm by themselves:
# some hit the words that name the shape, which stand in the question and in the thought. (Try
# `after->question+thought`.) Without the control, all of the loss would be put down to the image
# and the slots.
#
# The last cut takes away what the latents of *faithful* are made from, and most answers go, but not
# all. Cuts act from the start marker on. What earlier tokens have read off the image stays there.
#
# ## Patch: where in the network?
#
# The finest of the four. Run a sample and its twin, keep their activations, and put those of one
# run into the other, one layer and one place at a time. *Denoise* puts the sample's activations
# into its twin's run: a place that brings the sample's answer back is *sufficient*. *Noise* goes
# the other way: a place that breaks the answer is *necessary*. *Recovery* is 0 as if nothing had
# been patched, and 1 as if everything had.
#
# Each cell has a sham: the run's own activations, put back by the same hooks.

# %%
from lantern_probe.analysis import patching
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.interventions.patches import each_slot, layer_sites, shams, whole
from lantern_probe.model.sites import layer_count
from lantern_probe.plots.patching import plot_recovery

ROLES = ("box", "last-question", "slot", "lvr_end", "answer-start")
pairs, _ = with_twins(load_task("scenes", 16), twin, answers_known=True)
patched = {}
for name in TWO:
    lantern = lanterns[name]
    sites = layer_sites(("embedding", "residual"), range(layer_count(lantern)), ROLES)
    cells = [*whole(sites), *each_slot(sites, lantern.latent_size), *shams(sites)]
    with tempfile.TemporaryDirectory() as folder:
        with Run.open(folder, {"model": name}) as record:
            Sweep(lantern, pairs, cells, record).execute()
        patched[name] = patching.summarize(read_rows(folder), model=name)
    largest = max(effect.largest for effect in patched[name] if effect.sham)
    print(f"{name}: {len(cells)} cells; the largest shift of any sham is {largest} nats")
    flips = max(effect.flips.estimate for effect in patched[name] if effect.slot is not None)
    print(f"{'':{len(name)}}  one slot alone turns at most {flips:.0%} of the answers")

# %%
figure, axes = plt.subplots(2, 2, figsize=(11, 6), layout="constrained")
for row, name in zip(axes, TWO, strict=True):
    for ax, columns in zip(row, ("role", "slot"), strict=True):
        plot_recovery(patched[name], ax, component="residual", direction="denoise", columns=columns)
        ax.set_title(f"{name}: {ax.get_title()}", fontsize=9)

# %% [markdown]
# Read each map from below. `in` is what enters the first layer, which at the slots is the latents
# themselves. In *faithful* the answer is at the slots, and layer by layer it moves to the position
# where the answer is spoken. In *bypass* it starts at the image tokens in the box, and is at the
# answer after two layers.
#
# On the right, single slots. In *faithful* each latent recovers about a tenth, and none brings the
# answer back; the eight share the work. A finding about one slot is no finding about the latents.
#
# The same in figures, both directions. *flips* is the share of samples whose most probable answer
# became the donor's; *p* is the sign-flip test of the shift, after Holm over all cells of the
# direction. It is exact; 16 pairs and 65 tested cells cannot give less than 0.002.

# %%
SHOWN = ("embedding@box", "embedding@slot", "embedding@slot[2]", "residual.1@answer-start")


pd.DataFrame(
    {
        (name, effect.condition, effect.direction): {
            "n": effect.n,
            "recovery": f"{effect.recovery.estimate:.2f} "
            f"[{effect.recovery.low:.2f}, {effect.recovery.high:.2f}]",
            "flips": f"{effect.flips.estimate:.2f}",
            "shift, nats": shown_as(effect.shift),
            "Holm p": f"{effect.shift_holm_p:.2g}",
        }
        for name in TWO
        for effect in sorted(patched[name], key=lambda e: (e.condition, e.direction))
        if effect.condition in SHOWN
    }
).transpose()

# %% [markdown]
# Why does the box do next to nothing in *faithful*, whose latents come from the image? Because the
# reading is *frozen*: the run's own text and own latents are fed whatever is patched before them. A
# patched image token acts by what later positions attend to, and not by latents made anew. So this
# map says how the answer is read, and not how the latents came to be.
#
# ## What each can show, and what not
#
# | test | shows | does not show |
# |---|---|---|
# | sensitivity | what the latents react to | whether anybody reads them |
# | exchange | that the answer is made from the slots' content | where it is read |
# | mediation | how much of an effect passes through them | anything, where there is no effect |
# | knockout | which ways are needed | that the others are unused: one may stand in |
# | patching | where the answer is, layer by layer | how the latents were made |
#
# All of them speak about *these* edits, on *these* samples. A twin by colour says nothing about
# counting. And where twins are made by a corruption, the answer that they call for is not known:
# then there is mediation, and no interchange accuracy.
#
# On your own checkpoint:
#
# ```
# python -m experiments.exchange_latents   # exchange, mediation, every set of slots
# python -m experiments.knock_out          # nine cuts with their controls
# python -m experiments.patch_latents      # every component, both directions
# python -m experiments.sense_latents      # how far latents move, beside text and image tokens
# ```
#
# ## Try
#
# * `twin(sample, "shape")` in place of `"color"` for *collapsed*. Is a share printed now? Would
#   you report it?
# * Cut in some layers only: `after->slot:layers=2`, and `layers=!2` for all but that one.
