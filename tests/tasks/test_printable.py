"""Texts that are printed: letters stay, and what moves the cursor is written out."""

from __future__ import annotations

import pytest

from lantern_probe.tasks.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "plain\n\ttext": "plain\n\ttext",
        "caf\u00e9 \u4e2d\u6587 \U0001f468\u200d\U0001f469": (
            "caf\u00e9 \u4e2d\u6587 \U0001f468\u200d\U0001f469"
        ),
        "a\r\nb": "a\\r\nb",
        "\x1b[2J\x07\x9b": "\\x1b[2J\\x07\\x9b",
        "\u202eabc\u2066": "\\u202eabc\\u2066",
        "half \ud800 of one": "half \\ud800 of one",
        "[red]$x$": "[red]$x$",
    }.items(),
)
def test_only_what_moves_the_cursor_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    assert printable("caf\u00e9 \u4e2d", "latin-1") == "caf\u00e9 \\u4e2d"
