"""The accuracy of a trained network on corrupted digits, by kind and strength of the corruption."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from digits.data.batches import Digits
from digits.evaluation.evaluate import score
from digits.runs.files import as_json, save

Images = npt.NDArray[np.uint8]
FILE = "robustness.json"
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))  # down, right


def shifted(images: Images, pixels: float) -> Images:
    """Move each image in one of eight directions."""
    moved = np.empty_like(images)
    for number, (down, right) in enumerate(DIRECTIONS):
        chosen = slice(number, None, len(DIRECTIONS))
        moved[chosen] = ndimage.shift(images[chosen], (0, down * pixels, right * pixels), order=1)
    return moved


def rotated(images: Images, degrees: float) -> Images:
    """Turn every other image to the left, the others to the right."""
    turned = np.empty_like(images)
    for number, sign in enumerate((1, -1)):
        turned[number::2] = ndimage.rotate(images[number::2], sign * degrees, axes=(1, 2), reshape=False, order=1)
    return turned


def thickened(images: Images, pixels: float) -> Images:
    """Widen the strokes by a number of pixels on each side."""
    return _brushed(images, pixels, ndimage.grey_dilation)


def thinned(images: Images, pixels: float) -> Images:
    """Narrow the strokes by a number of pixels on each side."""
    return _brushed(images, pixels, ndimage.grey_erosion)


def noisy(images: Images, fraction: float) -> Images:
    """Add Gaussian noise, with a standard deviation as a fraction of white."""
    noise = np.random.default_rng(0).normal(0, 255 * fraction, images.shape)
    return _bytes(images + noise)


def inverted(images: Images, fraction: float) -> Images:
    """Blend towards the inverted image: 1 is fully inverted, and 0.5 is uniformly grey."""
    return _bytes((1 - fraction) * images + fraction * (255.0 - images))


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        unit: Unit of its strength.
        strengths: From weak to strong.
        apply: Corrupts images, (n, 28, 28) uint8, by a strength.
    """

    unit: str
    strengths: Sequence[float]
    apply: Callable[[Images, float], Images]


CORRUPTIONS = {
    "shifted": Corruption("pixels", (1, 2, 3, 4, 5, 6), shifted),
    "rotated": Corruption("degrees", (5, 10, 15, 20, 30, 45), rotated),
    "thickened": Corruption("pixels per side", (0.25, 0.5, 0.75, 1, 1.5), thickened),
    "thinned": Corruption("pixels per side", (0.25, 0.5, 0.75, 1), thinned),
    "noisy": Corruption("of white", (0.1, 0.2, 0.3, 0.4, 0.5), noisy),
    "inverted": Corruption("fraction", (0.1, 0.2, 0.3, 0.4, 0.5, 1), inverted),
}


def measure(network: nn.Module, test: Digits) -> dict[str, dict[float, float]]:
    """Measure the accuracy, 0 to 1, by kind of corruption and its strength; strength 0 is the original images.

    Args:
        network: From images, (batch, 28, 28) uint8, to logits, (batch, classes); moved to the CPU.
        test: The test set.
    """
    images = test.images.numpy()

    def accuracy(corrupted: Images) -> float:
        return score(network, Digits(torch.from_numpy(corrupted), test.labels, test.members))[0]

    original = accuracy(images)
    return {
        name: {0: original} | {strength: accuracy(kind.apply(images, strength)) for strength in kind.strengths}
        for name, kind in CORRUPTIONS.items()
    }


def table(accuracies: Mapping[str, Mapping[float, float]]) -> str:
    """A line for each kind of corruption: strength, and accuracy in percent."""
    lines = []
    for name, found in accuracies.items():
        cells = [f"{strength:g}: {100 * fraction:.2f}" for strength, fraction in found.items()]
        lines.append(f"{name + ', ' + CORRUPTIONS[name].unit:<26}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(["Test accuracy, in percent, by strength of the corruption", *lines])


def write(accuracies: Mapping[str, Mapping[float, float]], folder: Path) -> Path:
    """Write ``robustness.json``.

    Raises:
        UserError: If it cannot be written.
    """
    content = {
        name: {
            "unit": CORRUPTIONS[name].unit,
            "accuracy": {f"{strength:g}": value for strength, value in found.items()},
        }
        for name, found in accuracies.items()
    }
    return save(folder / FILE, as_json(content))


def _brushed(images: Images, pixels: float, brush: Callable[..., Images]) -> Images:
    """Apply a round brush of a radius; between whole radii, interpolate."""
    whole, part = int(pixels), pixels % 1
    one, other = (_brush(images, radius, brush) for radius in (whole, whole + 1))
    return _bytes((1 - part) * one + part * other)


def _brush(images: Images, radius: int, brush: Callable[..., Images]) -> Images:
    if not radius:
        return images
    axis = np.arange(-radius, radius + 1)
    disc = axis[:, None] ** 2 + axis**2 <= radius**2
    return brush(images, footprint=disc[None])


def _bytes(values: npt.NDArray[np.float64]) -> Images:
    return values.round().clip(0, 255).astype(np.uint8)
