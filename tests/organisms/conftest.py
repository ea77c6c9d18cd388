"""An organism before any training, as transformers has it."""

from __future__ import annotations

import pytest
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from lantern_probe.organisms.training import build


@pytest.fixture(scope="session")
def organism() -> Qwen2_5_VLForConditionalGeneration:
    return build.build_model(0).eval()


@pytest.fixture(scope="session")
def processor() -> Qwen2_5_VLProcessor:
    return build.build_processor()
