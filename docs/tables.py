"""Write the table of row fields into docs/runs-on-disk.md, from the sentences in the schema.

python docs/tables.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
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


def called(node: ast.Assign, text: ast.stmt) -> str | None:
    """The table of a typed dictionary made by a call: one field, whose name is a keyword."""
    value = node.value
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "TypedDict"):
        return None
    assert isinstance(text, ast.Expr) and isinstance(value.args[1], ast.Dict)
    sentence = " ".join(ast.literal_eval(text.value).split())
    (key,), (kind,) = value.args[1].keys, value.args[1].values
    assert key is not None
    row = f"| `{ast.literal_eval(key)}` | {shown(ast.unparse(kind))} | {sentence} |"
    name = ast.unparse(node.targets[0])
    return (
        f"### `{name}`: the field of sampled decoding\n\n| field | type | |\n|---|---|---|\n{row}\n"
    )


def tables() -> str:
    """The fields of every kind of row, as Markdown."""
    found = []
    body = ast.parse(SCHEMA.read_text(encoding="utf-8")).body
    for node, following in pairwise(body):
        if isinstance(node, ast.Assign) and (table := called(node, following)) is not None:
            found.append(table)
        if isinstance(node, ast.ClassDef):
            title = (ast.get_docstring(node) or "").splitlines()[0].rstrip(".")
            bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "TypedDict"]
            found.append(f"### `{node.name}`: {title[0].lower()}{title[1:]}\n")
            if bases:
                found.append(f"The fields of {' and '.join(f'`{base}`' for base in bases)}, and:\n")
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
