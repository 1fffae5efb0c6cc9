"""How well a trained network reads the test set: what ``evaluation.json`` says, digit by digit, and where it errs."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from digits.errors import UserError
from digits.records import as_json, write, writing

FILE = "evaluation.json"


@dataclass(frozen=True)
class DigitFigures:
    """How one digit is read.

    Attributes:
        digit: Which, 0 to 9.
        images: How many of it there are.
        precision: Share of what was read as it that is it; 0 to 1, as the next two.
        recall: Share of it that was read as it.
        f1: Harmonic mean of the two.
    """

    digit: int
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers of about one confidence; a network is calibrated if they are right as often as it is sure.

    Attributes:
        above: The least confidence in the bin, 0 to 1.
        images: Answers in it.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    above: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Mistake:
    """An image that was read as another digit.

    Attributes:
        index: Of the image in the test set.
        digit: What it is.
        answer: What it was read as.
        confidence: Probability of the answer, 0 to 1.
        probability: Of the right digit.
        png: The image, a PNG in base64.
    """

    index: int
    digit: int
    answer: int
    confidence: float
    probability: float
    png: str


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluation.json`` says.

    Attributes:
        dataset: Name of the data set.
        images: Size of the test set.
        test_accuracy: Share of the test set, 0 to 1.
        test_loss: Mean cross-entropy, in nats.
        calibration_error: Expected calibration error, 0 to 1.
        digits: Figures of each digit.
        confusion_matrix: Images by digit (row) and answer (column).
        reliability: Answers by confidence; without the empty bins.
        mistakes: How many there are.
        worst: Those with the least probability of the right digit, worst first.
        examples: The first image of each digit in the test set, each a PNG in base64.
    """

    dataset: str
    images: int
    test_accuracy: float
    test_loss: float
    calibration_error: float
    digits: Sequence[DigitFigures]
    confusion_matrix: Sequence[Sequence[int]]
    reliability: Sequence[ReliabilityBin]
    mistakes: int
    worst: Sequence[Mistake]
    examples: Sequence[str]

    def write(self, folder: Path) -> Path:
        """Write ``evaluation.json``, whole, into a run directory.

        Raises:
            UserError: If it cannot be written.
        """
        path = folder / FILE
        with writing(path):
            write(path, as_json(asdict(self)))
        return path


def read(folder: Path) -> Evaluation | None:
    """What ``evaluation.json`` in a run directory says; None where there is none.

    Raises:
        UserError: If the file is not what an evaluation writes.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Evaluation(
            **{
                **content,
                "digits": [DigitFigures(**figures) for figures in content["digits"]],
                "reliability": [ReliabilityBin(**part) for part in content["reliability"]],
                "worst": [Mistake(**mistake) for mistake in content["worst"]],
            }
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not what an evaluation writes ({error}); digits evaluate writes it anew."
        ) from error


def png_of(image: npt.NDArray[np.uint8]) -> str:
    """An image, (28, 28) uint8, as an evaluation keeps it: a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def image_of(png: str) -> npt.NDArray[np.uint8]:
    """An image of an evaluation, (28, 28) uint8."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
