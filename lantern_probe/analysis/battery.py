"""Conditions of a diagnosis, by label: apart from their analysis, which is slow to load."""

from __future__ import annotations

REMOVALS = {"needed": "mask", "block": "skip", "markers": "ban"}
"""Estimands of what happens when something is taken away, with the condition that does it."""

CONDITIONS = ("own", "self-swap", "twin", "twin-oracle", "oracle", *REMOVALS.values())
"""Conditions of the rows from which all estimands are computed."""

POOL_SUFFIX = ".csv.gz"
"""End of the name of a table of pairs (`analysis.pool_tables`)."""

EDGES = ("after->slot", "after->slot:random=1", "after->image")
"""Edges that are cut as supporting evidence: to the slots, to as many random image tokens, and to
the image."""

EVIDENCE_PAIRS = 64
"""Most pairs on which supporting evidence is gathered."""
