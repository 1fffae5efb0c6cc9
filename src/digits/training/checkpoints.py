"""When a training is saved: after each epoch, every so often within one, and before it does as a signal says."""

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
from digits.errors import RunError, UserError, listen_with, obey, obey_later
from digits.runs.files import whole
from digits.runs.run import Run

log = logging.getLogger(__name__)
AGAIN = 0.5  # seconds


class Checkpoints(Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``, from which a training goes on at the very step at which it was saved.

    Told to stop by SIGINT, SIGTERM or a scheduler's signal, it first brings the step to its end and saves; told again,
    it stops at once. What comes within half a second is the same: a process may be told by itself, and with its group.
    It would take three of Lightning's ModelCheckpoint, which also forgets the best score where a run directory has been
    moved.

    Args:
        run: Where they are kept.
        config: What makes an epoch the best, and how often to save within one.
        validated: Whether there is anything to compare epochs by; if not, the last one is the best.
    """

    def __init__(self, run: Run, config: CheckpointConfig, validated: bool) -> None:
        self.run, self.config, self.validated = run, config, validated
        self.best: float | None = None
        self._told = 0  # the signal
        self._told_at = 0.0  # when
        self._handlers: dict[int, Any] = {}  # of signals, before the training began
        self._saved = 0.0  # when

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on behind the last batch, start the clock, and listen to signals, as only a process's main thread can."""
        # Lightning has done so, unless a scheduler asked for the length of the training before the state was restored.
        trainer.fit_loop._load_combined_loader_states()
        self._saved = time.monotonic()
        obey()
        step = torch.tensor(trainer.global_step, device=trainer.strategy.root_device)
        last, first = (int(trainer.strategy.reduce(step.clone(), reduce_op=name)) for name in ("max", "min"))
        if last != first:
            raise UserError(
                f"the processes do not see the same {self.run.path}: one goes on from step {last}, another from "
                f"{first}. Set hydra.run.dir to a folder that all machines share."
            )
        if threading.current_thread() is threading.main_thread():
            self._handlers = listen_with(self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time; not between steps whose gradients are added up, nor where the epoch ends anyway."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches or trainer.is_last_batch:
            return
        told, due = self._agreed(trainer, self._told, self._is_due(trainer))
        if told or due:
            self._save(trainer, self.run.last)
        if told:
            self._hand_over(trainer, told)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, first as the best, if it is: the last one records how good that was."""
        score = float(trainer.callback_metrics[self.config.monitor]) if self.validated else None
        if score is None or self.best is None or (score - self.best) * (1 if self.config.mode == "max" else -1) > 0:
            self.best = score
            self._save(trainer, self.run.best)
        self._save(trainer, self.run.last)
        told, _ = self._agreed(trainer, self._told, False)
        if told:
            self._hand_over(trainer, told)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Obey a signal that has come since, and leave others to those who listened before."""
        told, _ = self._agreed(trainer, self._told, False)
        if told:
            self._hand_over(trainer, told)
        self._listen_no_more()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave signals to those who listened before, and what came and was not obeyed to what follows the error."""
        if self._told:
            obey_later(self._told)
        self._listen_no_more()

    def state_dict(self) -> dict[str, Any]:
        """How good the best epoch was."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best = state_dict["best"]

    def _is_due(self, trainer: Trainer) -> bool:
        steps, seconds = self.config.every_n_steps, self.config.every_n_seconds
        return bool(
            (steps and trainer.global_step % steps == 0) or (seconds and time.monotonic() >= self._saved + seconds)
        )

    def _agreed(self, trainer: Trainer, told: int, due: bool) -> tuple[int, bool]:
        """The same in all processes: what one of them was told, and what is due by the clock of one."""
        if trainer.world_size == 1:
            return told, due
        both = torch.tensor([told, due], device=trainer.strategy.root_device)
        told, due = trainer.strategy.reduce(both, reduce_op="max").tolist()
        return told, bool(due)

    def _save(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path)
        self._saved = time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._told and time.monotonic() >= self._told_at + AGAIN:
            obey_later(self._told)
            self._listen_no_more()
            signal.raise_signal(number)
        elif not self._told:
            self._told, self._told_at = number, time.monotonic()

    def _hand_over(self, trainer: Trainer, told: int) -> None:
        """Leave a signal to those who listened to it before; they stop the training, unless it is Lightning itself.

        That has Slurm submit the job again, which then ends it. Once is enough: one process may hear of it later.
        """
        log.info("Saved at step %d of the training: %s", trainer.global_step, self.run.last)
        self._told = 0
        if told in self._handlers:
            signal.signal(told, self._handlers.pop(told) or signal.SIG_DFL)
        signal.raise_signal(told)
        if self._handlers:
            self._handlers[told] = signal.signal(told, signal.SIG_IGN)

    def _listen_no_more(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler or signal.SIG_DFL)


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and keeps the last one until the next is there.

    What Lightning saves by itself at Slurm's signal is left out: ``last.ckpt`` has just been saved.

    Args:
        run: The run whose they are.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            RunError: If there is no room for it, or no permission; the ones before are as they were.
        """
        path = Path(path)
        if path.name.startswith("hpc_ckpt_"):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path, keep=self.run.previous if path == self.run.last else None) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = _system_error(error)
            raise RunError(
                f"{path} cannot be written: {reason}. What was saved before is whole; "
                "once that is put right, the same command in the same hydra.run.dir goes on from there"
            ) from error


def _system_error(error: BaseException | None) -> str:
    """Why a file could not be written, in the system's words, behind which torch has its own."""
    while error:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return "the disk may be full"
