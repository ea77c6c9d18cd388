"""Activation patching: put one sample's activations into another's run, and see what is answered.

A pair of samples differs in a known way. What a place of the donor's run holds replaces what the
same place of the target's run holds, and the logit difference at the answer is measured (symmetric
replacement; arXiv 2309.16042, 2404.15255). Each of a pair is the other's donor. With the original
as `clean` and its twin as `corrupted`, patching clean into corrupted is `denoise` (a place that
restores the answer is sufficient), and corrupted into clean is `noise` (a place that breaks it is
necessary).

`interventions.patches`: what is patched. `recording` takes it from a finished run, `forward` runs
many patches in one forward, and `sweep` runs all patches on all pairs, into a run. Figures are
made from the rows alone, by `analysis.patching`.
"""

from lantern_probe.causal.patching.forward import Patched, run_cells
from lantern_probe.causal.patching.recording import LeftOut, Recording, check_layout, record
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.interventions.patches import Patch, each_slot, layer_sites, shams, whole
from lantern_probe.vocabulary import PATCH_ROLES, PATCHED

__all__ = [
    "PATCHED",
    "PATCH_ROLES",
    "LeftOut",
    "Patch",
    "Patched",
    "Recording",
    "Sweep",
    "check_layout",
    "each_slot",
    "layer_sites",
    "record",
    "run_cells",
    "shams",
    "whole",
]
