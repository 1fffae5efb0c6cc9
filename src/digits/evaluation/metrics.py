"""The content of ``evaluation.json`` and ``predictions.csv``: metrics, the worst mistakes, all predictions."""

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from annotated_types import Len
from PIL import Image

from digits.errors import UserError
from digits.model.geometry import IMAGE_SIZE
from digits.model.spec import DIGITS
from digits.runs.files import Count, Fraction, NonNegative, as_json, parsed, rounded, save
from digits.runs.rows import as_csv

FILE = "evaluation.json"
PREDICTIONS_FILE = "predictions.csv"
Z95 = 1.959964  # standard normal quantile of a 95 % interval


@dataclass(frozen=True)
class DigitMetrics:
    """Metrics of one class, such as a digit."""

    digit: Annotated[Count, "index of the class"]
    images: Annotated[Count, "number of test images"]
    precision: Annotated[Fraction, "of the images read as this digit, those that are this digit"]
    recall: Annotated[Fraction, "of this digit's images, those that are read as it"]
    f1: Annotated[Fraction, "harmonic mean of precision and recall"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar confidence. A network is calibrated if its accuracy equals its confidence in every bin."""

    above: Annotated[Fraction, "lower end of the bin"]
    images: Annotated[Count, "number of predictions"]
    confidence: Annotated[Fraction, "mean confidence"]
    accuracy: Annotated[Fraction, "of the predictions, those that are correct"]


@dataclass(frozen=True)
class Mistake:
    """A misclassified image."""

    index: Annotated[Count, "index in the test set"]
    digit: Annotated[Count, "the label, an index of a class"]
    answer: Annotated[Count, "the prediction"]
    confidence: Annotated[Fraction, "probability of the prediction"]
    probability: Annotated[Fraction, "probability of the label"]
    png: Annotated[str, "the image, a PNG in base64"]


@dataclass(frozen=True)
class Evaluation:
    """The content of ``evaluation.json``."""

    dataset: Annotated[str, "name of the data set"]
    images: Annotated[Count, "size of the test set"]
    test_accuracy: Fraction
    test_loss: Annotated[NonNegative, "mean cross-entropy, in nats"]
    calibration_error: Annotated[Fraction, "expected calibration error"]
    digits: Annotated[Sequence[DigitMetrics], "of each class"]
    confusion_matrix: Annotated[Sequence[Sequence[Count]], "images by label (row) and prediction (column)"]
    reliability: Annotated[Sequence[ReliabilityBin], Len(1), "predictions by confidence, without empty bins"]
    mistakes: Annotated[Count, "number of misclassified images"]
    worst: Annotated[Sequence[Mistake], "mistakes with the lowest probability of the label, worst first"]
    examples: Annotated[Sequence[str], "the first test image of each class, a PNG in base64; empty if it has none"]
    checkpoints: Annotated[Sequence[str], "of an ensemble; empty for the run's own network"] = field(
        default_factory=list
    )
    classes: Annotated[Sequence[str], "the name of each class"] = field(default_factory=lambda: list(DIGITS))
    tta: Annotated[bool, "whether shifted copies were used (test-time augmentation)"] = False
    untrusted_correct: Annotated[
        Fraction | None,
        "of the correct predictions, those called unsure or unfamiliar; None for several networks or copies",
    ] = None
    untrusted_wrong: Annotated[Fraction | None, "the same of the wrong ones; None without any"] = None
    labels: Annotated[Sequence[Count], "class of each image; in predictions.csv"] = field(
        default=(), repr=False, compare=False
    )
    predictions: Annotated[Sequence[Count], "predicted class of each image; in predictions.csv"] = field(
        default=(), repr=False, compare=False
    )

    @property
    def untrusted(self) -> str:
        """How many predictions are called unsure or unfamiliar; empty if that is not known."""
        parts = ((self.untrusted_correct, "correct"), (self.untrusted_wrong, "wrong"))
        shown = [f"{100 * part:.1f} % of the {name}" for part, name in parts if part is not None]
        return f"{', '.join(shown)} predictions" if shown else ""

    @property
    def noun(self) -> str:
        """The word for its images in a text."""
        return "digits" if tuple(self.classes) == DIGITS else "images"

    def write(self, folder: Path) -> Path:
        """Write ``evaluation.json`` and ``predictions.csv`` into a run directory, and return the path of the first.

        Raises:
            UserError: If one cannot be written.
        """
        content = asdict(self)
        classes = [[self.classes[number] for number in content.pop(part)] for part in ("labels", "predictions")]
        path = save(folder / FILE, as_json(content))
        Predictions(*classes).write(folder)
        return path


class Predictions(NamedTuple):
    """The labels and predictions of all test images, as names of classes, in the order of the test set."""

    labels: Sequence[str]
    predictions: Sequence[str]

    def write(self, folder: Path) -> None:
        """Write ``predictions.csv``: a row per image, the first one for image 0.

        Raises:
            UserError: If it cannot be written.
        """
        pairs = zip(self.labels, self.predictions, strict=True)
        rows = [{"label": label, "prediction": prediction} for label, prediction in pairs]
        save(folder / PREDICTIONS_FILE, as_csv(rows))


def read_predictions(folder: Path) -> Predictions | None:
    """Read ``predictions.csv`` in a run directory; None if the file is missing, or is not a table with two columns."""
    try:
        _, *rows = csv.reader(io.StringIO((folder / PREDICTIONS_FILE).read_text(encoding="utf-8")))
        labels, predictions = zip(*rows, strict=True)
    except (OSError, ValueError, csv.Error):
        return None
    return Predictions(labels, predictions)


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
        _check(evaluation)
        return evaluation
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a file that an evaluation writes ({error}); digits evaluate writes it again."
        ) from error


def _check(evaluation: Evaluation) -> None:
    """Raise ValueError if a table does not have a row per class, and OSError if an image is damaged."""
    number = len(evaluation.classes)
    tables = (evaluation.digits, evaluation.examples, evaluation.confusion_matrix, *evaluation.confusion_matrix)
    if any(len(table) != number for table in tables):
        raise ValueError(f"a table of another size than the {number} classes")
    if any(max(mistake.digit, mistake.answer) >= number for mistake in evaluation.worst):
        raise ValueError(f"a mistake names a class above {number - 1}")
    for png in (*evaluation.examples, *(mistake.png for mistake in evaluation.worst)):
        if png:
            image_of(png)


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
                f"{image.size[0]}×{image.size[1]} pixels in mode {image.mode} are not an image of a data set"
            )
        return np.asarray(image)
