"""How a trained network reads digits that were changed: its accuracy by kind and strength of the change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from digits.runs.files import as_json, rounded, save

if TYPE_CHECKING:
    from torch import nn

Images = npt.NDArray[np.uint8]
FILE, PLOT = "robustness.json", "robustness.png"
AT_ONCE = 500  # images
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))  # down, right


def shifted(images: Images, pixels: float) -> Images:
    """Each image moved in one of eight directions."""
    moved = np.empty_like(images)
    for number, (down, right) in enumerate(DIRECTIONS):
        chosen = slice(number, None, len(DIRECTIONS))
        moved[chosen] = ndimage.shift(images[chosen], (0, down * pixels, right * pixels), order=1)
    return moved


def rotated(images: Images, degrees: float) -> Images:
    """Every other image turned to the left, the others to the right."""
    turned = np.empty_like(images)
    for number, sign in enumerate((1, -1)):
        turned[number::2] = ndimage.rotate(images[number::2], sign * degrees, axes=(1, 2), reshape=False, order=1)
    return turned


def thickened(images: Images, pixels: float) -> Images:
    """Strokes wider by so much on each side."""
    return _brushed(images, pixels, ndimage.grey_dilation)


def thinned(images: Images, pixels: float) -> Images:
    """Strokes narrower by so much on each side."""
    return _brushed(images, pixels, ndimage.grey_erosion)


def noisy(images: Images, share: float) -> Images:
    """Gaussian noise added, its standard deviation a share of white."""
    noise = np.random.default_rng(0).normal(0, 255 * share, images.shape)
    return _bytes(images + noise)


def inverted(images: Images, share: float) -> Images:
    """Turned towards dark on light: 1 is wholly so, and at a half nothing would be left."""
    return _bytes((1 - share) * images + share * (255.0 - images))


@dataclass(frozen=True)
class Change:
    """One kind of change.

    Attributes:
        unit: Of its strength.
        strengths: From weak to strong.
        apply: Changes images, (n, 28, 28) uint8, by a strength.
    """

    unit: str
    strengths: Sequence[float]
    apply: Callable[[Images, float], Images]


CHANGES = {
    "shifted": Change("pixels", (1, 2, 3, 4, 5, 6), shifted),
    "rotated": Change("degrees", (5, 10, 15, 20, 30, 45), rotated),
    "thickened": Change("pixels a side", (0.25, 0.5, 0.75, 1, 1.5), thickened),
    "thinned": Change("pixels a side", (0.25, 0.5, 0.75, 1), thinned),
    "noisy": Change("of white", (0.1, 0.2, 0.3, 0.4, 0.5), noisy),
    "inverted": Change("share", (0.1, 0.2, 0.3, 0.4, 0.5, 1), inverted),
}


def measure(network: "nn.Module", images: Images, labels: npt.NDArray[np.int64]) -> dict[str, dict[float, float]]:
    """The accuracy, 0 to 1, by kind of change and its strength; at strength 0, that of the images as they are.

    Args:
        network: From normalised digits, (batch, 1, 28, 28) float, to logits, (batch, 10); on the CPU.
        images: (n, 28, 28) uint8.
        labels: (n,).
    """
    unchanged = accuracy(network, images, labels)
    return {
        name: {
            0: unchanged,
            **{strength: accuracy(network, change.apply(images, strength), labels) for strength in change.strengths},
        }
        for name, change in CHANGES.items()
    }


def accuracy(network: "nn.Module", images: Images, labels: npt.NDArray[np.int64]) -> float:
    """The share of images that a network reads right; arguments as for `measure`."""
    import torch

    from digits.data import normalise

    with torch.inference_mode():
        answers = [network(normalise(batch)).argmax(1) for batch in torch.split(torch.from_numpy(images), AT_ONCE)]
    return rounded((torch.cat(answers).numpy() == labels).mean())


def table(accuracies: Mapping[str, Mapping[float, float]]) -> str:
    """A line for each kind of change: strength, and accuracy in percent."""
    lines = []
    for name, found in accuracies.items():
        cells = [f"{strength:g}: {100 * share:.2f}" for strength, share in found.items()]
        lines.append(f"{name + ', ' + CHANGES[name].unit:<26}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(["Test accuracy, in percent, by how much the digits are changed", *lines])


def write_files(accuracies: Mapping[str, Mapping[float, float]], folder: Path) -> list[Path]:
    """Write ``robustness.json`` and ``robustness.png``.

    Raises:
        UserError: If one cannot be written.
    """
    from digits.explanation import plots
    from digits.explanation.drawing import png

    panels = {f"{name}, {CHANGES[name].unit}": list(found.items()) for name, found in accuracies.items()}
    content = {
        name: {"unit": CHANGES[name].unit, "accuracy": {f"{strength:g}": share for strength, share in found.items()}}
        for name, found in accuracies.items()
    }
    files: dict[str, str | bytes] = {FILE: as_json(content), PLOT: png(plots.panels("Test accuracy, %", panels))}
    return [save(folder / name, data) for name, data in files.items()]


def _brushed(images: Images, pixels: float, brush: Callable[..., Images]) -> Images:
    """A brush of that radius; between whole pixels, a mixture of the two next to it."""
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
