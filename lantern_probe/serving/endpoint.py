"""Endpoint of a server: its address, the name of its model, limits of time, and the key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lantern_probe.errors import LanternError
from lantern_probe.tasks.printable import printable

KEY_VARIABLE = "LANTERN_API_KEY"
"""Environment variable of the key; a name of its own, so that no other service's key is sent."""

NO_KEY = "none"
"""Key that is sent where there is none, because clients send one always."""

MOST_CHARACTERS = 200
"""Longest text of a server that is repeated in a message."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint, with everything that bounds asking it.

    Attributes:
        url: Base address, such as `http://127.0.0.1:8000/v1`.
        model: Name under which the server knows the model.
        concurrency: Most requests, and most encoded images, at any time; default 8.
        timeout: Most seconds of one request, from connecting to the last byte; default 120.
        tries: Most requests for one question, the first included; default 4.
        patience: Most seconds for one question with its retries and waits; default 600.
        backoff: Seconds before the first retry, doubled for each further one; default 0.5.
        key: Key of the server; none by default. It is in no text of this object.

    Raises:
        LanternError: the address, the name or a limit cannot be used.
    """

    url: str
    model: str
    concurrency: int = 8
    timeout: float = 120.0
    tries: int = 4
    patience: float = 600.0
    backoff: float = 0.5
    key: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.model.strip() or not self.model.isprintable():
            raise LanternError(f"--served-model {self.model!r:.80} is no name of a model")
        for flag, value in (("--concurrency", self.concurrency), ("--tries", self.tries)):
            if value < 1:
                raise LanternError(f"{flag} must be at least 1, not {value}")
        for flag, seconds in (("--timeout", self.timeout), ("--patience", self.patience)):
            if not 0 < seconds < float("inf"):
                raise LanternError(f"{flag} must be a positive number of seconds, not {seconds}")

    @property
    def label(self) -> str:
        """The condition of the served rows; `@` would name a corruption of the image."""
        return served_label(self.model)

    def clean(self, text: object) -> str:
        """A server's text for a message: one short line, without the key.

        Args:
            text: Anything that came from the server.
        """
        # Cut far behind what is shown, so that no half of a key is left at the end.
        shown = self.without_key(" ".join(str(text)[: 20 * MOST_CHARACTERS].split()))
        shown = printable(shown[: 2 * MOST_CHARACTERS])
        short = shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 3]}..."
        return short

    def without_key(self, text: str) -> str:
        """A text in which the key, should the server repeat it, is left out.

        Args:
            text: Any text.
        """
        return text.replace(self.key, "[key]") if self.key else text


def served_label(model: str) -> str:
    """The condition under which a served model's rows are written.

        >>> from lantern_probe.serving import served_label
        >>> served_label("LanteRn-3B@main")
        'served:LanteRn-3B%40main'

    Args:
        model: Name under which the server knows the model.
    """
    return f"served:{model.replace('@', '%40')}"


def check_url(url: str) -> None:
    """Refuse an address that is none, or that holds a secret.

    Args:
        url: Base address of an endpoint.

    Raises:
        LanternError: naming it, without what may be a password.
    """
    shown = printable(url)[:MOST_CHARACTERS]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise LanternError(
            "--endpoint: the address holds a password or a query, which would be written to "
            "run.json; give http://HOST:PORT/v1 alone, and a key by --api-key-file or "
            f"{KEY_VARIABLE}"
        )
    if parts.scheme not in ("http", "https") or not host or port == 0 or not url.isprintable():
        raise LanternError(
            f"--endpoint {shown!r} is no address; give one such as http://127.0.0.1:8000/v1"
        )


def read_key(variable: str, file: Path | None) -> str | None:
    """Read the key of a server from a file or from the environment.

    Args:
        variable: Name of the environment variable; an unset one is no key.
        file: File whose content is the key; it replaces the variable.

    Raises:
        LanternError: the file cannot be read, or the key cannot be sent. The key is not named.
    """
    if file is not None:
        try:
            found: str | None = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise LanternError(f"--api-key-file: cannot read '{file}': {reason}") from None
        where = f"--api-key-file '{file}'"
    else:
        found, where = os.environ.get(variable, "").strip() or None, f"the variable {variable}"
    if found is None:
        return None
    if not found or not found.isascii() or not found.isprintable() or " " in found:
        raise LanternError(f"{where} holds no key: a key is one line of letters, digits and marks")
    return found
