"""Figures, made from results alone; no model is needed.

`plot_*(results, ax)` draws on the axes given, or on those of a new figure, and returns the axes.
`*_figure(results)` makes a whole figure and returns it. `save_figure` writes a figure to a file.
In Jupyter, a figure as the last line of a cell is displayed: `plot_accuracy(summaries).figure`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.plots.ablation import ablation_figure, plot_accuracy
    from lantern_probe.plots.answers import answers_figure
    from lantern_probe.plots.attention import (
        attention_figure,
        plot_attention_by_layer,
        plot_attention_over_image,
    )
    from lantern_probe.plots.attention_overlays import overlay_figure
    from lantern_probe.plots.card import plot_card
    from lantern_probe.plots.comparison import comparison_figure, plot_differences
    from lantern_probe.plots.controls import plot_crossed, plot_swap_shifts
    from lantern_probe.plots.decomposition import plot_gains
    from lantern_probe.plots.embedding import embedding_figure, plot_embedding
    from lantern_probe.plots.embedding_view import interactive_embedding
    from lantern_probe.plots.exchange import (
        plot_donor_rates,
        plot_donor_rates_by_count,
        plot_effects,
        plot_slot_shares,
    )
    from lantern_probe.plots.fed_states import (
        fed_states_figure,
        plot_end_cosines,
        plot_norm_regime,
    )
    from lantern_probe.plots.geometry import (
        plot_alignment,
        plot_by_slot,
        plot_cosine_matrix,
        plot_cosines,
        plot_effective_ranks,
        plot_ranks,
        plot_spectrum,
    )
    from lantern_probe.plots.latents import latents_figure
    from lantern_probe.plots.literature import (
        accuracy_figure,
        plot_mean_ranks,
        plot_published_accuracies,
        plot_published_pairs,
        plot_recall,
        retrieval_figure,
    )
    from lantern_probe.plots.monitoring import plot_monitor
    from lantern_probe.plots.patching import patching_figure, plot_recovery
    from lantern_probe.plots.probing import plot_layers_by_slot, plot_scores_by_slot, probe_figure
    from lantern_probe.plots.readouts import (
        plot_ranks_by_slot,
        plot_words,
        slot_maps_figure,
        words_figure,
    )
    from lantern_probe.plots.samples import plot_sample, samples_figure
    from lantern_probe.plots.sensitivity import plot_sensitivity, sensitivity_figure
    from lantern_probe.plots.style import ACCENT, INK, SERIES, SOFT, TEAL, save_figure
    from lantern_probe.plots.triggers import plot_triggers, triggers_figure

__all__ = [
    "ACCENT",
    "INK",
    "SERIES",
    "SOFT",
    "TEAL",
    "ablation_figure",
    "accuracy_figure",
    "answers_figure",
    "attention_figure",
    "comparison_figure",
    "embedding_figure",
    "fed_states_figure",
    "interactive_embedding",
    "latents_figure",
    "overlay_figure",
    "patching_figure",
    "plot_accuracy",
    "plot_alignment",
    "plot_attention_by_layer",
    "plot_attention_over_image",
    "plot_by_slot",
    "plot_card",
    "plot_cosine_matrix",
    "plot_cosines",
    "plot_crossed",
    "plot_differences",
    "plot_donor_rates",
    "plot_donor_rates_by_count",
    "plot_effective_ranks",
    "plot_effects",
    "plot_embedding",
    "plot_end_cosines",
    "plot_gains",
    "plot_layers_by_slot",
    "plot_mean_ranks",
    "plot_monitor",
    "plot_norm_regime",
    "plot_published_accuracies",
    "plot_published_pairs",
    "plot_ranks",
    "plot_ranks_by_slot",
    "plot_recall",
    "plot_recovery",
    "plot_sample",
    "plot_scores_by_slot",
    "plot_sensitivity",
    "plot_slot_shares",
    "plot_spectrum",
    "plot_swap_shifts",
    "plot_triggers",
    "plot_words",
    "probe_figure",
    "retrieval_figure",
    "samples_figure",
    "save_figure",
    "sensitivity_figure",
    "slot_maps_figure",
    "triggers_figure",
    "words_figure",
]

__getattr__ = lazily(
    __name__,
    ablation="ablation_figure plot_accuracy",
    answers="answers_figure",
    attention_overlays="overlay_figure",
    attention="attention_figure plot_attention_by_layer plot_attention_over_image",
    card="plot_card",
    comparison="comparison_figure plot_differences",
    controls="plot_crossed plot_swap_shifts",
    decomposition="plot_gains",
    embedding="embedding_figure plot_embedding",
    embedding_view="interactive_embedding",
    fed_states="fed_states_figure plot_end_cosines plot_norm_regime",
    exchange="plot_donor_rates plot_donor_rates_by_count plot_effects plot_slot_shares",
    geometry=(
        "plot_alignment plot_by_slot plot_cosine_matrix plot_cosines plot_effective_ranks "
        "plot_ranks plot_spectrum"
    ),
    latents="latents_figure",
    literature=(
        "accuracy_figure plot_mean_ranks plot_published_accuracies plot_published_pairs "
        "plot_recall retrieval_figure"
    ),
    monitoring="plot_monitor",
    patching="patching_figure plot_recovery",
    probing="plot_layers_by_slot plot_scores_by_slot probe_figure",
    readouts="plot_ranks_by_slot plot_words slot_maps_figure words_figure",
    samples="plot_sample samples_figure",
    sensitivity="plot_sensitivity sensitivity_figure",
    style="ACCENT INK SERIES SOFT TEAL save_figure",
    triggers="plot_triggers triggers_figure",
)
