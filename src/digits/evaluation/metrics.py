"""The content of ``evaluation.json``: metrics of the test, per digit, and the worst mistakes."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval, Len
from PIL import Image

from digits.errors import UserError
from digits.model.geometry import CLASSES, IMAGE_SIZE
from digits.runs.files import Count, Fraction, NonNegative, as_json, parsed, rounded, save

FILE = "evaluation.json"
Z95 = 1.959964  # standard normal quantile of a 95 % interval
Digit = Annotated[int, Interval(ge=0, lt=CLASSES)]
OfEachDigit = Len(CLASSES, CLASSES)


@dataclass(frozen=True)
class DigitMetrics:
    """Metrics of one digit.

    Attributes:
        digit: 0 to 9.
        images: Number of test images.
        precision: Fraction of the images read as this digit that are this digit, 0 to 1.
        recall: Fraction of this digit's images that are read as it, 0 to 1.
        f1: Harmonic mean of precision and recall.
    """

    digit: Digit
    images: Count
    precision: Fraction
    recall: Fraction
    f1: Fraction


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar confidence. A network is calibrated if its accuracy equals its confidence in every bin.

    Attributes:
        above: Lower end of the bin, 0 to 1.
        images: Number of predictions.
        confidence: Mean confidence.
        accuracy: Fraction of correct predictions.
    """

    above: Fraction
    images: Count
    confidence: Fraction
    accuracy: Fraction


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        index: Index in the test set.
        digit: The label.
        answer: The prediction.
        confidence: Probability of the prediction, 0 to 1.
        probability: Probability of the label.
        png: The image, a PNG in base64.
    """

    index: Count
    digit: Digit
    answer: Digit
    confidence: Fraction
    probability: Fraction
    png: str


@dataclass(frozen=True)
class Evaluation:
    """The content of ``evaluation.json``.

    Attributes:
        dataset: Name of the data set.
        images: Size of the test set.
        test_accuracy: Fraction of the test set, 0 to 1.
        test_loss: Mean cross-entropy, in nats.
        calibration_error: Expected calibration error, 0 to 1.
        digits: Metrics of each digit.
        confusion_matrix: Number of images by label (row) and prediction (column).
        reliability: Predictions by confidence, without empty bins.
        mistakes: Number of misclassified images.
        worst: Mistakes with the lowest probability of the label, worst first.
        examples: The first image of each digit in the test set, each a PNG in base64.
        checkpoints: Checkpoints of an ensemble; empty for the run's own network.
        tta: Whether shifted copies were used (test-time augmentation).
    """

    dataset: str
    images: Count
    test_accuracy: Fraction
    test_loss: NonNegative
    calibration_error: Fraction
    digits: Annotated[Sequence[DigitMetrics], OfEachDigit]
    confusion_matrix: Annotated[Sequence[Annotated[Sequence[Count], OfEachDigit]], OfEachDigit]
    reliability: Annotated[Sequence[ReliabilityBin], Len(1)]
    mistakes: Count
    worst: Sequence[Mistake]
    examples: Annotated[Sequence[str], OfEachDigit]
    checkpoints: Sequence[str] = field(default_factory=list)
    tta: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the test accuracy."""
        return interval(self.test_accuracy, self.images)

    def write(self, folder: Path) -> Path:
        """Write ``evaluation.json`` into a run directory.

        Raises:
            UserError: If it cannot be written.
        """
        return save(folder / FILE, as_json(asdict(self)))


def interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval (Wilson, 1927) of an accuracy, 0 to 1, measured on a number of images."""
    middle = (accuracy + Z95**2 / (2 * images)) / (1 + Z95**2 / images)
    half = Z95 / (1 + Z95**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + Z95**2 / (4 * images**2))
    return rounded(middle - half), rounded(middle + half)


def read(folder: Path) -> Evaluation | None:
    """Read ``evaluation.json`` in a run directory; None without the file.

    Raises:
        UserError: If the file is not one that an evaluation writes.
    """
    path = folder / FILE
    try:
        evaluation = parsed(Evaluation, path.read_text(encoding="utf-8"))
        for png in (*evaluation.examples, *(mistake.png for mistake in evaluation.worst)):
            image_of(png)
        return evaluation
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a file that an evaluation writes ({error}); digits evaluate writes it again."
        ) from error


def png_of(image: npt.NDArray[np.uint8]) -> str:
    """Encode an image, (28, 28) uint8, as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def image_of(png: str) -> npt.NDArray[np.uint8]:
    """Decode an image of an evaluation, (28, 28) uint8.

    Raises:
        ValueError: If it is not a PNG of this size.
        OSError: If it is damaged.
    """
    with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
        if (image.mode, image.size) != ("L", (IMAGE_SIZE, IMAGE_SIZE)):
            raise ValueError(
                f"an image of {image.size[0]}×{image.size[1]} in mode {image.mode} is not one of MNIST's digits"
            )
        return np.asarray(image)
