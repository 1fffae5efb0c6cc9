"""The exponential moving average of the weights, which is validated, saved and tested in their place.

Lightning's callback keeps it, including the statistics of batch normalisation, and saves it in checkpoints.
"""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Exponential moving average, updated at every optimizer step.

    Like TensorFlow's ExponentialMovingAverage, it covers at most the last ninth of the steps so far, so that the start
    of the training fades.

    Args:
        decay: Fraction of the average that is kept at each step, from step 9 / (1 - decay) on; the average then covers
            about 1 / (1 - decay) steps.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the average on the device and in the number format of the weights."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            trainer.precision_plugin.convert_module(self._average_model.module)

    def weight(self, updates: int) -> float:
        """Weight of the current parameters in the new average: 1 - decay, or 9 / (10 + updates) if that is more."""
        return 1 - min(self.decay, (1 + updates) / (10 + updates))

    def _average(self, averages: list[Tensor], parameters: list[Tensor], updates: Tensor) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, parameters, self.weight(int(updates)))
        else:  # the number of batches that batch normalisation has counted
            torch._foreach_copy_(averages, parameters)
