"""The rules of the house, on the source itself."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import jaxtyping
import pytest
import torch

import lantern_probe

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "lantern_probe").rglob("*.py")) + sorted(
    (ROOT / "experiments").rglob("*.py")
)
FLOORS = [
    {"faces", "errors"},
    {"vocabulary", "stats", "extensions"},
    {"tasks", "protocols"},
    {"geometry"},
    {"records", "organisms"},
    {"probing", "analysis", "model"},
    {"plots", "interventions"},
    {"causal", "capture"},
    {"scale", "serving", "report"},
    {"commands"},
]
"""Rooms of the package from the ground up; imports stay in a room or go to a lower floor."""

LOWER = (
    "errors",
    "faces",
    "vocabulary",
    "extensions",
    "tasks",
    "records",
    "stats",
    "probing",
    "geometry",
) + (*("analysis", "plots", "organisms", "protocols", "report"),)
"""Rooms that know no model."""

WITHOUT_TORCH = (
    "errors",
    "extensions",
    "vocabulary",
    "tasks",
    "records",
    "stats",
    "analysis",
    "plots",
    "report",
    "protocols",
)
"""Rooms that leave torch out as well, but for `NEEDS_TORCH`."""

NEEDS_TORCH = ("lantern_probe.records.store",)
UPWARD_WHEN_CALLED = {
    (("model", "lantern"), "lantern_probe.capture.batch.capture_batch"),
    (("model", "asking"), "lantern_probe.causal.asking.ask_under"),
}
"""Doors of `LanternModel` to rooms above; one is loaded when somebody goes through."""

MODEL_STACK = "lantern_probe.organisms.training"
"""What builds and trains organisms, and so needs the model."""

each_source = pytest.mark.parametrize(
    "source", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES]
)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every imported module, and what is taken from it, by full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
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


RIDDLE = r"(What|How|Whether|Which|Where|Of)\b"
"""Beginnings of a text that needs the line before it, or a noun, to be understood."""


def texts_of(tree: ast.AST) -> Iterator[str]:
    """The first line of every docstring, and the text of every documented field and constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            doc = ast.get_docstring(node) or ""
            yield doc.partition("\n")[0]
            yield from re.findall(r"^\s+\w+(?:, \w+)*: (.*)", doc, re.MULTILINE)
        body = getattr(node, "body", None)
        for item, text in pairwise(body) if isinstance(body, list) else ():
            if isinstance(item, ast.Assign | ast.AnnAssign) and isinstance(text, ast.Expr):
                value = getattr(text.value, "value", None)
                if isinstance(value, str):
                    yield value


@each_source
def test_every_docstring_can_be_read_by_itself(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert [text for text in texts_of(tree) if re.match(RIDDLE, text)] == []


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@each_source
def test_arrows_point_downward(source: Path) -> None:
    """Imports under TYPE_CHECKING load nothing, and may name the model for an annotation."""
    room = source.relative_to(ROOT).with_suffix("").parts
    if room[0] != "lantern_probe" or room[1] == "__init__":
        return
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for_types = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for name in imported(node)
    }
    names = [name for name in imported(tree) if name not in for_types]
    assert [name for name in names if is_under(name, ("experiments", "tests"))] == []
    for name in names:
        parts = name.split(".")
        if parts[0] != "lantern_probe" or len(parts) == 1 or parts[1] == room[1]:
            continue
        if (room[1:], name) in UPWARD_WHEN_CALLED or "training" in room:
            continue
        assert floor_of(parts[1]) < floor_of(room[1]), name


def modules_of(rooms: tuple[str, ...]) -> list[str]:
    found = []
    for path in sorted((ROOT / "lantern_probe").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] in rooms:
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in found if not is_under(name, (MODEL_STACK,))]


@pytest.mark.parametrize(
    ("rooms", "left_out"),
    [
        (LOWER, ("transformers", "nnsight")),
        (WITHOUT_TORCH, ("torch", "transformers", "nnsight")),
        (("interventions",), ("torch", "scipy", "sklearn", "transformers", "nnsight")),
    ],
    ids=["lower storey", "without torch", "interventions"],
)
def test_the_wall_between_the_storeys_holds(
    rooms: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    """In a fresh process, importing every module of the rooms leaves the model stack out."""
    names = modules_of(rooms)
    if "torch" in left_out:
        names = [name for name in names if name not in NEEDS_TORCH]
    assert len(names) >= len(rooms)
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    for heavy in {left_out!r}:\n"
        "        assert heavy not in sys.modules, f'{name} loads {heavy}'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


FACES = [
    path
    for path in sorted((ROOT / "lantern_probe").rglob("__init__.py"))
    if "lazily(" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("face", FACES, ids=[str(path.parent.relative_to(ROOT)) for path in FACES])
def test_a_face_says_the_same_to_people_types_and_python(face: Path) -> None:
    tree = ast.parse(face.read_text(encoding="utf-8"))
    package = ".".join(face.parent.relative_to(ROOT).parts)
    module = importlib.import_module(package)
    for_types = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for inside in ast.walk(node)
        if isinstance(inside, ast.ImportFrom)
        for alias in inside.names
    }
    assert len(set(module.__all__)) == len(module.__all__)
    eager = {name for name in module.__all__ if name in vars(module)}
    assert for_types <= set(module.__all__) and set(module.__all__) <= for_types | eager
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert not (face.parent / f"{name}.py").exists(), f"{name} is a module too"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_the_public_names_are_these() -> None:
    """A name at the front door is a promise: adding or dropping one is a decision."""
    assert set(lantern_probe.__all__) == {
        *("Ablation", "Branch", "LanternError", "LanternModel", "RowPlan", "Run", "Sample"),
        *("Store", "load_task", "parse_condition", "read_rows", "run_branches", "run_prefixes"),
        *("MonitorCallback", "diagnose", "monitor", "summarize"),
    }
    rooms = [face.parent.name for face in FACES if face.parents[1].name == "lantern_probe"]
    names = {
        room: sorted(importlib.import_module(f"lantern_probe.{room}").__all__) for room in rooms
    }
    known = ROOT / "tests" / "public_names.json"
    assert json.loads(known.read_text(encoding="utf-8")) == names, (
        "the public names have changed; if that is meant, write tests/public_names.json anew and "
        "say it in CHANGELOG.md"
    )


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
