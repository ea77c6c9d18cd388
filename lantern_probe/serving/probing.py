"""Behaviour of a server, found out once: its fields, its markers, its repeatability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.model.prompting import Prompting
from lantern_probe.serving.asking import ask, ends_all, pool, stop
from lantern_probe.serving.markers import Markers
from lantern_probe.serving.question import Encoder, Question
from lantern_probe.serving.reply import Reply
from lantern_probe.serving.transport import Failure, Server
from lantern_probe.tasks.answers import Parser, parse_answer
from lantern_probe.tasks.sample import Sample

REPEATED = 32
"""Questions that are asked twice, alone and in parallel."""

HIDDEN = 2
"""Fewest tokens that are counted and not in the text if markers were taken out: the two of a block.

The token that ends a text may be counted, and is in no text.
"""

ALTERNATIVES = (20, 5)
"""Numbers of alternatives to a token that are asked for, in turn."""

SHOWN = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "repeat_penalty", "max_tokens", "n_predict", "max_model_len", "n_ctx"),
    *("sampling_defaults", "version", "root", "owned_by"),
)
"""Settings that are recorded where a server shows them; pages of servers may hold keys too."""

PAGES = ("models", "/version", "/props", "/get_server_info")
"""Pages on which servers show settings, where they have them."""


class Probe:
    """The probing of one server.

    Args:
        server: The server.
        asking: Processor of the model.
        samples: Samples of the run.
        body: Fields that every request has.
        parser: Parser of the answers.
        allow_mismatch: True to go on where the prompt has another number of tokens.
    """

    def __init__(
        self,
        server: Server,
        asking: Prompting,
        samples: Sequence[Sample],
        body: Mapping[str, Any],
        parser: Parser,
        allow_mismatch: bool,
    ) -> None:
        self.server, self.asking, self.samples = server, asking, samples
        self.body, self.parser, self.allow_mismatch = dict(body), parser, allow_mismatch
        self.markers = Markers.of(asking)
        self._encode = Encoder(asking)

    async def facts(self) -> dict[str, Any]:
        """Everything that is recorded about the server.

        Raises:
            LanternError: it gives no answer, or gets another prompt.
        """
        question, plain = await self._first()
        prompts = self.check_prompt(question, plain)
        fields = {"unknown": await self._is_taken(question, {"lantern_probe_unknown": 1})}
        keep = {"skip_special_tokens": False}
        fields["skip_special_tokens"], kept = await self._try(question, keep)
        if kept is not None:
            self.body |= keep
        fields["logprobs"], alternatives = await self._alternatives(question)
        fields["seed"] = await self._seed(question)
        alone, floor = await self._floor()
        fields["skip_special_tokens"] = self._effect(fields["skip_special_tokens"], plain, alone)
        return {
            "urls": [self.server.endpoint.url],
            "model": self.server.endpoint.model,
            "answers_as": plain.model,
            "prompt_tokens": prompts,
            "fields": fields,
            "sent": dict(self.body),
            "alternatives": alternatives,
            "special_tokens": self._special_tokens(fields["skip_special_tokens"], alone),
            "floor": floor,
            "shown": await self._shown(),
            "limit": self._limit(alone),
        }

    async def again(self) -> dict[str, Any]:
        """The name under which a server that was probed before answers, from one question.

        Raises:
            LanternError: it gives no answer, or gets another prompt.
        """
        question, reply = await self._first()
        self.check_prompt(question, reply)
        return {"answers_as": reply.model}

    def check_prompt(self, question: Question, reply: Reply) -> dict[str, Any]:
        """Compare the numbers of tokens of a prompt, here and at the server.

        Args:
            question: The question.
            reply: Reply of the server.

        Raises:
            LanternError: they differ, and that was not allowed.
        """
        there, here = reply.prompt_tokens, question.prompt_tokens
        found = {"sample": question.sample.id, "server": there, "local": here}
        if there == here:
            return {**found, "same": True}
        if not self.allow_mismatch:
            raise LanternError(mismatch(question, reply, self.server.endpoint.url))
        return {**found, "same": False}

    async def _first(self) -> tuple[Question, Reply]:
        """The first question that can be asked, with its reply."""
        why: LanternError | None = None
        for sample in self.samples[:REPEATED]:
            try:
                question = await self._encode(sample)
            except LanternError as error:
                why = error
                continue
            try:
                return question, (await self._ask(question))[0]
            except Failure as failure:
                why = stop(self.server, failure)
                if failure.kind != "content filter":
                    raise why from None
        raise why or LanternError("there are no samples to ask a server about")

    async def _ask(self, question: Question, **more: Any) -> tuple[Reply, int]:
        return await ask(self.server, {**self.body, "messages": question.messages, **more})

    async def _try(self, question: Question, fields: Mapping[str, Any]) -> tuple[str, Reply | None]:
        """Send fields that a server may not know, once: `refused` or `accepted`."""
        try:
            return "accepted", (await self._ask(question, **fields))[0]
        except Failure as failure:
            if ends_all(failure) or failure.kind in ("dropped", "time-out", "rate limit"):
                raise stop(self.server, failure) from None
            return "refused", None

    async def _is_taken(self, question: Question, fields: Mapping[str, Any]) -> str:
        return (await self._try(question, fields))[0]

    async def _alternatives(self, question: Question) -> tuple[str, int]:
        """Ask for log-probabilities; the word for what comes, and of how many tokens."""
        word = "refused"
        for number in ALTERNATIVES:
            fields = {"logprobs": True, "top_logprobs": number}
            word, reply = await self._try(question, fields)
            if reply is None:
                continue
            most = max((len(token.top) for token in reply.scores), default=0)
            if not most:
                return "ignored", 0
            self.body |= fields
            return "works", min(most, number)
        return word, 0

    async def _seed(self, question: Question) -> str:
        """The effect of a seed on sampled texts: same seed, same seed, another seed."""
        texts = []
        for seed in (1, 1, 2):
            word, reply = await self._try(question, {"seed": seed, "temperature": 1.0})
            if reply is None:
                return word
            texts.append(reply.text)
        if texts[0] != texts[1]:
            return "ignored"
        return "works" if texts[0] != texts[2] else "accepted"

    async def _floor(self) -> tuple[list[Reply], dict[str, Any]]:
        """Ask some questions alone and again in parallel, and count what differs."""
        alone: dict[str, Reply] = {}
        again: dict[str, Reply] = {}
        failed: dict[str, int] = {}

        async def once(sample: Sample, into: dict[str, Reply]) -> None:
            try:
                question = await self._encode(sample)
            except LanternError as error:  # an image that cannot be read
                failed[str(error)] = failed.get(str(error), 0) + 1
                return
            try:
                reply, _ = await self._ask(question)
            except Failure as failure:
                failed[failure.kind] = failed.get(failure.kind, 0) + 1
                return
            self.check_prompt(question, reply)
            into[sample.id] = reply

        some = self.samples[:REPEATED]
        for sample in some:
            await once(sample, alone)
        most = self.server.endpoint.concurrency
        await pool(some, lambda sample: once(sample, again), most)
        both = [(s, alone[s.id], again[s.id]) for s in some if s.id in alone and s.id in again]
        read = [[parse_answer(r.text, s, self.parser) for r in (a, b)] for s, a, b in both]
        return list(alone.values()), {
            "asked": len(both),
            "texts_differ": sum(one.text != two.text for _, one, two in both),
            "answers_differ": sum(one != two for one, two in read),
            "failed": sum(failed.values()),
        }

    def _effect(self, word: str, plain: Reply, alone: Sequence[Reply]) -> str:
        """The effect of asking for special tokens: tokens that were missing are in the text."""
        if word == "refused":
            return word
        if self._hidden(alone) >= HIDDEN and not self._shows(alone):
            return "ignored"
        return "works" if self._hidden([plain]) >= HIDDEN and self._shows(alone) else word

    def _special_tokens(self, word: str, alone: Sequence[Reply]) -> str:
        """`kept` or `stripped` in the texts of answers, or `unknown`."""
        if self._shows(alone):
            return "kept"
        if word in ("refused", "ignored"):
            return "stripped"
        counted = any(reply.tokens is not None for reply in alone)
        return "kept" if counted else "unknown"

    def _shows(self, replies: Sequence[Reply]) -> bool:
        return any(self.markers.seen(r, self.asking)["opened_in_content"] for r in replies)

    def _hidden(self, replies: Sequence[Reply]) -> float:
        """The median number of tokens that are counted and not in the text; 0 without counts."""
        seen = [self.markers.seen(reply, self.asking)["missing_tokens"] for reply in replies]
        return median([n for n in seen if n is not None] or [0])

    def _limit(self, replies: Sequence[Reply]) -> str:
        """`kept` if no text is longer than was asked for; else the limit is `ignored`."""
        counts = [reply.tokens for reply in replies if reply.tokens is not None]
        if not counts:
            return "unknown"
        return "ignored" if max(counts) > self.body["max_tokens"] else "kept"

    async def _shown(self) -> dict[str, Any]:
        """Settings of the server, from the pages that it has."""
        found: dict[str, Any] = {}
        for page in PAGES:
            try:
                value = await self.server.get(page)
            except Failure:
                continue
            if settings := _settings(value, self.server.endpoint.clean):
                found[page] = settings
        return found


def mismatch(question: Question, reply: Reply, url: str) -> str:
    """The message of a prompt that has another number of tokens at the server.

    Args:
        question: The question.
        reply: Reply of the server.
        url: Address of the endpoint.
    """
    there, here, name = reply.prompt_tokens, question.prompt_tokens, question.sample.id
    if there is None:
        said = f"does not say how many tokens the prompt of sample {name!r} has (here {here})"
    else:
        said = f"counts {there} tokens in the prompt of sample {name!r}, and it has {here} here"
    return (
        f"the server at {url} {said}, so its input is not shown to be the same; serve the "
        "checkpoint with its own chat template and image limits, or pass "
        "--allow-prompt-mismatch, which every table will say"
    )


def _settings(value: Any, clean: Callable[[object], str], depth: int = 4) -> dict[str, Any]:
    """The settings of `SHOWN` anywhere in a page, the first of each name."""
    found: dict[str, Any] = {}
    inside = value.items() if isinstance(value, dict) else ()
    for name, part in inside:
        if name in SHOWN and isinstance(part, str | int | float | bool):
            found.setdefault(name, clean(part) if isinstance(part, str) else part)
    nested = [part for _, part in inside] if isinstance(value, dict) else value
    if depth and isinstance(nested, list):
        for part in nested[:50]:
            found = {**_settings(part, clean, depth - 1), **found}
    return found
