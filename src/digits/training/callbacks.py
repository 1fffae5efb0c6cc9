"""Callbacks of a training: the log line, the row per epoch, the stopwatch, and the seed of each step."""

import logging
import logging.config
import math
import time
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar
from omegaconf import OmegaConf
from torch import Tensor

from digits.console import silence_lightning
from digits.errors import DivergedError
from digits.model.inference import be_exact
from digits.runs.files import rounded
from digits.runs.rows import write_rows
from digits.runs.run import Run
from digits.training.hardware import speed_up

log = logging.getLogger(__name__)


class Spawned(Callback):
    """Configures logging in the processes that ``trainer.strategy=ddp_spawn`` starts."""

    def __getstate__(self) -> dict[str, Any]:
        """The logging configuration, for the new processes."""
        if not HydraConfig.initialized():
            return {"logging": None}
        levels = [handler.level for handler in logging.getLogger().handlers]
        return {"logging": OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True), "levels": levels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Configure logging in a new process."""
        silence_lightning()
        if state["logging"]:
            logging.config.dictConfig(state["logging"])
            for handler, level in zip(logging.getLogger().handlers, state["levels"], strict=False):
                handler.setLevel(level)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let only rank 0 log, except for errors."""
        if trainer.global_rank:
            logging.disable(logging.WARNING)


class SpeedUp(Callback):
    """Applies process-wide speed settings and exact float32. Runs after the data is loaded.

    Args:
        precision: Lightning's name of the number format. It is saved, since a run that resumes keeps it.
        compile_network: Whether to compile the network with torch.compile.
    """

    def __init__(self, precision: str, compile_network: bool) -> None:
        self.precision, self.compile_network = precision, compile_network

    def state_dict(self) -> dict[str, Any]:
        """The precision."""
        return {"precision": self.precision}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the settings. Compile in place, so that the names in the checkpoint stay the same."""
        speed_up()
        be_exact()
        if self.compile_network:
            pl_module.network.compile()  # type: ignore[union-attr]


class BatchLines(Callback):
    """Logs loss and accuracy of the batch every ``trainer.log_every_n_steps`` steps, as the article does.

    Reading a loss waits for the device. So the losses are checked for NaN together, when a line is due.
    """

    def __init__(self) -> None:
        self._since: list[tuple[Tensor, int, float]] = []  # loss, step and learning rate since the last line
        self._lr = 0.0  # learning rate of the next step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the learning rate of the first step."""
        self._lr = _lr(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        """Log the line if it is due."""
        self._since.append((outputs["loss"].detach(), trainer.global_step, self._lr))
        self._lr = _lr(trainer)  # the scheduler has changed it already
        if (batch_idx + 1) % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        self._check()
        right = (outputs["logits"].argmax(1) == batch[1]).float().mean()
        both = trainer.strategy.reduce(torch.stack([outputs["loss"].detach().float(), right]), reduce_op="mean")
        loss, accuracy = both.tolist()  # the mean over all processes
        loss *= trainer.accumulate_grad_batches  # Lightning has divided the loss by it
        log.info(
            "epoch %d/%s, step %d/%d: loss of the batch %.4f, accuracy %.2f %%",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            batch_idx + 1,
            int(trainer.num_training_batches),
            loss,
            100 * accuracy,
        )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check for divergence before validating."""
        self._check()

    on_train_epoch_end = on_validation_start  # in an epoch without validation

    def _check(self) -> None:
        losses = torch.stack([loss for loss, *_ in self._since]).tolist() if self._since else []
        for value, (_, step, lr) in zip(losses, self._since, strict=True):
            _check_finite("the loss", value, step, lr)
        self._since.clear()


class ProgressBar(RichProgressBar):
    """Lightning's progress bar, with epochs counted from 1 as in the log."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"


class EpochRows(Checkpoint):
    """Writes a row of ``metrics.csv`` and a log line for each epoch.

    It is a ``Checkpoint`` because Lightning calls those last: after the classifier has logged the epoch and, since it
    comes before `Checkpoints`, before ``last.ckpt`` is saved.

    Args:
        run: The run whose ``metrics.csv`` to write; None writes none.
    """

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.rows: list[dict[str, float]] = []
        self._lr = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of the epochs before a resume."""
        if self.run and trainer.current_epoch:
            self.rows = [row for row in self.run.read_metrics() if row["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the learning rate at the start of the epoch; at its end it may be the next epoch's."""
        self._lr = _lr(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The learning rate at the start of the epoch."""
        return {"lr": self._lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it in a resumed epoch."""
        self._lr = state_dict["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row and the line."""
        metrics = {name: rounded(value) for name, value in trainer.callback_metrics.items()}
        for name in ("train/loss", "val/loss"):
            _check_finite(name, metrics.get(name, 0.0), trainer.global_step, _lr(trainer))
        position = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": self._lr}
        self.rows = [*self.rows, {**position, **dict(sorted(metrics.items()))}]
        if self.run and trainer.is_global_zero:
            write_rows(self.run.metrics_file, self.rows)
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        for stage, word in (("train", "training"), ("val", "validation")):
            if f"{stage}/loss" in metrics:
                loss, accuracy = metrics[f"{stage}/loss"], metrics[f"{stage}/accuracy"]
                parts.append(f"{word} loss {loss:.4f}, accuracy {100 * accuracy:.2f} %")
        log.info("%s", " | ".join(parts))


class Stopwatch(Callback):
    """Sums the seconds from the first batch to the last optimizer step of each epoch, also across a resume."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0
        self._last_step = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start. Lightning does not call on_train_epoch_start in an epoch that resumes."""
        self._started = self._last_step = time.perf_counter()

    on_train_epoch_start = on_train_start

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Take the time; at the end of an epoch on a GPU, after the device has finished."""
        if trainer.is_last_batch and trainer.strategy.root_device.type in ("cuda", "mps"):
            torch.accelerator.synchronize()
        self._last_step = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop: evaluation does not count."""
        self.seconds += self._last_step - self._started
        self._started = self._last_step

    on_train_epoch_end = on_validation_start  # in an epoch without validation

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        return {"seconds": self.seconds + self._last_step - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds of a checkpoint."""
        self.seconds = state_dict["seconds"]


class StepSeed(Callback):
    """Makes the random numbers of a step (dropout) a function of seed, epoch, batch and process.

    A run that resumes from ``last.ckpt`` therefore draws the same numbers as an uninterrupted one.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: tuple[Tensor, Tensor], batch_idx: int
    ) -> None:
        """Seed the generator of the CPU and of the device."""
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, batch_idx, trainer.global_rank])
        seed = int(sequence.generate_state(1)[0])
        if pl_module.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 5 % of a step
        else:
            torch.manual_seed(seed)


def _lr(trainer: Trainer) -> float:
    rate: float = trainer.optimizers[0].param_groups[0]["lr"]
    return rate


def _check_finite(name: str, value: float, step: int, lr: float) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"{name} is {value} at step {step}, with a learning rate of {lr:.3g}: "
            "try a smaller optimizer.lr, or trainer.gradient_clip_val=1"
        )
