"""Reading the model: activations and attention, of a batch or of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.capture.attention import (
        AttentionReading,
        default_queries,
        read_attention,
        reading_attention,
    )
    from lantern_probe.capture.attention_measures import (
        Enrichment,
        attention_figures,
        enrichment,
        entropy,
        image_maps,
        mass_by_role,
    )
    from lantern_probe.capture.batch import (
        Captured,
        capture_batch,
        readable,
        samples_together,
        store_dtype,
    )
    from lantern_probe.capture.dataset import Capture, bytes_per_sample
    from lantern_probe.capture.image_readouts import cosine_maps, read_image_tokens, slot_maps
    from lantern_probe.capture.lens import LogitLens, Words, words_of
    from lantern_probe.capture.sensitivity import between, distances
    from lantern_probe.capture.word_readouts import read_words

__all__ = [
    "AttentionReading",
    "Capture",
    "Captured",
    "Enrichment",
    "LogitLens",
    "Words",
    "attention_figures",
    "between",
    "bytes_per_sample",
    "capture_batch",
    "cosine_maps",
    "default_queries",
    "distances",
    "enrichment",
    "entropy",
    "image_maps",
    "mass_by_role",
    "read_attention",
    "read_image_tokens",
    "read_words",
    "readable",
    "reading_attention",
    "samples_together",
    "slot_maps",
    "store_dtype",
    "words_of",
]

__getattr__ = lazily(
    __name__,
    batch="Captured capture_batch readable samples_together store_dtype",
    dataset="Capture bytes_per_sample",
    attention="AttentionReading default_queries read_attention reading_attention",
    attention_measures="Enrichment attention_figures enrichment entropy image_maps mass_by_role",
    image_readouts="cosine_maps read_image_tokens slot_maps",
    lens="LogitLens Words words_of",
    sensitivity="between distances",
    word_readouts="read_words",
)
