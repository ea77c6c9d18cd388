"""Addresses, names and keys of servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lantern_probe.errors import LanternError
from lantern_probe.serving import Endpoint, read_key, served_label

URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "ftp://host/v1",
        "http:///v1",
        "http://host:99999/v1",
        "http://h\n/v1",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(LanternError, match="no address; give one such as"):
        Endpoint(url, "model")


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?api_key=secret"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(LanternError, match="--api-key-file") as refused:
        Endpoint(url, "model")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "limits", [{"concurrency": 0}, {"tries": 0}, {"timeout": 0}, {"patience": float("inf")}]
)
def test_limits_that_bound_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(LanternError, match="must be"):
        Endpoint(URL, "model", **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[2J"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(LanternError, match="no name of a model"):
        Endpoint(URL, name)


def test_the_condition_names_no_corruption() -> None:
    assert served_label("org/model") == "served:org/model"
    assert "@" not in served_label("model@main")


def test_a_key_comes_from_the_variable_or_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    assert read_key("A_KEY", None) is None
    monkeypatch.setenv("A_KEY", "from-variable")
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert (read_key("A_KEY", None), read_key("A_KEY", file)) == ("from-variable", "from-file")


@pytest.mark.parametrize("text", ["", "two lines\nsecret", "secret with blanks", "schl\u00fcssel"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LanternError, match="holds no key") as refused:
        read_key("A_KEY", file)
    assert "secret" not in str(refused.value)


def test_a_key_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("gone", "binary"):
        with pytest.raises(LanternError, match="cannot read"):
            read_key("A_KEY", tmp_path / name)


def test_the_key_is_in_no_text_of_an_endpoint() -> None:
    endpoint = Endpoint(URL, "model", key="sk-secret")
    assert "sk-secret" not in repr(endpoint)
    assert endpoint.clean("wrong key sk-secret given\n\x1b[2J") == "wrong key [key] given \\x1b[2J"
    assert len(endpoint.clean("x" * 10_000)) == 200
    for before in range(190, 210):
        assert "sk-se" not in endpoint.clean("x" * before + "sk-secret" + "y" * 50)
