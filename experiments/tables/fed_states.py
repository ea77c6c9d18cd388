"""Norms of fed states, and discordant pairs, on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lantern_probe.analysis.fed_states import MEASURES, FedState

from ..console import print_table, titled_table
from .exchange import shown

LEGEND = (
    "fed states: mean norm over the median norm of the prompt's embeddings that are no image "
    "tokens (text) and of its merged image tokens (image), and mean cosine to the end marker's "
    "embedding [95 % bootstrap interval, clustered by image]; 1 is a state as long as an ordinary "
    "embedding"
)


def print_fed_states(found: Sequence[FedState], console: Console) -> None:
    """Print one condition's fed states, slot by slot."""
    n = max(item.mean.n for item in found)
    table = titled_table(f"{found[0].model}: states fed under {found[0].condition}, n = {n}")
    table.add_column("slot", no_wrap=True)
    for name in MEASURES:
        table.add_column(name, justify="right", no_wrap=True)
    cells = {(item.slot, item.measure): shown(item.mean) for item in found}
    for slot in dict.fromkeys(item.slot for item in found):
        name = "all" if slot is None else str(slot)
        table.add_row(name, *(cells.get((slot, measure), "-") for measure in MEASURES))
    print_table(table, console)
