"""Each condition against its own control: erasing against shuffled labels, a cut against random.

A condition and its control are both compared with `own`. That one of them differs from it and the
other does not is no evidence that the two differ; this is the comparison that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lantern_probe.analysis.seeds import Unit, matched, seeds_of
from lantern_probe.records.rows import Row
from lantern_probe.stats import Contrast, holm
from lantern_probe.stats.passes import mean_accuracy_difference, mean_test

_SUFFIXES = ("-shuffled", "-random")


@dataclass(frozen=True)
class ControlContrast:
    """Effect of a condition minus that of its control, on the same samples.

    Attributes:
        condition: Label of the condition.
        control: Label of the control.
        contrast: (condition - reference) - (control - reference), in accuracy, with its interval
            and test; of several seeds both count the spread between them.
        holm_p: p value after Holm over all controls of the model.
    """

    condition: str
    control: str
    contrast: Contrast
    holm_p: float | None


def controls_of(label: str, labels: Sequence[str]) -> list[str]:
    """Labels that are controls of a condition.

    These are the conditions of the same settings, seeds apart, whose name adds `-shuffled` or
    `-random`, or whose settings add `random`. A cut of the whole image has none of its size: there
    one random half is held against the other.

        >>> controls_of("erase:attribute=color", ["erase-random:attribute=color,seed=1"])
        ['erase-random:attribute=color,seed=1']
        >>> controls_of("after->slot", ["own", "after->slot:random=1", "after->image:random=1"])
        ['after->slot:random=1']
        >>> halves = ["a->image", "a->image:random=1", "a->image:random=1,other=1"]
        >>> [controls_of(label, halves) for label in halves]
        [[], ['a->image:random=1,other=1'], []]
    """
    name, settings, corruption = _parts(label)
    seed = settings.pop("seed", "0")
    half = settings.pop("random", "0") != "0"
    # A random cut of the whole image is a cut of one half, whose equal is the other half.
    whole_image = name.endswith("->image")
    if half != whole_image or "other" in settings:
        return []
    if half:
        settings["other"] = "1"
    found = []
    for other in labels:
        other_name, other_settings, other_corruption = _parts(other)
        drawn = other_settings.pop("random", "0") != "0"
        if other_settings.pop("seed", "0") != seed and half:
            continue  # the half of another draw is not the other half of this one
        named = any(other_name == name + suffix for suffix in _SUFFIXES)
        control = named or (drawn and other_name == name)
        if control and (other_settings, other_corruption) == (settings, corruption):
            found.append(other)
    return found


def _parts(label: str) -> tuple[str, dict[str, str], str]:
    condition, _, corruption = label.partition("@")
    name, _, settings = condition.partition(":")
    pairs = (setting.partition("=") for setting in filter(None, settings.split(",")))
    return name, {key: value for key, _, value in pairs}, corruption


def summarize(
    rows: Mapping[str, Mapping[Unit, Row]], references: Mapping[str, str]
) -> list[ControlContrast]:
    """Compare every condition with each of its controls, on the samples that count in all three.

    Args:
        rows: Rows that count, by condition and by unit (`seeds.by_pool`).
        references: Label of the reference of each condition.
    """
    found = []
    for label in rows:
        for control in controls_of(label, list(rows)):
            pairs = _pairs(rows[label], rows[control], rows.get(references[label], {}))
            if pairs:
                found.append(ControlContrast(label, control, _contrast(pairs), None))
    adjusted = holm([item.contrast.test.p for item in found])
    return [replace(item, holm_p=p) for item, p in zip(found, adjusted, strict=True)]


def _pairs(
    rows: Mapping[Unit, Row], control: Mapping[Unit, Row], own: Mapping[Unit, Row]
) -> list[tuple[Row, Row]]:
    """Texts of a condition and of its control that count together with their reference.

    A condition of one seed is held against every seed of its control.
    """
    if len({seeds_of(row) for row in control.values()}) > len({seeds_of(r) for r in rows.values()}):
        return [(row, other) for other, row in _pairs(control, rows, own)]
    others, references = matched(rows, control), matched(rows, own)
    return [(rows[key], others[key]) for key in others if key in references]


def _contrast(pairs: Sequence[tuple[Row, Row]]) -> Contrast:
    """The contrast of two effects with one reference, which cancels: one minus the other."""
    first, second = ([bool(pair[place]["correct"]) for pair in pairs] for place in (0, 1))
    samples, images = ([row[name] for row, _ in pairs] for name in ("sample", "cluster"))
    seeds = [(seeds_of(row), seeds_of(other)) for row, other in pairs]
    return Contrast(
        mean_accuracy_difference(first, second, samples, images, seeds=seeds),
        mean_test(first, second, samples, images, seeds=seeds),
    )
