"""README and documentation: short, linked, and every command and block of Python is real."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tyro

from lantern_probe.interventions import CONDITIONS, parse_condition
from lantern_probe.interventions.image import parse_corruption
from lantern_probe.vocabulary import parse_sites

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SOURCES = [
    path
    for room in ("lantern_probe", "experiments", "benchmarks", "tests", "notebooks")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path != Path(__file__)
]
COMMANDS = [
    path.stem
    for path in sorted((ROOT / "experiments").glob("*.py"))
    if re.search(r"^class Config\b", path.read_text(encoding="utf-8"), re.MULTILINE)
]
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
OTHER_COMMANDS = ("pip install", "uv pip install", "pre-commit install", "python docs/pictures.py")
"""Beginnings of commands that no test runs."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"[a-z]+:")
PACKAGED = re.compile(r'^([\w-]+) = "\w+:\w+"$', re.MULTILINE)
"""An entry point of a package that a page makes; `tests/experiments/test_extending.py` runs it."""

ANY_LAYERS = 64
"""Decoder layers of a model that has any site written in the documentation."""


class Command(NamedTuple):
    """A command line, and the page that shows it."""

    page: Path
    line: str


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def prose_and_code(page: Path) -> str:
    """The whole text of a page."""
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[Command]:
    """Every command line of a page: in fenced blocks without a language, and in code spans."""
    for language, code in fences(page):
        if not language:
            lines = code.replace("\\\n", " ").splitlines()
            yield from (Command(page, line) for line in lines if line.strip())
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        if re.match(r"([A-Z_]+=\S+ )?make [a-z]|python -m \w+\.\w|lantern-probe \w", span):
            yield Command(page, span)


FOUND = {command.line: command for page in PAGES for command in commands(page)}
ALL_COMMANDS = list(FOUND.values())


def named(values: list[Any]) -> list[str]:
    return [f"{NAMES[value.page]}: {value.line[:60]}" for value in values]


@cache
def anchors(page: Path) -> frozenset[str]:
    """Anchors of a page's headings, as they are made on GitHub."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def headings(page: Path) -> list[str]:
    """The ways to cite a page's headings, in lower case: the heading itself, and `section 4`."""
    found = re.findall(r"^#+ (?:(\d+)\. )?(.*)$", prose(page), re.MULTILINE)
    numbered = [f"section {number}" for number, _ in found if number]
    return [*numbered, *(heading.lower() for _, heading in found)]


def arguments_of(line: str) -> tuple[str, list[str]] | None:
    """The module that a command line runs, and its arguments; None for other commands."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["python", "-m"] and words[2].startswith(("experiments.", "benchmarks.")):
        return words[2], words[3:]
    if words[0] == "lantern-probe" and len(words) > 1:
        return f"experiments.{words[1].replace('-', '_')}", words[2:]
    return None


def test_the_readme_is_one_page() -> None:
    assert len(prose(ROOT / "README.md").split()) <= 800


def test_every_page_is_listed_in_the_index() -> None:
    linked = set(LINK.findall(prose(ROOT / "docs" / "index.md")))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - {target.partition("#")[0] for target in linked} == set()


def test_every_command_is_listed_in_the_index() -> None:
    spans = set(re.findall(r"`(\w+)`", prose(ROOT / "docs" / "index.md")))
    assert [name for name in COMMANDS if name not in spans] == []


def test_every_condition_is_in_the_table() -> None:
    table = re.search(r"## Conditions\n(.*?)\n##", prose(ROOT / "docs" / "ablation.md"), re.DOTALL)
    assert table is not None
    assert set(re.findall(r"^\| `([\w-]+)`", table[1], re.MULTILINE)) == set(CONDITIONS)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if EXTERNAL.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=named(ALL_COMMANDS))
def test_a_command_can_be_given(command: Command) -> None:
    """Its arguments are parsed, and labels among them read; nothing runs."""
    make = re.match(r"(?:[A-Z_]+=\S+ )?make ([\w-]+)", command.line)
    if make:
        assert make[1] in targets()
        return
    found = arguments_of(command.line)
    if found is None:
        assert command.line.startswith(OTHER_COMMANDS)
        return
    module, words = found
    try:
        config = tyro.cli(importlib.import_module(module).Config, args=words)
    except SystemExit as refused:
        pytest.fail(f"{command.line!r} is refused: {refused}")
    added = PACKAGED.findall(prose_and_code(command.page))
    for text in as_texts(getattr(config, "conditions", ())):
        if text.partition(":")[0] not in added:
            parse_condition(text)
    images = getattr(config, "images", ())
    for text in as_texts(() if isinstance(images, bool) else images):  # of export it is a switch
        if text != "swap-question":
            parse_corruption(text)
    if module.startswith("experiments."):
        parse_sites(as_texts(getattr(config, "sites", ())), ANY_LAYERS)


def targets() -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_workflow_calls_targets_that_exist() -> None:
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    called = set(re.findall(r"run: make ([\w-]+)", workflow))
    assert called
    assert called <= targets()


def as_texts(value: Any) -> list[str]:
    """A flag's values as a list of texts."""
    return [value] if isinstance(value, str) else list(value)


RUNNABLE = [page for page in PAGES if any(language == "python" for language, _ in fences(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=[NAMES[page] for page in RUNNABLE])
def test_blocks_of_python_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, as they stand; tests among them are called."""
    blocks = [code for language, code in fences(page) if language == "python"]
    script = tmp_path / "blocks.py"  # a file, since nnsight reads the source of a trace
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(script))
    for name, value in names.items():
        if name.startswith("test_"):
            value()
    assert capsys.readouterr().out.strip() or not any("print(" in block for block in blocks)


def test_sources_cite_headings_that_exist() -> None:
    known = headings(ROOT / "docs" / "methods.md")
    unknown = []
    for source in SOURCES:
        text = re.sub(r"\s*\n\s*(?:# )?", " ", source.read_text(encoding="utf-8"))
        for cited in re.findall(r'docs/methods\.md, "?([^")]+)', text):
            if not cited.lower().startswith(tuple(known)):
                unknown.append(f"{source.relative_to(ROOT)}: {cited[:40]}")
    assert unknown == []
