"""The recorder of a capture: it keeps what some sites ask of one generation, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lantern_probe.model.hooks import Act, Place, component_hooks
from lantern_probe.vocabulary import IMAGE_ROLES, PROMPT_ROLES, TEXT_ROLES, Site

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel


class Tap:
    """The activations of one component during one generation.

    Args:
        roles: Roles at which the component is to be read.
        prompts: For every row, the positions of each prompt role.

    Attributes:
        pooled: By prompt role, the mean over its positions in float32, [rows, 1, D]; NaN for a
            row that lacks the role.
    """

    def __init__(self, roles: set[str], prompts: Sequence[Mapping[str, Tensor]]):
        self.pooled: dict[str, Tensor] = {}
        self._prompts = {role: [row[role] for row in prompts] for role in roles & {*PROMPT_ROLES}}
        self._follows = bool(roles & {*TEXT_ROLES})
        self._steps: list[Tensor] = []  # [rows, D] of the prompt's end, then of every decode step
        self._begun = False

    def see(self, value: Tensor | Sequence[Tensor]) -> None:
        """Record one forward: the first is the prompt's, every later one is a decode step.

        Args:
            value: For every row, [positions, D].
        """
        if not self._begun:
            self.pooled = {role: _means(value, at) for role, at in self._prompts.items()}
            self._begun = True
        if self._follows and isinstance(value, Tensor):
            # A decode step's output is fresh and can be kept as it is; of the prompt, the end.
            last = value[:, -1]
            self._steps.append(last.clone() if value.shape[1] > 1 else last)

    def at(
        self, positions: Sequence[Sequence[int] | None], first: int, width: int
    ) -> Float[Tensor, "rows width dim"]:
        """The activations at each row's positions; NaN for a row without positions.

        Args:
            positions: For every row, `width` positions in the padded sequence, or None.
            first: The position of the prompt's last token.
            width: Number of positions per row.
        """
        like = self._steps[0]
        found = like.new_full((len(positions), width, like.shape[-1]), torch.nan)
        rows = [row for row, at in enumerate(positions) if at]
        if rows:
            steps = [[position - first for position in positions[row] or ()] for row in rows]
            needed = sorted({step for of_row in steps for step in of_row})
            where = {step: index for index, step in enumerate(needed)}
            stack = torch.stack([self._steps[step] for step in needed])
            index = torch.tensor([[where[step] for step in of_row] for of_row in steps])
            found[rows] = stack[index, torch.tensor(rows)[:, None]]
        return found


def _means(rows: Tensor | Sequence[Tensor], positions: Sequence[Tensor]) -> Tensor:
    means = [
        row[at.to(row.device)].float().mean(0) for row, at in zip(rows, positions, strict=True)
    ]
    return torch.stack(means)[:, None]


@contextmanager
def tapped(
    lantern: LanternModel, sites: Sequence[Site], prompts: Sequence[Mapping[str, Tensor]]
) -> Iterator[dict[Place, Tap]]:
    """Record the components of the sites during the generation inside the block.

    `latent` needs no tap: the decoding keeps what it feeds. Hooks are removed however the block
    ends.

    Args:
        lantern: The model.
        sites: Sites that will be read afterwards.
        prompts: For every row of the batch, the positions of each prompt role.
    """
    roles: dict[Place, set[str]] = {}
    for site in sites:
        if site.component != "latent":
            roles.setdefault((site.component, site.layer), set()).add(site.role)
    # The vision tower gives a row's image tokens without the text between them.
    images = [
        {role: torch.searchsorted(row["image-mean"], row[role]) for role in IMAGE_ROLES}
        for row in prompts
    ]
    counts = [len(row["image-mean"]) for row in prompts]
    taps = {
        place: Tap(asked, images if place[0] == "vision" else prompts)
        for place, asked in roles.items()
    }
    acts: dict[Place, Act] = {
        place: _by_row(tap, counts) if place[0] == "vision" else tap.see
        for place, tap in taps.items()
    }
    with component_hooks(lantern, acts):
        yield taps


def _by_row(tap: Tap, counts: Sequence[int]) -> Act:
    return lambda value: tap.see(torch.split(value, list(counts)))
