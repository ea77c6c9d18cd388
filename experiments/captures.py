"""Captures of activations: one model, one condition, some sites, into the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from lantern_probe.errors import LanternError
from lantern_probe.interventions import Intervention, Own, parse_condition
from lantern_probe.model.location import known_layers
from lantern_probe.records.format1 import modern_config
from lantern_probe.records.rows import Row, read_manifest
from lantern_probe.tasks import Sample
from lantern_probe.vocabulary import Site, parse_sites

from .console import Explained, console, end_explained, explaining, print_failed, progress_bar
from .data import check_columns
from .inputs import Inputs, Parser, ScaledInputs, StoreDtype
from .runs import UNKNOWN, ModelLoader, open_run, refuse_folder
from .scaling import end_part, run_job

if TYPE_CHECKING:
    import torch

    from lantern_probe.geometry.latent_sets import LatentSets
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.records.engines import Engine

FEWEST = 5
"""Smallest number of samples for sets of latents (`geometry.latent_sets.FEWEST`)."""


@dataclass(frozen=True)
class CaptureJob:
    """One capture: its sites, its condition, its folder."""

    folder: Path
    """Folder of the capture's run."""
    sites: Sequence[str]
    """Labels of sites."""
    condition: str = "own"
    """Label of the condition."""
    untrained: int | None = None
    """Seed of random weights in place of the model's; None for its own weights."""
    force: Path | None = None
    """Capture whose texts are imposed; None for the model's own texts."""
    store_dtype: StoreDtype | None = None
    """Dtype of the activations; None for float32 of a tiny model, else the model's own."""
    parser: Parser = "default"
    """Parser of the answers."""


def check_job(config: Inputs, command: str, model: str, data: str, job: CaptureJob) -> None:
    """Refuse a capture that cannot be made, as far as it shows before anything is loaded.

    Args:
        config: The inputs.
        command: Name of the command.
        model: Name of the model.
        data: Name of the data.
        job: Settings of the capture.

    Raises:
        LanternError: there is no such condition, site or capture, or the folder holds another run.
    """
    condition = parse_condition(job.condition, config.seed)
    if condition.needs_pool:
        raise LanternError(
            f"condition {condition.label!r} needs the own latents of the whole data set, and a "
            "capture looks at one sample at a time; take own, oracle, zeros or the like"
        )
    slots = config.known_slots(model)
    if slots is not None and condition != Own():
        condition.check(slots)
    refuse_folder(config, job.folder, command, model, data, **_known_settings(config, model, job))


def _known_settings(config: Inputs, model: str, job: CaptureJob) -> dict[str, Any]:
    """Settings of a capture as far as they are known before the model is loaded."""
    layers = known_layers(model)
    return _settings(
        job,
        parse_condition(job.condition, config.seed),
        sites=UNKNOWN if layers is None else parse_sites(job.sites, layers),
        store_dtype=job.store_dtype or UNKNOWN,
    )


def run_capture(
    config: Inputs,
    command: str,
    load: ModelLoader,
    data: str,
    samples: Sequence[Sample],
    job: CaptureJob,
) -> set[str]:
    """Capture whatever a folder does not hold yet, and say what it holds.

    Args:
        config: The inputs.
        command: Name of the command.
        load: Loader of the model. With `untrained` the model is changed in place, so nothing else
            may use it.
        data: Name of the data.
        samples: Samples to capture.
        job: Settings of the capture.

    Returns:
        Ids of the samples, as the run knows them; none if no sample has any of the sites.

    Raises:
        LanternError: an input cannot be used.
    """
    check_job(config, command, load.name, data, job)
    if config.explain_resume:
        known = _known_settings(config, load.name, job)
        open_run(config, job.folder, command, load.name, data, samples, **known)
    condition = parse_condition(job.condition, config.seed)
    sites = parse_sites(job.sites, _layers(load))
    stored = job.store_dtype or _store_dtype(config, load)
    settings = _settings(job, condition, sites=sites, store_dtype=stored)
    with (
        open_run(config, job.folder, command, load.name, data, samples, **settings) as run,
        progress_bar() as progress,
    ):
        asked = run.register(samples)
        wanted = {(sample.id, condition.label) for sample in asked}
        due = sum(not run.has(*key) for key in wanted)

        def check(lantern: LanternModel) -> None:
            import torch

            _check_room(lantern, job.folder, sites, condition, getattr(torch, stored), due)

        from lantern_probe.records.store import ShardFolder

        ShardFolder(run)  # without what a kill has left
        engines = CaptureEngines(config, job, condition, sites, stored)
        title = f"{load.name}, {condition.label}"
        run_job(
            config, run, asked, wanted, load, engines, progress, title=title, before=check
        )  # fmt: skip
        rows = run.rows()
    end_part(config)
    return {sample.id for sample in asked} if _report(rows, len(sites), job.folder) else set()


@dataclass(frozen=True)
class CaptureEngines:
    """Engine of a capture; it can be sent to another process."""

    config: Inputs
    """Inputs of the command."""
    job: CaptureJob
    """Settings of the capture."""
    condition: Intervention
    """Condition under which the model answers."""
    sites: Sequence[Site]
    """Sites to read."""
    stored: str
    """Name of the dtype of the stored activations."""

    def __call__(self, lantern: LanternModel, some: Sequence[Sample]) -> list[Engine]:
        """The engine, without a run. Of an untrained model the weights are replaced in place.

        Args:
            lantern: The model.
            some: Samples to capture.
        """
        import torch

        from lantern_probe.capture.batch import samples_together
        from lantern_probe.capture.dataset import Capture
        from lantern_probe.model.checkpoint import untrain

        if self.job.untrained is not None:
            untrain(lantern, self.job.untrained)
        capture = Capture(
            lantern,
            some,
            self.sites,
            None,
            condition=self.condition,
            force=_texts(self.job.force),
            dtype=getattr(torch, self.stored),
            max_new_tokens=self.config.max_new_tokens,
            batch_rows=self.config.rows_together or samples_together(lantern),
            parser=self.job.parser,
        )
        return [capture]


def check_latent_sets(config: Inputs, command: str, model: str, folder: Path, alike: str) -> None:
    """Refuse sets of latents that cannot be made, as far as it shows before anything is loaded.

    Raises:
        LanternError: there are too few samples or no such column, or a folder holds another run.
    """
    check_columns(config, model, alike=[alike])
    data, samples = config.load_samples(model)
    if len(samples) < FEWEST:
        raise LanternError(
            f"{model}: there are only {len(samples)} samples, and at least {FEWEST} are needed; "
            "raise --samples"
        )
    own = CaptureJob(folder / "own", (), store_dtype="float32")
    condition = parse_condition(own.condition)
    settings = _settings(own, condition, sites=UNKNOWN, store_dtype=own.store_dtype)
    refuse_folder(config, own.folder, command, model, data, **settings)


def capture_latent_sets(
    config: Inputs, command: str, model: str, folder: Path
) -> tuple[str, LatentSets]:
    """Capture one model under three conditions, as sets of latents with the name of the data.

    Args:
        config: The inputs.
        command: Name of the command.
        model: Name of the model.
        folder: Folder in which each capture gets a subfolder.

    Raises:
        LanternError: no sample has the sites.
    """
    from lantern_probe.capture.latent_sets import CONDITIONS, ModelWeights, assemble_sets, sites_of
    from lantern_probe.records.store import Store

    data, samples = config.load_samples(model)
    load = ModelLoader(config, model)
    if config.explain_resume:
        for name, condition in CONDITIONS.items():
            job = CaptureJob(folder / name, (), condition, store_dtype="float32")
            own = parse_condition(condition, config.seed)
            settings = _settings(job, own, sites=UNKNOWN, store_dtype=job.store_dtype)
            with explaining():
                open_run(config, job.folder, command, model, data, samples, **settings)
        end_explained(config.only_shows)
    weights = ModelWeights.of(load(), samples)
    if config.dry_run:
        for name, condition in CONDITIONS.items():
            sites = sites_of(name, weights.last)
            job = CaptureJob(folder / name, sites, condition, store_dtype="float32")
            with explaining():
                run_capture(config, command, load, data, samples, job)
        raise Explained
    stores, wanted = {}, set[str]()
    for name, condition in CONDITIONS.items():
        sites = sites_of(name, weights.last)
        # Cosines near 1 need float32.
        job = CaptureJob(folder / name, sites, condition, store_dtype="float32")
        wanted = run_capture(config, command, load, data, samples, job)
        if not wanted:
            raise LanternError(
                f"{model}: no sample of '{job.folder}' has the sites asked for; the model must "
                "open a latent block, and oracle latents need samples with a box"
            )
        stores[name] = Store(job.folder)
    try:
        return data, assemble_sets(weights, stores, wanted)
    except LanternError as error:
        raise LanternError(f"{model}: {error}") from None


def _layers(load: ModelLoader) -> int:
    known = known_layers(load.name)
    if known is not None:
        return known
    from lantern_probe.model.sites import layer_count

    return layer_count(load())


def _store_dtype(config: Inputs, load: ModelLoader) -> str:
    if isinstance(config, ScaledInputs) and config.ray is not None:
        from lantern_probe.model.content import parameter_count
        from lantern_probe.model.location import TINY, fetch

        if parameter_count(fetch(load.name, config.revision, config.offline)) < TINY:
            return "float32"
        raise LanternError(
            "--ray needs --store-dtype for a capture: the dtype of the model is known to the "
            "workers only"
        )
    from lantern_probe.capture.batch import store_dtype

    return str(store_dtype(load())).removeprefix("torch.")


def _settings(job: CaptureJob, condition: Intervention, **known: Any) -> dict[str, Any]:
    """Settings that decide a row of a capture, beside the inputs."""
    if known["sites"] is not UNKNOWN:
        known["sites"] = [site.label for site in known["sites"]]
    return {
        "parser": job.parser,
        "condition": condition.label,
        "untrained": job.untrained,
        "forced_by": None if job.force is None else _made_of(job.force),
        **known,
    }


def _made_of(folder: Path) -> Row:
    """The configuration of another capture, or of its parts."""
    parts = sorted(path.parent for path in folder.glob("shard-*-of-*/run.json"))
    whole = (folder / "run.json").exists() or not parts
    return modern_config(read_manifest(folder if whole else parts[0])["config"])


def _texts(folder: Path | None) -> Mapping[str, Sequence[int]] | None:
    """The token ids of another capture's texts, by sample."""
    if folder is None:
        return None
    from lantern_probe.records.store import Store

    return {row["sample"]: row["continuation"] for row in Store(folder).samples}


def _check_room(
    lantern: LanternModel,
    folder: Path,
    sites: Sequence[Site],
    condition: Intervention,
    dtype: torch.dtype,
    due: int,
) -> int:
    """Print the disk space that the capture takes, and refuse a capture that does not fit.

    Returns:
        The free disk space in bytes.
    """
    from lantern_probe.capture.dataset import bytes_per_sample
    from lantern_probe.records.store import check_room

    each = bytes_per_sample(lantern, sites, condition=condition, dtype=dtype)
    # With --dry-run, the folder may not be there yet.
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = check_room(place, each * due)
    console.print(
        f"sites: {len(sites)}; {decimal(each)} a sample, {decimal(each * due)} for the {due} "
        f"samples that are due; {decimal(free)} free",
        markup=False,
        soft_wrap=True,
    )
    return free


def _report(rows: Sequence[Row], sites: int, folder: Path) -> bool:
    """Print what was captured and what is missing; False if no sample has any site."""
    good = [row for row in rows if row["status"] == "ok"]
    lacking = sum(bool(row["missing"]) for row in good)
    console.print(
        f"{len(good)} samples captured in {folder}"
        + (f"; {lacking} of them lack a site (see their column missing)" if lacking else "")
        + (f"; {len(rows) - len(good)} failed, see rows.jsonl" if len(good) < len(rows) else ""),
        markup=False,
        soft_wrap=True,
    )
    print_failed(folder.name, rows)
    return any(len(row["missing"]) < sites for row in good)
