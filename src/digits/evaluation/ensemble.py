"""Ensembles and test-time augmentation: averages the probabilities of several networks or shifted copies."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

IN_PLACE = ((0, 0),)
SHIFTED = tuple((right, down) for down in (-1, 0, 1) for right in (-1, 0, 1))  # pixels; test-time augmentation


class Ensemble(nn.Module):
    """The mean of the probabilities of networks, over shifted copies of each digit.

    Args:
        networks: Each from images, (batch, 28, 28) uint8, to logits, (batch, classes).
        shifts: Shift of each copy, in pixels to the right and down.
        names: The checkpoints of the networks.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        shifts: Sequence[tuple[int, int]] = IN_PLACE,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shifts = shifts
        self.names = names

    def forward(self, images: Tensor) -> Tensor:
        """Images, (batch, 28, 28) uint8, to the logarithms of the mean probabilities, (batch, classes)."""
        logarithms = [
            network(shifted(images, *shift)).float().log_softmax(1)
            for shift in self.shifts
            for network in self.networks
        ]
        return torch.stack(logarithms).logsumexp(0) - math.log(len(logarithms))


def shifted(images: Tensor, right: int, down: int) -> Tensor:
    """Images, (batch, 28, 28) uint8, moved by whole pixels; the new pixels at the edge are background."""
    return pad(images, (right, -right, down, -down))
