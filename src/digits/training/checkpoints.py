"""Checkpoints: after each epoch, at intervals within one, and before the process exits on a signal."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from digits.config import CheckpointConfig
from digits.errors import RunError, UserError
from digits.runs.checkpoint import PARTS
from digits.runs.files import atomic
from digits.runs.run import Run
from digits.signals import in_command, raise_if_interrupted, remember, replace_handlers, restore_handlers

log = logging.getLogger(__name__)
SAME_SIGNAL_SECONDS = 0.5


class Checkpoints(Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``; a run resumes at the exact step at which ``last.ckpt`` was saved.

    In a command, on SIGINT, SIGTERM or a scheduler's signal it finishes the current step, saves and stops; on a second
    signal it stops at once. Signals within 0.5 s count as one, since a process may receive the same one twice, directly
    and through its group. Lightning's own ModelCheckpoint would be needed three times, and loses the best score when
    the run directory is moved.

    Args:
        run: The run that the checkpoints belong to.
        config: The metric that makes a checkpoint the best, and how often to save within an epoch.
        validated: Whether there is a validation set. Without one, the last epoch is the best.
    """

    def __init__(self, run: Run, config: CheckpointConfig, validated: bool) -> None:
        self.run, self.config, self.validated = run, config, validated
        self.best: float | None = None
        self._listens = in_command()  # also in a process that Lightning spawns, which gets a copy of this object
        self._signal = 0
        self._signal_time = 0.0
        self._previous_handlers: dict[int, Any] = {}
        self._save_time = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the position within the epoch, compare the processes, and install the signal handlers.

        Raises:
            UserError: If the processes resume from different steps.
        """
        # Under Slurm, Lightning asks for the length of the training before it restores the state, and then skips this.
        trainer.fit_loop._load_combined_loader_states()
        self._save_time = time.monotonic()
        raise_if_interrupted()
        step = torch.tensor(trainer.global_step, device=trainer.strategy.root_device)
        last, first = (int(trainer.strategy.reduce(step.clone(), reduce_op=name)) for name in ("max", "min"))
        if last != first:
            raise UserError(
                f"the processes do not see the same {self.run.path}: one resumes at step {last}, another at {first}. "
                "Set hydra.run.dir to a folder that all machines share."
            )
        if self._listens and threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            self._previous_handlers = replace_handlers(self._handle)
        if trainer.global_step == 0:
            self._keep(trainer, 0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a signal has arrived or the interval is over, but not between accumulated gradients."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.is_last_batch:
            return
        number, due = self._agree(trainer, self._signal, self._is_due(trainer))
        if number or due:
            self._save(trainer, self.run.last)
        if number:
            self._forward(trainer, number)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch; ``best.ckpt`` first, because ``last.ckpt`` contains the best score."""
        score = float(trainer.callback_metrics[self.config.monitor]) if self.validated else None
        if score is None or self.best is None or (score - self.best) * (1 if self.config.mode == "max" else -1) > 0:
            self.best = score
            self._save(trainer, self.run.best)
        self._keep(trainer, trainer.current_epoch + 1)
        self._save(trainer, self.run.last)
        self._stop_on_signal(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Act on a pending signal, then restore the previous handlers."""
        self._stop_on_signal(trainer)
        self._restore_handlers()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the previous handlers, and keep a pending signal for later."""
        if self._signal:
            remember(self._signal)
        self._restore_handlers()

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self.best = state_dict["best"]

    def _is_due(self, trainer: Trainer) -> bool:
        steps, seconds = self.config.every_n_steps, self.config.every_n_seconds
        return bool(
            (steps and trainer.global_step % steps == 0) or (seconds and time.monotonic() >= self._save_time + seconds)
        )

    def _agree(self, trainer: Trainer, number: int, due: bool) -> tuple[int, bool]:
        """Make all processes act on a signal that one of them received, and on an interval that is over for one."""
        if trainer.world_size == 1:
            return number, due
        both = torch.tensor([number, due], device=trainer.strategy.root_device)
        number, due = trainer.strategy.reduce(both, reduce_op="max").tolist()
        return number, bool(due)

    def _save(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path)
        self._save_time = time.monotonic()

    def _keep(self, trainer: Trainer, epochs: int) -> None:
        """Keep the weights after a number of epochs; a run that resumes within an epoch writes the same file again."""
        if self.config.every_epoch:
            self._save(trainer, self.run.epoch_file(epochs))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal and time.monotonic() >= self._signal_time + SAME_SIGNAL_SECONDS:
            remember(self._signal)
            self._restore_handlers()
            signal.raise_signal(number)
        elif not self._signal:
            self._signal, self._signal_time = number, time.monotonic()

    def _stop_on_signal(self, trainer: Trainer) -> None:
        number, _ = self._agree(trainer, self._signal, False)
        if number:
            self._forward(trainer, number)

    def _forward(self, trainer: Trainer, number: int) -> None:
        """Forward a signal to its previous handler, which stops the run.

        Lightning's own handler lets the run continue: it makes Slurm submit the job again, and Slurm then ends it. So
        the signal is ignored from then on; with several processes, one may receive it later than the others.
        """
        log.info("Saved at step %d of the training: %s", trainer.global_step, self.run.last)
        self._signal = 0
        if number in self._previous_handlers:
            restore_handlers({number: self._previous_handlers.pop(number)})
        signal.raise_signal(number)
        if self._previous_handlers:
            self._previous_handlers |= replace_handlers(signal.SIG_IGN, [number])

    def _restore_handlers(self) -> None:
        restore_handlers(self._previous_handlers)
        self._previous_handlers = {}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint whole or not at all, and keeps the last one until the next one is complete.

    Lightning's own checkpoint on Slurm's signal is skipped, because ``last.ckpt`` has just been saved.

    Args:
        run: The run that the checkpoints belong to.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            RunError: If the disk is full or the folder is not writable. Earlier checkpoints stay as they are.
        """
        path = Path(path)
        if path.name.startswith("hpc_ckpt_"):
            return
        if path.parent == self.run.epochs:  # averaged weights, if there is an average; not to resume from
            checkpoint = {key: checkpoint[key] for key in (*PARTS, "epoch")}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path, keep=self.run.previous if path == self.run.last else None) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            raise RunError(
                f"{path} cannot be written: {_system_message(error)}. Earlier checkpoints are intact. "
                "Fix the problem and run the same command in the same hydra.run.dir again to resume"
            ) from error


def _system_message(error: BaseException | None) -> str:
    """Find the operating system's message behind torch's error."""
    while error:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "the disk may be full"
