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
# # 5. What the latents look like, and whether they find their own oracle
#
# This notebook looks at the vectors themselves. Are the latents of different samples alike? How
# many directions do they fill? Do they resemble their *oracle*, the compressed vision features of
# the evidence box that training wanted them to be? Each has its usual number, and that can mislead.
#
# Two organisms of known truth show how. *collapsed* sees the asked object painted grey
# (`scenes-grey`), so its latents cannot know the answer; its oracles are cut from the image in
# which the object can be seen. Organisms are engineered controls, and no evidence about LanteRn.
# `python -m experiments.map_latents` does the same with 256 scenes and any checkpoint.

# %%
# %env OMP_NUM_THREADS=1
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest, norm

from lantern_probe import LanternModel, geometry, load_task, stats
from lantern_probe.capture.batch import capture_batch
from lantern_probe.geometry import VectorSet
from lantern_probe.geometry.projection import embed
from lantern_probe.geometry.retrieval import retrieve
from lantern_probe.geometry.retrieval_tests import RECALL_AT, rank_test_from_summary
from lantern_probe.geometry.retrieval_within import retrieve_alike
from lantern_probe.geometry.similarity import BETWEEN
from lantern_probe.interventions import parse_condition
from lantern_probe.organisms import card
from lantern_probe.plots.embedding import plot_embedding
from lantern_probe.plots.geometry import plot_effective_ranks, plot_spectrum
from lantern_probe.plots.style import ACCENT, INK, SOFT
from lantern_probe.vocabulary import parse_sites

torch.set_num_threads(1)  # more only slow down models and matrices this small, here and in numpy
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
plt.rcParams.update({"figure.constrained_layout.use": True, "legend.fontsize": 8})
TASKS = {"faithful": "scenes", "collapsed": "scenes-grey"}
samples = {name: load_task(task, 192) for name, task in TASKS.items()}
for name in TASKS:
    print(f"{name}: {card(name).truth}")

# %% [markdown]
# ## Five sets of vectors
#
# | set | what it is |
# |---|---|
# | own | the latents that the model feeds itself, *free-running* |
# | teacher-forced | what it would feed itself while oracle latents stand in its slots |
# | dummy | the same while zeros stand there: nothing but the prompt is in them |
# | oracle | the compressed vision features of the evidence box |
# | image mean | the mean vision token of the image, one vector per sample: no latent at all |
#
# A latent is the final normed state one position before its slot. So the second and third set are
# read at the last layer, `residual.3`: at the start marker for slot 0, at slot t - 1 for slot t.

# %%
LAST = ("residual.3@lvr_start", "residual.3@slot")
SITES = parse_sites(["latent@slot", "vision@image-mean", *LAST], layers=4)


def capture(lantern, samples, condition):
    plan, parts = parse_condition(condition).plan, []
    for start in range(0, len(samples), 64):
        piece = samples[start : start + 64]
        plans = [plan(sample, lantern, None) for sample in piece]
        parts.append(capture_batch(lantern, piece, SITES, plans=plans).activations)
    found = {site.label: torch.cat([part[site.label] for part in parts]) for site in SITES}
    states = torch.cat([found[LAST[0]], found[LAST[1]][:, :-1]], 1)
    return found | {"generated": lantern.hf.model.language_model.norm(states).detach()}


sets = {}
for name in TASKS:
    lantern = LanternModel(name)
    own, oracle, zeros = (capture(lantern, samples[name], c) for c in ("own", "oracle", "zeros"))
    assert torch.equal(own["latent@slot"], own["generated"])  # as said above
    for what, vectors in (
        ("own", own["latent@slot"]),
        ("teacher-forced", oracle["generated"]),
        ("dummy", zeros["generated"]),
        ("oracle", oracle["latent@slot"]),
        ("image mean", own["vision@image-mean"][:, 0]),
    ):
        sets[name, what] = VectorSet.of(f"{name}, {what}", vectors)

# %% [markdown]
# ## Are the latents of different samples alike?
#
# The usual number is the mean cosine between two samples at the same slot. *Raw* takes the vectors
# as they are, *centred* takes away the mean of all samples first, and *whitened* also divides by
# the spread along each direction. The top line of the figure has the latents of *faithful* once
# more, with one constant vector added to all of them.

# %%
shown = [sets["faithful", what] for what in ("image mean", "dummy", "oracle")]
shown += [sets["collapsed", "own"], sets["faithful", "own"]]
own = sets["faithful", "own"].vectors
shifted = VectorSet.of("faithful, own + constant", own + 3 * np.abs(own).mean())
figure, axes = plt.subplots(1, 3, figsize=(10, 2.7), sharey=True)
for height, vectors in enumerate([*shown, shifted]):
    rows = [r for r in geometry.cosine_rows(vectors) if r.measure == BETWEEN and r.slot is None]
    for ax, row in zip(axes, rows, strict=True):
        ax.plot([row.estimate - row.sd, row.estimate + row.sd], [height] * 2, color=SOFT, lw=1)
        ax.plot([row.low, row.high], [height] * 2, "|-", color=ACCENT, lw=4, ms=10)
        ax.set(title=row.space, xlim=(-0.6, 1.1))
axes[0].set_yticks(range(6), [vectors.name for vectors in [*shown, shifted]])
note = "cosine, n = 192: 95 % bootstrap interval of the mean (thick), mean ± sd of the pairs (thin)"
label = figure.supxlabel(note, fontsize=9)

# %% [markdown]
# Read the raw panel first, from below. The image means have the highest cosine, though all images
# differ; then come the dummies. The latents of *collapsed*, which say nothing of the answer, are
# near those that hold all of it. And a constant, which takes nothing away, brings these to the top:
# a raw cosine mostly says how large the part is that all vectors share. It is no sign of collapse
# by itself. .80 to .98 is told of trained models (arXiv 2605.18445; we know it second-hand only),
# and dummy tokens after the same prefix have .99 already.
#
# The mean of centred cosines is no help either: it is about -1 / (n - 1) for *any* set, as centred
# vectors sum to zero. What says something is the spread, the thin line: random directions in r
# dimensions have cosines of sd 1 / sqrt(r). It is wider for *collapsed*: fewer directions.
#
# ## How many directions do they fill?
#
# *Participation ratio* and *effective rank* count them, from the spectrum. r equal directions give
# r. The first follows the few largest, the second also counts small ones. Would you trust such a
# number? Plant one, and see: n normal vectors in r of 128 dimensions, with r known.

# %%
rng, planted = np.random.default_rng(0), 2 ** np.arange(8)
figure, ax = plt.subplots(figsize=(5, 3.2))
ax.loglog(planted, planted, base=2, color=SOFT, lw=6, alpha=0.5, label="truth")
for n, ink in ((1024, SOFT), (153, INK), (16, ACCENT)):
    found = []
    for r in planted:
        basis = np.linalg.qr(rng.normal(size=(128, r)))[0]
        vectors = rng.normal(size=(n, r)) @ basis.T
        values = geometry.singular_values(vectors - vectors.mean(0))
        found.append((geometry.effective_rank(values), geometry.participation_ratio(values)))
    both = ax.plot(planted, found, color=ink)
    both[0].set(marker="o", ms=4, label=f"n = {n}")
    both[1].set(linestyle="--")
ax.set(xlabel="planted directions", ylabel="effective rank (solid), PR (dashed)")
legend = ax.legend()

# %% [markdown]
# With many vectors both are right. With few, both are too low: 16 vectors of noise show at most 15
# of its 128 directions. So compare sets at *equal n*, and quote n. `rank_rows` draws 153 of the 192
# samples without replacement, 40 times; the bands are 95 % intervals from the spread of the draws
# (a delete-d jackknife; a bootstrap repeats vectors, which lowers the rank).

# %%
ranked = geometry.rank_rows(shown)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
plot_effective_ranks(ranked, axes[0])
plot_spectrum(ranked, axes[1])
for row in ranked:
    if row.index is None and row.slot is None and row.space == "centred":
        print(f"{row.name:22} {row.measure:20} {row.estimate:5.1f} [{row.low:.1f}, {row.high:.1f}]")

# %% [markdown]
# *collapsed* fills half the directions that *faithful* fills, by both measures; its spectrum has
# five large ones and then a cliff. The image means, of the highest raw cosine, have the highest
# effective rank. So the rank sees what the raw cosine does not. Still, a rank is no content: noise
# has the highest. And few directions may be all that is needed: eight colours differ in seven.
#
# ## Do they have the oracle's geometry?
#
# * **CKA** (debiased): are samples that lie together in one set together in the other? 1 up to
#   rotation and scale, 0 on average for unrelated vectors. **RSA**: the same of ordered distances.
# * **USP**: the share of samples whose latent is closer to *other samples' latents* than to its own
#   oracle. No chance value is fixed for it; random pairing says what it is here.
#
# The test: pair latents with oracles at random, 999 times; p is one-sided, and .001 the smallest
# possible. Intervals are of the jackknife again, for the same reason as with the ranks.


# %%
def table(lines):
    columns = ["value", "low", "high", "at random pairing", "p", "n"]
    frame = pd.DataFrame(lines, index=columns, dtype=float).T
    return frame.style.format("{:.4g}", na_rep="").format("{:.2g}", subset="p", na_rep="")


def entry(found, chance, p):
    return found.estimate, found.low, found.high, chance, p, found.n


def alignment(name, own, oracle, tested=True):
    """CKA and RSA, with the p of random pairing where that is a test."""
    rows = geometry.alignment_rows(own, oracle, permutations=999 if tested else 1)
    found = {}
    for row in rows:
        null = (0, row.p) if tested else (None, None)
        found[name, row.measure] = entry(row, *null)
    return found


lines = {}
for name in TASKS:
    pair = [sets[name, what].mean_over_slots() for what in ("own", "oracle")]
    lines |= alignment(name, *pair)
    usp, chance = geometry.preference_rows(*pair)[-2:]  # centred
    lines[name, usp.measure] = entry(usp, chance.estimate, usp.p)
table(lines)

# %% [markdown]
# But look at *collapsed*: in every measure its latents are far more like their oracles than random
# pairing allows. Yet they know nothing of the object's colour. Keep it in mind.
#
# ## Do they find their own oracle?
#
# Order all 192 oracles by their cosine to a sample's own latent. On which *rank* is its own? R@k is
# the share of ranks up to k, MRR the mean of 1 / rank. First comes the check of the method: the
# oracles must find themselves, R@1 = 1.

# %%
lines = {}
for name in TASKS:
    views = retrieve(sets[name, "own"], sets[name, "oracle"])
    view = next(view for view in views if view.view == "pooled")  # the mean over the slots
    print(f"{name}: oracles among themselves, R@1 = {view.oracle_recall}; {view.tied} ties")
    for k in RECALL_AT:
        hits, chance = view.ranks <= k, k / view.candidates
        p = binomtest(int(hits.sum()), view.n, chance).pvalue
        lines[name, f"R@{k}"] = entry(stats.clustered_share(hits), chance, p)
    rank, mrr = view.mean_rank, view.mrr
    lines[name, "mean rank"] = entry(stats.mean_difference(view.ranks), rank.chance, rank.p)
    lines[name, "MRR"] = entry(stats.mean_difference(1 / view.ranks), mrr.chance, mrr.p)
table(lines)

# %% [markdown]
# Intervals are 95 % bootstraps. Tests are two-sided: of ranks by 1,999 random pairings, of R@k
# binomial. *faithful* answers every question, and its R@1 is not even a half: two red rings have
# nearly the same oracle. R@1 also measures how much the *samples* differ.
#
# ### R@1 at chance, and the ranks are not
#
# Say that 300 latents know something, in one of two ways. *A little in every sample*: each oracle
# gets a score of normal noise with an sd of 1, and the right one a lift. *Everything in a few*:
# these put their oracle first, the others guess. How often does a one-sided test at 5 % notice?

# %%
N, rng = 300, np.random.default_rng(0)
STATISTICS = {
    "mean rank": lambda ranks: -ranks.mean(1),
    "MRR": lambda ranks: (1 / ranks).mean(1),
    "R@1": lambda ranks: (ranks == 1).mean(1),
}
guessed = rng.integers(1, N + 1, (20_000, N))
bars = {what: np.quantile(measure(guessed), 0.95) for what, measure in STATISTICS.items()}
x = np.linspace(0, 1, 11)
lifted = [1 + rng.binomial(N - 1, norm.sf(rng.normal(0.5 * u, 1, (2_000, N)))) for u in x]
found = [np.where(rng.random((2_000, N)) < 0.05 * u, 1, guessed[:2_000]) for u in x]
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, drawn, most in ((axes[0], lifted, 0.5), (axes[1], found, 0.05)):
    for (what, measure), style in zip(STATISTICS.items(), ("-", "--", ":"), strict=True):
        power = [(measure(ranks) > bars[what]).mean() for ranks in drawn]
        ax.plot(most * x, power, style, color=ACCENT if what == "R@1" else INK, label=what)
    ax.axhline(0.05, color=SOFT, lw=0.8)
axes[0].set(xlabel="a little in every sample: lift (sd)", ylabel="power, N = 300", ylim=(0, 1.03))
axes[1].set(xlabel="everything in a few: share of samples")
legend = axes[0].legend()

# %% [markdown]
# (2,000 runs a point: within 2.2 points.) On the left the mean rank notices a lift of .2 nearly
# always, and R@1 one time in ten: it takes 4 hits of 300 to be significant. On the right it is the
# other way round. Before you say "at chance", make sure that your statistic would have noticed.
#
# ### Published figures
#
# The authors of LanteRn give these for the real 3B SFT checkpoint on VisCoT, N = 300, and read them
# as *chance*. The values are theirs; all else is computed here (R@k: Wilson and binomial; MRR:
# 20,000 draws of random ranks). `rank_test_from_summary` takes N and a mean rank, and nothing else.

# %%
lines = {}
for k, share in {1: 0.00667, 5: 0.0333, 10: 0.0567}.items():
    hits = round(share * N)
    p = binomtest(hits, N, k / N).pvalue
    lines["published", f"R@{k}"] = entry(stats.wilson(hits, N), k / N, p)
test = rank_test_from_summary(N, 134.0)
half = 1.96 * (134.0 - test.chance) / test.z  # as if ranks were spread as random ones
lines["published", "mean rank"] = (134.0, 134.0 - half, 134.0 + half, test.chance, test.p, N)
drawn = STATISTICS["MRR"](guessed)
lines["published", "MRR"] = (0.0288, None, None, drawn.mean(), 2 * (drawn >= 0.0288).mean(), N)
print("p after Holm over the five:", np.round(stats.holm([line[4] for line in lines.values()]), 3))
for what, n, mean_rank in (("SFT", 300, 134.0), ("RL", 300, 140.3), ("SFT", 1200, 533.1)):
    test = rank_test_from_summary(n, mean_rank)
    print(f"{what}, N = {n}: mean rank {mean_rank}, z = {test.z:.1f}, p = {test.p:.2g}")
table(lines)

# %% [markdown]
# R@1 is at chance: 2 hits, where 1 is expected. The mean rank is not; a small effect, but hardly an
# accident. Does it show that the latents hold the evidence?
#
# ## The trap: the question gives it away
#
# *collapsed* found its oracle far better than by chance, too. What do its latents know?

# %%
points = embed(sets["collapsed", "own"].mean_over_slots().vectors[:, 0])
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for ax, attribute in zip(axes, ("shape", "color"), strict=True):
    values = [sample.attributes[attribute] for sample in samples["collapsed"]]
    plot_embedding(points, values, f"{attribute} of the\nasked object", ax)
    ax.set(xlabel="PC 1", ylabel="PC 2")
title = figure.suptitle("collapsed: own latents, mean over the slots", fontsize=10)

# %% [markdown]
# Six places for the six shapes that are asked for (in five directions), and every colour in each:
# the latents repeat the question. The oracle of a ring looks like a ring. Who only says "ring"
# finds rings, and beats chance. That explains the rank, the CKA and the retrieval at once.
#
# The remedy: every sample gets only rivals *of its own question*. `retrieve_alike` does that, and
# pairs at random within questions. A *place* is 0 if the own oracle comes first, 1 if last, .5 by
# chance. For CKA and RSA, take the mean of each question away.

# %%
question = np.array([sample.text for sample in samples["collapsed"]])
groups = [np.flatnonzero(question == text) for text in np.unique(question)]


def places(name, what, groups):
    """The place of each sample's oracle in its group, by view, [n]."""
    found = {}
    for group in groups:
        part = [VectorSet.of(side, sets[name, side].vectors[group]) for side in (what, "oracle")]
        for view in retrieve(*part, permutations=1):
            place = (view.ranks - 1) / (view.candidates - 1)
            found.setdefault(view.view, np.zeros(len(question)))[group] = place
    return found


def without_question(vectors):
    away = vectors.mean_over_slots().vectors[:, 0]
    for group in groups:
        away[group] -= away[group].mean(0)
    return VectorSet.of(vectors.name, away)


lines = {}
for name in TASKS:
    own, oracle = sets[name, "own"], sets[name, "oracle"]
    found = retrieve_alike(own, oracle, list(question))
    test = next(view.place for view in found if view.view == "pooled")
    mean = stats.mean_difference(places(name, "own", groups)["pooled"])
    lines[name, "place"] = entry(mean, test.chance, test.p)
    lines |= alignment(name, without_question(own), without_question(oracle), tested=False)
table(lines)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True)
for ax, some in zip(axes, ([np.arange(len(question))], groups), strict=True):
    for name, ink in zip(TASKS, (INK, ACCENT), strict=True):
        for what, style in (("own", "o-"), ("teacher-forced", "o--")):
            found = places(name, what, some)
            for slot in range(8):
                mean = stats.mean_difference(found[f"slot {slot}"], resamples=2_000)
                ax.vlines(slot, mean.low, mean.high, color=ink, lw=1)
            means = [found[f"slot {slot}"].mean() for slot in range(8)]
            ax.plot(means, style, color=ink, ms=4, label=f"{name}, {what}")
    ax.axhline(0.5, color=SOFT, lw=1, ls=":")
    ax.set(title="among samples of the same question", xlabel="slot", ylim=(-0.02, 0.6))
axes[0].set(title="among all samples", ylabel="mean place (95 % interval)")
legend = axes[0].legend(loc="center right")

# %% [markdown]
# Among all, both find theirs. Among samples of the same question only *faithful* does. (*collapsed*
# at .5 means: within the interval.) Where no two samples share a question there is no such test,
# and a mean rank alone, such as the published one, cannot be told from the trap.
#
# ## Free-running or teacher-forced?
#
# Look at the dashed lines. Teacher-forced, *collapsed* finds its oracle from slot 1 on, even within
# the question. That is no knowledge: it has just been *fed* slot 0 of that oracle, and its next
# latent resembles it. At slot 0 nothing has been fed, and it is at chance. So say which of the two
# a figure is. What the model thinks by itself is the free-running one.
#
# ## Try
#
# * Take `bypass` instead of `faithful`: full of content, never used. Does any number notice?
# * Retrieve with the image mean as query. Above chance? Within the question?
