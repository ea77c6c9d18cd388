"""Rows as a pandas frame, for further tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lantern_probe.records.rows import KEY, Row

_TRUTH = ("correct", "emitted")


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per row, in the order given; `sample` and `condition` come first.

    A field that a row lacks is missing: a failed sample has no `answer`. `correct` and `emitted`
    have the type `boolean`, whose missing values are left out of means instead of being wrong.
    Log-probabilities become one column per candidate, `logprobs.A` and so on; other objects and
    lists stay as they are.

    Args:
        rows: Rows from `read_rows`, `Run.rows` or `read_published`.
    """
    flat = []
    for row in rows:
        line = dict(row)
        scores = line.pop("logprobs", None)
        if isinstance(scores, Mapping):
            line |= {f"logprobs.{name}": value for name, value in scores.items()}
        flat.append(line)
    names = dict.fromkeys([*KEY, *(name for line in flat for name in line)])
    frame = pd.DataFrame(flat, columns=list(names))
    for name in _TRUTH:
        if name in frame:
            frame[name] = frame[name].astype("boolean")
    return frame
