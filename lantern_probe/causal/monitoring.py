"""The numbers of a card for a model in training, between two of its steps.

The rows are those of a diagnosis (`causal.diagnosis`), all pairs of which are run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lantern_probe.analysis.monitoring import Monitored, monitored
from lantern_probe.analysis.reading import Thresholds
from lantern_probe.causal.diagnosis import Battery
from lantern_probe.causal.twin_pairs import pair
from lantern_probe.records.run import Run
from lantern_probe.tasks.answers import Parser
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import nn


def monitor(
    model: nn.Module,
    processor: Any,
    samples: Sequence[Sample],
    *,
    latent_size: int | None = None,
    max_new_tokens: int | None = None,
    batch_rows: int | None = None,
    parser: Parser = "default",
    thresholds: Thresholds | None = None,
) -> Monitored:
    """The numbers of a diagnosis for a model in the middle of its training.

        >>> from lantern_probe import load_task, monitor
        >>> numbers = monitor(lantern.hf, lantern.processor, load_task("scenes", 20))
        >>> follows = numbers["follows"]
        >>> round(follows.value, 2), follows.low < follows.value, follows.n
        (1.0, True, 20)

    The model is left as it was, also by an error: mode, hooks, gradients, caches, configs, random
    generators. It is not wrapped by nnsight, and may be wrapped by peft.

    Args:
        model: A Qwen2.5-VL of transformers with LVR tokens, as a training has it.
        processor: Its processor, with the sizes of images that it is evaluated with.
        samples: Samples, each of which gets a twin as in `diagnose`; with fewer than 20 pairs
            estimates have no value.
        latent_size: K, the number of slots in a block; default the config's.
        max_new_tokens: Limit of every continuation in tokens; the model's own by default.
        batch_rows: Number of rows decoded together, by default as many as fit into memory.
        parser: Parser of the answers, default `default`.
        thresholds: Numbers of which `delta` says how far conditions may differ in what can be
            compared; the defaults if None.

    Raises:
        LanternError: the model is sharded (FSDP, DeepSpeed ZeRO-3) or has no latent blocks, or
            nothing could be run.
    """
    from lantern_probe.model.in_training import lent

    began = perf_counter()
    pairs = pair(samples)
    with (
        lent(model, processor, latent_size) as lantern,
        tempfile.TemporaryDirectory() as scratch,
        Run.open(Path(scratch) / "run", {"experiment": "monitor"}) as run,
    ):
        battery = Battery(lambda: lantern, pairs, run, max_new_tokens, batch_rows, parser)
        battery.until(pairs.number)
        rows = list(run.rows())
    return monitored(
        rows,
        pairs=pairs.number,
        delta=(thresholds or Thresholds()).delta,
        edit=pairs.edit,
        without=[why for _, why in pairs.without],
        seconds=perf_counter() - began,
    )
