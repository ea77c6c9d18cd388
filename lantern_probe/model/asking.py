"""One question about one image: `LanternModel.ask`, with the latents and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from lantern_probe.model.blocks import LanternOutput
from lantern_probe.model.tracing import TracedModel
from lantern_probe.model.with_blocks import untraceable
from lantern_probe.tasks.images import ImageSource
from lantern_probe.tasks.questions import asked_question

if TYPE_CHECKING:
    from lantern_probe.causal.asking import Answers
    from lantern_probe.interventions import Intervention


class Asking(TracedModel):
    """A traced model that can be asked about an image; `LanternModel` is the one to use."""

    generate: Any

    @overload
    def ask(
        self,
        image: ImageSource,
        question: str,
        options: Sequence[str] = (),
        conditions: None = None,
        **kwargs: Any,
    ) -> LanternOutput: ...

    @overload
    def ask(
        self,
        image: ImageSource,
        question: str,
        options: Sequence[str] = (),
        *,
        conditions: Sequence[str | Intervention],
        **kwargs: Any,
    ) -> Answers: ...

    @untraceable
    def ask(
        self,
        image: ImageSource,
        question: str,
        options: Sequence[str] = (),
        conditions: Sequence[str | Intervention] | None = None,
        **kwargs: Any,
    ) -> LanternOutput | Answers:
        """Put one question about one image, plainly or under several conditions side by side.

            >>> image = sample.open_images()[0]
            >>> output = lantern.ask(image, "what color is the diamond ?")
            >>> output.answers == [sample.answer]
            True
            >>> asked = lantern.ask(image, sample.question, conditions=("own", "ban", "zeros"))
            >>> asked.answers["own"] == sample.answer
            True

        A photo that lies on its side by its EXIF is turned upright, and that is said.

        Args:
            image: A path, a PIL image or an array [height, width, 3] (uint8).
            question: The question.
            options: Answers to choose from, at most 26, which are lettered A, B, C ... in the
                prompt; default none, an open question. With options the answer is a letter.
            conditions: Conditions to answer under, such as own, ban and zeros; default None, as
                the model is.
            **kwargs: Settings of `generate`, such as `max_new_tokens`, `plans` or `parser`; with
                conditions `max_new_tokens`, `parser` and `seed`.

        Returns:
            The output of `generate`, with one row; with conditions an `Answers`, which displays as
            a table.

        Raises:
            LanternError: the image cannot be read, there are more than 26 options, a condition
                needs other samples, or the call is the header of a `with`.
        """
        sample = asked_question(image, question, options)
        if conditions is None:
            output: LanternOutput = self.generate(sample, **kwargs)
            return output
        from lantern_probe.causal.asking import ask_under  # the room above this one

        return ask_under(self, sample, conditions, **kwargs)
