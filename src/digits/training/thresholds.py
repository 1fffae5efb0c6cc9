"""Derives from held-out images when a prediction is not trusted, and the temperature for unfamiliar images."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from digits.config import AugmentConfig
from digits.data.augmentation import Augmentation
from digits.data.batches import Digits
from digits.data.mnist import MNISTDataModule
from digits.errors import RunError
from digits.model.familiarity import RatedNetwork, fit
from digits.model.inference import observations, ratings
from digits.model.network import Network
from digits.model.spec import Thresholds
from digits.runs.checkpoint import STATISTICS, Checkpoint
from digits.runs.run import Run
from digits.training.checkpoints import AtomicCheckpointIO

IMAGES = 5_000  # at most, for each of the two steps of `derive`
UNSURE_FRACTION = 0.003  # of the correct predictions: those with the lowest probabilities are called unsure
UNFAMILIAR_FRACTION = 0.006  # of the correct predictions: those of the least familiar images; about 1 % with both
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the distortion
DISTORTED_IMAGES = 200  # for each strength; more take longer and change little
TEMPERATURES = torch.logspace(0, 1, 101)  # 1 to 10


def add(best: Checkpoint, run: Run, data: MNISTDataModule, device: torch.device) -> None:
    """Add the thresholds to the best checkpoint, unless it has them already.

    Raises:
        RunError: If it cannot be written. The checkpoint stays as it is.
    """
    if STATISTICS not in best.content:
        best.content[STATISTICS] = derive(best.network(), data, device).statistics()
        AtomicCheckpointIO(run).save_checkpoint(best.content, run.best)


def derive(network: Network, data: MNISTDataModule, device: torch.device) -> RatedNetwork:
    """Estimate from training images what is usual, and from others which predictions are rare.

    The others are the validation images or, without any, training images that the estimate leaves out.
    Both give nearly the same thresholds (benchmarks/README.md). Of n such images, no fraction below 1 / n
    can be measured. The temperature is derived from distorted copies of them.

    Raises:
        RunError: If an output of the network is not finite.
    """
    train, val = data.training_set(), data.validation_set()
    train = Digits(train.images, train.labels, torch.unique(train.members))  # each once; a small folder repeats them
    order = _shuffled(train)
    number = IMAGES if len(val) else min(IMAGES, len(train) // 2)
    images, labels = train[order[:number]]
    _, means = observations(network, images, device)
    _check(means)
    rated = fit(network, means, labels.cpu())

    images, labels = val[_shuffled(val)[:IMAGES]] if len(val) else train[order[number : 2 * number]]
    logits, means = observations(network, images, device)
    _check(logits)
    correct = logits.argmax(1) == labels.cpu()
    chosen = correct if correct.any() else torch.ones_like(correct)
    logits, means = logits[chosen], means[chosen]
    energies, distances = logits.logsumexp(1), rated.cpu().distance(means, logits.argmax(1))
    spread = float(distances.std(correction=0))
    rated.weight = float(energies.std(correction=0)) / spread if spread else 0.0  # both then vary equally
    rated.thresholds = Thresholds(
        float(logits.softmax(1).amax(1).quantile(UNSURE_FRACTION)),
        float(rated.familiarity(logits, means).quantile(UNFAMILIAR_FRACTION)),
    )
    images, labels = images[:DISTORTED_IMAGES].cpu(), labels[:DISTORTED_IMAGES].cpu()
    rated.thresholds = replace(rated.thresholds, temperature=_temperature(rated, images, labels, device))
    return rated.cpu()


def _shuffled(part: Digits) -> Tensor:
    """All indices in a random order, since a folder's images are sorted by class."""
    return torch.randperm(len(part), generator=torch.Generator().manual_seed(0)).to(part.members.device)


def distorted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Copies of images, (n, 28, 28) uint8, with each strength of a distortion that leaves some digits illegible."""
    distort = Augmentation(
        AugmentConfig(rotation=45.0, shift=4.0, scale=0.5, shear=30.0, elastic=3.0, thickness=1.0, erase=1.0, erased=16)
    )
    return torch.cat([distort(images, generator, strength).round().byte() for strength in STRENGTHS])


def _temperature(rated: RatedNetwork, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """The temperature with which distorted images that are unfamiliar have the least cross-entropy.

    Temperature scaling (Guo et al., 2017, https://arxiv.org/abs/1706.04599) on distorted images (Tomani et al., 2021,
    https://arxiv.org/abs/2012.10988).
    """
    logits, familiarity = ratings(rated, distorted(images, torch.Generator().manual_seed(0)), device)
    unfamiliar = familiarity < rated.thresholds.familiarity
    if not unfamiliar.any():
        return 1.0
    logits, targets = logits[unfamiliar], labels.repeat(len(STRENGTHS))[unfamiliar]
    losses = torch.stack([cross_entropy(logits / temperature, targets) for temperature in TEMPERATURES])
    return float(TEMPERATURES[losses.argmin()])


def _check(values: Tensor) -> None:
    if not values.isfinite().all():
        raise RunError("an output of the network is not a finite number; it cannot be tested")
