"""The one exception a user is meant to read."""

from __future__ import annotations

from collections.abc import Sequence


class LanternError(Exception):
    """Something a user gave cannot be used: the message names the input and the way out.

    Command lines print it as one line and exit with status 2; a run records it for the
    sample concerned and goes on.
    """


def named(keys: Sequence[str], most: int = 3) -> str:
    """The first few of many keys, each on one line."""
    short = [" ".join(str(key).split()) for key in keys[:most]]
    short = [key if len(key) <= 60 else f"{key[:57]}..." for key in short]
    return ", ".join(short) + (", ..." if len(keys) > most else "")
