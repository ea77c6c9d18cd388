"""Source of measured figures, and its departures from the published setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lantern_probe.analysis.literature.figures import ALL, PublishedFigure
from lantern_probe.tasks import TASKS


@dataclass(frozen=True)
class Source:
    """Source of measured figures.

    Attributes:
        label: Model, data and n in words, for headings.
        departures: Differences from the published setting; empty if there are none.
        trust: Statements about model and data that could not be checked.
        notes: Remarks on unusual result files.
        same: True if the texts are the published records themselves, taken on trust; default False.
    """

    label: str
    departures: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    same: bool = False

    @classmethod
    def of(
        cls, figure: PublishedFigure, model: str, data: str, kind: str | None, n: int, how: str = ""
    ) -> Source:
        """Compare a measurement's model, data and n with those of a published figure.

        Args:
            figure: Published figure.
            model: Name of the model that was run.
            data: Name of the data.
            kind: Data set that the data are of; None if it cannot be told.
            n: Number of samples.
            how: Text to add to the label; default none.
        """
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
    """The data set to which a generated task belongs, or the task itself; None for other names."""
    return "Tetris" if task.startswith("tetris") else task if task in TASKS else None
