"""An estimate of a run on the console."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from ..console import print_table, titled_table
from ..estimates import Estimate, Measured, Tokens

Line = tuple[str, str, str]
"""A quantity, its value, and what the value is based on."""


def print_estimate(estimate: Estimate, console: Console) -> None:
    """Print what a run will take, beside what each number is based on."""
    table = titled_table(f"{estimate.title}: estimated, nothing was recorded")
    for name, justify in (("quantity", "left"), ("value", "right"), ("based on", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for line in _lines(estimate):
        table.add_row(*map(escape, line))
    print_table(table, console)
    for note in _notes(estimate):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _lines(estimate: Estimate) -> Iterator[Line]:
    yield "samples", f"{estimate.samples:,}", "the data and its options"
    yield "conditions", f"{estimate.conditions:,}", ""
    yield "rows", f"{estimate.rows:,}", "one per sample and condition"
    yield "rows there", f"{estimate.rows - estimate.due:,}", "the run in the folder"
    yield "rows due", f"{estimate.due:,}", ""
    if estimate.tokens is not None:
        yield from _of_tokens(estimate.tokens)
    if estimate.batch is not None and estimate.batch.generated:
        yield from _of_generated(estimate, estimate.batch)
    if estimate.loading:
        yield "loading", duration(estimate.loading), "the model, once"
    if estimate.batch is not None and estimate.seconds is not None:
        yield "time of rows", f"~{duration(estimate.seconds)}", _batch(estimate.batch)
    if estimate.memory is not None:
        yield "peak memory", decimal(estimate.memory), estimate.memory_of


def _of_tokens(tokens: Tokens) -> Iterator[Line]:
    mark, basis = "", "the prompt of each sample that is due, once"
    if not tokens.complete:
        mark, basis = "~", f"{basis}; the mean of {tokens.counted} samples"
    if tokens.bad:
        basis += f"; {_samples(tokens.bad)} cannot be asked"
    yield "prompt tokens", f"{mark}{tokens.total(tokens.prompt):,}", basis
    yield "image tokens", f"{mark}{tokens.total(tokens.image):,}", "those of them that are images"


def _of_generated(estimate: Estimate, batch: Measured) -> Iterator[Line]:
    mean = sum(batch.generated) / len(batch.generated)
    basis = (
        f"{mean:.1f} a row in the measured batch; at most {estimate.limit:,} a row, "
        f"{estimate.limit * estimate.due:,} in all"
    )
    yield "generated tokens", f"~{round(mean * estimate.due):,}", basis


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _batch(batch: Measured) -> str:
    what = f"{len(batch.good)} rows of {_samples(batch.samples)} in {batch.seconds:.2f} s"
    return f"{what}, {'after a warm-up' if batch.warm else 'the first that the model did'}"


def _notes(estimate: Estimate) -> Iterator[str]:
    if not estimate.due:
        yield f"{estimate.title}: nothing is due"
    elif estimate.problem is not None:
        yield f"{estimate.title}: no batch could be measured: {estimate.problem}"
    elif estimate.batch is not None and estimate.batch.failed:
        failed = estimate.batch.failed
        yield (
            f"{estimate.title}: {len(failed)} of {len(estimate.batch.rows)} rows of the batch "
            "could not be made, and the time is that of the others; the first: "
            f"{failed[0].get('error')}"
        )


def duration(seconds: float) -> str:
    """A number of seconds in units that fit its size.

    Args:
        seconds: The seconds.
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
