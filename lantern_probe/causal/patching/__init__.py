"""Activation patching: one sample's activations are put into another's run, and the answer is read.

A pair of samples differs in a known way. At one place, the donor's activations replace those of
the target's run, and the logit difference at the answer is measured (symmetric replacement; arXiv
2309.16042, 2404.15255). Each sample of a pair is the other's donor. With the original as `clean`
and its twin as `corrupted`, patching clean into corrupted is `denoise` (a place that restores the
answer is sufficient), and corrupted into clean is `noise` (a place that breaks it is necessary).

`interventions.patches` has the patches. `recording` takes a donor's activations from a finished
run, `forward` runs many patches in one forward, and `sweep` runs all patches on all pairs, into a
run. Figures are made from the rows alone, by `analysis.patching`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.causal.patching.forward import Patched, check_cell, run_cells
    from lantern_probe.causal.patching.recording import (
        LeftOut,
        Recording,
        candidate_scores,
        check_layout,
        record,
    )
    from lantern_probe.causal.patching.sweep import Sweep

__all__ = [
    "LeftOut",
    "Patched",
    "Recording",
    "Sweep",
    "candidate_scores",
    "check_cell",
    "check_layout",
    "record",
    "run_cells",
]

__getattr__ = lazily(
    __name__,
    recording="LeftOut Recording candidate_scores check_layout record",
    forward="Patched check_cell run_cells",
    sweep="Sweep",
)
