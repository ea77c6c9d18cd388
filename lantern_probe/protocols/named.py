"""The protocols of published reasoners, each as its official code decodes."""

from __future__ import annotations

from types import MappingProxyType

from lantern_probe.protocols.protocol import LatentProtocol

_LATENT = ("latent_start_id", "latent_token_id", "latent_end_id")
_ABSTRACT = ("<abs_vis_token>", "<abs_vis_token_pad>", "</abs_vis_token>")
_LATENT_TEXTS = ("<|latent_start|>", "<|latent_pad|>", "<|latent_end|>")
_BOXED_SYSTEM = (
    "You are a helpful multimodal assistant. You are required to answer the question based on the "
    r"image provided. Put your final answer in \boxed{}."
)
_TOKEN = 28 * 28
"""Pixels of an image token of Qwen2.5-VL."""

LANTERN = LatentProtocol(
    name="lantern",
    keys=("lvr_start_id", "lvr_sep_id", "lvr_end_id"),
    markers=("<|lvr_start|>", "<|lvr_sep|>", "<|lvr_end|>"),
    pixels=(256 * _TOKEN, 3500 * _TOKEN),
    oracle="crop",
    official="GuilhermeViveiros/LanteRn, commit 65f64b2",
)

LVR = LatentProtocol(
    name="lvr",
    keys=("lvr_start_id", "lvr_id", "lvr_end_id"),
    markers=("<|lvr_start|>", "<|lvr|>", "<|lvr_end|>"),
    size="latent_size or 8",
    opens="last",
    slot_token="own",
    close="no marker",
    end_of_text="ignored",
    also=("lvr_latent_end_id",),
    classes=("QwenWithLVR",),
    oracle="region",
    official="VincentLeebang/lvr, commit 637a9f7, decoding strategy 'steps'",
)

MONET = LatentProtocol(
    name="monet",
    keys=_LATENT,
    markers=_ABSTRACT,
    size="latent_size or 10",
    first="marker",
    slot_token="own",
    close="early",
    lead=r"\boxed{",
    system=_BOXED_SYSTEM,
    pixels=(256 * _TOKEN, 8192 * _TOKEN),
    official="NOVAglow646/Monet, commit 0893999, its vLLM runner",
)

MONET_HF = LatentProtocol(
    name="monet-hf",
    keys=_LATENT,
    markers=_ABSTRACT,
    size="latent_size or 10",
    close="early",
    restarts=True,
    lead=r"\boxed{",
    system=_BOXED_SYSTEM,
    pixels=(256 * _TOKEN, 8192 * _TOKEN),
)

ILVR = LatentProtocol(
    name="ilvr",
    keys=_LATENT,
    markers=_LATENT_TEXTS,
    close="early",
    restarts=True,
    lead="final answer is",
    official="XD111ds/ILVR, commit ddfc95c, its fork of transformers",
)

MIRAGE = LatentProtocol(
    name="mirage",
    keys=_LATENT,
    markers=_LATENT_TEXTS,
    size=8,
    close="early",
    restarts=True,
    blocks=1,
    lead=r"\boxed{",
    oracle="helper",
    official="UMass-Embodied-AGI/Mirage, commit 53f26de, its fork of transformers",
)

SKILA = LatentProtocol(
    name="skila",
    keys=("sketch_start_id", "skila_id", "sketch_end_id"),
    markers=("<|sketch_start|>", "<|skila|>", "<|sketch_end|>"),
    size="2 * sketch_token_num",
    opens="last",
    close="early",
    classes=("SkiLa",),
    official="TungChintao/SkiLa, commit 98f5563",
)

SWIMBIRD = LatentProtocol(
    name="swimbird",
    keys=("latent_start_id", "latent_id", "latent_end_id"),
    markers=("<|latent_start|>", "<|latent|>", "<|latent_end|>"),
    size="2 * max_latent_token",
    opens="last",
    close="early",
    model_type="qwen3_vl",
    classes=("SwimBird_Qwen3VL",),
    pixels=(1280 * _TOKEN, 16384 * _TOKEN),
    oracle="helper",
    official="Accio-Lab/SwimBird, commit 6aa2cc3",
)

PROTOCOLS = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (LANTERN, LVR, MONET, MONET_HF, ILVR, MIRAGE, SKILA, SWIMBIRD)
    }
)
"""The named protocols, by name. `monet-hf` conforms to no official code."""
