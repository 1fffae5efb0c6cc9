"""The LightningModule: loss, metrics, optimizer and learning rate around the network."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection

from digits.errors import UserError
from digits.model.network import build_network


class Mean(Metric):
    """Mean over all images of the loss, or of 1 for each correct answer; each batch adds its sum.

    torchmetrics' MeanMetric looks for NaN on every step, which synchronises with the device, and its
    MulticlassAccuracy takes 0.1 ms per step.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, total: Tensor, images: int) -> None:
        """Add the sum, a scalar, over a number of images."""
        self.total.add_(total)  # in place: setting an attribute of a module takes longer
        self.count.add_(images)

    def compute(self) -> Tensor:
        """The mean over all images, a scalar."""
        return self.total / self.count


class DigitClassifier(LightningModule):
    """Trains and validates a `Network`.

    Every argument is a plain number, list or dict, so that a checkpoint contains nothing else and loads with
    ``weights_only=True``. A ``_target_`` names a class of ``torch.optim``; no other class is looked up.

    Args:
        model: ``blocks``, a list of the fields of `geometry.Block`, and ``head``, the fields of `geometry.Head`.
        optimizer: ``_target_`` and the arguments of an optimizer.
        scheduler: ``_target_``, ``interval`` (``step`` or ``epoch``) and the arguments of a learning rate scheduler;
            those that depend on the length of the training are filled in. None for a constant learning rate.
        label_smoothing: Fraction of the target that is spread over all classes, in training.
        memory_format: Memory layout of filters and feature maps, ``channels_last`` or ``contiguous_format``.
        data: The fields of a `spec.DataSpec`; None for MNIST's.
        freeze: ``blocks`` to keep the convolutional blocks as they are; None to train all layers.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        memory_format: str = "channels_last",
        data: Mapping[str, Any] | None = None,
        freeze: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = build_network(model, data).to(memory_format=getattr(torch, memory_format))
        self.optimizer = dict(optimizer)
        self.scheduler = dict(scheduler) if scheduler else None
        self.label_smoothing = label_smoothing
        if freeze:
            self.network.blocks.requires_grad_(False).eval()  # Lightning keeps the mode of each module

        metrics = MetricCollection({"accuracy": Mean(), "loss": Mean()}, compute_groups=False)
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.train_metrics.persistent(True)  # a checkpoint within an epoch contains what has been counted so far

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (batch, 28, 28) uint8 to logits, (batch, classes) float."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss of one batch; nothing is logged before the end of the epoch."""
        images, labels = batch
        logits = self(images).float()
        loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._count(self.train_metrics, logits.detach(), labels, loss.detach())
        return {"loss": loss, "logits": logits.detach()}

    def on_train_start(self) -> None:
        """Keep the counts of a checkpoint on rank 0 only. Give a resumed optimizer state the weights' memory format.

        The format depends on the device. A fused step pairs values by their position in memory, and would pair the
        wrong ones.
        """
        if self.trainer.global_rank:
            self.train_metrics.reset()
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
        """Log ``train/loss`` and ``train/accuracy``."""
        self._log(self.train_metrics)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch, without label smoothing, so that the loss compares across settings.

        Computes in float32: bf16 logits have 8 bits and often tie, so that the result would depend on the machine.
        """
        images, labels = batch
        with torch.autocast(self.device.type, enabled=False):
            logits = self(images).float()
        self._count(self.val_metrics, logits, labels, cross_entropy(logits, labels))

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss`` and ``val/accuracy``."""
        self._log(self.val_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer, and the scheduler over all steps of the training."""
        optimizer: torch.optim.Optimizer
        optimizer_class, arguments = _class_and_arguments(self.optimizer, "torch.optim", torch.optim.Optimizer)
        try:
            optimizer = optimizer_class(self.parameters(), **arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"optimizer: {error}") from error
        if self.scheduler is None:
            return optimizer
        scheduler_class, arguments = _class_and_arguments(
            self.scheduler, "torch.optim.lr_scheduler", torch.optim.lr_scheduler.LRScheduler
        )
        interval = arguments.pop("interval")
        horizon = int(self.trainer.estimated_stepping_batches if interval == "step" else self.trainer.max_epochs or 1)
        from_length: dict[str, dict[str, float]] = {
            "OneCycleLR": {"max_lr": self.optimizer["lr"], "total_steps": horizon},
            "CosineAnnealingLR": {"T_max": horizon},
        }
        arguments.update(from_length.get(scheduler_class.__name__, {}))
        try:
            scheduler = scheduler_class(optimizer, **arguments)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"scheduler: {error}, over {horizon} {interval}s with {arguments}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    @staticmethod
    def _count(metrics: MetricCollection, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        metrics["accuracy"].update((logits.argmax(1) == labels).sum(), len(labels))
        metrics["loss"].update(loss * len(labels), len(labels))

    def _log(self, metrics: MetricCollection) -> None:
        self.log_dict(metrics.compute())
        metrics.reset()


def _class_and_arguments(description: Mapping[str, Any], module: str, base: type) -> tuple[type[Any], dict[str, Any]]:
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
