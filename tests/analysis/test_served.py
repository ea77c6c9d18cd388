"""Verdicts on servers and what they cost, from rows alone."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis import ablation
from lantern_probe.analysis.served import (
    AS_TEXT,
    FED,
    NOT_OPENED,
    OTHER,
    STRIPPED,
    statements,
    summarize,
)
from lantern_probe.analysis.served_loss import served_loss

LABEL = "served:m"
COLORS = ("blue", "green", "red", "yellow")
KEPT = {"special_tokens": "kept", "fields": {"skip_special_tokens": "works"}}
REFUSED = {"special_tokens": "stripped", "fields": {"skip_special_tokens": "refused"}}


def row(number: int, condition: str, answer: str, **more: Any) -> dict[str, Any]:
    gold = COLORS[number % 4]
    return {
        "sample": str(number), "condition": condition, "status": "ok", "cluster": str(number),
        "gold": gold, "answer": answer, "correct": answer == gold, "emitted": True, "parsed": {},
        "candidates": 4, "logprobs": None, "finish": "closed", "text": f"<answer> {answer}",
        **more,
    }  # fmt: skip


def served(number: int, answer: str, opened: int = 1, slots: int = 0, missing: int = 1,
           **more: Any) -> dict[str, Any]:  # fmt: skip
    seen = {"opened": opened, "opened_in_content": opened, "slot_tokens": slots}
    return row(number, LABEL, answer, **{**seen, "missing_tokens": missing, "attempts": 1, **more})


def local(n: int, stock: str | None = "red") -> list[dict[str, Any]]:
    """Own rows that are right, and stock rows that say the same to everything."""
    found = [row(i, "own", COLORS[i % 4]) for i in range(n)]
    return [*found, *(row(i, "stock", stock or COLORS[i % 4]) for i in range(n))]


def verdict(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    return summarize(rows, facts, LABEL).verdict


def test_answers_like_own_where_stock_differs_mean_fed_latents() -> None:
    rows = [*local(40), *(served(i, COLORS[i % 4], slots=8) for i in range(40))]
    assert verdict(rows, KEPT) == FED
    stripped = [*local(40), *(served(i, COLORS[i % 4], 0, 0, 11) for i in range(40))]
    assert verdict(stripped, REFUSED) == FED


def test_answers_of_a_model_that_ignores_its_latents_do_not_show_that_they_are_fed() -> None:
    rows = [*local(40, stock=None), *(served(i, COLORS[i % 4], slots=8) for i in range(40))]
    found = summarize(rows, KEPT, LABEL)
    assert found.verdict == OTHER and "do not show" in found.because


def test_a_few_answers_like_own_are_too_few() -> None:
    rows = [*local(4), *(served(i, COLORS[i % 4], slots=8) for i in range(4))]
    assert verdict(rows, KEPT) == OTHER


def test_blocks_in_the_text_and_answers_like_stock_are_slots_written_as_text() -> None:
    for slots in (0, 8):
        rows = [*local(40), *(served(i, "red", slots=slots) for i in range(40))]
        assert verdict(rows, KEPT) == AS_TEXT


def test_markers_that_are_kept_and_not_there_mean_no_blocks() -> None:
    rows = [*local(40), *(served(i, "red", opened=0) for i in range(40))]
    assert verdict(rows, KEPT) == NOT_OPENED


@pytest.mark.parametrize("facts", [REFUSED, {"special_tokens": "stripped"}])
def test_stripped_markers_are_never_no_blocks(facts: dict[str, Any]) -> None:
    for missing in (1, 3, 11):
        rows = [*local(40), *(served(i, "red", 0, 0, missing) for i in range(40))]
        assert verdict(rows, facts) == STRIPPED


def test_tokens_that_are_counted_and_not_written_were_stripped_whatever_was_promised() -> None:
    rows = [*local(40), *(served(i, "red", 0, 0, missing=3) for i in range(40))]
    assert verdict(rows, KEPT) == STRIPPED


def test_markers_in_thoughts_given_apart_do_not_make_the_answer_unstripped() -> None:
    rows = [*local(40), *(served(i, "red", opened_in_content=0) for i in range(40))]
    assert verdict(rows, REFUSED) == STRIPPED
    assert verdict(rows, KEPT) == AS_TEXT


def test_without_an_answer_there_is_no_verdict() -> None:
    failed = {"sample": "1", "condition": LABEL, "status": "failed", "failure": "rate limit",
              "attempts": 4, "error": "rate limit: status 429"}  # fmt: skip
    found = summarize([*local(4), failed], KEPT, LABEL)
    assert found.verdict == OTHER and found.failures == {"rate limit": 1} and found.retries == 3
    assert found.accuracy is None and found.n == 0
    assert "asked again" in "\n".join(found.lines("m"))


def test_failures_are_outside_every_accuracy() -> None:
    failed = {"sample": "3", "condition": LABEL, "status": "failed", "error": "x", "attempts": 1}
    rows = [*local(4), *(served(i, COLORS[i]) for i in range(3)), failed]
    found = summarize(rows, KEPT, LABEL)
    assert found.accuracy is not None and (found.accuracy.estimate, found.accuracy.n) == (1.0, 3)
    assert [one.n for one in found.agreements] == [3, 3]


def test_the_cost_is_own_minus_stock_with_its_interval_turned() -> None:
    rows = local(40)
    summaries = ablation.summarize(rows, model="m")
    loss, stock = served_loss(summaries), summaries[1]
    assert loss is not None and stock.difference is not None
    assert loss.difference.estimate == pytest.approx(0.75) == loss.overall
    assert (loss.difference.low, loss.difference.high) == (
        -stock.difference.high,
        -stock.difference.low,
    )
    assert loss.test == stock.test and loss.n == 40
    assert served_loss(summaries[:1]) is None


def test_samples_without_a_block_lose_nothing_and_count_in_the_overall_loss() -> None:
    rows = [
        {**one, "emitted": int(one["sample"]) < 20,
         "answer": one["answer"] if int(one["sample"]) < 20 else "red"}
        for one in local(40)
    ]  # fmt: skip
    rows = [{**one, "correct": one["answer"] == one["gold"]} for one in rows]
    loss = served_loss(ablation.summarize(rows, model="m"))
    assert loss is not None and loss.n == 20
    assert loss.difference.estimate == pytest.approx(0.75)
    assert loss.overall == pytest.approx(0.375)


def test_another_prompt_is_said_in_the_line_and_the_summary() -> None:
    facts = {**KEPT, "prompt_tokens": {"sample": "0", "server": 35, "local": 28, "same": False}}
    rows = [*local(4), *(served(i, "red", prompt_mismatch=True) for i in range(4))]
    text = "\n".join(summarize(rows, facts, LABEL).lines("m"))
    assert "counts 35 tokens in the prompt of sample '0', 28 here" in text
    summaries = {s.condition: s for s in ablation.summarize(rows, model="m")}
    assert summaries[LABEL].name == f"{LABEL} (other prompt)" and summaries["own"].name == "own"


def test_of_a_diagnosis_only_what_needs_no_latents_can_be_said() -> None:
    rows = []
    for i in range(30):
        pair = {"pair": str(2 * i), "cluster": str(i)}
        for k, other in ((2 * i, 2 * i + 1), (2 * i + 1, 2 * i)):
            rows += [
                row(k, "own", COLORS[k % 4], **pair),
                row(k, "twin", COLORS[other % 4], donor=str(other),
                    donor_answer=COLORS[other % 4], **pair),
                served(k, "red", **pair),
            ]  # fmt: skip
    said = statements(rows, LABEL)
    assert "sees" in said[0] and ".000" in said[0] and "n 30" in said[0]
    assert all(name in said[1] for name in ("follows", "needed", "headroom", "gap"))


def test_a_run_without_blocks_has_no_value_for_what_can_be_said() -> None:
    rows = [served(i, "red", opened=0, emitted=False) for i in range(4)]
    assert "no value" in statements(rows, LABEL)[0]
