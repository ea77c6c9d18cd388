"""Changing the model and reading its answer: branches, ablation, knockout, patching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.causal.ablation import Ablation, with_own
    from lantern_probe.causal.asking import Answers, ask_under
    from lantern_probe.causal.branching import Branch, Prefix, run_branches, run_prefixes
    from lantern_probe.causal.knockout import EdgeCuts, cut_edges, cutting_edges, run_cut_branches
    from lantern_probe.causal.patching.forward import Patched, run_cells
    from lantern_probe.causal.patching.recording import LeftOut, Recording, record
    from lantern_probe.causal.patching.sweep import Sweep

__all__ = [
    "Ablation",
    "Answers",
    "Branch",
    "EdgeCuts",
    "LeftOut",
    "Patched",
    "Prefix",
    "Recording",
    "Sweep",
    "ask_under",
    "cut_edges",
    "cutting_edges",
    "record",
    "run_branches",
    "run_cells",
    "run_cut_branches",
    "run_prefixes",
    "with_own",
]

__getattr__ = lazily(
    __name__,
    branching="Branch Prefix run_branches run_prefixes",
    ablation="Ablation with_own",
    asking="Answers ask_under",
    knockout="EdgeCuts cut_edges cutting_edges run_cut_branches",
    patching__recording="LeftOut Recording record",
    patching__forward="Patched run_cells",
    patching__sweep="Sweep",
)
