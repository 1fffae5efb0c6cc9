"""Averages of the weights over a training: they are what is validated, saved and tested.

Lightning's callback keeps them, the batch normalisation's statistics among them, through checkpoints too.
"""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class Averaging(WeightAveraging):
    """What the averages have in common: each new one is a mean of the last one and the weights of now."""

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=self._average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the average where the weights are going to be, and in the arithmetic that they are going to have."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            trainer.precision_plugin.convert_module(self._average_model.module)

    def share(self, before: int) -> float:
        """What the weights of now are of the new average, after a number of averages before."""
        raise NotImplementedError

    def _average(self, averages: list[Tensor], values: list[Tensor], before: Tensor) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, self.share(int(before)))
        else:  # a count of batches
            torch._foreach_copy_(averages, values)


class EMA(Averaging):
    """Exponential moving average, at every optimizer step.

    As with TensorFlow's ExponentialMovingAverage, it reaches back over a ninth of the steps so far at most, so that the
    beginning fades.

    Args:
        decay: What stays of the average at a step, once there have been 9 / (1 - decay) of them; it then reaches back
            over some 1 / (1 - decay).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def share(self, before: int) -> float:
        """1 - decay, or more in the first steps: 9 / (10 + before)."""
        return 1 - min(self.decay, (1 + before) / (10 + before))


class LastEpochs(Averaging):
    """Mean over the ends of the last epochs (Izmailov et al., 2018, https://arxiv.org/abs/1803.05407).

    The statistics of batch normalisation are averaged along. The paper gathers them anew instead, with a pass over
    the training set for each average; where it was measured, that made no difference (benchmarks/README.md).

    Args:
        epochs: How many; before them, the weights are those of the last epoch.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self._first = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Know where the last epochs begin."""
        super().setup(trainer, pl_module, stage)
        self._first = max(0, (trainer.max_epochs or 0) - self.epochs)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Average at the end of an epoch, before it is validated."""
        if trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args)

    def share(self, before: int) -> float:
        """An equal one for each of the last epochs."""
        return 1 / max(1, before - self._first + 1)
