"""Reads digits with a trained network. Imports torch only for networks that torch computes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from digits.errors import RunError, UserError
from digits.model.geometry import IMAGE_SIZE
from digits.model.spec import DIGITS, READ, DataSpec, Thresholds
from digits.prediction.exported import Floats, Images, Loaded, Outputs, read_onnx
from digits.prediction.views import views
from digits.preparation import inputs, photo

if TYPE_CHECKING:
    from digits.prediction.rows import Row

ROUNDING_ERROR = 1e-3  # by which a probability of an int8 network may exceed 1
BATCH_SIZE = 500  # images: as fast as more, and little memory


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        probabilities: Probability of each class, as `DigitReader.predict_images` computes it; their sum is 1.
        classes: The name of each class.
        status: ``read``; ``unfamiliar`` if the image is unlike those that the network has learned, and so perhaps not a
            digit; ``unsure`` if the softmax is lower than for nearly all digits that the network reads right.
        familiarity: How much the image resembles those that the network has learned, in nats; larger is more.
    """

    probabilities: tuple[float, ...]
    classes: tuple[str, ...] = DIGITS
    status: str = READ
    familiarity: float = 0.0

    @property
    def digit(self) -> int:
        """The most likely digit; for other classes than digits, the index of the class."""
        return self.ranking[0][0]

    @property
    def label(self) -> str:
        """The name of the most likely class."""
        return self.classes[self.digit]

    @property
    def probability(self) -> float:
        """The probability of `digit`."""
        return self.ranking[0][1]

    @property
    def ranking(self) -> list[tuple[int, float]]:
        """The index of each class with its probability, the most likely first."""
        return sorted(enumerate(self.probabilities), key=lambda pair: -pair[1])


class DigitReader:
    """A trained network that reads digits, or names what else it has learned.

    Args:
        compute: From images, (batch, 28, 28) uint8, to `Outputs`.
        source: The file that `load` read; unpickling a reader loads it again.
        data: The names of the classes, and how a picture is prepared.
        thresholds: Below which values a prediction is not trusted, and how much less certain it then becomes.

    Attributes:
        data: The argument, or its default.
        thresholds: The argument, or its default.
    """

    def __init__(
        self,
        compute: Callable[[Images], Outputs],
        source: Path | None = None,
        data: DataSpec | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        self._compute = compute
        self._source = source
        self.data = data or DataSpec()
        self.thresholds = thresholds or Thresholds()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name of the file; the process that unpickles it must have the file too."""
        if not self._source:
            raise TypeError("only a DigitReader from digits.load can be pickled")
        return load, (self._source,)

    @overload
    def predict(self, picture: Image.Image | Path | str) -> Prediction: ...
    @overload
    def predict(self, picture: list[Any]) -> list[Prediction]: ...
    @overload
    def predict(self, picture: npt.NDArray[np.uint8]) -> Any: ...
    def predict(self, picture: Any) -> Any:
        """Read one picture, or several at once.

        Args:
            picture: An array of shape (28, 28) uint8 is a digit as in MNIST, bright strokes on 0, and is used as it
                is. A path, a PIL image, or an array of another shape, (height, width) or (height, width, 3 or 4) uint8,
                is a picture in which the digit is found first. Several: a list of any of these, or an array
                (batch, 28, 28) uint8 of digits as in MNIST.

        Returns:
            A `Prediction`; for several pictures, a list.

        Raises:
            PictureError: If a file cannot be read as a picture.
            NoDigitError: If a picture has no digit, or several.
            UserError: If an array has another shape or type.
        """
        if isinstance(picture, list | tuple):
            images = [inputs.prepare(each, self.data.prepare) for each in picture]
            return self.predict_images(np.stack(images)) if images else []
        if isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[1:] == (IMAGE_SIZE, IMAGE_SIZE):
            return self.predict_images(picture)
        return self.predict_images(inputs.prepare(picture, self.data.prepare)[None])[0]

    def read_row(self, picture: Image.Image | Path | str | npt.NDArray[np.uint8]) -> "Row":
        """Read a row of digits from left to right, with the separators ``-``, ``/`` and ``.``.

        Args:
            picture: A path, a PIL image, or an array, (height, width) or (height, width, 3 or 4) uint8.

        Raises:
            PictureError: If a file cannot be read as a picture.
            NoDigitError: If a picture has no digit, or several rows.
            UserError: If an array has another shape or type, or the network reads whole pictures.
        """
        from digits.prediction import rows

        rows.check_rows(self.data.prepare)
        (row,) = rows.read(self, [inputs.prepare_row(picture)])
        return row

    def predict_images(self, images: Images, averaged: bool = False) -> list[Prediction]:
        """Read digits as in MNIST.

        The probabilities of an unfamiliar image are the mean over it and its turned and smaller copies; first, those of
        the image and of each unfamiliar copy are made less certain. A network that reads whole pictures has no copies.

        Args:
            images: (batch, 28, 28) uint8, bright strokes on 0.
            averaged: Whether to average over copies of familiar images too.

        Raises:
            UserError: If the array has another shape or type.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise UserError(
                f"images of shape {images.shape} and {images.dtype}; they have to be (batch, 28, 28) uint8."
            )
        probabilities, familiarity = self.outputs(images)
        statuses = map(self.thresholds.status, probabilities.max(1, initial=0).tolist(), familiarity.tolist())
        if (chosen := (familiarity < self.thresholds.familiarity) | averaged).any():
            probabilities[chosen] = self._averaged(images[chosen], probabilities[chosen], familiarity[chosen])
        rows = zip(probabilities.tolist(), statuses, familiarity.tolist(), strict=True)
        return [Prediction(tuple(row), self.data.classes, status, rating) for row, status, rating in rows]

    def _averaged(self, images: Images, probabilities: Floats, familiarity: Floats) -> Floats:
        """Average over images and their copies; unfamiliar copies of unfamiliar images are made less certain first."""
        unfamiliar = familiarity < self.thresholds.familiarity
        copies = views(images) if self.data.prepare == "photo" else []
        total = np.zeros_like(probabilities)
        for softmax, rating in [(probabilities, familiarity), *map(self.outputs, copies)]:
            lowered = unfamiliar & (rating < self.thresholds.familiarity)
            powers = softmax[lowered] ** (1 / self.thresholds.temperature)  # equivalent to dividing the logits
            softmax[lowered] = powers / powers.sum(1, keepdims=True)
            total += softmax
        total /= 1 + len(copies)
        return total

    def probabilities(self, images: Images) -> Floats:
        """Compute the probabilities, (batch, classes) float32; each row sums to 1."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> Outputs:
        """Compute the probabilities, and how familiar each image is."""
        if not len(images):
            return np.zeros((0, len(self.data.classes)), dtype=np.float32), np.zeros(0, dtype=np.float32)
        images = np.require(images, requirements=["C", "W"])  # torch shares the memory, and accepts only such arrays
        parts = [self._compute(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)]
        probabilities, familiarity = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not ((probabilities >= 0) & (probabilities <= 1 + ROUNDING_ERROR)).all():  # false for NaN too
            raise RunError("the outputs of the network are not probabilities")
        return probabilities, familiarity


def load(source: str | Path = "latest") -> DigitReader:
    """Load a trained network.

    Args:
        source: A run directory, ``latest`` for the newest finished one, a checkpoint, or a file that
            `digits export` wrote, for which torch is not imported.

    Raises:
        UserError: If it does not exist, or cannot be read.
    """
    if Path(source).suffix == ".onnx":
        file = Path(source)
        compute, data, thresholds = read_onnx(file)
    else:
        from digits.runs.find import find

        file = find(source).checkpoint
        compute, data, thresholds = _torch(file)
    return DigitReader(compute, file.absolute(), data, thresholds)


def preparation_of(source: str | Path) -> str | None:
    """How the configuration of a run says that pictures are prepared; None if only the network itself says it.

    With it, pictures can be prepared while torch is still being imported.
    """
    if Path(source).suffix == ".onnx":
        return None
    from digits.runs.find import find

    run = find(source).run
    data = (run.read_config() or {}).get("data") if run else None
    how = data.get("prepare", "photo") if isinstance(data, dict) else None
    return how if how in photo.PREPARATIONS else None


def _torch(checkpoint: Path) -> Loaded:
    import torch

    from digits.runs.checkpoint import Checkpoint

    network = Checkpoint(checkpoint).rated()

    def compute(images: Images) -> Outputs:
        with torch.inference_mode():
            logits, familiarity = network.rate(torch.from_numpy(images))
            return logits.softmax(1).numpy(), familiarity.numpy()

    return compute, network.data, network.thresholds
