"""Endpoints of servers as one more condition: the same questions, the answers as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.serving.endpoint import Endpoint, read_key, served_label
    from lantern_probe.serving.engine import Serving

__all__ = ["Endpoint", "Serving", "read_key", "served_label"]

__getattr__ = lazily(
    __name__,
    endpoint="Endpoint read_key served_label",
    engine="Serving",
)
