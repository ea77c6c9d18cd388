"""Write the table of row fields into docs/runs-on-disk.md, from the sentences in the schema.

python docs/tables.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "runs-on-disk.md"
SCHEMA = ROOT / "lantern_probe" / "records" / "schema.py"
BEGIN, END = "<!-- row fields -->", "<!-- end of row fields -->"


def shown(annotation: str) -> str:
    """A type in a form that a table's cell can hold."""
    optional = annotation.startswith("NotRequired[")
    kind = annotation.removeprefix("NotRequired[").removesuffix("]") if optional else annotation
    literal = re.fullmatch(r"Literal\[(.*)\]", kind)
    if literal:
        kind = literal[1].replace("'", "").replace(", ", " or ")
    kind = kind.replace("Any", "...").replace(" | None", " or null").replace(" | ", " or ")
    return kind + (", where it applies" if optional else "")


def fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Name, type and sentence of every field of a typed dictionary."""
    for item, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(text, ast.Expr):
            sentence = " ".join(ast.literal_eval(text.value).split())
            yield ast.unparse(item.target), shown(ast.unparse(item.annotation)), sentence


def tables() -> str:
    """The fields of every kind of row, as Markdown."""
    found = []
    for node in ast.parse(SCHEMA.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            title = (ast.get_docstring(node) or "").splitlines()[0].rstrip(".")
            bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "TypedDict"]
            found.append(f"### `{node.name}`: {title[0].lower()}{title[1:]}\n")
            if bases:
                found.append(f"The fields of `{bases[0]}`, and:\n")
            found.append("| field | type | |\n|---|---|---|")
            for name, kind, sentence in fields(node):
                found.append(f"| `{name}` | {kind} | {sentence} |")
            found[-1] += "\n"
    return "\n".join(found)


def page() -> str:
    """The page with the present tables in their place."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if END in rest else rest
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
