"""Draw the picture of the page on monitoring: run its notebook, and keep the curve.

    python docs/monitor_picture.py

It trains an organism, about a minute on one core, and writes `docs/images/monitor.png`.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from lantern_probe.plots import save_figure

DOCS = Path(__file__).parent


def main() -> None:
    """Run the notebook and write the picture."""
    made = runpy.run_path(str(DOCS.parent / "notebooks" / "08_monitor_a_training.py"))
    save_figure(made["figure"], DOCS / "images" / "monitor.png", dpi=110)


if __name__ == "__main__":
    main()
