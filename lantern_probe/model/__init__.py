"""The model: its checkpoint, its latent blocks, the roles of positions, memory, replay, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.model.answer_tokens import AnswerPlace, answer_forms, find_answer
    from lantern_probe.model.attention import REPEATED_SDPA, AttentionHook, hooked
    from lantern_probe.model.blocks import (
        OWN,
        Block,
        BranchResult,
        LanternOutput,
        LvrTokens,
        PromptNorms,
        RowPlan,
        Slot,
        SlotEdit,
        find_blocks,
    )
    from lantern_probe.model.checkpoint import Checkpoint, load_checkpoint, untrain
    from lantern_probe.model.decoding import LatentDecoding
    from lantern_probe.model.facts import finish_of, running_facts
    from lantern_probe.model.hooks import component_hooks
    from lantern_probe.model.lantern import MAX_NEW_TOKENS, LanternModel
    from lantern_probe.model.location import identity, locate
    from lantern_probe.model.memory import (
        Batches,
        Footprint,
        cache_bytes_per_token,
        footprint,
        free_memory,
        rows_that_fit,
    )
    from lantern_probe.model.oracle import region_latents
    from lantern_probe.model.replay import Replay
    from lantern_probe.model.roles import (
        Roles,
        RoleTracker,
        find_roles,
        position_sets,
        prompt_sets,
        tokens_in_box,
    )
    from lantern_probe.model.sampling import Draws, Sampling
    from lantern_probe.model.scoring import score_answers
    from lantern_probe.model.sites import layer_count, prompt_positions, submodule, text_positions
    from lantern_probe.model.teacher_forcing import ForcedTexts, check_followable

__all__ = [
    "MAX_NEW_TOKENS",
    "OWN",
    "REPEATED_SDPA",
    "AnswerPlace",
    "AttentionHook",
    "Batches",
    "Block",
    "BranchResult",
    "Checkpoint",
    "Draws",
    "Footprint",
    "ForcedTexts",
    "LanternModel",
    "LanternOutput",
    "LatentDecoding",
    "LvrTokens",
    "PromptNorms",
    "Replay",
    "RoleTracker",
    "Roles",
    "RowPlan",
    "Sampling",
    "Slot",
    "SlotEdit",
    "answer_forms",
    "cache_bytes_per_token",
    "check_followable",
    "component_hooks",
    "find_answer",
    "find_blocks",
    "find_roles",
    "finish_of",
    "footprint",
    "free_memory",
    "hooked",
    "identity",
    "layer_count",
    "load_checkpoint",
    "locate",
    "position_sets",
    "prompt_positions",
    "prompt_sets",
    "region_latents",
    "rows_that_fit",
    "running_facts",
    "score_answers",
    "submodule",
    "text_positions",
    "tokens_in_box",
    "untrain",
]

__getattr__ = lazily(
    __name__,
    lantern="MAX_NEW_TOKENS LanternModel",
    checkpoint="Checkpoint load_checkpoint untrain",
    location="identity locate",
    blocks=(
        "OWN Block BranchResult LanternOutput LvrTokens PromptNorms RowPlan Slot SlotEdit "
        "find_blocks"
    ),
    decoding="LatentDecoding",
    facts="finish_of running_facts",
    teacher_forcing="ForcedTexts check_followable",
    answer_tokens="AnswerPlace answer_forms find_answer",
    sampling="Draws Sampling",
    scoring="score_answers",
    oracle="region_latents",
    roles="RoleTracker Roles find_roles position_sets prompt_sets tokens_in_box",
    sites="layer_count prompt_positions submodule text_positions",
    hooks="component_hooks",
    attention="REPEATED_SDPA AttentionHook hooked",
    replay="Replay",
    memory="Batches Footprint cache_bytes_per_token footprint free_memory rows_that_fit",
)
