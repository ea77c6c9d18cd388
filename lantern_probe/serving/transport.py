"""Requests to a server that may be slow, broken or hostile: each ends in a reply or a failure.

The client library makes the requests; its retries are off, no redirect is followed, and neither
proxies nor other services' keys are taken from the environment. A body is read up to a limit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.serving.endpoint import NO_KEY, Endpoint

MOST_BYTES = 16_000_000
"""Largest body of a reply: the log-probabilities of a long answer take a few millions."""

PASSING = (408, 409, 425, 429)
"""Statuses below 500 after which the same request may succeed."""

STOPS = (401, 403, 404)
"""Statuses that every request will get: the key, the address or the model's name is wrong."""


SENT = (
    *("host", "connection", "authorization", "accept", "accept-encoding", "user-agent"),
    *("content-type", "content-length", "transfer-encoding"),
)
"""Headers of a request; the client library adds others, some of them from the environment."""


@dataclass(eq=False)
class Failure(Exception):
    """A request without an answer.

    Attributes:
        kind: Word for tables: `rate limit`, `server error`, `dropped`, `time-out`, `refused`,
            `redirect`, `too large`, `garbage`, `error in reply`, `no choices`, `no text`,
            `content filter`, `unfinished`, `other prompt`.
        text: Message, in which the server's own words are shortened.
        again: True if the same request may succeed later.
        wait: Seconds the server asks to wait; None where it asks for nothing.
        status: Status of the reply; None without one.
        attempts: Number of requests that were made, default 1.
    """

    kind: str
    text: str
    again: bool = False
    wait: float | None = None
    status: int | None = None
    attempts: int = 1

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Server:
    """An open connection to an endpoint; best used as an asynchronous context manager.

    Args:
        endpoint: The endpoint.

    Raises:
        LanternError: the client library is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.requests = 0
        """Number of requests sent."""
        self._client = _client(endpoint)

    async def chat(self, body: Mapping[str, Any]) -> Any:
        """Send one request for a completion, once.

        Args:
            body: Fields of the request, `messages` among them.

        Returns:
            The reply's JSON value, of any form.

        Raises:
            Failure: there is none.
        """
        more = {k: v for k, v in body.items() if k not in ("messages", "model")}

        async def call() -> Any:
            reply = await self._client.chat.completions.with_raw_response.create(
                model=self.endpoint.model, messages=body["messages"], extra_body=more
            )
            return reply.http_response

        return await self._send(call)

    async def get(self, path: str) -> Any:
        """Read a page of the server.

        Args:
            path: Path from the base address, or from the host's root if it begins with `/`.

        Raises:
            Failure: there is none.
        """
        import httpx2

        async def call() -> Any:
            base = httpx2.URL(self.endpoint.url.rstrip("/") + "/")
            return await self._client.get(str(base.join(path)), cast_to=httpx2.Response)

        return await self._send(call)

    async def _send(self, call: Any) -> Any:
        import httpx2
        import openai

        clean, limit = self.endpoint.clean, self.endpoint.timeout
        self.requests += 1
        try:
            async with asyncio.timeout(limit):
                response = await call()
        except (TimeoutError, openai.APITimeoutError):
            raise Failure("time-out", f"no reply within {limit:g} s", again=True) from None
        except openai.APIStatusError as error:
            raise self._refusal(error.response) from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, Failure):
                cause = cause.__cause__
            if cause is not None:
                raise cause from None
            why = clean(error.__cause__ or error) or type(error).__name__
            raise Failure("dropped", f"the connection failed ({why})", again=True) from None
        except Failure as failure:
            raise failure from None
        except (openai.OpenAIError, ValueError) as error:
            raise Failure("garbage", f"the reply cannot be read ({clean(error)})", True) from None
        kind = clean(response.headers.get("content-type", "no content type"))
        if "json" not in kind:
            raise Failure("garbage", f"the reply is {kind}, not JSON", again=True)
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError):
            raise Failure("garbage", "the reply is no valid JSON", again=True) from None

    def _refusal(self, response: Any) -> Failure:
        status, clean = int(response.status_code), self.endpoint.clean
        if 300 <= status < 400:
            place = clean(response.headers.get("location", "nowhere"))
            return Failure("redirect", f"status {status} to {place}; it is not followed", False,
                           status=status)  # fmt: skip
        said = clean(response.text)
        kind = "rate limit" if status == 429 else "server error" if status >= 500 else "refused"
        again = status >= 500 or status in PASSING
        wait = _seconds(response.headers.get("retry-after"))
        return Failure(kind, f"status {status}, {said or 'without a text'}", again, wait, status)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()


def _seconds(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None


def _client(endpoint: Endpoint) -> Any:
    try:
        import anyio
        import httpx2
        import openai
    except ImportError:
        raise LanternError(
            "--endpoint needs the client library: pip install 'lantern-probe[serve]'"
        ) from None
    # nnsight gives every object a `save`; anyio refuses to define its sockets with an attribute
    # that has no annotation, where nnsight was imported first.
    typed = anyio.TypedAttributeSet
    typed.__annotations__ = {**getattr(typed, "__annotations__", {}), "save": Any}

    class Bounded(httpx2.AsyncHTTPTransport):
        """Transport that sends our headers only, and ends a body at the limit."""

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            kept = [(name, value) for name, value in request.headers.items() if name in SENT]
            sent = httpx2.Request(
                request.method, request.url, headers=kept, stream=request.stream,
                extensions=request.extensions,
            )  # fmt: skip
            response = await super().handle_async_request(sent)
            coding = response.headers.get("content-encoding", "identity").strip().lower()
            if coding not in ("", "identity"):
                await response.aclose()
                raise Failure("garbage", f"the reply is compressed ({endpoint.clean(coding)})")
            response.stream = Limited(response.stream)
            return response

    class Limited(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self.stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise Failure("too large", f"the reply has over {MOST_BYTES // 10**6} MB")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    limits = httpx2.Limits(max_connections=endpoint.concurrency + 1)
    http = httpx2.AsyncClient(
        transport=Bounded(limits=limits, trust_env=False),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx2.Timeout(endpoint.timeout),
    )
    return openai.AsyncOpenAI(
        api_key=endpoint.key or NO_KEY,
        base_url=endpoint.url,
        max_retries=0,
        timeout=endpoint.timeout,
        http_client=http,
        default_headers={"Accept-Encoding": "identity"},
    )
