"""`LanternModel`: a latent visual reasoner under nnsight, loaded, asked and traced."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList

from lantern_probe.errors import LanternError
from lantern_probe.model.asking import Asking
from lantern_probe.model.blocks import OWN, LanternOutput, PromptNorms, RowPlan
from lantern_probe.model.checkpoint import load_checkpoint
from lantern_probe.model.decoding import LatentDecoding
from lantern_probe.model.inputs import as_samples
from lantern_probe.model.latent_port import LatentPort
from lantern_probe.model.placement import PlacedModel
from lantern_probe.model.protocol_model import MAX_NEW_TOKENS as MAX_NEW_TOKENS
from lantern_probe.model.protocol_model import ProtocolModel
from lantern_probe.model.sampling import sampler
from lantern_probe.model.unfed import warn_of_unfed
from lantern_probe.model.with_blocks import traceable, untraceable
from lantern_probe.protocols import LatentProtocol, load_protocol
from lantern_probe.tasks.answers import Parser, parse_answer
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Site, parse_sites

if TYPE_CHECKING:
    from lantern_probe.capture.batch import Captured


class LanternModel(Asking, ProtocolModel, PlacedModel):
    """A Qwen2.5-VL or Qwen3-VL with latent blocks, wrapped by nnsight.

    In a block the model is fed K of its own final hidden states, one at each slot, as its protocol
    says (docs/protocols.md; of LanteRn arXiv 2603.25629). They pass through the submodule `latent`,
    so that a trace reads and edits them like any other location:

        LanternModel
        ├── model
        │   ├── visual               the vision tower
        │   └── language_model
        │       ├── embed_tokens
        │       ├── layers           also lantern.layers; each has self_attn and mlp
        │       └── norm             also lantern.ln_final
        ├── lm_head                  its output is lantern.logits
        └── latent                   what is fed at the current slot, [rows, 1, D]

    One forward over the prompt is traced with `lantern.trace(sample)`, a whole generation with
    `lantern.generate(sample)`, whose loop visits the slots one after the other. In either,
    `lantern.layers_output[i]`, `lantern.logits` and the other accessors give the values of the
    current forward.

        >>> lantern.generate(sample).answers == [sample.answer]
        True
        >>> with lantern.trace(sample):
        ...     states = lantern.layers_output[2].save()
        ...     logits = lantern.logits.save()
        >>> states.shape[-1], logits.shape[-1] == len(lantern.processor.tokenizer)
        (128, True)
        >>> with lantern.generate(sample) as tracer:
        ...     norms = list().save()
        ...     for slot in tracer.iter[:8]:
        ...         norms.append(lantern.latent.output.norm())
        >>> len(norms)
        8

    Args:
        source: A bundled organism's name, a checkpoint folder, or a Hub name such as
            `AGViveiros/LanteRn-3B-RL`. The network is used for a Hub name only. The folder of an
            adapter stands for the base that it names, with the adapter.
        adapter: Folder of a peft adapter, which is merged into the weights; default none.
        protocol: Protocol of the latent blocks: a name of `protocols.PROTOCOLS`, a TOML file, or a
            `LatentProtocol`; default the one that the checkpoint's files show.
        latent_size: K, the number of slots in a block; default the protocol's source, such as the
            config.
        allow_plain: Accept a checkpoint without the tokens of a block as a model without blocks.
        dtype: Dtype of the weights; default float32 on the CPU, the checkpoint's own on a GPU.
        device_map: Placement, as in transformers: "auto" over all devices, a device, or a mapping;
            default the first GPU, else the CPU.
        quantize: "4bit" or "8bit" to round the weights as they are loaded, by bitsandbytes; default
            none.
        attn_implementation: "sdpa" (default), "eager", "flash_attention_2" ...
        revision: Branch, tag or commit of a Hub repository; default its main branch.
        offline: Never contact the Hub, use its local cache only.
        min_pixels: Fewest pixels to which the processor resizes an image; default the official
            evaluation's in place of Qwen's stock limit, else the checkpoint's own.
        max_pixels: Most pixels to which the processor resizes an image; the same default.

    Raises:
        LanternError: there is no such checkpoint, it is no Qwen2.5-VL or Qwen3-VL, its
            protocol is not clear or contradicted, or it does not fit into memory.
    """

    def __init__(
        self,
        source: str,
        *,
        adapter: str | Path | None = None,
        protocol: str | Path | LatentProtocol | None = None,
        latent_size: int | None = None,
        allow_plain: bool = False,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        quantize: str | None = None,
        attn_implementation: str | None = None,
        revision: str | None = None,
        offline: bool = False,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ):
        checkpoint = load_checkpoint(
            str(source),
            adapter=adapter,
            protocol=None if protocol is None else load_protocol(protocol),
            latent_size=latent_size,
            allow_plain=allow_plain,
            dtype=dtype,
            device_map=device_map,
            quantize=quantize,
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
        self.lvr = checkpoint.lvr
        super().__init__(checkpoint.source, module, checkpoint.processor)

    # -- asking --------------------------------------------------------------

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
        under nnsight, and `tracer.result` is the output. A trace runs its block from the source,
        hence in a file or a notebook cell, not from standard input or under `%%time`.

            >>> output = lantern.generate([sample], max_new_tokens=40)
            >>> print(output.texts[0])
            <think> let me look at the diamond <|lvr_start|> <|lvr_sep|> ... <answer> ... </answer>
            >>> output.latents[0][0].shape
            torch.Size([8, 128])

        Args:
            inputs: A sample, several, or ready model inputs (`input_ids`, `attention_mask`,
                `pixel_values`, `image_grid_thw`, `mm_token_type_ids`).
            plans: For every row, the plan for its latent blocks; default own latents.
            parser: Name of the parser that reads answers from texts: "default", "official" or
                "strict" (see `tasks.answers.parse_answer`). Ready inputs have no answers.
            **kwargs: Settings of transformers' `generate`: `max_new_tokens` (default
                `self.max_new_tokens`), `do_sample` (default False), `temperature`, `streamer`,
                `stopping_criteria`, `logits_processor` ...

        Returns:
            The sequences, and of every row its blocks with the latents that were fed, its text and
            its answer.

        Raises:
            LanternError: an image cannot be read, there is not one plan per row, beams are asked
                for, or the model has no LVR tokens and a plan was given.
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
        warn_of_unfed(self, sequences[:, prompt_length:], blocks)
        norms = [] if decoding is None else decoding.norms
        texts = [self.text(row[prompt_length:]) for row in sequences]
        answers: list[str | None] = [None] * len(texts)
        if samples is not None:
            lead = self.answer_lead
            pairs = zip(texts, samples, strict=True)
            answers = [parse_answer(*one, parser, lead=lead) for one in pairs]
        return LanternOutput(sequences, prompt_length, blocks, texts, answers, norms)

    @untraceable
    def capture(
        self,
        samples: Sample | Sequence[Sample],
        sites: str | Site | Sequence[str | Site],
        **kwargs: Any,
    ) -> Captured:
        """Answer a batch of questions, and read activations on the way.

            >>> captured = lantern.capture(sample, ["latent@slot", "residual.2@answer-start"])
            >>> {site: list(values.shape) for site, values in captured.activations.items()}
            {'latent@slot': [1, 8, 128], 'residual.2@answer-start': [1, 1, 128]}

        Args:
            samples: A sample, or several.
            sites: Sites to read, as for `vocabulary.parse_sites`: `residual.*@slot`,
                `mlp.0-3@answer-start`, `latent@slot` ...
            **kwargs: Arguments of `capture.capture_batch` (`plans`, `force`, `dtype`, `parser`) and
                settings of `generate` such as `max_new_tokens`.

        Returns:
            The output of `generate`, and by label of the site the activations
            [rows, positions, D] on the CPU; NaN where a row lacks the role.

        Raises:
            LanternError: a site is not one of this model's, or the batch cannot be generated.
        """
        from lantern_probe.capture.batch import capture_batch  # the room above this one

        given = [sites] if isinstance(sites, str | Site) else sites
        texts = [site.label if isinstance(site, Site) else site for site in given]
        return capture_batch(
            self, as_samples(samples), parse_sites(texts, len(self.layers)), **kwargs
        )

    def decode(
        self,
        inputs: dict[str, Any],
        *,
        plans: Sequence[RowPlan] | None = None,
        resume: bool | Sequence[bool] = False,
        norms: Sequence[PromptNorms | None] | None = None,
        decoding: LatentDecoding | None = None,
        **kwargs: Any,
    ) -> tuple[Any, LatentDecoding | None]:
        """Run transformers' `generate` with the latent blocks in place.

        The form of `generate` for code that needs the cache, scores or hidden states:

            >>> inputs = dict(lantern.inputs([sample]))
            >>> settings = {"return_dict_in_generate": True, "output_logits": True}
            >>> result, decoding = lantern.decode(inputs, **settings)
            >>> len(result.logits) == result.sequences.shape[1] - inputs["input_ids"].shape[1]
            True

        Args:
            inputs: Model inputs. With `past_key_values` among them decoding goes on from a cache;
                after an image that needs `position_ids` too, or the image's grid.
            plans: For every row, the plan for its latent blocks; default own latents.
            resume: Count the last input token as generated, of all rows or of each, so that a
                start marker there opens a block; default False.
            norms: For every row the median norms of its prompt, where a cache holds it; measured
                by default.
            decoding: The decoding of an earlier call that this one goes on with, in place of
                `plans` and `resume`.
            **kwargs: Settings of transformers' `generate`, as for `LanternModel.generate`.

        Returns:
            What transformers' `generate` returned, and the decoding with every row's blocks; None
            in place of the decoding for a model without LVR tokens.

        Raises:
            LanternError: the plans do not fit the rows or the model, a cache comes without
                positions, or a generation is running on this model already.
        """
        self._check_positions(inputs)
        self._forget_image()
        given = dict(kwargs)
        config, kwargs = self._settings(kwargs)
        if self.lvr is None:
            if plans is not None:
                self.require_lvr()
            return self.hf.generate(**inputs, generation_config=config, **kwargs), None
        decoding = decoding or self.decoding(
            plans or [OWN] * len(inputs["input_ids"]), resume=resume, norms=norms, **given
        )
        processors = LogitsProcessorList([*kwargs.pop("logits_processor", ()), decoding])
        with self._port.open(decoding):
            result = self.hf.generate(
                **inputs, generation_config=config, logits_processor=processors, **kwargs
            )
        return result, decoding

    def decoding(
        self,
        plans: Sequence[RowPlan],
        *,
        resume: bool | Sequence[bool] = False,
        norms: Sequence[PromptNorms | None] | None = None,
        **kwargs: Any,
    ) -> LatentDecoding:
        """The decoding of latent blocks for one or several calls of `decode`.

        Args:
            plans: For every row, the plan for its latent blocks.
            resume: Count the last input token as generated, as for `decode`; default False.
            norms: For every row the median norms of its prompt; default None, to be measured.
            **kwargs: Settings of transformers' `generate`, as for `decode`.

        Raises:
            LanternError: the model has no latent blocks, or a plan forces one.
        """
        config, _ = self._settings(kwargs)
        return LatentDecoding(
            self.require_lvr(),
            plans,
            image_token=self.hf.config.image_token_id,
            resume=resume,
            norms=norms,
            ends=self.eos_ids,
            sampled=sampler(self.hf, config),
        )

    def _settings(self, given: dict[str, Any]) -> tuple[GenerationConfig, dict[str, Any]]:
        """The generation config under some settings, and those that it has no place for."""
        # A checkpoint saved from training may have its cache switched off.
        settings = {"do_sample": False, "use_cache": True, "max_new_tokens": self.max_new_tokens}
        settings |= given
        config = copy.deepcopy(self.hf.generation_config)
        if not settings["do_sample"]:
            # Sampling settings of a checkpoint mean nothing here, and make generate warn unless
            # they are its defaults.
            config.temperature, config.top_p, config.top_k = 1.0, 1.0, 50
        return config, config.update(**settings)

    def _check_positions(self, inputs: Mapping[str, Any]) -> None:
        """Refuse a cache whose image would be forgotten."""
        if inputs.get("past_key_values") is None or "position_ids" in inputs:
            return
        image = (inputs["input_ids"] == self.hf.config.image_token_id).any()
        if image and not {"image_grid_thw", "mm_token_type_ids"} <= inputs.keys():
            raise LanternError(
                "to go on from a cache after an image takes position_ids, or image_grid_thw and "
                "mm_token_type_ids: which positions the image takes up is not in the cache"
            )

    def text(self, ids: Tensor) -> str:
        """The text of generated tokens; markers stay, padding and end-of-text tokens are dropped.

        Args:
            ids: Tokens of one row, [length].
        """
        tokenizer = self.processor.tokenizer
        drop = {tokenizer.pad_token_id, *self.eos_ids}
        return tokenizer.decode(
            [i for i in ids.tolist() if i not in drop],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
