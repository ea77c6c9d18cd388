"""Reply of a server, checked field by field: a text with its end, or a failure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.serving.endpoint import Endpoint
from lantern_probe.serving.transport import PASSING, Failure

ENDS = {"stop": "closed", "eos": "closed", "length": "truncated"}
"""Reasons for which a text ended, and the words of rows for them."""

FILTERS = ("content_filter", "sensitive", "safety")

_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class TokenScores:
    """One written token, as a server reports it.

    Attributes:
        text: Text of the token.
        top: Log-probability in nats of each of the likeliest tokens, by text.
    """

    text: str
    top: Mapping[str, float]


@dataclass(frozen=True)
class Reply:
    """Answer of a server.

    Attributes:
        content: Text of the message.
        thoughts: Text that the server gave apart, as reasoning; empty where there is none.
        finish: `closed` or `truncated`.
        prompt_tokens: Number of tokens of the prompt; None where the server does not say.
        tokens: Number of written tokens; None where the server does not say.
        scores: Written tokens with their likeliest alternatives; empty where there are none.
        model: Name of the model that answered; None where the server does not say.
    """

    content: str
    thoughts: str
    finish: str
    prompt_tokens: int | None
    tokens: int | None
    scores: Sequence[TokenScores] = ()
    model: str | None = None

    @property
    def text(self) -> str:
        """The whole text; around thoughts given apart, the tags are put back."""
        if not self.thoughts:
            return self.content
        return f"<think>{self.thoughts}</think>{self.content}"


def read_reply(value: Any, endpoint: Endpoint) -> Reply:
    """Check a reply, and take from it what rows need.

    Control characters and halves of characters in the texts become U+FFFD.

    Args:
        value: JSON value of the reply.
        endpoint: Endpoint that gave it.

    Raises:
        Failure: there is no complete text in it.
    """
    clean = endpoint.clean
    if not isinstance(value, dict):
        raise Failure("garbage", f"the reply is {clean(value)[:60]!r}, no object", again=True)
    if error := value.get("error"):
        said: dict[str, Any] = error if isinstance(error, dict) else {}
        code = said.get("code", value.get("code"))
        again = not (isinstance(code, int) and 400 <= code < 500 and code not in PASSING)
        raise Failure("error in reply", clean(said.get("message") or error), again=again)
    choices = value.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise Failure("no choices", "status 200 without choices", again=True)
    message = first.get("message")
    message = message if isinstance(message, dict) else {}
    reason = first.get("finish_reason")
    if reason in FILTERS or message.get("refusal"):
        why = clean(message.get("refusal") or reason)
        raise Failure("content filter", f"the server withheld the answer ({why})")
    if reason not in ENDS:
        raise Failure("unfinished", f"the text ended by {clean(reason)!r}", again=reason is None)
    content = message.get("content")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(content, str) and not (content is None and isinstance(thoughts, str)):
        raise Failure("no text", "the message has no text", again=True)
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model = value.get("model")
    return Reply(
        _mended(content or "", endpoint),
        _mended(thoughts, endpoint) if isinstance(thoughts, str) else "",
        ENDS[str(reason)],
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _scores(first.get("logprobs")),
        clean(model) if isinstance(model, str) else None,
    )


def _mended(text: str, endpoint: Endpoint) -> str:
    text = endpoint.without_key(text)
    return _HALF.sub("\ufffd", _CONTROL.sub("\ufffd", text.replace("\r\n", "\n")))


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if usable else None


def _scores(value: Any) -> list[TokenScores]:
    """The tokens with their alternatives; none where any of it is not in the form of the API."""
    content = value.get("content") if isinstance(value, dict) else None
    found: list[TokenScores] = []
    for token in content if isinstance(content, list) else ():
        if not isinstance(token, dict) or not isinstance(token.get("token"), str):
            return []
        top = token.get("top_logprobs")
        top = top if isinstance(top, list) else []
        scores: dict[str, float] = {}
        for one in (token, *top):
            fields: dict[str, Any] = one if isinstance(one, dict) else {}
            name, value = fields.get("token"), fields.get("logprob")
            if isinstance(name, str) and isinstance(value, int | float) and _is_log(value):
                scores[_HALF.sub("\ufffd", name)] = float(value)
        found.append(TokenScores(_HALF.sub("\ufffd", token["token"]), scores))
    return found


def _is_log(value: float) -> bool:
    """True for a log-probability; servers write -9999 or less for "none"."""
    return not isinstance(value, bool) and math.isfinite(value) and -1000 < value <= 1e-6
