"""Served answers into a run: the server is probed once, then every sample is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.interventions.image import Corruption
from lantern_probe.model.prompting import Prompting
from lantern_probe.records.rows import Row
from lantern_probe.records.run import Run
from lantern_probe.serving.asking import ask, ends_all, pool, run_to_end, stop
from lantern_probe.serving.endpoint import Endpoint
from lantern_probe.serving.probing import Probe, mismatch
from lantern_probe.serving.question import Encoder
from lantern_probe.serving.rows import failure_row, served_row
from lantern_probe.serving.transport import Failure, Server
from lantern_probe.tasks.answers import Parser
from lantern_probe.tasks.sample import Sample

SERVED = "served"
"""Name in `run.json` of the facts about servers, by condition."""

GONE = 8
"""Questions in a row without any answer, beyond those in flight, after which a server is gone."""


@dataclass
class Serving:
    """Engine that asks a server about samples, and writes its answers into a run.

    Attributes:
        endpoint: The endpoint.
        asking: Processor of the model.
        run: Run that takes the rows.
        max_new_tokens: Limit of every answer in tokens; the checkpoint's own by default.
        parser: Parser of the answers, default `default`.
        allow_mismatch: True to go on where a prompt has another number of tokens at the server.
        advance: Function called with the number of rows just recorded.
    """

    endpoint: Endpoint
    asking: Prompting
    run: Run
    max_new_tokens: int | None = None
    parser: Parser = "default"
    allow_mismatch: bool = False
    advance: Callable[[int], None] = lambda rows: None
    _silent: int = field(default=0, init=False)

    def prepare(self, samples: Sequence[Sample]) -> None:
        """Probe the server, or see that it is the one that was probed, before any row is made.

        Args:
            samples: Samples of the run.

        Raises:
            LanternError: it gives no answer, gets another prompt, or is another server.
        """
        run_to_end(self._prepare(samples))

    def execute(
        self,
        samples: Sequence[Sample],
        corruption: Corruption | None = None,
        every: Sequence[Sample] = (),
    ) -> None:
        """Ask about all samples that the run lacks, failed ones included.

        Args:
            samples: Samples to ask about.
            corruption: Corruption of the images; none by default.
            every: Samples that lend their images; `samples` by default.

        Raises:
            LanternError: the server gives no answers any more.
        """
        change = corruption or Corruption()
        label = change.suffix(self.endpoint.label)
        self.run.forget_failed([label])
        due = [sample for sample in samples if not self.run.has(sample.id, label)]
        if due:
            if not self.facts:
                self.prepare(samples)
            own = change.suffix("own")
            emitted = {
                row["sample"]: bool(row["emitted"])
                for row in self.run.rows()
                if row["condition"] == own and row["status"] == "ok"
            }
            run_to_end(self._execute(due, change, every or samples, label, emitted))

    @property
    def facts(self) -> dict[str, Any]:
        """Recorded facts about the server; empty before it was probed."""
        found: dict[str, Any] = self.run.manifest.get(SERVED, {}).get(self.endpoint.label, {})
        return found

    def _body(self) -> dict[str, Any]:
        limit = self.max_new_tokens or self.asking.max_new_tokens
        return {"max_tokens": limit, "temperature": 0.0}

    async def _prepare(self, samples: Sequence[Sample]) -> None:
        known = self.facts
        async with Server(self.endpoint) as server:
            body = dict(known.get("sent", self._body()))
            probe = Probe(
                server, self.asking, samples, body, self.parser, self.allow_mismatch
            )  # fmt: skip
            found = await (probe.again() if known else probe.facts())
        if not known:
            self._note(found)
            return
        if found["answers_as"] != known["answers_as"]:
            raise LanternError(
                f"the server at {self.endpoint.url} answers as {found['answers_as']!r}, and the "
                f"rows in '{self.run.folder}' are of {known['answers_as']!r}; give another "
                "--output"
            )
        self._note({**known, "urls": list(dict.fromkeys([*known["urls"], self.endpoint.url]))})

    def _note(self, facts: dict[str, Any]) -> None:
        self.run.note(**{SERVED: {**self.run.manifest.get(SERVED, {}), self.endpoint.label: facts}})

    async def _execute(
        self,
        samples: Sequence[Sample],
        corruption: Corruption,
        every: Sequence[Sample],
        label: str,
        emitted: dict[str, bool],
    ) -> None:
        encode, sent = Encoder(self.asking), self.facts["sent"]
        async with Server(self.endpoint) as server:

            async def work(sample: Sample) -> None:
                try:
                    question = await encode(corruption.apply(sample, every))
                except LanternError as error:
                    self._record(failure_row(sample, label, error))
                    return
                try:
                    reply, attempts = await ask(server, {**sent, "messages": question.messages})
                    if reply.prompt_tokens != question.prompt_tokens and not self.allow_mismatch:
                        said = mismatch(question, reply, self.endpoint.url)
                        raise Failure("other prompt", said, attempts=attempts)
                except Failure as failure:
                    self._count(server, failure)
                    self._record(failure_row(sample, label, failure))
                    return
                self._silent = 0
                opened = emitted.get(sample.id)
                row = served_row(
                    self.asking, label, question, reply, attempts, self.parser, opened
                )  # fmt: skip
                self._record(row)

            await pool(samples, work, self.endpoint.concurrency)

    def _count(self, server: Server, failure: Failure) -> None:
        """Count questions without an answer, and stop where the server is gone."""
        if ends_all(failure):
            raise stop(server, failure)
        if failure.kind in ("dropped", "time-out", "rate limit", "server error"):
            self._silent += 1
        if self._silent >= GONE + self.endpoint.concurrency:
            why = stop(server, failure)
            raise LanternError(
                f"{why}; {self._silent} questions in a row got no answer; the rows so far are kept "
                "in the run, and the same command goes on from there"
            )

    def _record(self, row: Row) -> None:
        self.run.append(row)
        self.advance(1)
