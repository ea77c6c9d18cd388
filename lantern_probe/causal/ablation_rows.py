"""The row of one finished text of an ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lantern_probe.causal.branching import Branch
from lantern_probe.interventions import Intervention
from lantern_probe.interventions.image import Corruption
from lantern_probe.interventions.pool import LatentPool
from lantern_probe.model.blocks import BranchResult
from lantern_probe.model.facts import finish_of
from lantern_probe.model.norms import fed_states
from lantern_probe.model.scoring import candidate_mass, unclear
from lantern_probe.records.rows import Row
from lantern_probe.records.schema import AblationRow, failed_row
from lantern_probe.tasks.answers import Parser, parse_answer, parsers
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

Asked = tuple[Intervention, Corruption]
"""A condition, and the corruption under which it is run."""


def label_of(asked: Asked) -> str:
    """A condition as rows name it: `zeros@black-box`.

    Args:
        asked: Condition and corruption.
    """
    return asked[1].suffix(asked[0].label)


def failure(sample: Sample, asked: Asked, error: Exception, number: int | None) -> Row:
    """The row of a sample that could not be run.

    Args:
        sample: The sample.
        asked: Condition and corruption.
        error: Reason.
        number: Index of the pass; None in greedy decoding.
    """
    found = dict(failed_row(sample.id, label_of(asked), error))
    return found if number is None else {**found, "pass": number}


def ablation_row(
    lantern: LanternModel,
    sample: Sample,
    asked: Asked,
    branch: Branch,
    result: BranchResult,
    *,
    pool: LatentPool | None,
    parser: Parser,
    number: int | None,
) -> Row:
    """The row of a finished text.

    Args:
        lantern: The model.
        sample: The sample.
        asked: Condition and corruption.
        branch: The row as it was decoded.
        result: Its text.
        pool: Own latents of the data set; None before they are known.
        parser: Parser of the answers.
        number: Index of the pass; None in greedy decoding.
    """
    condition = asked[0]
    lead = lantern.answer_lead
    answer = parse_answer(result.text, sample, parser, lead=lead)
    read: dict[str, str | None] = {
        name: parse_answer(result.text, sample, name, lead=lead) for name in parsers(sample)
    } | {parser: answer}
    emitted = branch.prefix.emitted
    continuation = result.ids[result.prompt_length :].tolist()
    row: AblationRow = {
        "sample": sample.id,
        "condition": label_of(asked),
        "status": "ok",
        "gold": sample.answer,
        "answer": answer,
        "correct": None if sample.answer is None else answer == sample.answer,
        "parsed": read,
        "candidates": len(sample.candidates),
        "emitted": emitted,
        "blocks": len(result.blocks),
        "fed": [len(block.latents) for block in result.blocks],
        "finish": finish_of(continuation, lantern, result.blocks),
        "tokens": len(continuation),
        "cluster": sample.cluster,
        "category": sample.attributes.get("category"),
        "logprobs": result.logprobs,
        "text": result.text,
        "kept": condition.keeps,
        "mass": None if result.logprobs is None else candidate_mass(result.logprobs),
    }
    if number is not None:
        row["pass"] = number
    if "pair" in sample.attributes:
        row["pair"] = str(sample.attributes["pair"])
    if result.logprobs is None and (pairs := unclear(lantern, sample.candidates)):
        row["indistinct"] = [list(pair) for pair in pairs]
    row.update(fed_states(lantern, result.blocks, branch.prefix.norms))  # type: ignore[typeddict-item]
    if branch.forced:
        row["forced"] = True
    if not emitted:
        return dict(row)
    row.update(dict(branch.plan.notes))  # type: ignore[typeddict-item]
    row["acted"] = condition.acts_on(len(result.blocks) or 1)
    drew = pool is not None and condition.needs_pool
    row["pool"] = len(pool.latents) if pool is not None and drew else None
    details: dict[str, Any] = condition.details(sample, pool)
    return {**row, **details}
