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
# # 1. A model that thinks in latents
#
# A LanteRn model answers a question about an image in two ways. Most of the time it writes words.
# Between the markers `<|lvr_start|>` and `<|lvr_end|>` it writes none: for 8 steps, its own last
# hidden state is fed back to it as the next input. These 8 vectors are its *latents*, and the
# places where they stand are *slots*.
#
# Here you load such a model, look at the latents of one answer, and change them.
#
# The models of these notebooks are *organisms*: tiny models trained so that we know the truth
# about them. They are engineered controls for the tools. They are no evidence about LanteRn.

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import torch

from lantern_probe import Branch, LanternModel, RowPlan, load_task, run_branches, run_prefixes
from lantern_probe.organisms import card
from lantern_probe.plots.style import INK
from lantern_probe.tasks.scenes import COLORS

torch.set_num_threads(1)  # a model this small gains nothing from more
print(card("faithful").truth)

# %% [markdown]
# ## One scene, one question
#
# The organisms' task is generated: four objects on a grid, and a question about the colour of one.
# A `Sample` holds the image, the question, the options, the right answer, and the box with the
# evidence.

# %%
lantern = LanternModel("faithful")
sample = load_task("scenes", 3)[2]

figure, ax = plt.subplots(figsize=(3, 3))
ax.imshow(sample.open_images()[0], interpolation="nearest")
left, top, right, bottom = sample.boxes[0]
ax.add_patch(
    plt.Rectangle((left - 1, top - 1), right - left + 1, bottom - top + 1, fill=False, ec=INK, lw=2)
)
ax.set_title(f"{sample.question}  ({sample.answer})", fontsize=10)
ax.set_axis_off()

# %% [markdown]
# ## Ask
#
# `generate` takes one sample or several. The text shows the markers; between them, each slot is
# written as `<|lvr_sep|>`, which stands for a vector and not for a word. Then comes the answer.

# %%
output = lantern.generate(sample)
print(output.texts[0])
print("answer:", output.answers[0])
print("latents:", tuple(output.latents[0][0].shape), "(slots, dimensions)")

# %% [markdown]
# With your own image it is `lantern.ask("photo.jpg", "What is left of the cup?", ["a spoon", "a
# plate"])`. The organisms know coloured shapes only, so that needs a real checkpoint.
#
# ## Where does everything stand?
#
# `find_roles` says what each position of prompt and continuation is.

# %%
from lantern_probe.model.roles import find_roles
from lantern_probe.vocabulary import Role

roles = find_roles(lantern, output.sequences[0], output.prompt_length)
for role in Role:
    places = roles.positions(role).tolist()
    if places:
        print(f"{role:10} {len(places):3} positions, {places[0]} to {places[-1]}")

# %% [markdown]
# ## Read the slots, one by one
#
# The latents pass through a real submodule, `lantern.latent`. So nnsight serves them like any other
# location, together with the layers of the same forward. Ask for `lantern.latent.output` first: it
# comes before the layers.

# %%
with lantern.generate(sample) as tracer:
    latents, hidden = [].save(), [].save()
    for _ in tracer.iter[:8]:
        latents.append(lantern.latent.output.clone())
        hidden.append(lantern.layers[2].output.clone())
    traced = tracer.result.save()

same = all(
    bool((read[0, 0] == fed).all()) for read, fed in zip(latents, output.latents[0][0], strict=True)
)
print(f"{len(latents)} slots of {tuple(latents[0].shape)}; the same as above: {same}")

# %% [markdown]
# How alike are the eight? The cosine of every pair of slots, for what is fed and for layer 2.

# %%
units = [
    torch.nn.functional.normalize(torch.cat(list(vectors))[:, -1], dim=-1)
    for vectors in (latents, hidden)
]
cosines = [rows @ rows.T for rows in units]
least = float(torch.stack(cosines).min())

figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for ax, values, name in zip(axes, cosines, ("fed", "layer 2"), strict=True):
    drawn = ax.imshow(values, vmin=least, vmax=1)
    ax.set_title(name)
    ax.set_xlabel("slot")
    ax.set_ylabel("slot")
bar = figure.colorbar(drawn, ax=axes, label="cosine")

# %% [markdown]
# All are close to 1: the eight vectors point nearly the same way. That does not say that they hold
# the same, or nothing: what they share may be one large direction that every sample has.
# `python -m experiments.map_latents` takes that direction out and compares across samples.

# %% [markdown]
# ## Edit one slot, then all
#
# An assignment to `lantern.latent.output` is what the model is fed from then on. First slot 3 alone
# becomes zero, then every slot.

# %%
with lantern.generate(sample) as tracer:
    for _ in tracer.iter[3]:
        lantern.latent.output[:] = 0
    without_one = tracer.result.save()

with lantern.generate(sample) as tracer:
    for _ in tracer.iter[:8]:
        lantern.latent.output[:] = 0
    without_all = tracer.result.save()

print("own latents :", output.answers[0])
print("slot 3 zero :", without_one.answers[0])
print("all zero    :", without_all.answers[0])

# %% [markdown]
# Slots behind an edited one are generated from it, so an edit of slot 3 reaches slots 4 to 7 too.
# For this scene that is enough to lose the answer; for the first, `load_task("scenes", 1)[0]`, it
# is not. One scene proves nothing: the next notebook counts.
#
# ## Fork instead of repeating
#
# Up to the start marker all these runs are the same. `run_prefixes` computes that part once, and
# `run_branches` goes on from it with as many plans as you like. A plan edits each slot on its own:
# `edit` takes the model's own latent and the slot, and returns what is fed. Each result has the
# log-probability of every candidate where the answer begins.

# %%
plans = {
    "own": RowPlan(),
    "no slots": RowPlan(mode="skip"),
    "zeros": RowPlan(edit=lambda own, slot: torch.zeros_like(own)),
    "negated": RowPlan(edit=lambda own, slot: -own),
    "slot 3 zero": RowPlan(
        edit=lambda own, slot: torch.zeros_like(own) if slot.index == 3 else own
    ),
}
(prefix,) = run_prefixes(lantern, [sample])
results = run_branches(lantern, [Branch(prefix, plan) for plan in plans.values()])

figure, axes = plt.subplots(1, len(plans), figsize=(11, 2.6), sharey=True, layout="constrained")
for ax, name, result in zip(axes, plans, results, strict=True):
    probabilities = torch.tensor([result.logprobs[color] for color in sample.options]).softmax(0)
    ax.barh(
        sample.options, probabilities, color=[np.array(COLORS[c]) / 255 for c in sample.options]
    )
    ax.set_title(name, fontsize=10)
    ax.set_xlim(0, 1)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].invert_yaxis()
label = figure.supxlabel(f"probability among the candidates; right is {sample.answer}", fontsize=9)

# %% [markdown]
# Where the slots carry nothing, this organism says one fixed word whatever the image shows. It was
# trained to; `card` names the word. Other models may fall back on the image, or on guessing.

# %%
print(card("faithful").default_answer)

# %% [markdown]
# ## Try
#
# * Load `bypass` instead and run the notebook again. Which answers change?
# * Keep only slot 0, and zero the others. Is that enough?
