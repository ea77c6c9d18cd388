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
# # 7. Bring your own checkpoint
#
# You have trained a model with latent slots, or you have a published one, and data of your own.
# This notebook goes from the checkpoint folder to a first table: check the checkpoint, ask about an
# image, read your data, run a small ablation, and see what to run next.
#
# A stand-in plays your checkpoint: the organism *faithful*, saved like a published model. Organisms
# are engineered controls, and no evidence about LanteRn. Everything here is written to a temporary
# folder.

# %%
# %matplotlib inline
import json
import logging
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from PIL import Image, ImageDraw
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from lantern_probe import LanternError, LanternModel, RowPlan, Sample, load_task, organisms
from lantern_probe.plots.style import INK
from lantern_probe.tasks.scenes import COLORS

torch.set_num_threads(1)  # a model this small gains nothing from more
transformers_logging.disable_progress_bar()
temporary = tempfile.TemporaryDirectory()  # removed when the kernel ends
work = Path(temporary.name)

# %% [markdown]
# ## The folder
#
# A checkpoint is what `save_pretrained` of model and processor write. Whether the weights are one
# file or several (*shards*) makes no difference. They have to be safetensors: pickled weights are
# not loaded.

# %%
folder = work / "checkpoint"
source = organisms.path("faithful")
model = AutoModelForImageTextToText.from_pretrained(source)
model.save_pretrained(folder, max_shard_size="600KB")
AutoProcessor.from_pretrained(source).save_pretrained(folder)

for file in sorted(folder.iterdir()):
    print(f"{file.stat().st_size:>9,}  {file.name}")

# %% [markdown]
# What makes it a model with latent blocks are four entries of `config.json`: the ids of the three
# markers, and the number of slots it was trained with.

# %%
config = json.loads((folder / "config.json").read_text())
for key in ("model_type", "latent_size", "lvr_start_id", "lvr_sep_id", "lvr_end_id"):
    print(f"{key:13} {config[key]}")

# %% [markdown]
# If the ids are missing, the tokenizer is asked for `<|lvr_start|>`, `<|lvr_sep|>` and
# `<|lvr_end|>`. `latent_size` stands nowhere else, and has to be given. What can go wrong says so,
# and what to do:


# %%
def variant(name, lvr_tokens, **changes):
    """A copy of the checkpoint with another config; without LVR tokens where asked."""
    copy = work / name
    shutil.copytree(folder, copy)
    changed = {key: value for key, value in (config | changes).items() if value is not None}
    (copy / "config.json").write_text(json.dumps(changed))
    if not lvr_tokens:
        tokenizer = copy / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text().replace("<|lvr_", "<|other_"))
    return copy


def load_or_say(checkpoint, **options):
    try:
        lantern = LanternModel(str(checkpoint), offline=True, **options)
        print(f"loaded, {lantern.lvr}\n")
    except LanternError as error:
        print(f"LanternError: {str(error).replace(str(work) + '/', '')}\n")


no_ids = {f"lvr_{part}_id": None for part in ("start", "sep", "end")}
load_or_say(variant("without-ids", True, **no_ids))
load_or_say(variant("without-size", True, latent_size=None))
load_or_say(work / "without-size", latent_size=8)
load_or_say(variant("plain-qwen", False, latent_size=None, **no_ids))
load_or_say(work / "plain-qwen", allow_plain=True)
load_or_say(variant("other-model", True, model_type="qwen2_vl"))
load_or_say(work / "no-such-folder")

# %% [markdown]
# With `allow_plain=True` a model without blocks can be asked, as a baseline. No condition on the
# slots applies to it.
#
# ## Load it
#
# By path. Nothing is downloaded for a path, nor for an organism.

# %%
lantern = LanternModel(str(folder))
weights = sum(p.numel() * p.element_size() for p in lantern.hf.parameters())
print(f"{weights / 1e6:.1f} MB of weights in {lantern.hf.dtype} on {lantern.device}")

# %% [markdown]
# By Hub name, which contacts the Hub (this is not run here):
#
# ```python
# lantern = LanternModel("AGViveiros/LanteRn-3B-SFT")                 # or -3B-RL, -3B-Tetris
# lantern = LanternModel("AGViveiros/LanteRn-3B-SFT", revision="main", offline=True)  # local cache
# ```
#
# The published checkpoints need a GPU with about 10 GB. (They could not be downloaded where this
# was written; what is tested is the same code on checkpoints in their format.) What to know:
#
# * Weights are loaded in the checkpoint's own dtype on a GPU, and in float32 on a CPU. `dtype`
#   says otherwise. The line above computes what they take; generation comes on top.
# * Experiments run as many rows together as fit the free memory, and halve that when it runs out.
#   `--batch-rows 4` sets a limit.
# * An image is one token per 28 x 28 pixels. `LanternModel(..., max_pixels=1280 * 28 * 28)` makes
#   large images smaller. The model then sees less: that is another setting, not a detail.
# * Start with `--samples 8`. A run is continued later with more, and nothing is computed twice.
#
# ## Ask about your own image
#
# Any image file will do. This organism knows six shapes and eight colours, so we draw it something
# it can name, and save it.

# %%
BOXES = {
    "circle": (5, 5, 23, 23),
    "ring": (33, 5, 51, 23),
    "square": (61, 33, 79, 51),
    "triangle": (33, 61, 51, 79),
}
image = Image.new("RGB", (84, 84), (244, 244, 240))
draw = ImageDraw.Draw(image)
draw.ellipse(BOXES["circle"], fill=COLORS["red"])
draw.ellipse(BOXES["ring"], outline=COLORS["yellow"], width=6)
draw.rectangle(BOXES["square"], fill=COLORS["blue"])
draw.polygon([(33, 79), (51, 79), (42, 61)], fill=COLORS["green"])
photo = work / "photo.png"
image.save(photo)

output = lantern.ask(photo, "what color is the circle ?")
print(output.texts[0])
print("answer:", output.answers[0], "| blocks:", len(output.blocks[0]))

# %% [markdown]
# `ask(photo, question, ["a spoon", "a plate"])` letters the options as the official evaluation
# does. This organism was taught words and no letters.
#
# A `Sample` says more: options, the expected answer, and the *box* with the evidence, in pixels of
# the stored image. Boxes are what `oracle`, `random-box`, `black-box` and the roles of image tokens
# go by. A box in other units is the likeliest mistake, so draw it. Then feed the slots the
# compressed features of each box in turn, and ask for the circle every time.

# %%
from lantern_probe.model.oracle import region_latents

sample = Sample(
    id="photo",
    images=(photo,),
    question="what color is the circle ?",
    options=tuple(COLORS),
    answer="red",
    boxes=(BOXES["circle"],),
)


def feeding(latents):
    return RowPlan(edit=lambda own, slot: latents[slot.index])


plans = [feeding(region_latents(lantern, image, box)) for box in BOXES.values()]
fed = lantern.generate([sample] * len(plans), plans=plans)

figure, axes = plt.subplots(1, len(BOXES), figsize=(9, 2.6), layout="constrained")
for ax, (shape, box), answer in zip(axes, BOXES.items(), fed.answers, strict=True):
    ax.imshow(image, interpolation="nearest")
    left, top, right, bottom = box
    corner, width, height = (left - 1, top - 1), right - left + 1, bottom - top + 1
    ax.add_patch(plt.Rectangle(corner, width, height, fill=False, ec=INK, lw=2))
    ax.set_title(f"slots: {shape}\nanswer: {answer}", fontsize=10)
    ax.set_axis_off()
title = figure.suptitle(sample.question, fontsize=11)

# %% [markdown]
# It answers by what it was fed, as it should: it is *faithful*. Your model may not. That is the
# question.
#
# ## Your data
#
# Multiple choice comes as JSON lines in the official VisCoT format, one object a line. We write 24
# scenes that way, with their images in a folder. One image is lost on the way.

# %%
images = work / "images"
images.mkdir()
lines = []
for number, scene in enumerate(load_task("scenes", 24)):
    scene.open_images()[0].save(images / f"{number}.png")
    letters = "ABCDEFGH"
    lines.append(
        {
            "question": scene.question,
            "options": [f"{a}. {b}" for a, b in zip(letters, scene.options, strict=True)],
            "answer": letters[scene.options.index(scene.answer)],
            "img_path": f"/somewhere/else/images/{number}.png",
            "bbox": list(scene.boxes[0]),
            "shape": scene.attributes["shape"],
        }
    )
(images / "5.png").unlink()

data = work / "own.jsonl"
data.write_text("".join(json.dumps(line) + "\n" for line in lines))
print(json.dumps(lines[0], indent=1))

# %% [markdown]
# `viscot` reads it. Paths of another machine are looked for under `image_root`, with fewer and
# fewer of their first folders. Fields that it does not know become attributes, which probes can
# take as targets.

# %%
from lantern_probe.tasks.viscot import viscot

samples = viscot(data, image_root=work)
print(len(samples), "samples; the first:", samples[0].id, samples[0].boxes, samples[0].attributes)
print(samples[0].prompt)

# %% [markdown]
# What does a line say that is not as it should be? It is named, and the field with it. Only lines
# that are no multiple choice can be skipped, and then they are counted. Anything else has to be put
# right.

# %%
logging.getLogger("lantern_probe").addHandler(logging.StreamHandler(sys.stdout))


def read_or_say(change, **options):
    broken = work / "broken.jsonl"
    broken.write_text(json.dumps(lines[0]) + "\n" + json.dumps(lines[1] | change) + "\n")
    try:
        print(f"read {len(viscot(broken, work, **options))} of 2 lines\n")
    except LanternError as error:
        print(f"LanternError: {str(error).replace(str(work) + '/', '')}\n")


read_or_say({"answer": "Z"})
read_or_say({"options": ["A. red B. blue C. green"]})
read_or_say({"options": ["A. red B. blue C. green"]}, malformed="skip")
read_or_say({"bbox": [1, 2, 3]})
read_or_say({"img_path": None})

# %% [markdown]
# ## Does it open a block?
#
# Before any ablation, look at the *emission rate*: the share of texts with a latent block. Where
# none is opened, there are no slots, and every condition on them changes nothing. Folded in, such
# samples look like "the latents do not matter".
#
# Our file shows it. Put as the official prompt, with lettered options, the questions are strange to
# this organism. Put as the bare question they are what it was trained on. And a limit that is too
# short ends every text before its block.

# %%
there = [sample for sample in samples if Path(sample.images[0]).exists()]
bare = {sample.id: replace(sample, prompt=None) for sample in samples}
asked = [bare[sample.id] for sample in there]
for what, output in {
    "with options": lantern.generate(there),
    "bare question": lantern.generate(asked),
    "bare, 6 tokens": lantern.generate(asked, max_new_tokens=6),
}.items():
    right = sum(a == s.answer for a, s in zip(output.answers, there, strict=True))
    print(f"{what:14}  emission {output.emission:.2f}, right {right} of {len(there)}")
    print(f"{'':14}  {output.texts[1]}\n")

# %% [markdown]
# A LanteRn checkpoint is made for the official prompt. If yours opens few blocks, look at some
# texts first. Is it asked as it was trained: prompt, chat template, size of the images? Does the
# text end before the block, at `max_new_tokens`?
#
# ## A small ablation
#
# Both prompts, five conditions. Every answer is a row in the folder of a `Run`. This one is cut off
# after 8 samples, as by a full disk or a job's end, and started again.

# %%
from lantern_probe.causal.ablation import Ablation
from lantern_probe.interventions import parse_condition
from lantern_probe.records.rows import read_manifest, read_rows
from lantern_probe.records.run import Run

CONDITIONS = ["own", "skip", "zeros", "swap", "oracle"]


def ablate(where, asked, settings):
    with Run.open(where, settings) as run:
        before = len(run.rows())
        Ablation(lantern, asked, [parse_condition(c) for c in CONDITIONS], run).execute()
        print(f"{where.name}: {before} rows were there, {len(run.rows())} are now")


settings = {"model": str(folder), "data": data.name, "prompt": "bare"}
ablate(work / "bare", list(bare.values())[:8], settings)
ablate(work / "bare", list(bare.values()), settings)
ablate(work / "official", samples, settings | {"prompt": "official"})

# %% [markdown]
# The folder belongs to its settings. Others are refused, so that no rows of two runs are mixed:

# %%
try:
    Run.open(work / "bare", settings | {"data": "other.jsonl"})
except LanternError as error:
    print(str(error).replace(str(work) + "/", ""))

print()
for file in sorted(path for path in (work / "bare").rglob("*") if path.is_file()):
    print(f"{file.stat().st_size:>9,}  {file.relative_to(work)}")
print("status:", read_manifest(work / "bare")["status"])

# %% [markdown]
# The table is made from the rows. *samples* ran, *failed* could not be run, *n* have a block, and
# are what accuracies and comparisons are about. *minus own* is paired, with its 95 % Tango
# interval; *Holm p* is the exact McNemar test, corrected for the number of conditions. *accuracy of
# all* has the samples without a block in.

# %%
from lantern_probe.analysis.ablation import as_records, summarize

COLUMNS = {
    "samples": "samples",
    "failed": "failed",
    "emission": "emission",
    "n": "n",
    "accuracy": "accuracy",
    "diff_to_own": "minus own",
    "diff_low": "low",
    "diff_high": "high",
    "holm_p": "Holm p",
    "donor_rate": "donor's answer",
    "accuracy_all": "accuracy of all",
}


def table(name):
    records = as_records(summarize(read_rows(work / name), model=name))
    frame = pd.DataFrame(records).set_index("condition")[list(COLUMNS)]
    return frame.rename(columns=COLUMNS).astype(float).style.format("{:.3g}", na_rep="")


table("bare")

# %%
table("official")

# %% [markdown]
# The first table is that of *faithful*. Without its latents it falls to about guessing (1 of 8),
# and under `swap` it gives the donor's answer. 23 samples are few, and the intervals say it.
#
# In the second, the own latents do not hold the answer to what was asked, and the oracle's do: the
# way from the slots to the answer is whole. So read `oracle` beside `own`. The two together tell a
# model that cannot use its slots from one that does not fill them. And read *n*, not *samples*: in
# *accuracy of all*, `oracle` pays for the texts on which it could not act.
#
# The sample without an image has failed, and the rest went on. Rows of failed samples say why, and
# `--retry-failed` runs them again.

# %%
failed = next(row for row in read_rows(work / "bare") if row["status"] == "failed")
print(failed["sample"], "|", failed["error"].replace(str(work) + "/", ""))

# %% [markdown]
# ## Does it say the same twice?
#
# Batches round differently from single rows, and bfloat16 differently from float32. A model that
# feeds its own states back can amplify that. Measure it before you believe in small differences:
# how many texts are equal to the last character, and how far the latents are apart.

# %%
asked = [bare[sample.id] for sample in there][:12]


def read(outputs):
    """The texts, and the latents of their first blocks."""
    texts = [text for output in outputs for text in output.texts]
    return texts, torch.cat([blocks[0].float() for o in outputs for blocks in o.latents])


in_bfloat16 = LanternModel(str(folder), dtype=torch.bfloat16)
runs = {
    "a batch of 12": read([lantern.generate(asked)]),
    "the same again": read([lantern.generate(asked)]),
    "one by one": read([lantern.generate(sample) for sample in asked]),
    "in bfloat16": read([in_bfloat16.generate(asked)]),
}
first_texts, first_latents = runs["a batch of 12"]
for name, (texts, latents) in runs.items():
    equal = [a == b for a, b in zip(texts, first_texts, strict=True)]
    apart = float((latents - first_latents).abs().max())
    print(
        f"{name:15} {sum(equal)} of {len(equal)} texts equal; latents differ by up to {apart:.1g}"
    )

# %% [markdown]
# All texts are equal here, and the latents not quite. Where the texts of your model differ, say so
# beside your figures, and compare conditions within one setting only.
#
# ## Keep the activations
#
# `Capture` writes any sites to disk while the model answers, and `Store` reads them back, one at a
# time, in one order with what is known of each sample. That is where probing starts.

# %%
from lantern_probe.capture.dataset import Capture
from lantern_probe.model.sites import layer_count
from lantern_probe.records.store import Store
from lantern_probe.vocabulary import parse_sites

sites = parse_sites(["latent@slot", "residual.2@answer-start"], layer_count(lantern))
asked = [bare[sample.id] for sample in there]
with Run.open(work / "capture", settings | {"sites": [site.label for site in sites]}) as run:
    Capture(lantern, asked, sites, run).execute()

store = Store(work / "capture")
for label in store.sites:
    print(f"{label:18}", tuple(store.array(label).shape))
store.frame()[["sample", "shape", "gold", "answer", "box_x", "box_y"]].head(3)

# %% [markdown]
# ## What next
#
# The ablation above is one command. The folder of its run is `--output` (`runs/ablate_latents` by
# default). The same command given again goes on where it stopped; `--overwrite` starts again.
#
# ```
# python -m experiments.ablate_latents --model CHECKPOINT --data own.jsonl --image-root images
# ```
#
# The others take `--model`, `--data` and `--image-root` too, but for the last:
#
# | question | `python -m experiments.` |
# |---|---|
# | do the latents matter? | `ablate_latents` |
# | their content, the slots, the markers, or the format? | `decompose_markers` |
# | does the answer follow them? | `exchange_latents --twin black-box --subsets 0` |
# | by which way? | `knock_out` |
# | where in the network? | `patch_latents --twin black-box` |
# | where do slots and answer look? | `read_attention` |
# | what can be read from them? | `probe_latents` |
# | what do they look like? | `map_latents` |
# | are two runs different, or equal within a margin? | `compare_records RUN --against RUN` |
#
# With `--help` each says what it takes. Without `--model` and `--data` they run on the organisms:
# do that first, and see what the figures look like where the truth is known. The other notebooks
# say how to read them. A probe needs more samples than these, several images of each class.
