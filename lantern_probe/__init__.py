"""Does a latent-visual-reasoning model see with its latent slots?

    from lantern_probe import LanternModel, load_task

    lantern = LanternModel("faithful")
    sample = load_task("scenes", 1)[0]
    print(lantern.generate(sample).texts[0])

The names here are those of a first hour. Each room has more: `model`, `interventions`, `causal`
and `capture` need the model; `tasks`, `records`, `stats`, `probing`, `geometry`, `analysis`,
`plots` and `organisms` do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.errors import LanternError
from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.analysis.ablation import summarize
    from lantern_probe.causal.ablation import Ablation
    from lantern_probe.causal.branching import Branch, run_branches, run_prefixes
    from lantern_probe.causal.diagnosis import diagnose
    from lantern_probe.causal.monitoring import monitor
    from lantern_probe.causal.trainer_callback import MonitorCallback
    from lantern_probe.interventions import parse_condition
    from lantern_probe.model.blocks import RowPlan
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.rows import read_rows
    from lantern_probe.records.run import Run
    from lantern_probe.records.store import Store
    from lantern_probe.tasks import Sample, load_task

__all__ = [
    "Ablation",
    "Branch",
    "LanternError",
    "LanternModel",
    "MonitorCallback",
    "RowPlan",
    "Run",
    "Sample",
    "Store",
    "diagnose",
    "load_task",
    "monitor",
    "parse_condition",
    "read_rows",
    "run_branches",
    "run_prefixes",
    "summarize",
]

__getattr__ = lazily(
    __name__,
    causal__ablation="Ablation",
    causal__branching="Branch run_branches run_prefixes",
    causal__diagnosis="diagnose",
    causal__monitoring="monitor",
    causal__trainer_callback="MonitorCallback",
    model__lantern="LanternModel",
    model__blocks="RowPlan",
    records__run="Run",
    records__rows="read_rows",
    records__store="Store",
    tasks="Sample load_task",
    interventions="parse_condition",
    analysis__ablation="summarize",
)
