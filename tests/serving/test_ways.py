"""The ways of the model card that need no server: what transformers itself decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from lantern_probe import Ablation, LanternModel, Run, organisms, parse_condition, read_rows
from lantern_probe.tasks import Sample, load_task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return load_task("scenes", 12)


@pytest.fixture(scope="module")
def texts(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Texts of the organism *faithful* by condition, without blanks."""
    folder = tmp_path_factory.mktemp("local")
    with Run.open(folder, {}, overwrite=True) as run:
        Ablation(LanternModel("faithful"), samples, [parse_condition("stock")], run).execute()
    rows = read_rows(folder)
    return {
        name: [bare(r["text"]) for s in samples for r in rows
               if (r["sample"], r["condition"]) == (s.id, name)]
        for name in ("own", "stock")
    }  # fmt: skip


def bare(text: str) -> str:
    return "".join(text.partition("<|im_end|>")[0].split())


def messages(sample: Sample) -> list[dict[str, Any]]:
    images = [{"type": "image", "image": image} for image in sample.open_images()]
    return [{"role": "user", "content": [*images, {"type": "text", "text": sample.text}]}]


def test_automodel_answers_like_stock(samples: list[Sample], texts: dict[str, list[str]]) -> None:
    folder = organisms.path("faithful")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    found = []
    for sample in samples:
        inputs = processor.apply_chat_template(
            messages(sample), tokenize=True, add_generation_prompt=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        ids = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        found.append(bare(processor.decode(ids, skip_special_tokens=False)))
    assert found == texts["stock"] != texts["own"]


def test_the_pipeline_answers_like_stock(
    samples: list[Sample], texts: dict[str, list[str]], tmp_path: Path
) -> None:
    pipe = pipeline("image-text-to-text", model=str(organisms.path("faithful")), device="cpu")
    found = []
    for sample in samples:
        (out,) = pipe(text=messages(sample), return_full_text=False, skip_special_tokens=False)
        found.append(bare(out["generated_text"]))
    assert found == texts["stock"] != texts["own"]
