"""One question under several conditions, side by side, without a run on disk."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lantern_probe.causal.ablation import with_own
from lantern_probe.causal.branching import Branch, run_prefixes
from lantern_probe.causal.knockout import check_cut, run_cut_branches
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, parse_condition
from lantern_probe.interventions.edges import KnockOut
from lantern_probe.model.blocks import OWN, BranchResult
from lantern_probe.tasks.answers import Parser, parse_answer
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from rich.table import Table

    from lantern_probe.model.lantern import LanternModel

_MARKER = re.compile(r"\s*<\|[^<>|]*\|>")
HEADS = ("condition", "answer", "p(answer)", "text")


@dataclass(frozen=True)
class Answer:
    """An answer under one condition.

    Attributes:
        condition: Label of the condition.
        answer: Answer as the parser reads it; None where the text holds none.
        probability: Probability of that answer among the candidates; None without candidates.
        text: Generated text, with its markers.
        acted: False if the text opened no block, so that a condition on the slots did nothing.
        result: Tokens, blocks and log-probabilities.
    """

    condition: str
    answer: str | None
    probability: float | None
    text: str
    acted: bool
    result: BranchResult


@dataclass(frozen=True)
class Answers:
    """One question's answers under several conditions; displays as a table.

    Attributes:
        sample: The question with its image.
        rows: One answer per condition, own first.
    """

    sample: Sample
    rows: tuple[Answer, ...]

    @property
    def answers(self) -> dict[str, str | None]:
        """The answers by condition."""
        return {row.condition: row.answer for row in self.rows}

    @property
    def texts(self) -> dict[str, str]:
        """The texts by condition."""
        return {row.condition: row.text for row in self.rows}

    def _cells(self) -> list[dict[str, str]]:
        """One line per condition, by heading; without probabilities where there are none."""
        options = dict(zip(self.sample.candidates, self.sample.options, strict=False))
        cells = []
        for row in self.rows:
            read = "-" if row.answer is None else row.answer
            if self.sample.lettered and row.answer in options:
                read = f"{row.answer}. {options[row.answer]}"
            probability = "-" if row.probability is None else f"{row.probability:.3f}"
            name = row.condition if row.acted else f"{row.condition} (no block)"
            cells.append(
                dict(zip(HEADS, (name, read, probability, plain_text(row.text)), strict=True))
            )
        if all(row.probability is None for row in self.rows):
            cells = [{k: v for k, v in line.items() if k != HEADS[2]} for line in cells]
        return cells

    def __rich__(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        table = Table(
            title=escape(self.sample.question),
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for name in self._cells()[0]:
            table.add_column(name, overflow="fold")
        for line in self._cells():
            table.add_row(*map(escape, line.values()))
        return table

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], tag: str) -> str:
            return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

        lines = self._cells()
        body = "".join(f"<tr>{line(cells.values(), 'td')}</tr>" for cells in lines)
        title = html.escape(self.sample.question)
        return f"<table><caption>{title}</caption><tr>{line(lines[0], 'th')}</tr>{body}</table>"

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=98, color_system=None, force_terminal=False, force_jupyter=False)
        with console.capture() as captured:
            console.print(self)
        return captured.get()

    __repr__ = __str__


def plain_text(text: str) -> str:
    """A generated text without the markers of slots and of tokens, on one line.

    Args:
        text: The text.
    """
    return " ".join(_MARKER.sub("", text).split())


def ask_under(
    lantern: LanternModel,
    sample: Sample,
    conditions: Sequence[str | Intervention],
    *,
    parser: Parser = "default",
    max_new_tokens: int | None = None,
    seed: int = 0,
) -> Answers:
    """Answer one question under several conditions, from one shared prefix.

    Args:
        lantern: The model.
        sample: The question.
        conditions: Conditions, or their labels; own is added in front if it is missing.
        parser: Parser of the answers, default `default`.
        max_new_tokens: Most tokens of a text; the model's own limit by default.
        seed: Seed of a condition that draws at random and whose label names none; default 0.

    Raises:
        LanternError: there is no such condition, it needs other samples, or the sample cannot be
            run.
    """
    given = [conditions] if isinstance(conditions, str | Intervention) else conditions
    asked = with_own([parse_condition(c, seed) if isinstance(c, str) else c for c in given])
    for condition in asked:
        condition.check(lantern.latent_size)
        if condition.needs_pool:
            raise LanternError(
                f"condition {condition.label!r} needs the own latents of a data set; give "
                "several images to python -m experiments.ask, or run an Ablation"
            )
    (prefix,) = run_prefixes(lantern, [sample], max_new_tokens=max_new_tokens)
    acts = [prefix.emitted or not condition.needs_block for condition in asked]
    branches = [
        Branch(prefix, condition.plan(sample, lantern, None) if does else OWN)
        for condition, does in zip(asked, acts, strict=True)
    ]
    cuts = [c.cut if isinstance(c, KnockOut) else None for c in asked]
    for branch, cut in zip(branches, cuts, strict=True):
        if cut is not None:
            check_cut(lantern, branch, cut)
    results = run_cut_branches(lantern, branches, cuts)
    rows = []
    for condition, does, result in zip(asked, acts, results, strict=True):
        answer = parse_answer(result.text, sample, parser, lead=lantern.answer_lead)
        shares = probabilities(result.logprobs)
        found = None if answer is None else shares.get(answer)
        rows.append(Answer(condition.label, answer, found, result.text, does, result))
    return Answers(sample, tuple(rows))


def probabilities(logprobs: dict[str, Any] | None) -> dict[str, float]:
    """Probabilities among the candidates, from their log-probabilities in nats.

    Args:
        logprobs: Log-probability by candidate; None without candidates.
    """
    if not logprobs:
        return {}
    most = max(logprobs.values())
    weights = {name: math.exp(value - most) for name, value in logprobs.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}
