"""Served answers in a run, beside the local conditions: probed before, asked after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from lantern_probe.interventions.image import Corruption, HideImage
from lantern_probe.records.rows import Row, read_manifest, read_rows
from lantern_probe.records.run import Run
from lantern_probe.tasks import Sample

from .console import console
from .endpoint_options import endpoint_of

if TYPE_CHECKING:
    from rich.progress import Progress

    from lantern_probe.serving import Serving

STOCK = "stock"
"""Local condition that plain servers answer like; it is run wherever a server is asked."""


class Servant:
    """The server of a command, in one run.

    Args:
        config: Options of the command, with an endpoint.
        model: Name of the model whose processor makes the inputs.
        run: Run that takes the rows.
        samples: Samples of the run.
        images: Corruptions of the images under which the server is asked; clean by default.
        parser: Parser of the answers.
    """

    def __init__(
        self,
        config: Any,
        model: str,
        run: Run,
        samples: Sequence[Sample],
        images: Sequence[Corruption] = (),
        parser: str = "default",
    ) -> None:
        self.config, self.model, self.run, self.samples = config, model, run, samples
        self.parser = parser
        # To hide an image from what follows a block is no matter of a request.
        self.images = [i for i in images or [Corruption()] if i != HideImage()]
        self._engine: Serving | None = None

    @property
    def labels(self) -> list[str]:
        """The conditions of the served rows."""
        endpoint = endpoint_of(self.config)
        assert endpoint is not None
        return [image.suffix(endpoint.label) for image in self.images]

    def due(self, samples: Sequence[Sample]) -> bool:
        """True if a served row is missing, or failed.

        Args:
            samples: Samples to ask about.
        """
        self.run.forget_failed(self.labels)
        return any(not self.run.has(s.id, label) for s in samples for label in self.labels)

    def prepare(self) -> None:
        """Probe the server, if it is to be asked.

        Raises:
            LanternError: it gives no answer, or gets another prompt.
        """
        if self.config.only_shows or not self.due(self.samples):
            return
        from lantern_probe.model.prompting import load_prompting
        from lantern_probe.serving import Serving

        from .console import quiet_transformers

        quiet_transformers()
        config, endpoint = self.config, endpoint_of(self.config)
        assert endpoint is not None
        asking = load_prompting(
            self.model,
            adapter=config.adapter,
            protocol=config.given_protocol(),
            latent_size=config.latent_size,
            revision=config.revision,
            offline=config.offline,
            max_pixels=config.max_pixels,
        )
        self._engine = Serving(
            endpoint,
            asking,
            self.run,
            config.max_new_tokens,
            self.parser,
            config.allow_prompt_mismatch,
        )
        self._engine.prepare(self.samples)

    def ask(self, progress: Progress, samples: Sequence[Sample] | None = None) -> None:
        """Ask the server about every sample that has no served row.

        Args:
            progress: Progress display.
            samples: Samples to ask about; those of the run by default.

        Raises:
            LanternError: it gives no answers any more.
        """
        some = self.samples if samples is None else samples
        if self._engine is None:
            return
        bar = progress.add_task(escape(self.labels[0]), total=len(some) * len(self.images))
        self._engine.advance = lambda rows: progress.advance(bar, rows)
        there = sum(self.run.has(s.id, label) for s in some for label in self.labels)
        progress.advance(bar, there)
        for image in self.images:
            self._engine.execute(some, image, self.samples)


def servant(
    config: Any,
    model: str,
    run: Run,
    samples: Sequence[Sample],
    images: Sequence[Corruption] = (),
    parser: str = "default",
) -> Servant | None:
    """The server of a command, which has been probed; None where none was given.

    Args:
        config: Options of the command.
        model: Name of the model whose processor makes the inputs.
        run: Run that takes the rows.
        samples: Samples of the run.
        images: Corruptions of the images under which the server is asked; clean by default.
        parser: Parser of the answers.

    Raises:
        LanternError: the server gives no answer, or gets another prompt.
    """
    if endpoint_of(config) is None:
        return None
    found = Servant(config, model, run, samples, images, parser)
    found.prepare()
    return found


def with_stock(config: Any, conditions: Sequence[str]) -> tuple[str, ...]:
    """The conditions of a command, and `stock` where a server is asked.

    Args:
        config: Options of the command.
        conditions: Labels as given.
    """
    more = () if endpoint_of(config) is None or STOCK in conditions else (STOCK,)
    return (*conditions, *more)


def show_served(config: Any, model: str, folder: Path, *, card: bool = False) -> None:
    """Print what a server's rows say, and write it beside them as `served.json`.

    Args:
        config: Options of the command.
        model: Name of the model in tables.
        folder: Folder of the run.
        card: True to say which statements of a diagnosis an endpoint allows; default False.
    """
    endpoint = endpoint_of(config)
    if endpoint is None:
        return
    from lantern_probe.analysis.served import statements, summarize
    from lantern_probe.records.json_files import write_json

    facts = read_manifest(folder).get("served", {}).get(endpoint.label, {})
    rows = read_rows(folder)
    labels = dict.fromkeys(str(r["condition"]) for r in rows if _is_served(r, endpoint.label))
    records = []
    for label in labels:
        found = summarize(rows, facts, label)
        said = statements(rows, label) if card else []
        for line in (*found.lines(model), *(f"  {text}" for text in said)):
            console.print(line, markup=False, highlight=False)
        console.print()
        records.append({**found.as_record(), **({"statements": said} if card else {})})
    write_json(folder / "served.json", records)


def _is_served(row: Row, label: str) -> bool:
    return str(row["condition"]).partition("@")[0] == label
