"""Does a latent-visual-reasoning model see with its latent slots?

from lantern_probe import LanternModel, load_task

lantern = LanternModel("faithful")
sample = load_task("scenes", 1)[0]
print(lantern.generate(sample).texts[0])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lantern_probe.errors import LanternError

if TYPE_CHECKING:
    from lantern_probe.branching import Branch, run_branches, run_prefixes
    from lantern_probe.decoding import RowPlan
    from lantern_probe.model import LanternModel
    from lantern_probe.tasks import Sample, load_task

_PLACES = {
    "Branch": "branching",
    "LanternModel": "model",
    "RowPlan": "decoding",
    "Sample": "tasks",
    "load_task": "tasks",
    "run_branches": "branching",
    "run_prefixes": "branching",
}

__all__ = [
    "Branch",
    "LanternError",
    "LanternModel",
    "RowPlan",
    "Sample",
    "load_task",
    "run_branches",
    "run_prefixes",
]


def __getattr__(name: str) -> Any:
    # Records, statistics and tasks are used without a model; torch is loaded when asked for.
    if name in _PLACES:
        return getattr(import_module(f"lantern_probe.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'lantern_probe' has no attribute {name!r}")
