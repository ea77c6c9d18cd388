"""Options of commands: the loading of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lantern_probe.errors import LanternError

from .console import quiet_transformers

if TYPE_CHECKING:
    from lantern_probe.model.lantern import LanternModel
    from lantern_probe.protocols import LatentProtocol


@dataclass(frozen=True)
class ModelOptions:
    """Loading of the model."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Dtype of the weights; auto is the checkpoint's own. By default float32 on the CPU and auto
    on a GPU."""
    device: str | None = None
    """Device: cpu, cuda, cuda:1 and so on. By default the first GPU, or the CPU without one."""
    device_map: str | None = None
    """Spread of the model over all devices, in place of --device: auto, balanced, balanced_low_0 or
    sequential, as accelerate names them; or one device. Rows are the same but for rounding."""
    adapter: Path | None = None
    """Folder of a peft adapter, which is merged into the one --model. A folder that holds only an
    adapter can be given as --model itself, and is loaded on the base that it names."""
    quantize: Literal["4bit", "8bit"] | None = None
    """Number of bits to which bitsandbytes rounds the weights as they are loaded; none by default.
    It changes every answer's probabilities, and is part of the run."""
    attn_implementation: str | None = None
    """Attention: sdpa (default), eager or flash_attention_2."""
    max_pixels: int | None = None
    """Most pixels of an image; larger ones are made smaller, to one token per 28 x 28 pixels
    (32 x 32 of a Qwen3-VL). By default the limit of the official evaluation."""
    protocol: str | None = None
    """Protocol of the latent blocks: lantern, lvr, monet, monet-hf, ilvr, mirage, skila, swimbird,
    or a TOML file. By default the one that the checkpoint's files show, where they show one."""
    latent_size: int | None = None
    """Number of slots in a block; by default the protocol's source, such as the config."""
    revision: str | None = None
    """Branch, tag or commit of a Hub repository."""
    offline: bool = False
    """Never contact the Hub."""

    def check_model(self) -> None:
        """Refuse numbers below 1, two placements, and an adapter that cannot be merged.

        Raises:
            LanternError: naming the flag, or the adapter.
        """
        if self.device and self.device_map:
            raise LanternError("give --device or --device-map, not both")
        if self.device_map is not None:
            from lantern_probe.model.device_maps import check_placement

            check_placement(self.device_map)
        if self.quantize is not None and self.adapter is None:
            from lantern_probe.model.quantised import require_bitsandbytes

            require_bitsandbytes(f"--quantize {self.quantize}")
        for flag, value in (
            ("--max-pixels", self.max_pixels),
            ("--latent-size", self.latent_size),
        ):
            if value is not None and value < 1:
                raise LanternError(f"{flag} must be at least 1, not {value}")

    def given_protocol(self) -> LatentProtocol | None:
        """The protocol that is named; None to find it in the checkpoint.

        Raises:
            LanternError: there is no such protocol.
        """
        from lantern_probe.protocols import load_protocol

        return None if self.protocol is None else load_protocol(self.protocol)

    def check_protocol(self, model: str) -> None:
        """Refuse a protocol that contradicts a model's files, and files that fit several.

        Args:
            model: Name of the model.

        Raises:
            LanternError: there is no such model or protocol, or the reason.
        """
        from lantern_probe.model.location import check_protocol

        given = self.given_protocol()
        if self.adapter is None:
            check_protocol(model, given)

    def known_slots(self, model: str) -> int | None:
        """The number of slots in a block, as far as it is known before the model is loaded.

        Args:
            model: Name of the model.
        """
        from lantern_probe.model.location import known_slots

        return self.latent_size or known_slots(model, self.given_protocol())

    def check_adapter(self, model: str) -> None:
        """Refuse an adapter, given or found in the model's folder, that could not be merged.

        Args:
            model: Name of the model.

        Raises:
            LanternError: there is no such model, or the reason.
        """
        from lantern_probe.model.adapter_files import read_adapter, require_peft
        from lantern_probe.model.location import resolve

        _, adapter = resolve(model, self.adapter)
        if adapter is None:
            return
        read_adapter(adapter)
        if self.quantize is not None:
            raise LanternError(
                "an adapter is merged into whole weights: leave out --quantize, or merge it "
                "first and quantise the result"
            )
        require_peft()

    def label(self, name: str) -> str:
        """The name of a model in tables; an adapted one is not the model whose truth is known.

        Args:
            name: Name of the model.
        """
        return name if self.adapter is None else f"{name} + {self.adapter.resolve().name}"

    def threads(self, name: str) -> int:
        """The number of CPU threads that the model will run with.

        Args:
            name: Name of the model.
        """
        from lantern_probe.model.content import parameter_count
        from lantern_probe.model.location import TINY, fetch

        tiny = parameter_count(fetch(name, self.revision, self.offline)) < TINY
        return 1 if tiny else _all_threads()

    def load_model(self, name: str) -> LanternModel:
        """Load the model; one CPU thread for tiny models, all of them otherwise."""
        import torch

        from lantern_probe.model.lantern import LanternModel

        quiet_transformers()
        threads = _all_threads()
        lantern = LanternModel(
            name,
            dtype=self.chosen_dtype(),
            adapter=self.adapter,
            device_map={"": self.device} if self.device else self.device_map,
            quantize=self.quantize,
            attn_implementation=self.attn_implementation,
            max_pixels=self.max_pixels,
            protocol=self.protocol,
            latent_size=self.latent_size,
            revision=self.revision,
            offline=self.offline,
        )
        # Threads cost more than they bring on matrices this small.
        torch.set_num_threads(1 if lantern.is_tiny else threads)
        return lantern

    def on_gpu(self) -> bool:
        """True if the model is loaded onto a GPU."""
        if (self.device or self.device_map or "").startswith("cpu"):
            return False
        import torch

        return torch.cuda.is_available()

    def chosen_dtype(self, gpu: bool | None = None) -> str:
        """The requested dtype, or the default of the device.

        Args:
            gpu: True for a GPU, False for the CPU; detected by default.
        """
        gpu = self.on_gpu() if gpu is None and self.dtype is None else gpu
        return self.dtype or ("auto" if gpu else "float32")


@cache
def _all_threads() -> int:
    """The number of threads before any model was loaded."""
    import torch

    return torch.get_num_threads()
