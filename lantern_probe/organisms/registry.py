"""The organisms that come with the package, and what is known about each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError

CARD = "organism.json"
CHECKPOINTS = Path(__file__).parent / "checkpoints"

NOTE = (
    "An engineered control: its behaviour is an objective that training met, so that diagnostics "
    "can be checked against a known truth. It is no evidence about LanteRn."
)


@dataclass(frozen=True)
class OrganismCard:
    """What an organism is, by construction and by measurement.

    Attributes:
        kind: `faithful`, `bypass`, `collapsed` or `vanilla`.
        seed: Training seed.
        task: The task (`lantern_probe.tasks.load_task`) on which the truth is stated.
        truth: What is known about it, in one sentence.
        chance: Accuracy of guessing on the task.
        default_answer: The word it was taught to give when the slots say nothing; None when it
            was not taught one.
        trained_on: Conditions that its training saw.
        held_out: Conditions that no training saw.
        recipe: Version of the recipe that made it.
        training: Steps, seconds and package versions of the training.
        test: Number and seed of the fresh scenes behind `measured`.
        measured: By condition: accuracy with its 95 % Wilson interval, mean probability of the
            right answer, and for a swap the share of answers that are the donor's.
        note: What it must not be taken for.
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
    note: str = NOTE

    def write(self, folder: Path) -> None:
        """Write the card into a checkpoint's folder."""
        text = json.dumps(asdict(self), indent=1)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> OrganismCard:
        """Read the card of a checkpoint's folder.

        Raises:
            LanternError: there is no card, or it lacks or has unknown fields.
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
    """The organisms that come with the package."""
    return tuple(sorted(file.parent.name for file in CHECKPOINTS.glob(f"*/{CARD}")))


def path(name: str) -> Path:
    """The checkpoint folder of an organism; it loads like any Hugging Face checkpoint.

    Raises:
        LanternError: there is no organism of that name.
    """
    if name not in names():
        raise LanternError(f"no organism {name!r}; known: {', '.join(names())}")
    return CHECKPOINTS / name


def card(name: str) -> OrganismCard:
    """What is known about an organism.

    Raises:
        LanternError: there is no organism of that name.
    """
    return OrganismCard.read(path(name))


def find_card(source: str) -> OrganismCard | None:
    """What is known about a model given as an organism's name or folder; None for others."""
    if source in names():
        return card(source)
    return OrganismCard.read(Path(source)) if (Path(source) / CARD).is_file() else None
