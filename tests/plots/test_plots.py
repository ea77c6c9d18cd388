"""The room: one verb, axes by default, no model."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from lantern_probe import plots

MODULES = sorted(path.stem for path in Path(plots.__file__).parent.glob("[!_]*.py"))
DRAWING = [name for name in plots.__all__ if name.startswith("plot_")]


def defined(module: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((Path(plots.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def original(module: str, name: str) -> Any:
    return getattr(import_module(f"lantern_probe.plots.{module}"), name)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "style"])
def test_the_face_hands_on_every_public_function(module: str) -> None:
    for name in defined(module):
        if not name.startswith("_"):
            assert name in plots.__all__
            assert getattr(plots, name) is original(module, name)


def test_type_checkers_see_the_names_that_are_handed_on() -> None:
    tree = ast.parse(Path(plots.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    names = [(node.module, alias.name) for node in imports for alias in node.names]
    assert sorted(name for _, name in names) == plots.__all__
    for module, name in names:
        assert getattr(plots, name) is getattr(import_module(str(module)), name)
    with pytest.raises(AttributeError, match="no attribute 'forest'"):
        _ = plots.forest


@pytest.mark.parametrize("name", DRAWING)
def test_axes_come_last_and_by_default(name: str) -> None:
    signature = inspect.signature(getattr(plots, name))
    positional = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional[-1].name == "ax" and positional[-1].default is None
    assert all(parameter.default is inspect.Parameter.empty for parameter in positional[:-1])
    assert signature.return_annotation in ("Axes", Axes)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "style"])
def test_names_say_whether_axes_or_a_figure_are_returned(module: str) -> None:
    for name, node in defined(module).items():
        returns = ast.unparse(node.returns) if node.returns else None
        if not name.startswith("_"):
            assert (returns == "Axes") == name.startswith("plot_"), name
            assert (returns == "Figure") == name.endswith("_figure"), name


def test_the_room_loads_neither_torch_nor_a_model() -> None:
    code = (
        "import sys, importlib\n"
        f"for name in {MODULES!r}: importlib.import_module('lantern_probe.plots.' + name)\n"
        "print(*sorted({'torch', 'transformers', 'nnsight'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
