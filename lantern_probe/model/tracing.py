"""Tracing: a Qwen2.5-VL under nnsight, its values by short names, and samples as its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnsight import TransformersModel
from nnsight.intervention.envoy import Envoy
from nnsight.intervention.eproperty import eproperty
from nnsight.modeling.tp import TPFragments
from torch import nn
from transformers import BatchFeature

from lantern_probe.errors import LanternError
from lantern_probe.model.inputs import as_samples, question_inputs
from lantern_probe.model.slot_loops import SlotInterleaver
from lantern_probe.model.with_blocks import LanternEdit, LanternSession, LanternTracer
from lantern_probe.tasks.sample import Sample


class LatentEnvoy(Envoy):
    """`lantern.latent`: its `output` is what is fed at the current slot, [rows, 1, D]."""

    @eproperty
    def output(self, value: Any) -> Any:
        """The latents about to be fed, read or replaced slot by slot with `tracer.iter`."""
        return value


class LayerValues:
    """One value of every decoder layer: `values[2]` reads it, `values[2] = tensor` replaces it.

    Args:
        layers: The decoder layers under nnsight.
        path: Path of the value inside a layer, such as `output` or `mlp.output`.
    """

    def __init__(self, layers: Envoy, path: str):
        self._layers = layers
        self._module, _, self._name = path.rpartition(".")

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, layer: int) -> Any:
        return getattr(self._at(layer), self._name)

    def __setitem__(self, layer: int, value: Any) -> None:
        setattr(self._at(layer), self._name, value)

    def _at(self, layer: int) -> Envoy:
        if not -len(self) <= layer < len(self):
            raise LanternError(
                f"there is no layer {layer}; the model has layers 0 to {len(self) - 1}"
            )
        envoy = self._layers[layer]
        return envoy.get(self._module) if self._module else envoy


class TracedModel(TransformersModel):
    """A loaded Qwen2.5-VL under nnsight; `LanternModel` adds the latent blocks.

    Args:
        source: Name of the model, for messages.
        module: The transformers model, with its submodule `latent`.
        processor: Its processor.
    """

    def __init__(self, source: str, module: nn.Module, processor: Any):
        self.origin = source
        # Left to itself, the pipeline moves a model on one device to the first GPU.
        placed = {} if getattr(module, "hf_device_map", None) else {"device": module.device}
        super().__init__(
            module,
            task="image-text-to-text",
            processor=processor,
            **placed,
            interleaver=SlotInterleaver(fragments=TPFragments()),
            envoys={"latent": LatentEnvoy},
            rename={
                "model.language_model.layers": "layers",
                "model.language_model.norm": "ln_final",
            },
        )

    @property
    def hf(self) -> Any:
        """The transformers model itself."""
        return self._module

    @property
    def most_tokens(self) -> int | None:
        """Number of positions that the model has; None if its config does not say."""
        most = getattr(self.hf.config.get_text_config(), "max_position_embeddings", None)
        return None if most is None else int(most)

    def inputs(self, samples: Sequence[Sample]) -> BatchFeature:
        """The model inputs of a batch of questions, left-padded, on the model's device.

        Args:
            samples: The questions; images come first, then the text.

        Raises:
            LanternError: there are no samples, an image cannot be read or used, a text is empty, no
                valid Unicode, too long or holds a special token, or the model has no chat
                template.
        """
        return question_inputs(
            self.processor, samples, self.origin, most_tokens=self.most_tokens, system=self.system
        ).to(self.device)

    # -- opening a trace -----------------------------------------------------

    @property
    def system(self) -> str | None:
        """System prompt with which questions are put; None for the chat template's own."""
        return None

    def trace(self, *args: Any, tracer_cls: Any = None, **kwargs: Any) -> Any:
        """One forward over a prompt as a trace: `with lantern.trace(sample) as tracer`.

        Args:
            *args: Samples, or what the model itself takes.
            tracer_cls: Class of the tracer; default this package's.
            **kwargs: Arguments of nnsight's `trace` and settings of the forward.
        """
        return super().trace(*args, tracer_cls=tracer_cls or LanternTracer, **kwargs)

    def session(self, *args: Any, **kwargs: Any) -> Any:
        """Several traces that share values: `with lantern.session()`.

        Args:
            *args: Arguments of nnsight's `session`; default none.
            **kwargs: The same by name.
        """
        return super().session(*args, **kwargs) if args or kwargs else LanternSession()

    def edit(self, *, inplace: bool = False, backend: Any = None) -> Any:
        """Interventions for all later traces: `with lantern.edit() as (tracer, edited)`.

        Args:
            inplace: Edit this model rather than a copy; default False.
            backend: Backend of the block, as for nnsight's `edit`; default this process.
        """
        return LanternEdit(self, inplace=inplace, backend=backend)

    # -- values in a trace ---------------------------------------------------

    @property
    def layers_input(self) -> LayerValues:
        """In a trace, the input of decoder layer i, [rows, positions, D]: `layers_input[i]`."""
        return LayerValues(self.layers, "input")

    @property
    def layers_output(self) -> LayerValues:
        """In a trace, the output of decoder layer i, [rows, positions, D]: `layers_output[i]`."""
        return LayerValues(self.layers, "output")

    @property
    def attentions_output(self) -> LayerValues:
        """In a trace, what the attention of layer i adds to the residual stream."""
        return LayerValues(self.layers, "self_attn.o_proj.output")

    @property
    def mlps_output(self) -> LayerValues:
        """In a trace, what the MLP of layer i adds to the residual stream."""
        return LayerValues(self.layers, "mlp.output")

    @property
    def logits(self) -> Any:
        """In a trace, the next-token logits of the current forward, [rows, positions, V].

        A generation computes those of a prompt for its last position only.
        """
        return self.lm_head.output

    @logits.setter
    def logits(self, value: Any) -> None:
        self.lm_head.output = value

    # -- how nnsight makes inputs --------------------------------------------

    def _batch_size(self, *inputs: Any, **kwargs: Any) -> int:
        if inputs and isinstance(inputs[0], list | tuple) and not inputs[0]:
            raise LanternError("there are no samples to run")
        if inputs and (samples := as_samples(inputs[0])):
            return len(samples)
        return super()._batch_size(*inputs, **kwargs)

    def _batch(self, invokes: list[Any], fn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not any(kwargs.get("past_key_values") for _, kwargs in invokes):
            self._forget_image()
        generating = getattr(fn, "__name__", None) == "generate"
        if invokes and all(args and as_samples(args[0]) for args, _ in invokes):
            samples = [sample for args, _ in invokes for sample in as_samples(args[0])]
            merged = {key: value for _, kwargs in invokes for key, value in kwargs.items()}
            if generating:
                return (samples,), merged
            return (), {**self.inputs(samples), **merged}
        if generating and len(invokes) == 1:
            return invokes[0]  # ready model inputs, as `generate` takes them
        return super()._batch(invokes, fn)

    def _forget_image(self) -> None:
        """Drop by how much the last call's images shift text positions.

        transformers keeps it on the model, and applies it to the next inputs that do not say
        their positions themselves, although these belong to another question.
        """
        self.hf.model.rope_deltas = None
