"""The gain of latent reasoning, divided, on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from lantern_probe.analysis.decomposition import FULL, RetainedGain
from lantern_probe.analysis.format import bounds, interval, number, p_value, share
from lantern_probe.analysis.truncation import truncation_notes

from ..console import print_table, titled_table

LEGEND = (
    "accuracy [95 % Wilson interval]; cut: share of texts cut off at the token limit; gain, paired "
    "[95 % interval, Tango's], n / design effect where images repeat; p: exact McNemar (sign flips "
    "of whole images where they repeat) after Holm over the conditions; retained: share of own's "
    "gain [95 % Fieller's interval]; kept: the markers with the slots (with other "
    "content), the markers alone, the written format (thought and answer) alone, or neither (the "
    "answer at once)"
)


def print_gains(gains: Sequence[RetainedGain], base: str, console: Console) -> None:
    """Print one model's gains over the base."""
    table = titled_table(f"{gains[0].model}: {gains[0].accuracy.n} samples with a latent block")
    table.add_column("condition", no_wrap=True)
    for name in ("accuracy", "cut", f"gain over {base}", "Holm p", "retained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    for item in gains:
        a, g, r = item.accuracy, item.gain, item.retained
        table.add_row(
            escape(item.condition),
            interval(a.estimate, a.low, a.high),
            share(item.truncated),
            interval(g.estimate, g.low, g.high, signed=True),
            p_value(item.holm_p),
            interval(r.estimate, r.low, r.high) if r.defined else "-",
            item.keeps,
        )
    print_table(table, console)
    for text in bounds((item.condition, item.gain) for item in gains if item.test is not None):
        console.print(text, markup=False, highlight=False)
    shares = {item.condition: item.truncated for item in gains}
    for note in truncation_notes(shares, [(item.condition, base) for item in gains]):
        console.print(note, markup=False, highlight=False)
    whole = next(item.retained for item in gains if item.condition == FULL)
    if not whole.defined:
        console.print(
            f"The whole gain is {number(whole.whole, signed=True)} "
            f"[{number(whole.whole_low, signed=True)}, {number(whole.whole_high, signed=True)}]: "
            f"no share of it is reported ({whole.reason}).",
            highlight=False,
            markup=False,
        )
    console.print()
