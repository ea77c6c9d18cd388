"""The documentation site: built without a warning, and not built from a notebook that fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.extra


def build(source: Path, output: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Build the site of a source folder with the settings of `docs/conf.py`."""
    options = [word for setting in settings for word in ("--define", setting)]
    folders = ["--conf-dir", ROOT / "docs", "--doctree-dir", output / "trees", source, output]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", *options, *folders],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, its notebooks as they are; other tests run them."""
    output = tmp_path_factory.mktemp("site")
    built = build(ROOT, output, "nb_execution_mode=off")
    assert built.returncode == 0, built.stderr[-3000:]
    return output


def test_the_menu_has_every_page(site: Path) -> None:
    menu = (site / "docs" / "index.html").read_text(encoding="utf-8")
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    named = set(re.findall(r'href="(?:\.\./notebooks/)?([\w-]+)\.html"', menu))
    assert {page.stem for page in pages} - {"index"} <= named


def test_the_interface_shows_shapes_and_sentences(site: Path) -> None:
    page = (site / "docs" / "api" / "lantern_probe.capture.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "*queries height width" in text
    assert "Compare the attention to a box with that to every other window of its size." in text


def test_the_search_finds_a_word_of_a_page_and_a_name_of_the_interface(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index.removeprefix("Search.setIndex(").rstrip(";\n").removesuffix(")"))
    assert "docs/symptoms" in found["docnames"]
    assert "organism" in found["terms"] and "lantern_probe.tasks" in found["objects"]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loading = re.compile(r'<(?:script|link|img)\b[^>]*\b(?:src|href)="(https?:)?//')
    for page in site.rglob("*.html"):
        assert not loading.search(page.read_text(encoding="utf-8")), page.name


def test_the_folder_opens_at_the_index(site: Path) -> None:
    target = re.search(r"url=([^\"]+)", (site / "index.html").read_text(encoding="utf-8"))
    assert target and (site / target[1]).is_file()


@pytest.mark.parametrize(
    ("code", "settings", "said"),
    [
        ("1 / 0", [], "ZeroDivisionError"),
        ("import time; time.sleep(60)", ["nb_execution_timeout=3"], "imeout"),
    ],
    ids=["raises", "takes-too-long"],
)
def test_a_notebook_that_fails_stops_the_build_and_is_named(
    tmp_path: Path, code: str, settings: list[str], said: str
) -> None:
    source = tmp_path / "source"
    for folder in ("docs", "notebooks"):
        (source / folder).mkdir(parents=True)
    (source / "docs" / "index.md").write_text("# Index\n", encoding="utf-8")
    cell = {"cell_type": "code", "source": code, "metadata": {}, "outputs": []}
    notebook = {
        "cells": [{**cell, "execution_count": None, "id": "one"}],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (source / "notebooks" / "broken.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    built = build(source, tmp_path / "site", *settings)
    assert built.returncode != 0
    assert "broken.ipynb" in built.stderr and said in built.stderr, built.stderr[-2000:]
