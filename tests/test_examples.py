"""The examples in docstrings run, on one organism that they share."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import lantern_probe

ROOT = Path(lantern_probe.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


MODULES = modules_with_examples()


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    """What examples may use without making it: a model, and a sample of its task."""
    from lantern_probe import LanternModel, load_task

    return {"lantern": LanternModel("faithful"), "sample": load_task("scenes", 1)[0]}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(
    name: str, shared: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = 0
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in doctest.DocTestFinder(recurse=True).find(module, globs={**vars(module), **shared}):
        found += len(test.examples)
        runner.run(test)
    assert found and runner.summarize(verbose=False).failed == 0


def test_the_names_that_a_user_types_have_an_example() -> None:
    with_examples = {
        test.name.rpartition(".")[2]
        for name in MODULES
        for test in doctest.DocTestFinder(recurse=True).find(importlib.import_module(name))
        if test.examples
    }
    assert len(with_examples) >= 40, sorted(with_examples)
