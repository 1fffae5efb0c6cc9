"""The LightningModule: loss, metrics, optimizer and learning rate around the network."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from digits.errors import UserError
from digits.model.geometry import CLASSES
from digits.model.network import build_network

COUNTED_TOGETHER = 50  # training steps: enough to cost next to nothing, and few to keep in memory


class MeanLoss(Metric):
    """Mean loss of all images.

    torchmetrics' MeanMetric leaves out what is no number, and looks for it on every step, which waits for the device;
    told not to look, its release 1.9 also forgets the weights.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, images: int) -> None:
        """Add the mean loss, (), of a number of images."""
        self.total += loss * images
        self.count += images

    def compute(self) -> Tensor:
        """The mean over all images, ()."""
        return self.total / self.count


class DigitClassifier(LightningModule):
    """Trains and tests a `Network`.

    Every argument is a plain number, list or dict, so that a checkpoint holds nothing but those and loads with
    ``weights_only=True``. A ``_target_`` names a class of ``torch.optim``; nothing else is looked up, whoever wrote it.

    Args:
        model: ``blocks``, a list of the fields of `geometry.Block`, and ``head``, those of `geometry.Head`.
        optimizer: ``_target_`` and the arguments of an optimizer.
        scheduler: ``_target_``, ``interval`` (``step`` or ``epoch``) and the arguments of a learning rate scheduler;
            what follows from the length of the training is filled in. None for a learning rate that stays.
        label_smoothing: Share of the target that is spread over all classes, in training.
        memory_format: Order of filters and feature maps in memory, ``channels_last`` or ``contiguous_format``.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        memory_format: str = "channels_last",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network: nn.Module = build_network(model).to(memory_format=getattr(torch, memory_format))
        self.optimizer = dict(optimizer)
        self.scheduler = dict(scheduler) if scheduler else None
        self.label_smoothing = label_smoothing

        # Not validated: the labels are, as data, and looking through a batch for strange ones waits for the device.
        metrics = MetricCollection({"accuracy": MulticlassAccuracy(CLASSES, average="micro", validate_args=False)})
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self.test_metrics.add_metrics(
            {
                "precision": MulticlassPrecision(CLASSES, average="none"),
                "recall": MulticlassRecall(CLASSES, average="none"),
                "f1": MulticlassF1Score(CLASSES, average="none"),
                "calibration_error": MulticlassCalibrationError(CLASSES),
                "confusion_matrix": MulticlassConfusionMatrix(CLASSES),
            }
        )
        self.train_loss, self.val_loss, self.test_loss = MeanLoss(), MeanLoss(), MeanLoss()
        self._uncounted: list[tuple[Tensor, Tensor]] = []  # logits and labels of the last training steps
        self._tested: list[Tensor] = []  # logits of the test

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the one that Lightning sets forty times a step, to know its hooks, without detours."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)  # torch would look for it among parameters, buffers and modules
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised digits: (batch, 1, 28, 28) float to logits, (batch, 10) float."""
        logits: Tensor = self.network(images.to(self.dtype))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """One step; it logs nothing and counts seldom, since either costs as much as a small network's own work."""
        images, labels = batch
        logits = self(images).float()
        loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        logits = logits.detach()
        self._uncounted.append((logits, labels))
        if len(self._uncounted) == COUNTED_TOGETHER:
            self._count_training()
        return {"loss": loss, "logits": logits}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is counted of an epoch that is not over; of several processes, what they have counted together."""
        if self._uncounted and _several_processes():
            self._count_training()
        checkpoint["uncounted"] = list(self._uncounted)
        checkpoint["counted"] = [
            {name: _summed(value) for name, value in state.items()}
            for state in (metric.metric_state for metric in self._training_metrics())
        ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting from there."""
        self._uncounted = checkpoint.get("uncounted", [])
        for metric, state in zip(self._training_metrics(), checkpoint.get("counted", []), strict=False):
            for name, value in state.items():
                setattr(metric, name, value)

    def on_train_start(self) -> None:
        """Bring a continued run's optimizer state into the weights' memory format, which is another on another device.

        A fused step pairs them by their place in memory, and would mix them up.
        """
        self._uncounted = [(logits.to(self.device), labels.to(self.device)) for logits, labels in self._uncounted]
        if self.trainer.global_rank:  # the first process goes on counting for all
            for metric in self._training_metrics():
                metric.reset()
        for optimizer in self.trainer.optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if (
                        isinstance(value, Tensor)
                        and value.shape == parameter.shape
                        and value.stride() != parameter.stride()
                    ):
                        state[name] = torch.empty_like(parameter).copy_(value)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean training loss and accuracy."""
        if self._uncounted:
            self._count_training()
        self._log(self.train_metrics, self.train_loss)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch; the loss without label smoothing, so that it compares over all settings."""
        self._evaluate(batch, self.val_metrics, self.val_loss)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss`` and ``val/accuracy``."""
        self._log(self.val_metrics, self.val_loss)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch."""
        self._tested.append(self._evaluate(batch, self.test_metrics, self.test_loss))

    def on_test_epoch_end(self) -> None:
        """Log what is one number; keep what is several in ``test_details``, and all logits in ``test_logits``."""
        self.test_logits = torch.cat(self._tested).cpu()
        self._tested.clear()
        values = self._log(self.test_metrics, self.test_loss)
        self.test_details = {name: value.tolist() for name, value in values.items() if value.ndim}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the scheduler over all steps of the training."""
        optimizer: torch.optim.Optimizer
        optimizer_class, arguments = _resolve(self.optimizer, "torch.optim", torch.optim.Optimizer)
        try:
            optimizer = optimizer_class(self.parameters(), **arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from error
        if self.scheduler is None:
            return optimizer
        scheduler_class, arguments = _resolve(
            self.scheduler, "torch.optim.lr_scheduler", torch.optim.lr_scheduler.LRScheduler
        )
        interval = arguments.pop("interval")
        horizon = int(self.trainer.estimated_stepping_batches if interval == "step" else self.trainer.max_epochs or 1)
        of_training: dict[str, dict[str, float]] = {
            "OneCycleLR": {"max_lr": self.optimizer["lr"], "total_steps": horizon},
            "CosineAnnealingLR": {"T_max": horizon},
        }
        arguments.update(of_training.get(scheduler_class.__name__, {}))
        try:
            scheduler = scheduler_class(optimizer, **arguments)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"scheduler: {error}, over {horizon} {interval}s with {arguments}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def _training_metrics(self) -> list[Metric]:
        return [*self.train_metrics.values(), self.train_loss]

    def _count_training(self) -> None:
        """Have the metrics of training count the steps since the last time."""
        logits, labels = (torch.cat(parts) for parts in zip(*self._uncounted, strict=True))
        self._uncounted.clear()
        self.train_metrics.update(logits, labels)
        self.train_loss.update(cross_entropy(logits, labels, label_smoothing=self.label_smoothing), len(labels))

    def _evaluate(self, batch: tuple[Tensor, Tensor], metrics: MetricCollection, mean_loss: MeanLoss) -> Tensor:
        """Have the metrics of a stage count one batch, and return its logits.

        Without bf16: logits of 8 bits tie, and the figures would depend on the machine.
        """
        images, labels = batch
        with torch.autocast(self.device.type, enabled=False):
            logits: Tensor = self(images).float()
        metrics.update(logits, labels)
        mean_loss.update(cross_entropy(logits, labels), len(labels))
        return logits

    def _log(self, metrics: MetricCollection, mean_loss: MeanLoss) -> dict[str, Tensor]:
        """Log what is one number, start the stage's metrics anew, and return all of them."""
        values: dict[str, Tensor] = {**metrics.compute(), f"{metrics.prefix}loss": mean_loss.compute()}
        self.log_dict({name: value for name, value in values.items() if not value.ndim})
        metrics.reset()
        mean_loss.reset()
        return values


def _summed(count: Any) -> Tensor:
    """What all processes have counted."""
    total: Tensor = count.clone()
    if _several_processes():
        torch.distributed.all_reduce(total)
    return total


def _several_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _resolve(description: Mapping[str, Any], module: str, base: type) -> tuple[type[Any], dict[str, Any]]:
    """The class that ``_target_`` names, and its arguments.

    Raises:
        UserError: If the name is not that of a subclass of ``base`` in ``module``.
    """
    arguments = dict(description)
    target = arguments.pop("_target_")
    name = target.removeprefix(f"{module}.")
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, type) or not issubclass(found, base):
        raise UserError(f"_target_: {target} is not allowed; it has to be a class of {module}.")
    return found, arguments
