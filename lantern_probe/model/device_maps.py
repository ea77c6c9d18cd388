"""Placements of a model as they are asked for, without torch: a way to spread it, or devices."""

from __future__ import annotations

import re
from typing import Any

from lantern_probe.errors import LanternError

SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways to spread a model over the devices at hand, as accelerate names them."""


def check_placement(device_map: Any) -> None:
    """Refuse a placement that names no way to spread a model, and no device.

    Args:
        device_map: Placement as for transformers: a way to spread it, a device, or a mapping from
            modules to devices; None for the default.

    Raises:
        LanternError: naming what can be given.
    """
    if not isinstance(device_map, str) or device_map in SPREADS:
        return
    if not re.fullmatch(r"(cpu|cuda|mps|xpu|npu|hpu)(:\d+)?", device_map):
        raise LanternError(
            f"device map {device_map!r} is none; take {', '.join(SPREADS)}, or one device such as "
            "cpu or cuda:1"
        )


def is_spread(device_map: Any) -> bool:
    """True for a placement that may take more than one device.

    Args:
        device_map: Placement as for transformers.
    """
    if isinstance(device_map, dict):
        return len(set(map(str, device_map.values()))) > 1
    return isinstance(device_map, str) and device_map in SPREADS
