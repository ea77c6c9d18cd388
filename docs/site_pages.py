"""The parts of the documentation site that are made: the order of pages, the API, the gallery.

An extension of Sphinx, named in `conf.py`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

INDEX = "docs/index"
GALLERY = "docs/gallery"
PACKAGE = Path(__file__).parents[1] / "lantern_probe"
ROOMS = ["lantern_probe"] + [
    f"lantern_probe.{path.parent.name}"
    for path in sorted(PACKAGE.glob("*/__init__.py"))
    if "__all__ = [" in path.read_text(encoding="utf-8")
]
"""Packages whose public names the API shows, a page each."""
LABEL = re.compile(r"^(At the slots|In the image|Source|Control): ")
"""Beginnings of the lines that the docstring of every condition has."""


def notebooks(app: Sphinx) -> list[str]:
    """Names of the notebooks' pages, in order."""
    return [f"notebooks/{path.stem}" for path in sorted(app.srcdir.glob("notebooks/*.ipynb"))]


# The order of the pages


def toctree(caption: str, entries: list[str]) -> str:
    """A hidden toctree in MyST."""
    lines = "\n".join(entries)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n{lines}\n```\n"


def order_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the index its menu: a section for each of its headings, a page for each of its links."""
    if name.startswith("tests/"):
        source[0] = f"---\norphan: true\n---\n{source[0]}"  # led to by a link, not by the menu
    if name != INDEX:
        return
    _, *sections = re.split(r"^## (.*)$", source[0], flags=re.MULTILINE)
    menu, seen = [], set[str]()
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        new = dict[str, str]()
        for words, page in re.findall(r"\[([^\]]+)\]\(([\w-]+)\.md", text):
            if page not in seen:
                new.setdefault(page, words)
        seen.update(new)
        if new:
            menu.append(toctree(title, [f"{new[page]} </docs/{page}>" for page in new]))
    menu.append(toctree("Notebooks", [f"/{page}" for page in notebooks(app)]))
    menu.append(toctree("Interface", [f"{room} </docs/api/{room}>" for room in ROOMS]))
    menu.append(toctree("The project", ["/CONTRIBUTING", "/CHANGELOG"]))
    source[0] += "\n".join(menu)


# The API


def home(package: str, name: str) -> str:
    """The module of a package that assigns a name, since its documentation stands there."""
    own = PACKAGE.parent / package.replace(".", "/")
    for path in [*sorted(own.rglob("*.py")), *sorted(PACKAGE.rglob("*.py"))]:
        if re.search(rf"^ *{name}\b[^=\n]*=", path.read_text(encoding="utf-8"), re.MULTILINE):
            relative = path.relative_to(PACKAGE.parent).with_suffix("")
            return ".".join(relative.parts).removesuffix(".__init__")
    raise LookupError(f"{name} of {package} is assigned nowhere")


def entry(package: str, name: str) -> str:
    """The directive that shows one public name.

    The face, and a package that hands a name of another one on, only lead there.
    """
    value: Any = getattr(importlib.import_module(package), name)
    where = str(getattr(value, "__module__", ""))
    elsewhere = where.startswith("lantern_probe.") and not where.startswith(f"{package}.")
    if package == "lantern_probe" or elsewhere:
        return f"* :py:obj:`~{where}.{name}`\n" if where else ""
    if getattr(value, "__name__", None) == name:  # else it is a constant or an alias of a type
        if inspect.isclass(value):
            return f".. autoclass:: {package}.{name}\n   :members:\n"
        return f".. autofunction:: {package}.{name}\n"
    return f".. autodata:: {home(package, name)}.{name}\n   :no-value:\n"


def write_api(app: Sphinx) -> None:
    """Write a page for each package, from its list of public names."""
    folder = app.srcdir / "docs" / "api"
    folder.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        names = importlib.import_module(room).__all__
        title = f"``{room}``\n{'=' * (len(room) + 4)}\n"
        parts = [title, f".. automodule:: {room}\n   :no-members:\n"]
        text = "\n".join(parts + [entry(room, name) for name in names])
        path = folder / f"{room}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def as_markup(
    app: Sphinx, kind: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Turn a docstring of this project into reStructuredText, before napoleon reads it.

    Asterisks and bars outside of code are meant as written. The labels of a condition begin a
    field each, whose further lines are indented already.
    """
    for index, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+)", line)
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[index] = re.sub(
            r"^(At the slots|In the image|Source|Control): ", r":\1: ", "".join(parts)
        )


def take_types_literally(
    app: Sphinx, kind: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Keep the asterisk of a shape, as in "*queries", from beginning an emphasis."""
    lines[:] = [line.replace("*", r"\*") if ":vartype " in line else line for line in lines]


def leave_out(
    app: Sphinx, kind: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the methods that scikit-learn makes for every estimator."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


# The gallery


def titled_images(document: nodes.document) -> list[tuple[nodes.section, nodes.image]]:
    """The images of a notebook, each with the section that it stands in."""
    found = []
    for image in document.findall(nodes.image):
        parent = image.parent
        while parent is not None and not isinstance(parent, nodes.section):
            parent = parent.parent
        if parent is not None:
            found.append((parent, image))
    return found


def fill_gallery(app: Sphinx, document: nodes.document, name: str) -> None:
    """Put the figures of all notebooks on the gallery's page, each a link to its section."""
    if name != GALLERY:
        return
    here = document.next_node(nodes.section)
    assert here is not None
    for notebook in notebooks(app):
        tree = app.env.get_doctree(notebook)
        pictures = titled_images(tree)
        if not pictures:
            continue
        heading = tree.next_node(nodes.title)
        assert heading is not None
        part = nodes.section(ids=[notebook.replace("/", "-")])
        part += nodes.title(text=heading.astext())
        for section, image in pictures:
            address = app.builder.get_relative_uri(GALLERY, notebook) + f"#{section['ids'][0]}"
            link = nodes.reference(refuri=address, internal=True)
            copy = image.deepcopy()
            copy["alt"] = section.next_node(nodes.title).astext()
            link += copy
            part += nodes.paragraph("", "", nodes.Text(copy["alt"]))
            part += nodes.paragraph("", "", link)
        here += part


def lead_to_index(app: Sphinx, error: Exception | None) -> None:
    """Let the folder of the site open at the index."""
    if error is None and app.builder.name == "html":
        target = app.builder.get_target_uri(INDEX)
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}">\n'
        (app.outdir / "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the parts to Sphinx."""
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", as_markup, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", take_types_literally, priority=600)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("source-read", order_pages)
    app.connect("doctree-resolved", fill_gallery)
    app.connect("build-finished", lead_to_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
