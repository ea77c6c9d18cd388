"""Single requests to servers that misbehave: each ends in a reply or in a named failure."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lantern_probe.serving.asking import ask
from lantern_probe.serving.reply import Reply
from lantern_probe.serving.transport import Failure, Server
from tests.serving.conftest import Bench, BenchServer, Script, answer, endpoint

Serve = Callable[[Script], BenchServer]


def asked(server: BenchServer, **more: Any) -> Reply:
    async def main() -> Reply:
        async with Server(endpoint(server, **{"tries": 1, **more})) as open_server:
            return (await ask(open_server, {"messages": [], "max_tokens": 5}))[0]

    return asyncio.run(main())


def failed(server: BenchServer, **more: Any) -> Failure:
    with pytest.raises(Failure) as found:
        asked(server, **more)
    return found.value


def status(code: int, body: Any = b"busy", **headers: str) -> Script:
    return lambda bench, *_: bench.give(code, body, **headers)


def cut(bench: Bench, *_: Any) -> None:
    data = json.dumps(answer("<answer> red </answer>", 3)).encode()
    bench.send_response(200)
    bench.send_header("content-type", "application/json")
    bench.send_header("content-length", str(len(data)))
    bench.end_headers()
    bench.wfile.write(data[: len(data) // 2])
    bench.wfile.flush()
    bench.drop()


def slow(bench: Bench, *_: Any) -> None:
    time.sleep(1.0)
    bench.drop()


def dripping(bench: Bench, *_: Any) -> None:
    """A body that never ends, and always sends another byte before a read would time out."""
    bench.send_response(200)
    bench.send_header("content-type", "application/json")
    bench.send_header("transfer-encoding", "chunked")
    bench.end_headers()
    for _ in range(200):
        bench.wfile.write(b"1\r\n \r\n")
        bench.wfile.flush()
        time.sleep(0.05)


def dripping_headers(bench: Bench, *_: Any) -> None:
    bench.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        bench.wfile.write(f"x-{number}: y\r\n".encode())
        bench.wfile.flush()
        time.sleep(0.05)


def huge(bench: Bench, *_: Any) -> None:
    bench.send_response(200)
    bench.send_header("content-type", "application/json")
    bench.send_header("content-length", str(10**10))
    bench.end_headers()
    for _ in range(40):
        bench.wfile.write(b" " * 1_000_000)


def with_error(**error: Any) -> Script:
    return lambda *_: {"error": error}


def ended(reason: Any, **message: Any) -> Script:
    return lambda *_: answer("text", 3, finish_reason=reason, **message)


HOSTILE: dict[str, tuple[Script, str, bool]] = {
    "a 429": (status(429), "rate limit", True),
    "a 500": (status(500), "server error", True),
    "a 503 of bytes": (status(503, b"\xff\xfe"), "server error", True),
    "a 400": (status(400, {"error": {"message": "too long"}}), "refused", False),
    "a 422": (status(422), "refused", False),
    "a redirect elsewhere": (status(302, b"", location="http://192.0.2.1/"), "redirect", False),
    "a redirect that repeats the body": (status(307, b"", location="/v2"), "redirect", False),
    "a dropped connection": (lambda bench, *_: bench.drop(), "dropped", True),
    "a cut stream": (cut, "dropped", True),
    "no reply in time": (slow, "time-out", True),
    "a body that never ends": (dripping, "time-out", True),
    "headers that never end": (dripping_headers, "time-out", True),
    "a huge body": (huge, "too large", False),
    "a huge error": (status(500, b"x" * 17_000_000), "too large", False),
    "a compressed body": (
        status(200, gzip.compress(b"{}"), content_encoding="gzip"), "garbage", False,
    ),
    "a web page": (status(200, b"<html>", content_type="text/html"), "garbage", True),
    "a stream of events": (
        status(200, b"data: {}\n\n", content_type="text/event-stream"), "garbage", True,
    ),
    "no JSON": (status(200, b"{'choices'"), "garbage", True),
    "deep JSON": (status(200, b"[" * 200_000), "garbage", True),
    "bytes that are no text": (status(200, b'{"a": "\xff"}'), "garbage", True),
    "a list": (lambda *_: [1], "garbage", True),
    "no choices": (lambda *_: {}, "no choices", True),
    "empty choices": (lambda *_: {"choices": []}, "no choices", True),
    "choices of another form": (lambda *_: {"choices": {"0": "red"}}, "no choices", True),
    "an error inside a 200": (with_error(message="out of memory"), "error in reply", True),
    "a bad request inside a 200": (with_error(message="no", code=400), "error in reply", False),
    "an error that is a text": (lambda *_: {"error": "broken"}, "error in reply", True),
    "a content filter": (ended("content_filter"), "content filter", False),
    "a refusal": (ended("stop", refusal="I cannot"), "content filter", False),
    "an aborted text": (ended("abort"), "unfinished", False),
    "a text without an end": (ended(None), "unfinished", True),
    "a call of a tool": (ended("tool_calls", content=None), "unfinished", False),
    "no text": (ended("stop", content=None), "no text", True),
    "a text that is far too long": (lambda *_: answer("red " * 10_000, 3), "too large", False),
    "a text that is a number": (ended("stop", content=5), "no text", True),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_answer_is_a_failure_with_a_name(serve: Serve, name: str) -> None:
    script, kind, again = HOSTILE[name]
    began = time.monotonic()
    failure = failed(serve(script), timeout=0.4)
    assert (failure.kind, failure.again) == (kind, again)
    assert time.monotonic() - began < 3
    assert str(failure).isprintable() and len(str(failure)) < 400


def test_nobody_at_the_address_is_a_dropped_connection(serve: Serve) -> None:
    server = serve(status(200))
    server.close()
    assert failed(server).kind == "dropped"


def test_a_redirect_is_not_followed_and_names_the_place(serve: Serve) -> None:
    there = serve(lambda *_: answer("text", 3))
    here = serve(status(307, b"", location=f"{there.url}/chat/completions"))
    assert there.url in str(failed(here))
    assert there.seen == []


def test_only_our_headers_and_key_are_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "of-another-service"
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", secret)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"x-more: {secret}")
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    server = serve(lambda *_: answer("text", 3))
    asked(server, key="ours")
    (seen,) = server.seen
    assert seen["headers"]["authorization"] == "Bearer ours"
    assert secret not in json.dumps(seen)
    asked(server)
    assert server.seen[1]["headers"]["authorization"] == "Bearer none"


def test_the_key_is_in_no_failure_and_no_text(serve: Serve) -> None:
    refusing = serve(status(401, {"error": {"message": "incorrect key sk-secret"}}))
    assert "sk-secret" not in str(failed(refusing, key="sk-secret"))
    telling = serve(lambda *_: answer("the key is sk-secret", 3))
    assert asked(telling, key="sk-secret").text == "the key is [key]"


def test_retries_are_ours_counted_and_bounded(serve: Serve) -> None:
    server = serve(status(500))
    assert failed(server, tries=3).attempts == 3
    assert len(server.seen) == 3
    pauses = [b["at"] - a["at"] for a, b in zip(server.seen, server.seen[1:], strict=False)]
    assert pauses[0] >= 0.01 and pauses[1] >= 0.02
    server = serve(status(400))
    assert failed(server, tries=3).attempts == 1


def test_a_server_that_recovers_is_asked_again(serve: Serve) -> None:
    server = serve(
        lambda b, _, n: answer("red", 3) if n == 2 else b.give(429, b"", retry_after="0")
    )
    assert asked(server, tries=3).text == "red"


def test_a_wait_beyond_our_patience_is_not_waited(serve: Serve) -> None:
    server = serve(status(429, b"later", retry_after="3600"))
    began = time.monotonic()
    assert failed(server, tries=3, patience=1.0).attempts == 1
    assert time.monotonic() - began < 1


def test_texts_come_without_control_characters_and_half_characters(serve: Serve) -> None:
    text = asked(serve(lambda *_: answer("a\x1b[2J\x00 \ud800\r\nb\tc", 3))).text
    assert text == "a\ufffd[2J\ufffd \ufffd\nb\tc"
    json.dumps(text).encode()


def test_thoughts_given_apart_are_put_back_between_tags(serve: Serve) -> None:
    reply = asked(serve(lambda *_: answer("<answer> red", 3, reasoning_content="look")))
    assert (reply.text, reply.content) == ("<think>look</think><answer> red", "<answer> red")


def test_counts_that_are_none_are_unknown(serve: Serve) -> None:
    for usage in (None, {}, {"prompt_tokens": "3"}, {"prompt_tokens": -1}, {"prompt_tokens": True}):
        reply = asked(serve(lambda *_, usage=usage: {**answer("red", 3), "usage": usage}))
        assert reply.prompt_tokens is None


def test_scores_of_another_form_are_none(serve: Serve) -> None:
    strange = [{"content": "x"}, {"content": [1]}, {"content": [{"token": 3}]}, [], "x"]
    for logprobs in strange:
        assert asked(serve(lambda *_, v=logprobs: answer("red", 3, logprobs=v))).scores == []
    top = [{"token": "red", "logprob": float("-inf")}, {"token": "blue", "logprob": -9999.0}]
    token = {"token": "red", "logprob": -0.5, "top_logprobs": [*top, {"token": 1}, None]}
    reply = asked(serve(lambda *_: answer("red", 3, logprobs={"content": [token]})))
    assert [dict(one.top) for one in reply.scores] == [{"red": -0.5}]


def test_the_limit_of_a_text_is_its_end(serve: Serve) -> None:
    assert asked(serve(ended("length"))).finish == "truncated"
    assert asked(serve(ended("stop"))).finish == "closed"
