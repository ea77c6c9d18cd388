"""Runs of format 1, read as if this version had written them.

Format 1 called the cluster of a row `image`, the slots' role `slots` and the position that predicts
the answer `answer`; its cuts said `start`, `slots` and `end`; commands that build on an ablation
recorded `ablate_latents` as their experiment. All of this leaves what is modern already as it is.
"""

from __future__ import annotations

import re
from typing import Any

_KEPT = {
    "own": "everything",
    "mask": "markers, slots unseen",
    "skip": "markers",
    "ban": "format",
    "direct": "neither",
}
"""`kept` of the conditions that replace nothing at the slots."""

_REPLACEMENTS = (
    *("zeros", "noise", "noise-norm", "noise-matched", "additive", "mean", "constant"),
    *("first-repeat", "shuffle", "swap", "twin", "twin-oracle", "self-swap", "oracle"),
    *("random-box", "random-box-other", "erase", "erase-random", "erase-shuffled"),
)
"""Conditions of format 1 that put other content into the slots."""

_MADE_BY = {
    "ablate_latents": (
        *("exchange_latents", "decompose_markers", "knock_out"),
        *("probe_latents", "reproduce"),
    ),
    "capture_activations": ("map_latents", "probe_latents", "reproduce"),
}
"""Commands whose runs said that another command had made them."""

_SETS = {"start": "lvr_start", "slots": "slot", "end": "lvr_end"}
_ROLES = {"slots": "slot", "answer": "answer-start"}


def modern_label(label: str) -> str:
    """Rewrite a site, a patch or a cut of format 1: `latent@slots`, `after->slots`.

    >>> modern_label("residual.3@slots[5]"), modern_label("start+slots->image:layers=2")
    ('residual.3@slot[5]', 'lvr_start+slot->image:layers=2')
    """
    cut = re.match(r"[a-z_+]+->[a-z_+]+", label)
    if cut:
        edge = re.sub(r"[a-z_]+", lambda word: _SETS.get(word[0], word[0]), cut[0])
        return edge + label[cut.end() :]
    site = re.fullmatch(r"((?:oracle:)?[a-z]+(?:\.\d+)?)@([a-z_-]+)(.*)", label)
    if site and site[2] in _ROLES:
        return f"{site[1]}@{_ROLES[site[2]]}{site[3]}"
    return label


def modern_row(row: dict[str, Any]) -> dict[str, Any]:
    """Bring one row into the present form."""
    row = dict(row)
    if "image" in row and "cluster" not in row:
        row = {("cluster" if name == "image" else name): value for name, value in row.items()}
    if isinstance(row.get("condition"), str):
        row["condition"] = modern_label(row["condition"])
    if row.get("role") in _ROLES and "component" in row:
        row["role"] = _ROLES[row["role"]]
    for name in ("moved", "between"):
        if isinstance(row.get(name), dict):
            row[name] = {modern_label(site): values for site, values in row[name].items()}
    if isinstance(row.get("missing"), list):
        row["missing"] = [modern_label(site) for site in row["missing"]]
    if isinstance(row.get("site"), str):
        row["site"] = modern_label(row["site"])
        probe = re.fullmatch(r".+(#(?:-|\d+))", str(row.get("sample")))
        if probe:  # its key is the site and the slot
            row["sample"] = row["site"] + probe[1]
    if "parsed" in row and "kept" not in row:
        name = str(row["condition"]).partition("@")[0].partition(":")[0]
        row["kept"] = _KEPT.get(name, "markers, slots" if name in _REPLACEMENTS else "-")
    return row


def modern_config(config: dict[str, Any], wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Bring the configuration of a run of format 1 into the present form.

    Args:
        config: As recorded.
        wanted: The configuration that it is to be compared with. What format 1 could not say, such
            as which command built on an ablation, is taken from it.
    """
    config = dict(config)
    if isinstance(config.get("sites"), list):
        config["sites"] = [modern_label(site) for site in config["sites"]]
    wanted = wanted or {}
    if wanted.get("experiment") in _MADE_BY.get(str(config.get("experiment")), ()):
        config["experiment"] = wanted["experiment"]
    for name in ("capture", "forced_by"):
        if isinstance(config.get(name), dict):
            config[name] = modern_config(config[name], wanted.get(name))
    # Samples are told by their content now, see `records.samples`.
    config.pop("data_sha256", None)
    return config
