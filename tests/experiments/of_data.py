"""The commands that take data, found by what their configurations inherit."""

from __future__ import annotations

import importlib

from experiments.data_options import DataOptions
from lantern_probe.commands import find_package, list_commands

OF_DATA = [
    name
    for name in list_commands(find_package()[1])
    if issubclass(importlib.import_module(f"experiments.{name}").Config, DataOptions)
]
"""Names of the commands."""
