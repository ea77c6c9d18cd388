"""Compare this toolkit with recorded outputs of the official LanteRn code.

    python -m experiments.check_conformance tests/conformance

The folder holds a checkpoint and what the official generation loop and helpers did with it
(layout: its README). Exit code 0 only if every single-row case is token-identical with latents
within 1e-4, at least 90 % of the rows of batched cases are token-identical, and every crop box
and oracle compression agrees. Attention is rounded as in transformers 4.57, under which the
outputs were recorded (`lantern_probe.model.attention`), so that decoding is compared and not
kernels; `--attn-implementation sdpa` compares with what is used otherwise.
"""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape

from lantern_probe.errors import LanternError

from .console import console, quiet_transformers, run_main

if TYPE_CHECKING:
    import torch

    from lantern_probe.model.blocks import RowPlan
    from lantern_probe.model.lantern import LanternModel

LATENT_TOLERANCE = 1e-4
BATCHED_SHARE = 0.9

FILES = ("checkpoint", "manifest.json", "generation.npz", "compression.npz")
"""What a conformance folder holds."""


@dataclass
class Config:
    """Compare this toolkit with recorded outputs of the official LanteRn code."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder with checkpoint/, manifest.json, generation.npz and compression.npz."""
    output: Path | None = None
    """Also write the figures to this JSON file."""
    attn_implementation: str | None = None
    """Attention: sdpa or eager; by default sdpa with the rounding of transformers 4.57."""


@dataclass
class Report:
    """What agreed with the official outputs.

    `latent_difference` is the largest absolute difference over all latents of single-row cases
    that were fed; `compression_difference` that over all oracle latents.
    """

    singles: int = 0
    singles_identical: int = 0
    batched_rows: int = 0
    batched_rows_identical: int = 0
    latent_difference: float = 0.0
    crops: int = 0
    crops_identical: int = 0
    compressions: int = 0
    compression_difference: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the bar is met; an empty set of single-row cases does not meet it."""
        return (
            self.singles > 0
            and self.singles_identical == self.singles
            and self.batched_rows_identical >= BATCHED_SHARE * self.batched_rows
            and self.latent_difference <= LATENT_TOLERANCE
            and self.crops_identical == self.crops
            and self.compression_difference <= LATENT_TOLERANCE
        )


def require_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, before anything is loaded.

    Raises:
        LanternError: naming the file.
    """
    for name in FILES:
        if not (folder / name).exists():
            raise LanternError(f"'{folder}' is no conformance folder: it has no {name}")


def check(folder: Path, attn_implementation: str | None = None) -> Report:
    """Run every recorded case of a conformance folder.

    Raises:
        LanternError: a file is missing or not laid out as expected.
    """
    require_folder(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        generation = _arrays(folder / "generation.npz")
        compression = _arrays(folder / "compression.npz")
        cases, crops = manifest["cases"], manifest["crops"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise LanternError(f"{folder} is no conformance folder: {error}") from None

    import torch
    from rich.progress import track

    from lantern_probe.model.attention import REPEATED_SDPA
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.tasks.crops import crop_box

    quiet_transformers()
    lantern = LanternModel(
        str(folder / "checkpoint"),
        dtype=torch.float32,
        device_map={"": "cpu"},
        attn_implementation=attn_implementation or REPEATED_SDPA,
        offline=True,
    )
    report = Report()
    try:
        for case in track(cases, "cases", console=console, transient=True):
            _check_case(lantern, generation, case, report)
        for crop in crops:
            report.crops += 1
            found = crop_box(tuple(crop["image_size"]), tuple(crop["bbox"]))
            report.crops_identical += found == tuple(crop["crop_box"])
        _check_compression(lantern, compression, report)
    except (KeyError, TypeError) as error:
        raise LanternError(f"{folder}: the recorded outputs are not laid out so: {error}") from None
    return report


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _check_case(
    lantern: LanternModel, arrays: dict[str, Any], case: dict[str, Any], report: Report
) -> None:
    import torch

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[f"{case['batch']}/{name}"])

    ids = tensor("input_ids")
    tokens = lantern.require_lvr()
    output = lantern.generate(
        {
            "input_ids": ids,
            "attention_mask": tensor("attention_mask"),
            "pixel_values": tensor("pixel_values"),
            "image_grid_thw": tensor("image_grid_thw"),
            "mm_token_type_ids": (ids == lantern.hf.config.image_token_id).long(),
        },
        plans=_plans(case["condition"], tensor("injected_latents")),
        sequence_bias=[[[tokens.start], case["lvr_start_bias"]]],
        max_new_tokens=case["max_new_tokens"],
    )
    expected = torch.from_numpy(arrays[f"{case['name']}/sequences"])
    for row in range(len(ids)):
        same = same_tokens(output.sequences[row], expected[row], ids.shape[1], lantern.eos_ids)
        if len(ids) > 1:
            report.batched_rows += 1
            report.batched_rows_identical += same
            continue
        report.singles += 1
        report.singles_identical += same
        blocks = output.blocks[row]
        fed = torch.cat([block.latents for block in blocks]) if blocks else torch.empty(0, 0)
        recorded = torch.from_numpy(
            arrays.get(f"{case['name']}/latents{row}", torch.empty(0, 0).numpy())
        )
        # A run cut off inside a block records one latent that was produced but never fed.
        cut = bool(blocks) and blocks[-1].end is None
        if len(fed) != len(recorded) and not (cut and len(fed) == len(recorded) - 1):
            report.latent_difference = float("inf")
        elif len(fed):
            difference = (fed - recorded[: len(fed)]).abs().max().item()
            report.latent_difference = max(report.latent_difference, difference)


def _plans(condition: str, injected: torch.Tensor) -> list[RowPlan]:
    import torch

    from lantern_probe.interventions import fed
    from lantern_probe.model.blocks import OWN, RowPlan

    plans = {
        "own": OWN,
        "zeros": RowPlan(edit=lambda own, slot: torch.zeros_like(own)),
        "skip": RowPlan(mode="skip"),
    }
    if condition == "injected":
        return [RowPlan(edit=fed(latents)) for latents in injected]
    if condition not in plans:
        raise LanternError(f"the manifest names an unknown condition {condition!r}")
    return [plans[condition]] * len(injected)


def same_tokens(ours: torch.Tensor, theirs: torch.Tensor, prompt: int, eos: set[int]) -> bool:
    """Whether two sequences agree, whatever is padded behind the end of the text."""

    def written(sequence: torch.Tensor) -> list[int]:
        tokens: list[int] = sequence.tolist()
        ends = (i for i, token in enumerate(tokens) if i >= prompt and token in eos)
        return tokens[: next(ends, len(tokens)) + 1]

    return written(ours) == written(theirs)


def _check_compression(lantern: LanternModel, arrays: dict[str, Any], report: Report) -> None:
    import torch

    from lantern_probe.tasks.crops import compress

    for name in sorted({key.split("/")[0] for key in arrays}):
        pixels, grid, expected = (
            torch.from_numpy(arrays[f"{name}/{part}"])
            for part in ("pixel_values", "image_grid_thw", "latents")
        )
        with torch.no_grad():
            features = lantern.hf.get_image_features(pixels, grid, return_dict=True).pooler_output
        found = torch.stack([compress(image, lantern.latent_size) for image in features])
        difference = (found - expected).abs().max().item()
        report.compressions += 1
        report.compression_difference = max(report.compression_difference, difference)


def main(config: Config) -> int:
    """Check a folder and print what agreed; 0 only if the bar is met."""
    from lantern_probe.records.json_files import write_json

    report = check(config.folder, config.attn_implementation)
    verdict = "[green]conforms[/]" if report.passed else "[red]does not conform[/]"
    console.print(
        f"single-row cases identical   {report.singles_identical} of {report.singles}\n"
        f"batched rows identical       {report.batched_rows_identical} of {report.batched_rows}"
        f" (bar {BATCHED_SHARE:.0%})\n"
        f"largest latent difference    {report.latent_difference:.2e} (bar {LATENT_TOLERANCE:g})\n"
        f"crop boxes identical         {report.crops_identical} of {report.crops}\n"
        f"oracle compressions          {report.compressions}, largest difference "
        f"{report.compression_difference:.2e} (bar {LATENT_TOLERANCE:g})\n"
        f"{escape(str(config.folder))} {verdict}"
    )
    if config.output is not None:
        write_json(config.output, {**asdict(report), "passed": report.passed})
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
