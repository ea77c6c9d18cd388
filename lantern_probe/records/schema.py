"""The written form of rows: one typed dictionary per kind of run, a sentence under every field.

All rows share the fields of `Row`'s key and status. A reader meets a row as a plain dictionary; the
types here check the writers, and `docs/runs-on-disk.md` lists them.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["ok", "failed", "left out"]
"""`ok` ran; `failed` could not be run; `left out` ran, but cannot be compared with its twin."""

Finish = Literal["closed", "truncated", "failed"]
"""`closed` ended by itself; `truncated` was cut off by the token limit; `failed` has no text."""


SampledRow = TypedDict("SampledRow", {"pass": NotRequired[int]})
"""Index of the pass of sampled decoding (0-based); greedy rows have none."""


class FailedRow(SampledRow):
    """A sample that could not be run under a condition."""

    sample: str
    """Id of the sample."""
    condition: str
    """Label of the condition."""
    status: Literal["failed", "left out"]
    """`failed` (could not be run) or `left out` (cannot be compared)."""
    error: str
    """Message that names the input and the way out."""
    finish: Literal["failed"]
    """Marks that there is no text."""
    failure: NotRequired[str]
    """Kind of failure of a served question, such as `rate limit` or `content filter`."""
    attempts: NotRequired[int]
    """Number of requests that were made for a served question."""


def failed_row(sample: str, condition: str, error: Exception) -> FailedRow:
    """Make the row of a sample that could not be run.

    Args:
        sample: Id of the sample.
        condition: Label of the condition.
        error: Reason; its text is recorded.
    """
    return {
        "sample": sample,
        "condition": condition,
        "status": "failed",
        "error": str(error),
        "finish": "failed",
    }


class TextRow(TypedDict):
    """Fields of every row that holds a generated text."""

    sample: str
    """Id of the sample; `samples.jsonl` has its content."""
    condition: str
    """Label of what was done, such as `swap:seed=1` or `zeros@black-box`."""
    status: Literal["ok"]
    """Marks a row that ran."""
    cluster: str
    """Key shared by dependent samples: the pair of a sample and its twin, else their images."""
    gold: str | None
    """Right answer; null where it is unknown."""
    answer: str | None
    """Answer as the run's parser reads it; null where the text holds none."""
    correct: bool | None
    """True if `answer` equals `gold`; null where `gold` is unknown."""
    emitted: bool
    """True if the text has at least one latent block."""
    blocks: int
    """Number of latent blocks."""
    fed: list[int]
    """Number of latents fed in each block; fewer than K where the limit cut a block off."""
    finish: Finish
    """End of the text: `closed` by itself or `truncated` by the token limit."""
    text: str
    """Generated text, with its markers."""
    latent_norms: NotRequired[list[float]]
    """Norm of the state fed at each slot of the first block."""
    end_cosines: NotRequired[list[float | None]]
    """Cosine of each of them to the embedding of the end marker; null for a state of norm 0."""
    text_norm: NotRequired[float | None]
    """Median norm of the prompt's embeddings that are no image tokens."""
    image_norm: NotRequired[float | None]
    """Median norm of the prompt's merged image tokens; null without an image."""


class AblationRow(TextRow, SampledRow):
    """One sample under one condition of an ablation, an exchange, a knockout or a decomposition."""

    parsed: dict[str, str | None]
    """Answer as each parser that can read this sample reads it."""
    candidates: int
    """Number of candidate answers; 0 for an open question."""
    tokens: int
    """Number of generated tokens, slots included."""
    category: str | None
    """Category of the sample, from its data set."""
    pair: NotRequired[str]
    """Id of the sample of the pair from which the twin was made; of samples with a twin."""
    logprobs: dict[str, float] | None
    """Log-probability in nats of each candidate and its end where the answer begins, or null."""
    mass: NotRequired[float | None]
    """Probability that any candidate is written there; below 0.5 the scores say little."""
    indistinct: NotRequired[list[list[str]]]
    """Pairs of candidates that the tokenizer cannot tell apart."""
    kept: str
    """Parts of the block that the condition leaves in place, for the decomposition of a gain."""
    acted: NotRequired[bool]
    """True if the condition acted on this text; only with a block."""
    pool: NotRequired[int | None]
    """Number of samples whose latents the condition drew on; null for one that draws on none."""
    donor: NotRequired[str]
    """Id of the sample that lent its latents or its image."""
    donor_answer: NotRequired[str | None]
    """Answer that the donor calls for, as one of this sample's candidates; null where none is."""
    changed: NotRequired[Literal["stored", "re-rolled"]]
    """Own latents that were changed: those of the plain run, or those made after changed ones."""
    forced: NotRequired[bool]
    """True if the block was forced into a text that opens none by itself."""
    pause_token: NotRequired[str]
    """Text of the token whose embedding was fed at the slots."""
    rank: NotRequired[list[int]]
    """Number of directions erased at each slot."""
    removed: NotRequired[list[float]]
    """Fraction of the variance at each slot that the eraser removes in the sample's fold."""
    nearest: NotRequired[list[float]]
    """Distance from each slot's fed latent to the nearest own latent of another image."""
    nearest_own: NotRequired[list[float]]
    """Distance from each slot's stored own latent to the nearest own latent of another image."""
    box: NotRequired[list[float]]
    """Box whose crop was fed: left, top, right, bottom in pixels."""
    overlap: NotRequired[list[float]]
    """Fraction of the crop of each evidence box that lies inside the drawn crop."""


class ServedRow(AblationRow):
    """One sample as a server answers it, under the condition `served:NAME`.

    `fed` is empty, because a server does not show latents, and `emitted` is that of the local own
    run where there is one. A thought that the server gives apart stands in the text between tags.
    """

    prompt_tokens: int
    """Number of tokens of the prompt as it is made here."""
    served_prompt_tokens: int | None
    """Number of tokens of the prompt as the server counts them; null where it does not say."""
    attempts: int
    """Number of requests until the answer came."""
    opened: int
    """Number of start markers in the text."""
    opened_in_content: int
    """Number of start markers in the text of the answer, without thoughts given apart."""
    slot_tokens: int
    """Number of slot markers in the text."""
    missing_tokens: int | None
    """Number of counted tokens that are not in the text, the end of the text included."""
    thoughts_apart: bool
    """True if the server gave the thought apart from the answer."""
    prompt_mismatch: NotRequired[bool]
    """True if the server counts another number of tokens in the prompt, which was allowed."""
    first_logprobs: NotRequired[dict[str, float | None] | None]
    """Log-probability in nats of each candidate's first token where the answer begins, as the
    server reports it; null outside its likeliest tokens."""


class CaptureRow(TextRow):
    """One captured sample: place of its activations, and attributes of the sample.

    Further columns are the sample's plain attributes (see `records.store.describe`).
    """

    shard: str
    """File name of the shard that holds the activations, in the folder `shards`."""
    position: int
    """Index of the sample in its shard."""
    missing: list[str]
    """Labels of the sites that the text lacks; their activations are NaN."""
    continuation: list[int]
    """Generated token ids, up to and including the one that ended the text."""


class PatchRow(TypedDict):
    """One sample under one patch: logit differences of its own answer minus the donor's."""

    sample: str
    """Id of the sample whose run is patched."""
    condition: str
    """Label of the patch, such as `residual.3@slot[5]`."""
    status: Status
    """`ok`, `failed` (the pair could not be run) or `left out` (it could not be compared)."""
    cluster: str
    """Key of the pair of a sample and its twin."""
    component: str
    """Patched component."""
    layer: int | None
    """0-based layer; null for a component without layers."""
    role: str
    """Role of the patched positions."""
    slot: int | None
    """0-based slot that is patched alone; null for all positions of the role."""
    sham: bool
    """True if the own activations were put back."""
    direction: Literal["denoise", "noise"]
    """Clean patched into corrupted, or corrupted into clean."""
    donor: str
    """Id of the sample whose activations are put in."""
    gold: str | None
    """Right answer of the sample."""
    foil: NotRequired[str]
    """Answer that the donor calls for."""
    donor_value: NotRequired[float]
    """Logit difference in the donor's own run, in nats."""
    base: NotRequired[float]
    """Logit difference without a patch, in nats."""
    patched: NotRequired[float]
    """Logit difference under the patch, in nats."""
    base_answer: NotRequired[str]
    """Most probable candidate without a patch."""
    answer: NotRequired[str]
    """Most probable candidate under the patch."""
    finish: NotRequired[Finish]
    """End of the target's text: `closed` by itself or `truncated` by the token limit."""
    error: NotRequired[str]
    """Reason why there is no measurement."""


class SensitivityRow(TypedDict):
    """One sample under one change of its input."""

    sample: str
    """Id of the sample."""
    condition: str
    """Label of the change."""
    status: Literal["ok"]
    """Marks a row that ran."""
    cluster: str
    """Key shared by dependent samples."""
    moved: dict[str, list[float]]
    """Cosine distance that each site moved, by label of the site, one number per slot."""
    between: dict[str, list[float]]
    """Mean cosine distance to the other samples, in the same layout."""
    finish: NotRequired[Finish]
    """End of the text under the change: `closed` by itself or `truncated` by the token limit."""


class AttentionRow(TypedDict):
    """One sample's attention rows, as means over heads and over the queries of a role."""

    sample: str
    """Id of the sample."""
    condition: str
    """Label of the condition, `own`."""
    status: Literal["ok"]
    """Marks a row that ran."""
    cluster: str
    """Key shared by dependent samples."""
    emitted: bool
    """True if the text has at least one latent block."""
    gold: str | None
    """Right answer."""
    answer: str | None
    """Answer as the parser reads it."""
    attention: dict[str, Any]
    """By role of the query: mass by role of the key, entropy in nats, enrichment; one per layer."""
    finish: NotRequired[Finish]
    """End of the text: `closed` by itself or `truncated` by the token limit."""


KINDS: dict[str, type] = {
    "ablation, exchange, knockout, decomposition": AblationRow,
    "served answers": ServedRow,
    "capture": CaptureRow,
    "patching": PatchRow,
    "sensitivity": SensitivityRow,
    "attention": AttentionRow,
    "a sample that could not be run": FailedRow,
}
"""Kinds of rows by the run that writes them."""
