"""`LanternModel`: a LanteRn checkpoint under nnsight, loaded, asked and traced."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

import torch
from nnsight import TransformersModel
from nnsight.intervention.envoy import Envoy, traceable
from nnsight.intervention.eproperty import eproperty
from nnsight.intervention.interleaver import Mediator
from qwen_vl_utils import process_vision_info
from torch import Tensor, nn
from transformers import BatchFeature, LogitsProcessorList

from lantern_probe.errors import LanternError
from lantern_probe.model.blocks import OWN, LanternOutput, LvrTokens, RowPlan
from lantern_probe.model.checkpoint import load_checkpoint
from lantern_probe.model.decoding import LatentDecoding, LatentPort
from lantern_probe.tasks.answers import Parser, parse_answer
from lantern_probe.tasks.sample import ImageSource, Sample

MAX_NEW_TOKENS = 512
"""The official evaluation's limit (METHODS: the official system)."""

TINY = 50e6
"""Parameters under which a model is tiny."""


class LatentEnvoy(Envoy):
    """`lantern.latent`: its `output` is what is fed at the current slot, [rows, 1, D]."""

    @eproperty
    def output(self, value: Any) -> Any:
        """The latents about to be fed, read or replaced slot by slot with `tracer.iter`."""
        # nnsight binds every request of a loop's step 0 to the *first* visit of its module;
        # the layers were first visited at the prompt. Once the latent of a slot has been
        # served, what follows in the loop's body means this slot's forward.
        mediator = Mediator.current("latent.output")
        if mediator.iteration == 0:
            mediator.iteration = None
        return value


class LanternModel(TransformersModel):
    """A Qwen2.5-VL with latent blocks, wrapped by nnsight.

    Between `<|lvr_start|>` and `<|lvr_end|>` the model is fed K of its own final hidden states
    (arXiv 2603.25629). They pass through the submodule `latent`, so that a trace reads and
    edits them like any other location:

        with lantern.generate(sample) as tracer:
            for slot in tracer.iter[:8]:
                z = lantern.latent.output.save()                     # [rows, 1, D]
                h = lantern.layers[2].output.save()                  # the same forward

    Args:
        source: A bundled organism's name, a checkpoint folder, or a Hub name such as
            `AGViveiros/LanteRn-3B-RL`. The network is used for a Hub name only.
        latent_size: K, where the config does not carry it; overrides the config's.
        allow_plain: Accept a checkpoint without LVR tokens as a model without latent blocks.
        dtype: Of the weights; default float32 on the CPU, the checkpoint's own on a GPU.
        device_map: As in transformers; default the first GPU, else the CPU.
        attn_implementation: "sdpa" (default), "eager", "flash_attention_2" ...
        revision: Branch, tag or commit of a Hub repository.
        offline: Never contact the Hub, use its local cache only.
        min_pixels, max_pixels: Limits the processor resizes images to; default the official
            evaluation's in place of Qwen's stock limits, else the checkpoint's own.

    Raises:
        LanternError: there is no such checkpoint, it is no Qwen2.5-VL, or it has no LVR tokens.
    """

    def __init__(
        self,
        source: str,
        *,
        latent_size: int | None = None,
        allow_plain: bool = False,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        attn_implementation: str | None = None,
        revision: str | None = None,
        offline: bool = False,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ):
        checkpoint = load_checkpoint(
            str(source),
            latent_size=latent_size,
            allow_plain=allow_plain,
            dtype=dtype,
            device_map=device_map,
            attn_implementation=attn_implementation,
            revision=revision,
            offline=offline,
            min_pixels=min_pixels,
            max_pixels=max_pixels,
        )
        module = checkpoint.model
        # Both before nnsight wraps the model: it replaces every module's `forward`.
        module.add_module("latent", nn.Identity())
        self._port = LatentPort(module.model.language_model, module.latent)
        self.origin = checkpoint.source
        self.lvr: LvrTokens | None = checkpoint.lvr
        # Left to itself, the pipeline moves a model on one device to the first GPU.
        placed = {} if getattr(module, "hf_device_map", None) else {"device": module.device}
        super().__init__(
            module,
            task="image-text-to-text",
            processor=checkpoint.processor,
            **placed,
            envoys={"latent": LatentEnvoy},
            rename={"model.language_model.layers": "layers"},
        )

    @property
    def hf(self) -> Any:
        """The transformers model itself."""
        return self._module

    @property
    def max_new_tokens(self) -> int:
        """Limit of a continuation unless another is asked for: the checkpoint's own, else 512."""
        return self.hf.generation_config.max_new_tokens or MAX_NEW_TOKENS

    @property
    def is_tiny(self) -> bool:
        """Whether memory and threads are of no concern, as for an organism."""
        return sum(p.numel() for p in self.hf.parameters()) < TINY

    @property
    def latent_size(self) -> int:
        """K, the number of slots in a block."""
        return self.require_lvr().size

    def require_lvr(self) -> LvrTokens:
        """The LVR tokens.

        Raises:
            LanternError: the model was loaded without them.
        """
        if self.lvr is None:
            raise LanternError(
                f"{self.origin} has no LVR tokens, hence no latent blocks; "
                "it can answer questions, but no condition on the slots applies to it"
            )
        return self.lvr

    # -- input ---------------------------------------------------------------

    def inputs(self, samples: Sequence[Sample]) -> BatchFeature:
        """The model inputs of a batch of questions, left-padded, on the model's device.

        Every image first, then the text, through the chat template and
        `qwen_vl_utils.process_vision_info` (METHODS: the official system).

        Raises:
            LanternError: an image cannot be read or used, or there is no chat template.
        """
        template = getattr(self.processor, "chat_template", None)
        if not template:
            raise LanternError(
                f"{self.origin} has no chat template, so questions cannot be put to it; "
                "pass model inputs (input_ids, attention_mask, pixel_values, image_grid_thw)"
            )
        if not samples:
            raise LanternError("there are no samples to run")
        special = [
            token.content
            for token in self.processor.tokenizer.added_tokens_decoder.values()
            if token.special
        ]
        texts: list[str] = []
        images: list[Any] = []
        for sample in samples:
            if found := [token for token in special if token in sample.text]:
                raise LanternError(
                    f"sample {sample.id!r}: its text holds the special token {found[0]}"
                )
            content: list[dict[str, Any]] = [
                {"type": "image", "image": image} for image in sample.open_images()
            ]
            messages = [
                {"role": "user", "content": [*content, {"type": "text", "text": sample.text}]}
            ]
            texts.append(
                self.processor.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
            )
            try:
                images.extend(process_vision_info(messages)[0] or [])
            except (ValueError, TypeError, ZeroDivisionError) as error:
                # Such as an aspect ratio that the resizing does not take.
                raise LanternError(f"sample {sample.id!r}: {error}") from None
        batch = self.processor(text=texts, images=images or None, padding=True, return_tensors="pt")
        return batch.to(self.device)

    # -- generation ----------------------------------------------------------

    @traceable
    def generate(
        self,
        inputs: Sample | Sequence[Sample] | Mapping[str, Any],
        *,
        plans: Sequence[RowPlan] | None = None,
        parser: Parser = "default",
        **kwargs: Any,
    ) -> LanternOutput:
        """Answer a batch of questions, with latent blocks; greedy unless told otherwise.

        Called plainly it returns the output. As `with lantern.generate(...) as tracer` it runs
        under nnsight, and `tracer.result` is the output. (nnsight tells the two apart by the
        source line: keep a plain call off the line of another `with`.)

        Args:
            inputs: A sample, several, or ready model inputs.
            plans: What each row does about its blocks; its own latents by default.
            parser: How an answer is read from the text.
            **kwargs: For transformers' `generate`: `max_new_tokens`, `do_sample`, `temperature`,
                `streamer`, `stopping_criteria` ...

        Raises:
            LanternError: an image cannot be read, or the options do not fit together.
        """
        samples = None if isinstance(inputs, Mapping) else as_samples(inputs)
        batch: Any = inputs if samples is None else self.inputs(samples)
        result, decoding = self.decode(dict(batch), plans=plans, **kwargs)
        sequences = getattr(result, "sequences", result)
        prompt_length = batch["input_ids"].shape[1]
        if decoding is None:
            blocks: list[list[Any]] = [[] for _ in sequences]
        else:
            blocks = decoding.blocks(sequences, prompt_length)
        texts = [self.text(row[prompt_length:]) for row in sequences]
        answers: list[str | None] = [None] * len(texts)
        if samples is not None:
            answers = [
                parse_answer(text, sample, parser)
                for text, sample in zip(texts, samples, strict=True)
            ]
        return LanternOutput(sequences, prompt_length, blocks, texts, answers)

    def ask(
        self, image: ImageSource, question: str, options: Sequence[str] = (), **kwargs: Any
    ) -> LanternOutput:
        """Put one question about one image; options, if any, are lettered A, B, C ..."""
        if len(options) > len(ascii_uppercase):
            raise LanternError(f"at most 26 options can be lettered, not {len(options)}")
        lines = [
            f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False)
        ]
        sample = Sample(
            id="question",
            images=(image,),
            question=question,
            options=tuple(options),
            lettered=bool(options),
            prompt="\n".join([question, "Options:", *lines]) if options else None,
        )
        return self.generate(sample, **kwargs)

    def decode(
        self,
        inputs: dict[str, Any],
        *,
        plans: Sequence[RowPlan] | None = None,
        resume: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, LatentDecoding | None]:
        """Run transformers' `generate` with the latent blocks in place.

        Args:
            inputs: Model inputs; `past_key_values` among them goes on from a cache.
            plans: One per row, own latents by default.
            resume: A start marker at the end of the input opens a block.
            **kwargs: For `generate`.

        Returns:
            What `generate` returned, and the decoding with every row's blocks; None for a model
            without LVR tokens.
        """
        rows = len(inputs["input_ids"])
        # A checkpoint saved from training may have its cache switched off.
        settings = {"do_sample": False, "use_cache": True, "max_new_tokens": self.max_new_tokens}
        settings |= kwargs
        config = copy.deepcopy(self.hf.generation_config)
        if not settings["do_sample"]:
            # Sampling settings of a checkpoint mean nothing here, and make generate warn unless
            # they are its defaults.
            config.temperature, config.top_p, config.top_k = 1.0, 1.0, 50
        kwargs = config.update(**settings)
        if self.lvr is None:
            if plans is not None:
                self.require_lvr()
            return self.hf.generate(**inputs, generation_config=config, **kwargs), None
        decoding = LatentDecoding(
            self.lvr,
            plans or [OWN] * rows,
            image_token=self.hf.config.image_token_id,
            resume=resume,
        )
        processors = LogitsProcessorList([*kwargs.pop("logits_processor", ()), decoding])
        with self._port.open(decoding):
            result = self.hf.generate(
                **inputs, generation_config=config, logits_processor=processors, **kwargs
            )
        return result, decoding

    def text(self, ids: Tensor) -> str:
        """The text of generated tokens; markers stay, padding and end-of-text tokens go."""
        tokenizer = self.processor.tokenizer
        drop = {tokenizer.pad_token_id, *self.eos_ids}
        return tokenizer.decode(
            [i for i in ids.tolist() if i not in drop],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )

    @property
    def eos_ids(self) -> set[int]:
        """The tokens that end a generation."""
        eos = self.hf.generation_config.eos_token_id
        return set(eos) if isinstance(eos, list | tuple) else {eos} - {None}

    # -- batching under nnsight ----------------------------------------------

    def _batch_size(self, *inputs: Any, **kwargs: Any) -> int:
        if inputs and isinstance(inputs[0], list | tuple) and not inputs[0]:
            raise LanternError("there are no samples to run")
        if inputs and (samples := as_samples(inputs[0])):
            return len(samples)
        return super()._batch_size(*inputs, **kwargs)

    def _batch(self, invokes: list[Any], fn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
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


def as_samples(value: Any) -> list[Sample]:
    """One sample, or several, as a list; empty when it is something else."""
    if isinstance(value, Sample):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(item, Sample) for item in value):
        return list(value)
    return []
