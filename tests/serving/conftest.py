"""Servers of the tests: on this machine, in threads, and as badly behaved as a test wants them."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from lantern_probe.model.prompting import Prompting, load_prompting
from lantern_probe.serving.endpoint import Endpoint

Script = Callable[["Bench", dict[str, Any], int], Any]
"""Gets the request's fields and its number; returns a reply, or does as it likes with the wire."""


class Bench(BaseHTTPRequestHandler):
    """One connection of a test server."""

    protocol_version = "HTTP/1.1"
    script: Script
    seen: list[dict[str, Any]]
    together: list[int]
    lock: threading.Lock
    pages: dict[str, Any]

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        self.give(404 if page is None else 200, {} if page is None else page)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = type(self)
        with self.lock:
            number = len(self.seen)
            self.seen.append({**body, "headers": dict(self.headers.items()), "at": time.time()})
            kind.together.append(1)
            busy = sum(self.together)
            self.seen[number]["busy"] = busy
        try:
            found = kind.script(self, body, number)
            if found is not None:
                self.give(200, found)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.lock:
                kind.together.append(-1)

    def give(self, status: int, value: Any, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        names = {"content-type": "application/json", "content-length": str(len(data))}
        for name, text in (names | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Close the connection without a word."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        pass


class BenchServer:
    """A running test server.

    Attributes:
        seen: Fields of every request, with its headers, and how many were there at a time.
        pages: Pages of GET requests, by path.
    """

    def __init__(self, script: Script) -> None:
        self.handler = type(
            "Handler",
            (Bench,),
            {"script": staticmethod(script), "seen": [], "together": [], "pages": {},
             "lock": threading.Lock()},
        )  # fmt: skip
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def seen(self) -> list[dict[str, Any]]:
        return self.handler.seen  # type: ignore[attr-defined]

    @property
    def pages(self) -> dict[str, Any]:
        return self.handler.pages  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], BenchServer]]:
    """Starts test servers, which are closed at the end of the test."""
    running: list[BenchServer] = []

    def start(script: Script) -> BenchServer:
        running.append(BenchServer(script))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def asking() -> Prompting:
    """The processor of the organism *faithful*, without its weights."""
    return load_prompting("faithful", offline=True)


def endpoint(server: BenchServer, **more: Any) -> Endpoint:
    return Endpoint(server.url, "model", **{"timeout": 2.0, "backoff": 0.01, **more})


def images_in(body: dict[str, Any]) -> list[Image.Image]:
    """The images of a request, decoded as any server would."""
    urls = [
        part["image_url"]["url"]
        for message in body["messages"]
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    data = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]
    return [Image.open(io.BytesIO(one)) for one in data]


COUNTED: dict[str, int] = {}
"""Counts by messages: tests ask the same questions."""


def prompt_count(asking: Prompting, body: dict[str, Any]) -> int:
    """The number of tokens of a request's prompt, as a server counts them."""
    key = json.dumps(body["messages"])
    if key not in COUNTED:
        COUNTED[key] = _prompt_count(asking, body)
    return COUNTED[key]


def _prompt_count(asking: Prompting, body: dict[str, Any]) -> int:
    parts = [
        {"type": "image"} if part["type"] == "image_url" else part
        for message in body["messages"]
        for part in message["content"]
    ]
    text = asking.processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    inputs = asking.processor(text=[text], images=images_in(body) or None, return_tensors="pt")
    return int(inputs["input_ids"].shape[1])


def answer(text: str, prompt: int, tokens: int = 5, **message: Any) -> dict[str, Any]:
    """A reply in the form of the API."""
    return {
        "model": "model",
        "choices": [
            {
                "index": 0,
                "finish_reason": message.pop("finish_reason", "stop"),
                "logprobs": message.pop("logprobs", None),
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": tokens},
    }
