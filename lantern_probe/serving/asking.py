"""Asking a server: retries with backoff, and a bounded number of questions at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from lantern_probe.errors import LanternError
from lantern_probe.serving.reply import Reply, read_reply
from lantern_probe.serving.transport import STOPS, Failure, Server

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST_TOKEN = 256
"""Most characters of a token: a text of more than so many for each is no answer of a model."""

LONGEST_WAIT = 60.0
"""Most seconds between two requests for one question, whatever the server asks for."""


async def ask(server: Server, body: Mapping[str, Any]) -> tuple[Reply, int]:
    """Ask one question, again where that may help.

    Args:
        server: The server.
        body: Fields of the request.

    Returns:
        The reply, and the number of requests it took.

    Raises:
        Failure: there is none, after all tries.
    """
    endpoint, clock = server.endpoint, asyncio.get_running_loop().time
    began = clock()
    for attempt in range(1, endpoint.tries + 1):
        try:
            reply = read_reply(await server.chat(body), endpoint)
            if len(reply.text) > LONGEST_TOKEN * int(body["max_tokens"]):
                raise Failure("too large", f"the text has {len(reply.text)} characters")
            return reply, attempt
        except Failure as failure:
            failure.attempts = attempt
            pause = max(endpoint.backoff * 2 ** (attempt - 1), failure.wait or 0.0)
            late = clock() - began + pause > endpoint.patience
            if not failure.again or attempt == endpoint.tries or late:
                raise
            await asyncio.sleep(min(pause, LONGEST_WAIT))
    raise AssertionError("the last try raises")


def stop(server: Server, failure: Failure) -> LanternError:
    """The message of a failure that no further question would escape.

    Args:
        server: The server.
        failure: The failure.
    """
    url, model = server.endpoint.url, server.endpoint.model
    ways = {
        "dropped": "start the server, or correct --endpoint",
        "time-out": "raise --timeout, or lower --concurrency",
        "redirect": "give the address that answers as --endpoint, if you trust it",
        "rate limit": "lower --concurrency, or try later",
    }
    way = ways.get(failure.kind, "see the server's log")
    if failure.status in (401, 403):
        way = "give its key by --api-key-file or the variable of --api-key-variable"
    elif failure.status is not None and 400 <= failure.status < 500 and failure.status != 429:
        way = f"check --endpoint and --served-model {model}"
    return LanternError(f"the server at {url} gave no answer: {failure}; {way}")


def ends_all(failure: Failure) -> bool:
    """True if every further question would fail in the same way.

    Args:
        failure: A failure.
    """
    return failure.kind == "redirect" or failure.status in STOPS


async def pool(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], workers: int
) -> None:
    """Work on items, a bounded number at a time; the first error ends it all.

    Args:
        items: Items, which are taken one by one as workers become free.
        work: Work on one item.
        workers: Most items at any time.
    """
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    tasks = [asyncio.create_task(worker()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_to_end(main: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end, in a notebook too, where a loop runs already.

    Args:
        main: The work.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main)
    found: list[Result] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            found.append(asyncio.run(main))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]
