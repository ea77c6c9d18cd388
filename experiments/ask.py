"""Ask about your own images: the answers with the latents and without.

    python -m experiments.ask --model AGViveiros/LanteRn-3B-SFT \\
        --image photo.jpg --question 'What is left of the cup?'
    python -m experiments.ask --model faithful --image photos \\
        --question 'what color is the circle ?' --options red blue green --words

Every image is a question of its own; of a folder all images in it are asked. Photos that lie on
their side by their EXIF are turned upright. An image that cannot be read fails alone. Rows go to
rows.jsonl in a folder of the question, and the images with their answers to answers.png.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from lantern_probe.errors import LanternError

from .console import run_main
from .endpoint_options import EndpointOptions
from .inputs import AblationInputs, RunOptions
from .model_options import ModelOptions

COMMAND = "ask"
OUTPUT = Path("runs/ask")


@dataclass(frozen=True, kw_only=True)
class Config(EndpointOptions, RunOptions, ModelOptions):
    """Ask about your own images: the answers with the latents and without."""

    model: tuple[str, ...]
    """Bundled organisms, checkpoint folders or Hub names. The network is used for Hub names
    only."""
    image: tuple[Path, ...]
    """Image files, and folders of them. Every image is asked about by itself."""
    question: str
    """The question, the same for every image."""
    options: tuple[str, ...] = ()
    """Answers to choose from, which are lettered A, B, C ... in the prompt; by default an open
    question."""
    words: bool = False
    """Put the bare question, and read one of --options from the answer in words."""
    conditions: tuple[str, ...] = ("own", "ban", "zeros")
    """Conditions on the latents; own is always run. Those made from other images' latents, such as
    mean, take them from the other images; swap finds no donor, since all share the question."""
    seed: int = 0
    """Seed of conditions that draw at random and name none."""
    output: Path = OUTPUT
    """Folder of the run; of several models each gets a folder in it. By default a folder of the
    question and its images in runs/ask. Given again, the command goes on with what is there."""

    def inputs(self, output: Path) -> AblationInputs:
        """The options that a run takes.

        Args:
            output: Folder of the run.
        """
        shared = {f.name for cls in (RunOptions, ModelOptions) for f in fields(cls)}
        given = {name: getattr(self, name) for name in shared} | {"output": output}
        return AblationInputs(**given, model=self.model, conditions=self.conditions, seed=self.seed)


def main(config: Config) -> int:
    """Ask, show the answers and draw them; 1 when no image could be asked about."""
    config.check_endpoint(config.model)
    config.check_run()
    config.check_model()
    for model in config.model:
        config.check_protocol(model)
    if config.seed < 0:
        raise LanternError(f"--seed must be at least 0, not {config.seed}")
    if config.words and not config.options:
        raise LanternError("--words reads one of --options; give them too")
    from .asking import ask_all, find_images

    images = find_images(config.image)
    return ask_all(config, images)


if __name__ == "__main__":
    sys.exit(run_main(Config, main))
