"""Served answers beside the local ones: whether a server feeds the latents back, and what it costs.

A server shows texts and counts of tokens, and no latents. Whether latents are fed is therefore read
from the answers, on the samples whose own answer is another than without latents (`stock`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lantern_probe.analysis.estimands import ABOUT, estimates
from lantern_probe.analysis.format import estimate, interval, p_value
from lantern_probe.analysis.passes import share_of
from lantern_probe.records.rows import Row, counts
from lantern_probe.stats import (
    Difference,
    PairedTest,
    Proportion,
    accuracy_difference,
    accuracy_test,
    proportion,
    wilson,
)

OWN, STOCK = "own", "stock"

SEES = "sees"
"""Estimand that needs nothing but answers."""

NOT_OPENED = "no blocks opened"
STRIPPED = "markers stripped"
AS_TEXT = "slots written as text"
FED = "latents fed"
OTHER = "other"

ALIKE = 0.9
"""Least share of telling samples that a server answers like own, if it feeds the latents."""

MOST = 0.5
"""Share of texts from which a property is said of a server."""

HIDDEN = 2
"""Fewest counted tokens that are not in the text if a block was taken out of it."""


@dataclass(frozen=True)
class Agreement:
    """Answers of a server beside those of a local condition, on the same samples.

    Attributes:
        condition: The local condition.
        n: Number of samples that ran under both.
        answers: Number of samples with the same answer.
        texts: Number of samples with the same text, markers and blanks aside.
        difference: Accuracy of the server minus that of the condition; None without right answers.
        test: Test of the difference; None as for it.
    """

    condition: str
    n: int
    answers: int
    texts: int
    difference: Difference | None
    test: PairedTest | None


@dataclass(frozen=True)
class ServedSummary:
    """A server's rows, summed up.

    Attributes:
        condition: Label of the served rows.
        verdict: `no blocks opened`, `markers stripped`, `slots written as text`, `latents fed` or
            `other`.
        because: Reason of the verdict, in words.
        n: Number of answered samples.
        failures: Number of samples without an answer, by kind of failure.
        retries: Number of requests beyond the first of each answered or failed question.
        accuracy: Share of right answers over all answered samples; None without right answers.
        truncated: Number of texts cut off at the token limit.
        unparsed: Number of texts without a readable answer.
        agreements: The server beside `own` and `stock`, where these ran.
        telling: Samples whose own and stock answers differ: their number, and how many of them the
            server answers like own and like stock.
        first_tokens: Number of candidates whose first token the server reported, and of all asked.
        facts: Recorded facts about the server.
    """

    condition: str
    verdict: str
    because: str
    n: int
    failures: Mapping[str, int]
    retries: int
    accuracy: Proportion | None
    truncated: int
    unparsed: int
    agreements: Sequence[Agreement]
    telling: tuple[int, int, int]
    first_tokens: tuple[int, int]
    facts: Mapping[str, Any] = field(repr=False)

    def as_record(self) -> dict[str, Any]:
        """The summary as it is written to `served.json`."""
        return {
            "condition": self.condition,
            "verdict": self.verdict,
            "because": self.because,
            "n": self.n,
            "failures": dict(self.failures),
            "retries": self.retries,
            "accuracy": self.accuracy and self.accuracy.estimate,
            "ci_low": self.accuracy and self.accuracy.low,
            "ci_high": self.accuracy and self.accuracy.high,
            "truncated": self.truncated,
            "unparsed": self.unparsed,
            "agreements": [_agreement(one) for one in self.agreements],
            "telling": dict(zip(("n", "like_own", "like_stock"), self.telling, strict=True)),
            "first_tokens": dict(zip(("reported", "asked"), self.first_tokens, strict=True)),
            "server": dict(self.facts),
        }

    def lines(self, model: str) -> list[str]:
        """The summary as lines of plain text, the verdict first.

        Args:
            model: Name of the local model.
        """
        said = [f"{self.condition} beside {model}: {self.verdict}", f"  {self.because}"]
        if (prompts := self.facts.get("prompt_tokens")) and not prompts.get("same", True):
            said.append(f"  {mismatch_note(prompts)}")
        if self.accuracy is not None:
            said.append(
                f"  accuracy {estimate(self.accuracy)} over {self.n} answered samples; cut off "
                f"{self.truncated}, without a readable answer {self.unparsed}"
            )
        for one in self.agreements:
            text = (
                f"  same answer as {one.condition} in {one.answers} of {one.n}, same text in "
                f"{one.texts}"
            )
            if one.difference is not None and one.test is not None:
                text += (
                    f"; accuracy minus {one.condition} {estimate(one.difference, signed=True)}, "
                    f"{one.test.method} p {p_value(one.test.p)}"
                )
            said.append(text)
        said += [f"  {text}" for text in (*self._floor(), *self._asked(), *self._scores())]
        if self.failures:
            kinds = ", ".join(f"{kind} {n}" for kind, n in self.failures.items())
            said.append(
                f"  no answer: {kinds}; outside every number above, and asked again when the "
                "command is given again"
            )
        if self.retries:
            said.append(f"  requests beyond the first of a question: {self.retries}")
        return said

    def _floor(self) -> list[str]:
        floor = self.facts.get("floor") or {}
        n, differ = floor.get("asked", 0), floor.get("answers_differ", 0)
        if not n:
            return ["asked twice: no question was answered twice, so the floor is unknown"]
        return [
            f"asked twice, alone and in parallel: {differ} of {n} answers differ "
            f"{estimate(wilson(differ, n))}, {floor.get('texts_differ', 0)} texts; a served "
            "difference of that size is none of the model"
        ]

    def _asked(self) -> list[str]:
        fields = self.facts.get("fields") or {}
        said = [
            f"{name} {word}"
            for name, word in fields.items()
            if name != "unknown" and word in ("refused", "ignored")
        ]
        found = [f"fields of requests: {', '.join(said)}"] if said else []
        if self.facts.get("limit") == "ignored":
            found.append("the server writes more tokens than it is asked for")
        if shown := self.facts.get("shown"):
            own = {name: value for page in shown.values() for name, value in page.items()}
            found.append("the server shows " + ", ".join(f"{k} {v}" for k, v in own.items()))
        return found

    def _scores(self) -> list[str]:
        reported, asked = self.first_tokens
        if not asked:
            return ["likelihoods: not available, the server reports no log-probabilities"]
        return [
            f"likelihoods: not available; first tokens of {reported} of {asked} candidates are "
            f"among the {self.facts.get('alternatives', 0)} likeliest that the server reports"
        ]


def statements(rows: Sequence[Row], label: str) -> list[str]:
    """Say which numbers of a diagnosis hold for a server, and which cannot be had from one.

    Args:
        rows: Rows of a diagnosis, with those of the server.
        label: Label of the served rows.
    """
    served = [{**row, "condition": OWN} for row in rows if row["condition"] == label]
    twins = [row for row in rows if row["condition"] == "twin"]  # they say who is whose twin
    shown = "no value"
    if any(row.get("emitted") for row in served):
        found = estimates([*served, *twins])[SEES]
        if found.value is not None:
            shown = f"{interval(found.value, found.low, found.high)}, n {found.n}"
    closed = ", ".join(name for name in ABOUT if name != SEES)
    return [
        f"can be said over an endpoint: accuracy, agreement, and {SEES} ({ABOUT[SEES]}): {shown}",
        f"cannot be said over an endpoint: {closed}; they need latents that are exchanged, "
        "replaced or taken away, and the card above is of the local model alone",
    ]


def mismatch_note(prompts: Mapping[str, Any]) -> str:
    """The sentence that every table has where prompts differ.

    Args:
        prompts: Recorded numbers of tokens.
    """
    there = prompts.get("server")
    return (
        f"--allow-prompt-mismatch: the server counts {'no' if there is None else there} tokens in "
        f"the prompt of sample {prompts.get('sample')!r}, {prompts.get('local')} here; its input "
        "is not shown to be the same"
    )


def summarize(rows: Sequence[Row], facts: Mapping[str, Any], label: str) -> ServedSummary:
    """Sum up a server's rows.

    Args:
        rows: Rows of the run, local ones among them.
        facts: Recorded facts about the server.
        label: Label of the served rows.
    """
    served = {row["sample"]: row for row in rows if row["condition"] == label}
    ran = {key: row for key, row in served.items() if row["status"] == "ok"}
    local = {
        name: {
            r["sample"]: r
            for r in rows
            if r["condition"] == _under(name, label) and r["status"] == "ok"
        }
        for name in (OWN, STOCK)
    }
    failed = [row for row in served.values() if row["status"] != "ok"]
    agreements = [_agree(name, ran, some) for name, some in local.items() if some]
    telling = _telling(ran, local[OWN], local[STOCK])
    verdict, because = _verdict(list(ran.values()), facts, telling)
    graded = [row for row in ran.values() if counts(row, block=False)]
    first = [row["first_logprobs"] for row in ran.values() if row.get("first_logprobs")]
    return ServedSummary(
        label,
        verdict,
        because,
        len(ran),
        Counter(str(row.get("failure", "not asked")) for row in failed),
        sum(int(row.get("attempts", 1)) - 1 for row in served.values()),
        share_of([(row, bool(row["correct"])) for row in graded]) if graded else None,
        sum(row["finish"] == "truncated" for row in ran.values()),
        sum(row["answer"] is None for row in ran.values()),
        agreements,
        telling,
        (sum(v is not None for f in first for v in f.values()), sum(map(len, first))),
        facts,
    )


def _under(name: str, label: str) -> str:
    """A local condition under the corruption of the image that a label has."""
    _, at, corruption = label.partition("@")
    return f"{name}{at}{corruption}"


def _agree(name: str, served: Mapping[str, Row], local: Mapping[str, Row]) -> Agreement:
    both = [(row, local[key]) for key, row in served.items() if key in local]
    graded = [(a, b) for a, b in both if counts(a, block=False) and counts(b, block=False)]
    difference = test = None
    if graded:
        there = [bool(a["correct"]) for a, _ in graded]
        here = [bool(b["correct"]) for _, b in graded]
        clusters = [a["cluster"] for a, _ in graded]
        difference = accuracy_difference(there, here, clusters)
        test = accuracy_test(there, here, clusters)
    return Agreement(
        name,
        len(both),
        sum(a["answer"] == b["answer"] for a, b in both),
        sum(_bare(a["text"]) == _bare(b["text"]) for a, b in both),
        difference,
        test,
    )


_SPECIAL = re.compile(r"<\|[^<>|]*\|>|\s+")


def _bare(text: str) -> str:
    """A text without special tokens and blanks, in which servers differ."""
    return _SPECIAL.sub("", text)


def _telling(
    served: Mapping[str, Row], own: Mapping[str, Row], stock: Mapping[str, Row]
) -> tuple[int, int, int]:
    keys = [
        key for key in served
        if key in own and key in stock and own[key]["answer"] != stock[key]["answer"]
    ]  # fmt: skip
    like_own = sum(served[key]["answer"] == own[key]["answer"] for key in keys)
    like_stock = sum(served[key]["answer"] == stock[key]["answer"] for key in keys)
    return len(keys), like_own, like_stock


def _verdict(
    rows: Sequence[Row], facts: Mapping[str, Any], telling: tuple[int, int, int]
) -> tuple[str, str]:
    """The verdict on a server, and its reason."""
    if not rows:
        return OTHER, "no question was answered"
    n, like_own, like_stock = telling
    answers = (
        f"of {n} samples whose own and stock answers differ, {like_own} are answered like own and "
        f"{like_stock} like stock"
        if n
        else "own and stock give the same answers, so answers do not show whether latents are fed"
    )
    if n and like_own >= ALIKE * n and proportion([1] * like_own + [0] * (n - like_own)).low > MOST:
        return FED, answers
    opened = sum(row["opened"] > 0 for row in rows)
    in_content = sum(row["opened_in_content"] > 0 for row in rows)
    slots = sum(row["slot_tokens"] for row in rows)
    hidden = [row["missing_tokens"] for row in rows if row["missing_tokens"] is not None]
    missing = sum(one >= HIDDEN for one in hidden)
    seen = (
        f"{opened} of {len(rows)} texts show the opening of a block, with {slots} slots in all; in "
        f"{missing} of {len(hidden)} at least {HIDDEN} counted tokens are not in the text"
    )
    state = facts.get("special_tokens")
    if not in_content and (state == "stripped" or missing > MOST * len(hidden) > 0):
        refused = (facts.get("fields") or {}).get("skip_special_tokens")
        why = f" (skip_special_tokens {refused})" if refused in ("refused", "ignored") else ""
        return STRIPPED, f"the server takes special tokens out of answers{why}; {seen}; {answers}"
    if opened > MOST * len(rows):
        if n and like_own > like_stock and like_own > MOST * n:
            return OTHER, f"too few or too mixed answers to say; {seen}; {answers}"
        if slots and not n:
            return OTHER, f"slots are written, and nothing shows what was fed; {seen}; {answers}"
        return AS_TEXT, f"blocks are written like any other tokens; {seen}; {answers}"
    if not opened and state != "unknown":
        return NOT_OPENED, f"markers are kept in answers; {seen}; {answers}"
    return OTHER, f"{seen}; {answers}"


def _agreement(one: Agreement) -> dict[str, Any]:
    found, test = one.difference, one.test
    return {
        "condition": one.condition,
        "n": one.n,
        "answers": one.answers,
        "texts": one.texts,
        "difference": found and found.estimate,
        "low": found and found.low,
        "high": found and found.high,
        "p": test and test.p,
        "test": test and test.method,
    }
