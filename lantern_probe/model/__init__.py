"""The model: its checkpoint, its latent blocks, where things stand in a sequence, and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.model.answer_tokens import AnswerPlace, find_answer
    from lantern_probe.model.blocks import (
        OWN,
        Block,
        BranchResult,
        LanternOutput,
        LvrTokens,
        RowPlan,
        Slot,
        SlotEdit,
        find_blocks,
    )
    from lantern_probe.model.checkpoint import load_checkpoint, untrain
    from lantern_probe.model.lantern import MAX_NEW_TOKENS, LanternModel
    from lantern_probe.model.memory import Batches, Footprint, footprint, rows_that_fit
    from lantern_probe.model.oracle import region_latents
    from lantern_probe.model.replay import Replay
    from lantern_probe.model.roles import (
        Roles,
        RoleTracker,
        find_roles,
        position_sets,
        tokens_in_box,
    )
    from lantern_probe.model.scoring import score_answers
    from lantern_probe.model.sites import layer_count, submodule

__all__ = [
    "MAX_NEW_TOKENS",
    "OWN",
    "AnswerPlace",
    "Batches",
    "Block",
    "BranchResult",
    "Footprint",
    "LanternModel",
    "LanternOutput",
    "LvrTokens",
    "Replay",
    "RoleTracker",
    "Roles",
    "RowPlan",
    "Slot",
    "SlotEdit",
    "find_answer",
    "find_blocks",
    "find_roles",
    "footprint",
    "layer_count",
    "load_checkpoint",
    "position_sets",
    "region_latents",
    "rows_that_fit",
    "score_answers",
    "submodule",
    "tokens_in_box",
    "untrain",
]

__getattr__ = lazily(
    __name__,
    lantern="LanternModel MAX_NEW_TOKENS",
    checkpoint="load_checkpoint untrain",
    blocks="OWN Block BranchResult LanternOutput LvrTokens RowPlan Slot SlotEdit find_blocks",
    answer_tokens="AnswerPlace find_answer",
    oracle="region_latents",
    roles="Roles RoleTracker find_roles position_sets tokens_in_box",
    sites="layer_count submodule",
    replay="Replay",
    scoring="score_answers",
    memory="Batches Footprint footprint rows_that_fit",
)
