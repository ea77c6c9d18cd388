"""The rules of the house, on the source itself."""

from __future__ import annotations

import ast
import importlib
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

import lantern_probe

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "lantern_probe").rglob("*.py")) + sorted(
    (ROOT / "experiments").rglob("*.py")
)
MODEL_ROOMS = (
    "nnsight",
    "transformers",
    "lantern_probe.branching",
    "lantern_probe.capture",
    "lantern_probe.decoding",
    "lantern_probe.model",
)
MODEL_FREE = {
    *("stats", "records", "jsonfile", "plots", "tasks", "store", "probing", "geometry"),
    *(
        "retrieval",
        "decomposition",
        "exchange",
        "mediation",
        "sensitivity",
        "comparison",
        "published",
    ),
    *("probe_plots", "geometry_plots", "exchange_plots", "patching_plots", "embedding"),
}
"""Rooms that work on rows and arrays alone."""
each_source = pytest.mark.parametrize(
    "source", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES]
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every imported module, and what is taken from it, by full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_under(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@each_source
def test_a_file_is_short_and_no_drawer(source: Path) -> None:
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 400
    assert not {*source.with_suffix("").relative_to(ROOT).parts} & {"utils", "helpers", "common"}


@each_source
def test_nothing_foreign_is_executed(source: Path) -> None:
    """No pickle in any form, and no code from a checkpoint's repository."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    picklers = ("pickle", "cloudpickle", "dill", "joblib", "shelve")
    assert [name for name in imported(tree) if is_under(name, picklers)] == []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"torch.load", "torch.save"}, f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
            assert ast.unparse(node.value) == "False", f"line {node.value.lineno}"


@each_source
def test_arrows_point_downward(source: Path) -> None:
    names = list(imported(ast.parse(source.read_text(encoding="utf-8"))))
    room = source.relative_to(ROOT).with_suffix("").parts[:2]
    if room[0] == "lantern_probe":
        assert [name for name in names if is_under(name, ("experiments", "tests"))] == []
    if room[1] in MODEL_FREE:
        assert [name for name in names if is_under(name, MODEL_ROOMS)] == []


def test_checkpoints_hold_data_only() -> None:
    files = (ROOT / "lantern_probe" / "organisms" / "checkpoints").rglob("*")
    allowed = {".json", ".safetensors", ".txt", ".jinja"}
    assert [file.name for file in files if file.is_file() and file.suffix not in allowed] == []


def test_the_readme_says_how_to_start() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\bmake ablate\b", readme)
    assert re.search(r"\bmake test\b", readme)


def test_annotations_are_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the package, as all of them with postponed annotations, checks shapes."""
    (tmp_path / "checked.py").write_text(
        "from __future__ import annotations\n"
        "from jaxtyping import Float\n"
        "from torch import Tensor\n"
        "def square(x: Float[Tensor, 'n n'], times: float = 1.0) -> Float[Tensor, 'n n']:\n"
        "    return x\n"
    )
    monkeypatch.setattr(lantern_probe, "__path__", [*lantern_probe.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "lantern_probe.checked", raising=False)
    square = importlib.import_module("lantern_probe.checked").square
    square(torch.zeros(2, 2), times=2)
    with pytest.raises(jaxtyping.TypeCheckError):
        square(torch.zeros(2, 3))
    with pytest.raises(jaxtyping.TypeCheckError):
        square(torch.zeros(2, 2), times="twice")


def test_the_network_is_out_of_reach() -> None:
    """Connecting a datagram socket sends nothing, should the guard ever be missing."""
    address = ("192.0.2.1", 9)  # reserved for documentation
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        for connect in (sock.connect, sock.connect_ex):
            with pytest.raises(pytest.fail.Exception, match="no network"):
                connect(address)
    with pytest.raises(pytest.fail.Exception, match="no network"):
        socket.getaddrinfo("host.invalid", 443)
