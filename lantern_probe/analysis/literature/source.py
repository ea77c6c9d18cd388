"""Where measured figures come from, and in what that departs from the published setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lantern_probe.analysis.literature.figures import ALL, PublishedFigure
from lantern_probe.tasks import TASKS


@dataclass(frozen=True)
class Source:
    """What was measured.

    Attributes:
        label: In words, for headings.
        departures: In what this is not the published setting; empty where it is.
        trust: What could not be checked.
        notes: What is unusual about result files.
    """

    label: str
    departures: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, figure: PublishedFigure, model: str, data: str, kind: str | None, n: int, how: str = ""
    ) -> Source:
        """Of a model on data of a kind, which is None where nobody can tell."""
        departures, trust = [], []
        if model != figure.model:
            named = figure.model and Path(model).name == figure.model.partition("/")[2]
            if named and Path(model).is_dir():
                trust.append(f"the folder '{model}' is {figure.model}")
            else:
                departures.append(f"the model is {model}, not {figure.model or 'theirs'}")
        if kind is None:
            trust.append(f"the data '{data}' are {figure.data}")
        elif kind != figure.data:
            departures.append(f"the data are {kind}, not {figure.data}")
        if n != figure.n.get(ALL, n):
            departures.append(f"n is {n}, not {figure.n[ALL]}")
        if figure.caveat:
            departures.append(figure.caveat)
        return cls(f"{model} on {data}, n = {n}{how}", tuple(departures), tuple(trust))


def kind_of(task: str) -> str | None:
    """The data set that a generated task is of, or the task itself; None for other names."""
    return "Tetris" if task.startswith("tetris") else task if task in TASKS else None
