"""How familiar an image is to a network: whether it resembles the images that the network has learned.

Two measures are combined: the energy of the logits (Liu et al., "Energy-based out-of-distribution detection", 2020),
and the Mahalanobis distance between the means of the feature maps and their usual values for the predicted class (Lee
et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks", 2018).
benchmarks/README.md compares them with others.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from digits.model.network import Network, normalise
from digits.model.spec import Thresholds

SHRINKAGE = 1e-3  # of the mean variance, added to each: limits the weight of maps that hardly vary


class RatedNetwork(nn.Module):
    """A trained network that also rates how familiar an image is.

    Args:
        network: In evaluation mode.
        means: (classes, maps) float32, the mean of each feature map of all blocks over the images of a class.
        whitening: (maps, maps) float32, which turns deviations from these means into uncorrelated ones of variance 1.
        weight: Factor of the distance, which is subtracted from the energy.
        thresholds: When a prediction is not trusted, and how certain it then is.
    """

    means: Tensor
    whitening: Tensor

    def __init__(
        self,
        network: Network,
        means: Tensor | None = None,
        whitening: Tensor | None = None,
        weight: float = 0.0,
        thresholds: Thresholds | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.data = network.data
        self.register_buffer("means", torch.zeros(len(network.data.classes), 0) if means is None else means)
        self.register_buffer("whitening", torch.zeros(0, 0) if whitening is None else whitening)
        self.weight = weight
        self.thresholds = thresholds or Thresholds()

    def forward(self, images: Tensor) -> Tensor:
        """Classify images: (batch, 28, 28) uint8 to logits, (batch, classes) float."""
        logits: Tensor = self.network(images)
        return logits

    def rate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Classify images, and rate them.

        Args:
            images: (batch, 28, 28) uint8.

        Returns:
            Logits, (batch, classes) float, and familiarity, (batch,) float, which is larger for a familiar image.
        """
        logits, means = observe(self.network, images)
        logits, means = logits.float(), means.float()
        return logits, self.familiarity(logits, means)

    def familiarity(self, logits: Tensor, means: Tensor) -> Tensor:
        """The familiarity, (batch,), of what `observe` returns: the energy minus the weighted distance."""
        return logits.logsumexp(1) - self.weight * self.distance(means, logits.argmax(1))

    def distance(self, means: Tensor, classes: Tensor) -> Tensor:
        """The Mahalanobis distance, (batch,), of means of feature maps, (batch, maps), from the means of a class."""
        if not self.means.shape[1]:
            return means.new_zeros(means.shape[0])
        return ((means - self.means[classes]) @ self.whitening).square().sum(1).sqrt()

    def statistics(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the network; `restored` reads it."""
        return {
            "means": self.means,
            "whitening": self.whitening,
            "weight": self.weight,
            **asdict(self.thresholds),
        }


def observe(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the logits, (batch, classes), and the mean of each feature map of all blocks, (batch, maps)."""
    features = normalise(images, network.data).to(next(network.parameters()).dtype)
    means = [features.new_zeros(images.shape[0], 0)]  # len() would fix the batch size of an exported network
    for block in network.blocks:
        features = block(features)
        means.append(features.mean((2, 3)))
    return network.head(features), torch.cat(means, 1)


def fit(network: Network, means: Tensor, labels: Tensor) -> RatedNetwork:
    """Estimate the usual means of the feature maps, and their covariance, from training images.

    Args:
        network: In evaluation mode.
        means: (n, maps), from `observe`.
        labels: (n,) int64, the classes of the images.
    """
    means = means.double()
    class_means = means.mean(0).repeat(len(network.data.classes), 1)  # also for a class without an image
    for label in set(labels.tolist()):
        class_means[label] = means[labels == label].mean(0)
    deviations = means - class_means[labels]
    covariance = deviations.T @ deviations / max(len(means), 1)
    variance = covariance.diagonal().mean() if len(covariance) else covariance.sum()
    covariance += (SHRINKAGE * variance + torch.finfo(torch.float32).tiny) * torch.eye(len(covariance))
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).T.contiguous()
    return RatedNetwork(network, class_means.float(), whitening.float())


def restored(network: Network, statistics: Mapping[str, Any] | None) -> RatedNetwork:
    """Rate with the statistics of a checkpoint; without them, only a probability below one half is not trusted.

    Raises:
        KeyError: If a value is missing.
        TypeError: If a value has another type.
        ValueError: If a value is not possible.
    """
    if statistics is None:
        return RatedNetwork(network)
    means, whitening = statistics["means"], statistics["whitening"]
    maps = sum(len(block.get_parameter("conv.weight")) for block in network.blocks)
    if means.shape != (len(network.data.classes), maps):
        raise ValueError(f"means of feature maps of shape {tuple(means.shape)}")
    if whitening.shape != (maps, maps):
        raise ValueError(f"a covariance of shape {tuple(whitening.shape)}")
    if not (means.isfinite().all() and whitening.isfinite().all()):
        raise ValueError("statistics that are not finite")
    thresholds = Thresholds(
        float(statistics["probability"]),
        float(statistics["familiarity"]),
        float(statistics["temperature"]),
    )
    weight = float(statistics["weight"])
    if not math.isfinite(weight):
        raise ValueError(f"a weight of {weight}")
    return RatedNetwork(network, means.float(), whitening.float(), weight, thresholds)
