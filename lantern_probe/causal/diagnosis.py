"""The diagnosis of a model: pairs of twins in, the rows of the battery and a card out.

Pairs run in chunks, each an ablation of its own, and lend latents to their own twins only. So the
number of pairs decides no answer; it decides the distances in a row to the other latents of a chunk
that is not full. There are two looks, after half of the pairs and after all of them; a diagnosis
that the first look decides ends there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.card import NO_READING, Card, make_card
from lantern_probe.analysis.estimands import Look
from lantern_probe.analysis.reading import UNDECIDED, Thresholds
from lantern_probe.causal.supporting import with_evidence
from lantern_probe.causal.twin_pairs import CHUNK, TwinPairs, pair, record_pairs
from lantern_probe.errors import LanternError
from lantern_probe.interventions import parse_condition
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.records.schema import failed_row
from lantern_probe.tasks.answers import Parser
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


@dataclass
class Battery:
    """Everything a diagnosis runs, chunk by chunk.

    Attributes:
        load: Function that gives the model; called only if a row is missing.
        pairs: Pairs of twins.
        run: Run that takes the rows.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of rows decoded together, by default as many as fit into memory.
        parser: Parser of the answers, default `default`.
        advance: Function called with the number of rows just recorded.
    """

    load: Callable[[], LanternModel]
    pairs: TwinPairs
    run: Run
    max_new_tokens: int | None = None
    batch_rows: int | None = None
    parser: Parser = "default"
    advance: Callable[[int], None] = lambda rows: None

    def until(self, pairs: int, labels: Sequence[str] | None = None) -> float | None:
        """Run the first pairs as far as rows are missing.

        Args:
            pairs: Number of pairs.
            labels: Conditions; by default those on which the reading rests.

        Returns:
            Seconds a pair of the chunks that had no rows; None if there was no such chunk.
        """
        from lantern_probe.causal.ablation import Ablation

        labels, seconds, fresh = labels or self.pairs.conditions(), 0.0, 0
        for first in range(0, min(pairs, self.pairs.number), CHUNK):
            last = min(first + CHUNK, pairs, self.pairs.number)
            some = self.pairs[2 * first : 2 * last]
            there = sum(self.run.has(s.id, label) for s in some for label in labels)
            if there == len(some) * len(labels):
                continue
            lantern = self.load()
            began = perf_counter()
            Ablation(
                lantern,
                some,
                [parse_condition(label) for label in labels],
                self.run,
                max_new_tokens=self.max_new_tokens,
                batch_rows=self.batch_rows,
                parser=self.parser,
                advance=self.advance,
            ).execute()
            if not there:
                seconds, fresh = seconds + perf_counter() - began, fresh + last - first
        return seconds / fresh if fresh else None

    def look(self, pairs: int, look: Look, thresholds: Thresholds, model: str, data: str) -> Card:
        """The card of the first pairs, whose rows are there."""
        asked = {sample.id for sample in self.pairs[: 2 * pairs]}
        without = [why for _, why in self.pairs.without]
        return make_card(
            [r for r in self.run.rows() if r["sample"] in asked and r["condition"] in CONDITIONS],
            model=model,
            data=f"{data}, {self.pairs.edit}",
            thresholds=thresholds,
            look=look,
            oracle=self.pairs.oracle,
            without=without,
            settings={
                "pairs": pairs,
                "conditions": list(self.pairs.conditions()),
                "prompt": self.pairs[0].text,
            },
        )

    def conclude(
        self, pairs: int, thresholds: Thresholds, model: str, data: str, alpha: float = 0.05
    ) -> Card:
        """Run to the first look and, unless it decides, to the last.

        Args:
            pairs: Number of pairs that are planned.
            thresholds: Numbers on which the reading turns.
            model: Name of the model.
            data: Name of the data.
            alpha: Two-sided error that all intervals of both looks share, default 0.05.
        """
        half = -(-pairs // 2)
        self.until(half)
        card = self.look(half, Look(alpha, 1, 2), thresholds, model, data)
        if card.reading in (UNDECIDED, NO_READING) and pairs > half:
            self.until(pairs)
            card = self.look(pairs, Look(alpha, 2, 2), thresholds, model, data)
        return card


def recorded(run: Run, pairs: TwinPairs) -> TwinPairs:
    """Record the samples of a diagnosis, and those without a twin as failed in every condition.

    Args:
        run: Run of the diagnosis.
        pairs: Pairs of twins.

    Returns:
        The pairs, under the ids by which the run has recorded them.
    """

    def fail(sample: Sample, error: LanternError) -> list[Row]:
        return [dict(failed_row(sample.id, label, error)) for label in pairs.conditions()]

    return record_pairs(run, pairs, fail)


def diagnose(
    lantern: LanternModel,
    samples: Sequence[Sample],
    *,
    output: str | Path | None = None,
    thresholds: Thresholds | None = None,
    max_new_tokens: int | None = None,
    batch_rows: int | None = None,
    name: str | None = None,
    evidence: Literal["decisive", "all"] = "all",
) -> Card:
    """Diagnose a model: what its latents carry, whether the answer follows them, in one word.

        >>> from lantern_probe import LanternModel, diagnose, load_task
        >>> card = diagnose(LanternModel("faithful"), load_task("scenes", 40))
        >>> card.reading
        'faithful'

    Args:
        lantern: The model.
        samples: Samples; all of them are planned, and half of them run if that decides. Their twins
            are the data's own (attribute `twin`), else the scene with another colour, else the
            image with the evidence blacked out.
        output: Folder of the run, which is gone on with if it is there; by default the rows are
            not kept.
        thresholds: Numbers on which the reading turns; the defaults if None.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of rows decoded together, by default as many as fit into memory.
        name: Name of the model on the card, default `model`.
        evidence: Evidence to gather: `decisive` for the reading alone, or `all` (default) for the
            supporting lines too: knockout, a probe, geometry and retrieval.

    Raises:
        LanternError: nothing can be run, or the folder holds another run.
    """
    pairs, limits = pair(samples), thresholds or Thresholds()
    model = name or "model"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run" if output is None else Path(output)
        settings = {
            "experiment": "diagnose", "model": model, "edit": pairs.edit, "chunk": CHUNK,
            **asdict(limits),
        }  # fmt: skip
        with Run.open(folder, settings) as run:
            pairs = recorded(run, pairs)
            battery = Battery(lambda: lantern, pairs, run, max_new_tokens, batch_rows)
            card = battery.conclude(pairs.number, limits, model, "samples")
            return with_evidence(battery, card, limits.delta) if evidence == "all" else card
