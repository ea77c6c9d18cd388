"""A callback of transformers' `Trainer` that logs the card's numbers during a training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from lantern_probe.analysis.monitoring import Monitored
from lantern_probe.causal.monitoring import monitor
from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import Sample

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments


class MonitorCallback(TrainerCallback):
    """Runs `lantern_probe.monitor` at chosen steps of a training, and logs its numbers.

    They go through the trainer's `log`, and so into `trainer.state.log_history` and to whatever it
    reports to, under the names of `Monitored.logs`:

        trainer = Trainer(model, args, train_dataset=data, processing_class=processor)
        trainer.add_callback(MonitorCallback(trainer, samples, steps=100))
        trainer.train()

    The weights after the training are those of a training without the callback, bit by bit. In a
    distributed training the first process measures, and the others wait.

    Args:
        trainer: The trainer that the callback is added to.
        samples: Samples, each of which gets a twin as in `diagnose`.
        steps: Number of steps between two looks, the first before step 1 and the last at the end;
            or the steps themselves, 0 for the start.
        processor: Processor of the model; default the trainer's `processing_class`.
        **settings: Further arguments of `monitor`.

    Attributes:
        seen: The numbers by step.

    Raises:
        LanternError: a number of steps is not positive, or there is no processor.
    """

    def __init__(
        self,
        trainer: Trainer,
        samples: Sequence[Sample],
        *,
        steps: int | Collection[int],
        processor: Any = None,
        **settings: Any,
    ) -> None:
        if isinstance(steps, int) and steps < 1:
            raise LanternError(f"steps is a number of steps from 1 on, or a list, not {steps}")
        self._processor = processor or getattr(trainer, "processing_class", None)
        if self._processor is None:
            raise LanternError(
                "a monitor needs the model's processor: pass processor=, or give the trainer its "
                "processing_class"
            )
        self._trainer, self._samples, self._settings = trainer, samples, settings
        self._steps = steps if isinstance(steps, int) else frozenset(steps)
        self.seen: dict[int, Monitored] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module,
        **others: Any,
    ) -> None:
        """Refuse a model that cannot be monitored, and look at step 0 if that is asked for."""
        from lantern_probe.model.in_training import plain

        plain(model)
        self._look(state, control, model, last=False)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module,
        **others: Any,
    ) -> None:
        """Look at the steps that are asked for."""
        self._look(state, control, model, last=state.global_step >= state.max_steps)

    def _look(
        self, state: TrainerState, control: TrainerControl, model: nn.Module, *, last: bool
    ) -> None:
        step, asked = state.global_step, self._steps
        due = last or step % asked == 0 if isinstance(asked, int) else step in asked
        if not due or not state.is_world_process_zero:
            return
        self.seen[step] = monitor(model, self._processor, self._samples, **self._settings)
        # The trainer takes any log for the one that is due at this step, and would not log the
        # loss.
        logs_loss = control.should_log
        self._trainer.log(self.seen[step].logs())
        control.should_log = logs_loss
