"""Hooks that keep, of one generation, what some sites ask for and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lantern_probe.model.sites import submodule
from lantern_probe.vocabulary import IMAGE_ROLES, PROMPT_ROLES, TEXT_ROLES, Site

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel

Place = tuple[str, int | None]
"""Component and layer."""


class Tap:
    """What one module gives during one generation.

    Args:
        roles: Those that are asked of this module.
        prompts: By row, the positions of each prompt role.

    Attributes:
        pooled: By prompt role the mean over its positions, in float32, [rows, 1, D]; NaN for a
            row without any.
    """

    def __init__(self, roles: set[str], prompts: Sequence[Mapping[str, Tensor]]):
        self.pooled: dict[str, Tensor] = {}
        self._prompts = {role: [row[role] for row in prompts] for role in roles & {*PROMPT_ROLES}}
        self._follows = bool(roles & {*TEXT_ROLES})
        self._steps: list[Tensor] = []  # [rows, D] of the prompt's end, then of every decode step
        self._begun = False

    def see(self, value: Tensor | Sequence[Tensor]) -> None:
        """Take note of one forward: for every row, [positions, D]."""
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
        """What was seen at every row's positions; NaN for a row without.

        Args:
            positions: In the padded sequence; `width` of them or None.
            first: The position of the prompt's end.
            width: Positions per row.
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
    """Tap the modules of the sites for one generation; the hooks go however it ends.

    nnsight has replaced the modules' `forward` by then; hooks are called around it and do not
    mind. Latents need no tap: the decoding keeps what it feeds.

    Args:
        lantern: The model.
        sites: What will be asked for.
        prompts: By row of the batch to come, the positions of each prompt role.
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
    taps: dict[Place, Tap] = {}
    handles: list[RemovableHandle] = []
    try:
        for place, asked in roles.items():
            tap = taps[place] = Tap(asked, images if place[0] == "vision" else prompts)
            handles.append(_hook(submodule(lantern, *place), place[0], tap, counts))
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _hook(module: nn.Module, component: str, tap: Tap, counts: list[int]) -> RemovableHandle:
    if component == "embedding":
        return module.register_forward_pre_hook(lambda module, args: tap.see(args[0]))
    if component == "vision":
        return module.register_forward_hook(
            lambda module, args, output: tap.see(torch.split(output.pooler_output, counts))
        )
    return module.register_forward_hook(lambda module, args, output: tap.see(output))
