"""Activation patching: put one sample's activations into another's run, and see what is answered.

A pair of samples differs in a known way. What a place of the donor's run holds replaces what the
same place of the target's run holds, and the logit difference at the answer is measured (symmetric
replacement; arXiv 2309.16042, 2404.15255). Each of a pair is the other's donor. With the original
as `clean` and its twin as `corrupted`, patching clean into corrupted is `denoise` (a place that
restores the answer is sufficient), and corrupted into clean is `noise` (a place that breaks it is
necessary).

`cells`: what is patched. `recording`: what is taken from a finished run. `engine`: many cells in
one forward. `sweep`: all cells on all pairs, into a run. `effects`: figures from the rows.
"""

from lantern_probe.analysis.patching import DIRECTIONS, PatchEffect, patch_effects
from lantern_probe.causal.patching.forward import Patched, run_cells
from lantern_probe.causal.patching.recording import LeftOut, Recording, check_layout, record
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.interventions.patches import Patch, each_slot, layer_sites, shams, whole
from lantern_probe.vocabulary import PATCH_ROLES, PATCHED

__all__ = [
    "DIRECTIONS",
    "PATCHED",
    "PATCH_ROLES",
    "LeftOut",
    "Patch",
    "PatchEffect",
    "Patched",
    "Recording",
    "Sweep",
    "check_layout",
    "each_slot",
    "layer_sites",
    "patch_effects",
    "record",
    "run_cells",
    "shams",
    "whole",
]
