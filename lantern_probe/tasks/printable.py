"""Texts of data as they can be printed: nothing in them moves a cursor or turns the line."""

from __future__ import annotations

import unicodedata

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text around them."""


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Write control characters, half characters and what an encoding lacks as escapes.

    Args:
        text: Any text; line breaks and tabs stay.
        encoding: Encoding of the place where it is printed, default UTF-8.

    Examples:
        >>> from lantern_probe.tasks.printable import printable
        >>> print(printable("red\x1b[2J\r\n"), printable("caf\u00e9", "ascii"))
        red\x1b[2J\r
         caf\xe9
    """
    shown = "".join(_escaped(character) if _moves(character) else character for character in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _moves(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or character in _TURNING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
