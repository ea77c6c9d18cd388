"""The organisms that come with the package, and the cards with their known truths."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError

CARD = "organism.json"
"""Name of the file with the card in a checkpoint's folder."""
CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""Folder of the organisms that come with the package."""

NOTE = (
    "An engineered control: its behaviour is an objective that training met, so that diagnostics "
    "can be checked against a known truth. It is no evidence about LanteRn."
)


@dataclass(frozen=True)
class OrganismCard:
    """Facts about an organism, by construction and by measurement.

    Attributes:
        kind: Kind of organism: `faithful`, `bypass`, `collapsed` or `vanilla`, or a graded one:
            `partial`, `format-only`, `markers-only`, `halves`, `ordered`, `distractor`, `weak` or
            `question-only`.
        seed: Seed of the training.
        task: Name of the task (`lantern_probe.tasks.load_task`) on which the truth is stated.
        truth: The known truth in one sentence.
        chance: Accuracy of guessing on the task, between 0 and 1.
        default_answer: Word it was taught to answer where the slots say nothing; None if it was
            not taught one.
        trained_on: Conditions that its training saw.
        held_out: Conditions that no training saw.
        recipe: Version of the recipe that made it.
        training: Steps, seconds and package versions of the training.
        test: Number and seed of the scenes of `measured`, which no training has seen.
        measured: Figures by condition: accuracy with its 95 % Wilson interval, mean probability of
            the right answer, and for a swap the fraction of answers that are the donor's.
        families: The same figures for each family of samples that the kind treats differently;
            empty where there is one family.
        probes: Accuracy of a linear probe of the own latents of all slots, by what it reads; empty
            where it was not measured.
        command: Command that makes the organism again; empty where the card is older.
        note: Warning that the organism is no evidence about LanteRn.
    """

    kind: str
    seed: int
    task: str
    truth: str
    chance: float
    default_answer: str | None
    trained_on: tuple[str, ...]
    held_out: tuple[str, ...]
    recipe: str
    training: dict[str, Any]
    test: dict[str, Any]
    measured: dict[str, dict[str, int | float]]
    families: dict[str, dict[str, dict[str, int | float]]] = field(default_factory=dict)
    probes: dict[str, dict[str, int | float]] = field(default_factory=dict)
    command: str = ""
    note: str = NOTE

    def write(self, folder: Path) -> None:
        """Write the card into a checkpoint's folder, as `organism.json`."""
        text = json.dumps(asdict(self), indent=1)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> OrganismCard:
        """Read the card of a checkpoint's folder.

        Raises:
            LanternError: there is no card, or a field is missing or unknown.
        """
        file = folder / CARD
        if not file.is_file():
            raise LanternError(f"no organism in {str(folder)!r}: it has no {CARD}")
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
            lists = {name: tuple(fields[name]) for name in ("trained_on", "held_out")}
            return cls(**(fields | lists))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise LanternError(f"{str(file)!r} is not an organism's card: {error}") from None


def names() -> tuple[str, ...]:
    """Names of the organisms that come with the package, sorted.

    Examples:
        >>> from lantern_probe import organisms
        >>> "faithful" in organisms.names(), "partial" in organisms.names()
        (True, True)
    """
    return tuple(sorted(file.parent.name for file in CHECKPOINTS.glob(f"*/{CARD}")))


def path(name: str) -> Path:
    """Checkpoint folder of an organism, which loads like any Hugging Face checkpoint.

    Raises:
        LanternError: there is no organism of that name.
    """
    if name not in names():
        raise LanternError(f"no organism {name!r}; known: {', '.join(names())}")
    return CHECKPOINTS / name


def card(name: str) -> OrganismCard:
    """Card of an organism: its known truth and its measured figures.

    Raises:
        LanternError: there is no organism of that name.

    Examples:
        The faithful organism is right with its own latents, and at chance without slots:

        >>> from lantern_probe import organisms
        >>> card = organisms.card("faithful")
        >>> for condition in ("own", "skip"):
        ...     print(condition, f"{card.measured[condition]['accuracy']:.2f}")
        own 1.00
        skip 0.12
        >>> card.chance
        0.125
    """
    return OrganismCard.read(path(name))


def find_card(source: str) -> OrganismCard | None:
    """Card of a model given by an organism's name or folder; None for any other model.

    Raises:
        LanternError: the folder has a card that cannot be read.
    """
    if source in names():
        return card(source)
    return OrganismCard.read(Path(source)) if (Path(source) / CARD).is_file() else None
